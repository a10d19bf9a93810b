"""The endpoints as one ``aiohttp.web.Application`` with ``aiohttp_session``; nothing of it is on the forward path (decision 0001)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import aiohttp_session
from aiohttp import web

from gateway.server.browser_sessions import BrowserSessions
from gateway.server.endpoints.auth import auth
from gateway.server.endpoints.callback import callback
from gateway.server.endpoints.sign_out import ask, sign_out
from gateway.server.endpoints.signed_out import signed_out
from gateway.server.endpoints.start import start
from gateway.server.endpoints.userinfo import userinfo
from gateway.server.query import FORM_BYTES

if TYPE_CHECKING:
    from gateway.server.parts import Parts


def build_application(parts: Parts) -> web.Application:
    """Every endpoint under ``server.prefix``. The callback has no HEAD: one would be a way to spend a login unseen."""
    prefix = parts.settings.server.prefix
    application = web.Application(client_max_size=FORM_BYTES)
    aiohttp_session.setup(application, BrowserSessions(parts))
    application.router.add_get(f"{prefix}/start", partial(start, parts), allow_head=False)
    application.router.add_get(f"{prefix}/callback", partial(callback, parts), allow_head=False)
    application.router.add_route("*", f"{prefix}/auth", partial(auth, parts))
    application.router.add_get(f"{prefix}/userinfo", partial(userinfo, parts), allow_head=False)
    application.router.add_get(f"{prefix}/sign_out", partial(ask, parts), allow_head=False)
    application.router.add_post(f"{prefix}/sign_out", partial(sign_out, parts))
    application.router.add_get(f"{prefix}/signed_out", partial(signed_out, parts), allow_head=False)
    return application
