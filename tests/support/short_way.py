"""Two public listeners before one application, in the test's own process: one asks the short way first, the other has none.

``Wire`` is a caller's connection without a socket: each piece that is sent is one read of the listener's, which no kernel joins or splits.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web
from typing_extensions import override

from gateway.config.compiling import settings_from
from gateway.oidc.registration import Secret
from gateway.server.entry import Entry
from gateway.server.listener import PublicServer
from gateway.server.parts import open_parts
from gateway.server.short_way import KnownRequests
from tests.support.raw_caller import PATIENCE, answers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from gateway.proxy.short_connection import ShortConnection
    from gateway.server.parts import Parts
    from tests.support.raw_caller import Said

HOST = "app.example"
_DATE = re.compile(rb"\r\nDate: [^\r]*")


class Wire(asyncio.Transport):
    """A transport that keeps what is written; ``full`` has its peer read nothing."""

    def __init__(self, protocol: ShortConnection, peer: str) -> None:
        super().__init__({"peername": (peer, 4711), "sockname": ("127.0.0.1", 80)})
        self.protocol = protocol
        self.written = bytearray()
        self.closing = self.reset = False
        self.reading = True
        self._waiting: list[bytes] = []

    @override
    def write(self, data: Any) -> None:
        if not self.closing:
            self.written += data

    @override
    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    @override
    def get_write_buffer_size(self) -> int:
        return 0

    @override
    def is_closing(self) -> bool:
        return self.closing

    @override
    def close(self) -> None:
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    @override
    def abort(self) -> None:
        self.reset = True
        self.close()

    @override
    def pause_reading(self) -> None:
        self.reading = False

    @override
    def resume_reading(self) -> None:
        self.reading = True
        while self.reading and self._waiting and not self.closing:
            self.protocol.data_received(self._waiting.pop(0))

    def send(self, data: bytes) -> None:
        if self.reading and not self._waiting and not self.closing:
            self.protocol.data_received(data)
        else:
            self._waiting.append(data)

    @property
    def settled(self) -> bool:
        """Whether nothing more comes from the listener before something more is sent."""
        one = self.protocol
        if self.closing:
            return one.transport is None
        request = one._current_request
        if request is None:
            return one._waiter is not None and not one._waiter.done() and one._exchange is None
        return not request.content.is_eof() and request.content._waiter is not None and one._exchange is None


class Front:
    """A public listener; ``short`` and ``long`` are the first lines of the requests that it answered on either way."""

    def __init__(self, parts: Parts, *, short_way: bool) -> None:
        self.parts = parts
        self.short: list[bytes] = []
        self.long: list[str] = []
        self._known = KnownRequests(parts)
        self._entry = Entry(parts, self._endpoint, known=self._known if short_way else None)
        self.server = PublicServer(
            self._handle,
            limits=parts.settings.server.limits,
            proxies=parts.settings.server.trusted_proxies,
            short_way=self._ask if short_way else None,
        )

    def _ask(self, caller: ShortConnection, head: bytes) -> bool:
        taken = self._known(caller, head)
        if taken:
            self.short.append(head.partition(b"\r\n")[0])
        return taken

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.long.append(f"{request.method} {request.raw_path}")
        return await self._entry(request)

    async def _endpoint(self, _: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=404, text="no endpoint here")

    async def wire(self, peer: str = "127.0.0.1") -> Wire:
        """A connection from ``peer`` that waits for its first request."""
        connection = self.server()
        wire = Wire(connection, peer)
        connection.connection_made(wire)
        await self.settled(wire)
        return wire

    async def settled(self, wire: Wire) -> None:
        async with asyncio.timeout(PATIENCE):
            while not wire.settled:
                await asyncio.sleep(0)

    async def ask(self, wire: Wire, *pieces: bytes) -> bytes:
        """What is answered to ``pieces``, each of which is sent when there is nothing more to come."""
        before = len(wire.written)
        for piece in pieces:
            wire.send(piece)
            await self.settled(wire)
        return undated(bytes(wire.written[before:]))

    async def warm(self, *heads: bytes, peer: str = "127.0.0.1") -> None:
        """Have ``heads`` known, and a connection to the application idle."""
        wire = await self.wire(peer)
        for head in heads:
            for _ in range(3):
                await self.ask(wire, head)
        wire.abort()
        await self.settled(wire)

    async def close(self) -> None:
        for connection in self.server.connections:
            cast("asyncio.Transport", connection.transport).abort()
        await asyncio.sleep(0)
        await self.server.shutdown(1)


def undated(received: bytes) -> bytes:
    return _DATE.sub(b"", received)


def statuses(received: bytes) -> Sequence[int]:
    return [said.status for said in said_in(received)]


def said_in(received: bytes) -> Sequence[Said]:
    return answers(received)


def configuration(upstream: str, **changes: Any) -> dict[str, Any]:
    """Public, optional and signed-in routes to one application. ``changes`` go to its sections, ``routes`` replace them."""
    written: dict[str, Any] = {
        "server": {"listen": "127.0.0.1:8080", "public_url": f"https://{HOST}", "trusted_proxies": ["127.0.0.1/32"]},
        "admin": {"listen": "none"},
        "providers": [{"issuer": "http://127.0.0.1:9", "client_id": "gateway", "client_secret": Secret("secret-of-nobody")}],
        "session": {"store": "memory", "keys": [secrets.token_bytes(32)]},
        "routes": [
            {"path": "/", "upstream": upstream, "access": "public"},
            {"path": "/open/", "upstream": upstream, "access": "optional"},
            {"path": "/in/", "upstream": upstream, "access": "signed_in"},
        ],
    }
    for section, change in changes.items():
        written[section] = written[section] | change if isinstance(change, dict) else change
    return written


@asynccontextmanager
async def fronts(upstream: str, **changes: Any) -> AsyncIterator[tuple[Front, Front]]:
    """The listener with the short way and the one without, before the application at ``upstream``."""
    parts = open_parts(settings_from(configuration(upstream, **changes)))
    parts.sessions.start()
    with_it, without = Front(parts, short_way=True), Front(parts, short_way=False)
    try:
        yield with_it, without
    finally:
        await with_it.close()
        await without.close()
        await parts.close()
