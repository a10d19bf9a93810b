"""An unmodified app: it knows nothing of the gateway and answers with the request that it received, byte for byte where it can."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import WSMsgType, web

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator


@dataclass
class MirrorApp:
    """``url`` to put behind a gateway; ``requests`` are the (method, raw target) that arrived, in order.

    ``also`` are headers of its answers beside its own, ``status`` theirs; an answer waits while ``held`` is an event that nobody has set.
    """

    url: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)
    headers: list[list[tuple[str, str]]] = field(default_factory=list)
    also: dict[str, str] = field(default_factory=dict)
    held: asyncio.Event | None = None
    status: int = 200

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append((request.method, request.raw_path))
        received = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers]
        self.headers.append(received)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._echo(request, received)
        body = await request.read()
        seen = {"method": request.method, "target": request.raw_path, "headers": received, "body": body.decode("latin-1")}
        if self.held is not None:
            await self.held.wait()
        headers = {"Content-Type": "application/json", "X-App": "mirror"} | self.also
        return web.Response(status=self.status, body=json.dumps(seen).encode(), headers=headers)

    async def _echo(self, request: web.BaseRequest, received: list[tuple[str, str]]) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(json.dumps(received))
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
        return socket


@asynccontextmanager
async def mirror_app() -> AsyncIterator[MirrorApp]:
    app = MirrorApp()
    runner = web.ServerRunner(web.Server(app.answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    app.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield app
    finally:
        await runner.cleanup()


def values(headers: list[list[str]] | list[tuple[str, str]], name: str) -> list[str]:
    """All values of a header that the app received, whatever its case."""
    return [value for key, value in headers if key.lower() == name.lower()]
