"""The admin listener: ``/livez`` says that the process runs, ``/readyz`` that it can sign people in. Never on the public listener."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.server.parts import Parts

HEADERS = {"Cache-Control": "no-store", "Server": "gateway"}


class Readiness:
    """Whether this process takes new work; turned off first when it drains."""

    __slots__ = ("draining",)

    def __init__(self) -> None:
        self.draining = False


def build_admin(parts: Parts, readiness: Readiness) -> web.Application:
    """The admin application: two probes, each a JSON object and a status."""

    async def livez(_request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"}, headers=HEADERS)

    async def readyz(_request: web.Request) -> web.Response:
        missing = await _missing(parts, readiness)
        return web.json_response(
            {"status": "not ready" if missing else "ready", "missing": missing},
            status=503 if missing else 200,
            headers=HEADERS,
        )

    application = web.Application()
    application.router.add_get("/livez", livez)
    application.router.add_get("/readyz", readyz)
    return application


async def _missing(parts: Parts, readiness: Readiness) -> list[str]:
    missing = []
    if readiness.draining:
        missing.append("draining")
    try:
        await parts.sessions.ready()
    except GatewayError:
        missing.append("session store")
    try:
        await parts.provider.metadata()
    except GatewayError:
        missing.append("provider metadata")
    return missing
