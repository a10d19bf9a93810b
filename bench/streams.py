"""The upstream for uploads and WebSockets: ``python -m bench.streams PORT``.

It reads a body to its end before it answers, and echoes WebSocket messages. It spends little on either, so that the peer is the bottleneck.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import httptools
import uvloop
from typing_extensions import override

from bench import websocket

if TYPE_CHECKING:
    from collections.abc import Callable

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


class Connection(asyncio.Protocol):
    """One connection: requests until an upgrade, then frames."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._key = b""
        self._transport: asyncio.Transport | None = None
        self._frames: websocket.Frames | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment] # uvloop's transports register no base class

    @override
    def data_received(self, data: bytes) -> None:
        """Feed the parser, or echo."""
        assert self._transport is not None
        if self._frames is not None:
            echoed = b"".join(websocket.frame(opcode, payload) for opcode, payload in self._frames.read(data))
            if echoed:
                self._transport.write(echoed)
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._frames = websocket.Frames()
            self._transport.write(websocket.accepted(self._key))
        except httptools.HttpParserError:
            self._transport.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the one header that an answer needs."""
        if name.lower() == b"sec-websocket-key":
            self._key = value

    def on_message_complete(self) -> None:
        """The body is read: answer."""
        if self._transport is not None and not self._parser.should_upgrade():
            self._transport.write(_ANSWER)


async def serve(port: int, protocol: Callable[[], asyncio.Protocol] = Connection) -> None:
    """Listen on loopback until the process is ended."""
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))
