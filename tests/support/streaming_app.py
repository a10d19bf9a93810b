"""An unmodified app that keeps things open: a WebSocket, an event stream, a download and an upload that go on until somebody ends them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import WSMsgType, web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LENGTH = 10**12
"""Bytes that the download promises: more than any test reads."""


class StreamingApp:
    """``url`` to put behind a gateway; ``open`` counts the exchanges that the app still has, by path, ``asked`` all of them."""

    def __init__(self) -> None:
        self.url = ""
        self.open: dict[str, int] = {}
        self.asked: dict[str, int] = {}

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        serve = {
            "/socket": self._socket,
            "/events": self._events,
            "/download": self._download,
            "/flood": self._flood,
            "/in_pieces": self._in_pieces,
            "/upload": self._upload,
        }.get(request.path)
        if serve is None:
            return web.Response(text="home")
        self.open[request.path] = self.open.get(request.path, 0) + 1
        self.asked[request.path] = self.asked.get(request.path, 0) + 1
        try:
            return await serve(request)
        finally:
            self.open[request.path] -= 1

    async def _socket(self, request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
        return socket

    async def _events(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while True:
            await response.write(b"data: tick\n\n")
            await asyncio.sleep(0.2)

    async def _download(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(LENGTH)})
        await response.prepare(request)
        while True:
            await response.write(bytes(1024))
            await asyncio.sleep(0.2)

    async def _flood(self, request: web.BaseRequest) -> web.StreamResponse:
        """As much as anybody reads; in chunks where it is asked to."""
        response = web.StreamResponse(headers={} if request.query_string else {"Content-Length": str(LENGTH)})
        await response.prepare(request)
        while True:
            await response.write(bytes(65536))

    async def _in_pieces(self, request: web.BaseRequest) -> web.StreamResponse:
        """A page whose body comes after its head."""
        response = web.StreamResponse(headers={"Content-Length": "150000"})
        await response.prepare(request)
        await asyncio.sleep(0)
        for _ in range(3):
            await response.write(bytes(50000))
        return response

    async def _upload(self, request: web.BaseRequest) -> web.StreamResponse:
        async for _ in request.content.iter_any():
            pass
        return web.Response(text="thanks")


@asynccontextmanager
async def streaming_app() -> AsyncIterator[StreamingApp]:
    app = StreamingApp()
    runner = web.ServerRunner(web.Server(app.answer, handler_cancellation=True), shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    app.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield app
    finally:
        await runner.cleanup()
