"""An unmodified app for every shape of exchange: bodies of known length and in chunks, answers without one, early hints, breaking off.

``GET /mirror`` tells what arrived; ``/down/SEED/LENGTH`` and ``/down-chunked/...`` give bytes that ``pattern`` makes again; ``/up`` tells
what it was given; ``/nothing`` is 204, ``/cached`` knows 304, ``/hints`` has a 103 in front, ``/socket`` echoes, ``/endless`` goes on until
somebody ends it, ``/broken`` and ``/broken-chunked`` break off halfway.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import WSMsgType, web

from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PIECE = 61_440
"""Bytes of one write, which is no power of two."""
HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n"


def pattern(seed: int, length: int) -> bytes:
    """The same bytes for the same seed."""
    return random.Random(seed).randbytes(length)  # noqa: S311 - it has to be the same again


class ExchangeApp:
    """``connections`` counts those that were opened; ``open`` the exchanges that go on, by path; ``whole`` the uploads read to the end."""

    def __init__(self) -> None:
        self.port = free_port()
        self.connections: set[object] = set()
        self.open: dict[str, int] = {}
        self.whole = 0
        self._runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._runner = web.ServerRunner(web.Server(self.answer, handler_cancellation=True, keepalive_timeout=120), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def restart(self) -> None:
        """Every connection ends, and new ones are taken on the same port."""
        await self.stop()
        await self.start()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.connections.add(request.protocol)
        kind, _, rest = request.path.strip("/").partition("/")
        self.open[kind] = self.open.get(kind, 0) + 1
        serve = {
            "down": self._down,
            "down-chunked": self._down,
            "up": self._up,
            "nothing": self._nothing,
            "cached": self._cached,
            "hints": self._hints,
            "socket": self._socket,
            "endless": self._endless,
            "broken": self._broken,
            "broken-chunked": self._broken,
        }.get(kind, self._mirror)
        try:
            return await serve(request, rest)
        finally:
            self.open[kind] -= 1

    async def _mirror(self, request: web.BaseRequest, _: str) -> web.StreamResponse:
        received = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers]
        return web.json_response({"method": request.method, "target": request.raw_path, "headers": received})

    async def _nothing(self, _: web.BaseRequest, __: str) -> web.StreamResponse:
        return web.Response(status=204)

    async def _cached(self, request: web.BaseRequest, _: str) -> web.StreamResponse:
        if request.headers.get("If-None-Match") == '"one"':
            return web.Response(status=304, headers={"ETag": '"one"'})
        return web.Response(headers={"ETag": '"one"'}, body=b"cached")

    async def _hints(self, request: web.BaseRequest, _: str) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(HINT)
        return web.Response(text="after the hints")

    async def _down(self, request: web.BaseRequest, rest: str) -> web.StreamResponse:
        seed, length = map(int, rest.split("/"))
        body = pattern(seed, length)
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        if request.path.startswith("/down-chunked/"):
            response.enable_chunked_encoding()
        else:
            response.content_length = len(body)
        await response.prepare(request)
        if request.method != "HEAD":
            for start in range(0, len(body), PIECE):
                await response.write(body[start : start + PIECE])
        await response.write_eof()
        return response

    async def _up(self, request: web.BaseRequest, _: str) -> web.StreamResponse:
        digest, length = hashlib.sha256(), 0
        async for piece in request.content.iter_any():
            digest.update(piece)
            length += len(piece)
        self.whole += 1
        framing = {name: request.headers.get(name) for name in ("Content-Length", "Transfer-Encoding")}
        return web.json_response({"sha256": digest.hexdigest(), "length": length, "framing": framing})

    async def _socket(self, request: web.BaseRequest, _: str) -> web.StreamResponse:
        socket = web.WebSocketResponse(max_msg_size=2**24)
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT and message.data == "bye":
                await socket.close(code=4001, message=b"as asked")
            elif message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
        return socket

    async def _endless(self, request: web.BaseRequest, _: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while True:
            await response.write(b"data: tick\n\n")
            await asyncio.sleep(0.02)

    async def _broken(self, request: web.BaseRequest, _: str) -> web.StreamResponse:
        response = web.StreamResponse()
        if request.path == "/broken-chunked":
            response.enable_chunked_encoding()
        else:
            response.content_length = 100_000
        await response.prepare(request)
        await response.write(bytes(50_000))
        assert request.transport is not None
        request.transport.close()
        return response


@asynccontextmanager
async def exchange_app() -> AsyncIterator[ExchangeApp]:
    app = ExchangeApp()
    await app.start()
    try:
        yield app
    finally:
        await app.stop()
