"""How the browser-facing endpoints see a session: ``aiohttp_session``, with a storage that keeps its promises.

The library's own storages collapse "missing", "corrupt" and "store down" into a new session and never renew an id. Ours raises when the
store is down (invariant 9), gives a new id at every birth (invariant 6), and reads cookies from the raw bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from aiohttp_session import AbstractStorage, Session
from typing_extensions import override

from gateway.server.reissuing import reissued
from gateway.server.sites import site_of
from gateway.session.cookies import cookie_values, delete_cookie, set_cookie
from gateway.session.sessions import Found

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.server.parts import Parts
    from gateway.session.handle import Handle

FOUND = "found"
PRESENTED = "presented"
BORN = "born"
"""Keys of the mapping: the live session, every session that the request's cookies open, and the cookie of one just begun."""


class BrowserSessions(AbstractStorage):
    """Sessions of ``Sessions`` under the interface of ``aiohttp_session``; what is stored are frozen values, never loose keys."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self._parts = parts

    @override
    def load_cookie(self, request: web.Request) -> str | None:
        """The first value of the origin's session cookie, byte-exact: who asks the library's way gets no trimmed one (CK-13)."""
        values = cookie_values(cookie_lines(request), site_of(self._parts, request).names.session.encode())
        return values[0].decode("latin-1") if values else None

    @override
    async def load_session(self, request: web.Request) -> Session:
        # None of the endpoints needs the provider to know who somebody is: a sign-out works while it is down.
        found = await self._parts.sessions.find(cookie_lines(request), site_of(self._parts, request).names, renewed=False)
        if isinstance(found, Found):
            held = {FOUND: found, PRESENTED: (found.handle,)}
            session = Session(found.handle, data={"created": found.session.created, "session": held}, new=False)
            if self._parts.keyring.has_older:
                # Have it saved: its cookie may be one to give out again.
                session.changed()
            return session
        session = Session(None, data=None, new=True)
        if found.handles:
            session[PRESENTED] = found.handles
        return session

    @override
    async def save_session(self, request: web.Request, response: web.StreamResponse, session: Session) -> None:
        """Tell the browser: a cookie for a session just begun, none for one that was invalidated. The store was told by the endpoint.

        One whose cookie an older key sealed gets it under the newest.
        """
        site = site_of(self._parts, request)
        names = site.names
        born = cast("str | None", session.get(BORN))
        if born is not None:
            response.headers.add("Set-Cookie", set_cookie(names.session, born, names, max_age=None))
        elif session.empty:
            response.headers.add("Set-Cookie", delete_cookie(names.session, names))
        elif (found := signed_in(session)) is not None:
            again = reissued(self._parts, site, found, cookie_lines(request))
            if again is not None:
                response.headers.add("Set-Cookie", again)


def cookie_lines(request: web.BaseRequest) -> tuple[bytes, ...]:
    """The raw Cookie lines, in order (RFC 6265bis section 4.2.1: there may be several)."""
    return tuple(value for name, value in request.raw_headers if name.lower() == b"cookie")


def signed_in(session: Session) -> Found | None:
    """The live session behind an ``aiohttp_session`` session, or None for somebody who is not signed in."""
    return cast("Found | None", session.get(FOUND))


def presented(session: Session) -> tuple[Handle, ...]:
    """Every live session that the request's cookies open. More than one is nobody's session, but all of them can be ended."""
    return cast("tuple[Handle, ...]", session.get(PRESENTED, ()))
