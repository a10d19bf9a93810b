"""The admin listener: ``/livez`` says that the process runs, ``/readyz`` that it can sign people in, ``/sessions`` who is signed in.

Never on the public listener (LK-03).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.errors import GatewayError
from gateway.server.session_api import SessionApi

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.server.parts import Parts

HEADERS = {"Cache-Control": "no-store", "Server": "gateway", "Content-Type": "application/json"}


class Readiness:
    """Whether this process takes new work; turned off first when it drains. With several workers any of them answers for all."""

    __slots__ = ("draining",)

    def __init__(self) -> None:
        self.draining = False


def build_admin(parts: Parts, readiness: Readiness) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """The handler of the admin listener: two probes, each a status and a JSON object, and the session API; 404 and 405 for the rest."""
    sessions = SessionApi(parts)

    async def admin(request: web.BaseRequest) -> web.StreamResponse:
        if sessions.takes(request.path):
            return await sessions.answer(request)
        if request.path not in ("/livez", "/readyz"):
            return _answer(404, {"error": "route_missing"})
        if request.method not in ("GET", "HEAD"):
            return _answer(405, {"error": "method_refused"})
        if request.path == "/livez":
            return _answer(200, {"status": "alive"})
        missing = await _missing(parts, readiness)
        return _answer(503 if missing else 200, {"status": "not ready" if missing else "ready", "missing": missing})

    return admin


def _answer(status: int, told: dict[str, str | list[str]]) -> web.Response:
    return web.Response(status=status, body=json.dumps(told).encode(), headers=HEADERS)


async def _missing(parts: Parts, readiness: Readiness) -> list[str]:
    if readiness.draining:
        # Nothing else is worth waiting for: whoever balances has to hear of it now.
        return ["draining"]
    missing = []
    try:
        await parts.sessions.ready()
    except GatewayError:
        missing.append("session store")
    try:
        await parts.provider.metadata()
    except GatewayError:
        missing.append("provider metadata")
    return missing
