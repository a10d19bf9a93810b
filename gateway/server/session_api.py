"""The session API: who is signed in, and ending that, for whoever has the token. On the admin listener, never on the public one.

Answers LK-03 and the session API as a door of its own: without ``admin.token`` there is none; what is not asked for exactly is refused; no
answer may be kept, read by a page of another site, or made to depend on Host. A token in an address would stand in logs, so it is a header.

::

    GET    /sessions            list and search
    GET    /sessions/{id}       one
    DELETE /sessions/{id}       end one
    DELETE /sessions?sub=...    end a user's; ?sid=... those of a session at the provider; ?confirm=all every one
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from gateway.errors import GatewayError, MethodRefused, RequestRefused
from gateway.server.asked import read_request
from gateway.server.session_api_acts import Acts
from gateway.server.session_api_query import ENDING, LISTING, read_query
from gateway.session.store.protocol import UnknownToReplicas
from gateway.telemetry.audit import Actor

if TYPE_CHECKING:
    from gateway.access.target import Target
    from gateway.server.parts import Parts
    from gateway.server.session_api_acts import Outcome

PATH: Final = "/sessions"
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Type": "application/json",
    "Referrer-Policy": "no-referrer",
    "Server": "gateway",
    "X-Content-Type-Options": "nosniff",
}
METHODS: Final = ("GET", "DELETE")
OFF: Final = "The session API is off: set admin.token to a secret of at least 16 characters and reload."
OUTAGE: Final = "The session store cannot be asked at the moment."
NOT_KEPT: Final = "They have ended, and no replica of the session store knows yet: a failover would bring them back. End them again."
UNAUTHORIZED: Final = "Send the token of admin.token as Authorization: Bearer."


class SessionApi:
    """Answers everything at and below ``/sessions``."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        provider = parts.settings.provider
        self._acts = Acts(parts.sessions.index, ((provider.id, provider.issuer),), clock=parts.clock)

    @staticmethod
    def takes(path: str) -> bool:
        """Whether a request for this path comes here."""
        return path == PATH or path.startswith(PATH + "/")

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """One answer, in JSON, whatever was asked."""
        actor = Actor("admin", via="api", address=request.remote or "unix")
        try:
            response = await self._answer(request, actor)
        except RequestRefused as refusal:
            actor.refused(refusal.code)
            response = _failed(refusal)
        except GatewayError as failure:
            response = _failed(failure)
        if request.body_exists or "Upgrade" in request.headers:
            response.force_close()
        return response

    async def _answer(self, request: web.BaseRequest, actor: Actor) -> web.Response:
        token = self._parts.admin_token
        if not token.is_set:
            return _answer(404, {"error": "session_api_off", "message": OFF})
        target = read_request(request, self._parts.header_rules).target
        if not token.admits(request.raw_headers):
            actor.refused("token_refused")
            return _answer(401, {"error": "token_refused", "message": UNAUTHORIZED}, {"WWW-Authenticate": 'Bearer realm="sessions"'})
        if not self.takes(target.path):
            return _missing()
        if request.method not in METHODS:
            raise MethodRefused(f"another method: this takes {' and '.join(METHODS)}", allow=METHODS)
        if request.body_exists:
            raise RequestRefused("a body: everything is said in the address")
        return await self._act(request.method, target, actor)

    async def _act(self, method: str, target: Target, actor: Actor) -> web.Response:
        if target.path == PATH:
            if method == "GET":
                return _answer(200, await self._acts.list(actor, read_query(target.query, LISTING)))
            asked = read_query(target.query, ENDING)
            # It runs to its end, whether anybody waits for it or not: half of everybody's sessions is nobody's wish.
            return _ended(await self._parts.detached.shielded(self._acts.end_several(actor, asked)))
        read_query(target.query, ())
        session = target.path.removeprefix(PATH + "/")
        if method == "GET":
            shown = await self._acts.show(actor, session)
            return _missing() if shown is None else _answer(200, shown)
        outcome = await self._parts.detached.shielded(self._acts.end(actor, session))
        return _missing() if outcome.failure is None and not outcome.ended else _ended(outcome)


def _ended(outcome: Outcome) -> web.Response:
    if outcome.failure is None:
        return _answer(200, {"ended": outcome.ended})
    return _failed(outcome.failure, {"ended": outcome.ended})


def _missing() -> web.Response:
    return _answer(404, {"error": "session_missing", "message": "There is no session of this id."})


def _failed(failure: GatewayError, more: dict[str, Any] | None = None) -> web.Response:
    headers = {} if failure.retry_after is None else {"Retry-After": str(failure.retry_after)}
    if isinstance(failure, MethodRefused):
        headers["Allow"] = ", ".join(METHODS)
    # A refusal's own words name the parameter, and hold nothing of it; those of an outage name places, for the log alone.
    message = failure.detail if isinstance(failure, RequestRefused) else NOT_KEPT if isinstance(failure, UnknownToReplicas) else OUTAGE
    return _answer(failure.status, {"error": failure.code, "message": message} | (more or {}), headers)


def _answer(status: int, told: dict[str, Any], headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=json.dumps(told).encode(), headers=HEADERS | (headers or {}))
