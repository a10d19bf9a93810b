"""The demo's app: it has no login and believes its request headers, as apps behind the gateway do, and it shows what it was given.

It runs on loopback only. Values of Cookie and Authorization are not shown: cookies ignore ports, so a developer's browser sends this
app the cookies of every other program on the same host.
"""

from __future__ import annotations

import weakref
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from aiohttp import WSMsgType, web
from jinja2 import Environment, PackageLoader, StrictUndefined

from gateway.demo.policy import page_headers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

_environment = Environment(
    loader=PackageLoader("gateway.demo", "templates/app"),
    autoescape=True,
    undefined=StrictUndefined,
    auto_reload=False,
    trim_blocks=True,
    lstrip_blocks=True,
)
_STYLE: Final = _environment.get_template("app.css").render()
_SCRIPT: Final = _environment.get_template("app.js").render()
_HEADERS: Final = page_headers(style=_STYLE, script=_SCRIPT)

IDENTITY_HEADERS: Final = ("X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username")
_IDENTITY_NAMES: Final = tuple(name.lower() for name in IDENTITY_HEADERS)
_UNSHOWN: Final = frozenset({"cookie", "authorization", "proxy-authorization"})
_LARGEST: Final = 64 * 1024
"""Bytes of a form, and of a WebSocket message."""

_SOCKETS: Final = web.AppKey("sockets", weakref.WeakSet[web.WebSocketResponse])


@dataclass(frozen=True, slots=True)
class Caller:
    """Who the app thinks is calling: the identity headers, percent-decoded."""

    user: str
    email: str
    groups: tuple[str, ...]
    preferred_username: str


@dataclass(frozen=True, slots=True)
class ShownHeader:
    """One line of the table of headers."""

    name: str
    value: str
    is_identity: bool
    is_shown: bool


def caller_of(headers: Mapping[str, str]) -> Caller | None:
    """Read the identity that the gateway put into the headers; None without one.

    The gateway writes UTF-8 with percent-encoding, and a comma between groups (a comma inside a group comes as ``%2C``).
    """
    user, email, groups, preferred_username = (headers.get(name, "") for name in IDENTITY_HEADERS)
    if not user:
        return None
    return Caller(
        user=unquote(user),
        email=unquote(email),
        groups=tuple(unquote(group) for group in groups.split(",") if group),
        preferred_username=unquote(preferred_username),
    )


def shown_headers(raw_headers: tuple[tuple[bytes, bytes], ...]) -> list[ShownHeader]:
    """The headers as received, the identity first."""
    rows = []
    for raw_name, raw_value in raw_headers:
        name = raw_name.decode("latin-1")
        is_shown = name.lower() not in _UNSHOWN
        value = raw_value.decode("utf-8", "backslashreplace") if is_shown else f"{len(raw_value)} bytes, not shown here"
        rows.append(ShownHeader(name, value, is_identity=name.lower() in _IDENTITY_NAMES, is_shown=is_shown))
    return sorted(rows, key=lambda row: _IDENTITY_NAMES.index(row.name.lower()) if row.is_identity else len(_IDENTITY_NAMES))


def demo_app() -> web.Application:
    """The app; every path that has no page of its own shows the request."""
    application = web.Application(client_max_size=_LARGEST)
    application[_SOCKETS] = weakref.WeakSet()
    application.on_shutdown.append(_close_sockets)
    application.router.add_get("/api/me", _me)
    application.router.add_get("/socket", _socket)
    application.router.add_get("/public/{rest:.*}", _public)
    application.router.add_get("/favicon.ico", _nothing)
    application.router.add_route("*", "/{rest:.*}", _request_page)
    return application


@asynccontextmanager
async def running_app() -> AsyncIterator[str]:
    """Serve the app on a free port of 127.0.0.1; gives its base URL."""
    runner = web.AppRunner(demo_app(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


async def _request_page(request: web.Request) -> web.Response:
    form: list[tuple[str, str]] = []
    if request.content_type == "application/x-www-form-urlencoded":
        form = [(name, value) for name, value in (await request.post()).items() if isinstance(value, str)]
    return _page("request.html", request, form=form)


async def _public(request: web.Request) -> web.Response:
    return _page("public.html", request)


def _page(template: str, request: web.Request, **more: object) -> web.Response:
    text = _environment.get_template(template).render(
        caller=caller_of(request.headers),
        method=request.method,
        target=request.raw_path,
        headers=shown_headers(request.raw_headers),
        **more,
    )
    return web.Response(text=text, content_type="text/html", headers=_HEADERS)


async def _me(request: web.Request) -> web.Response:
    caller = caller_of(request.headers)
    return web.json_response(
        {"user": caller.user if caller else None, "groups": caller.groups if caller else ()}, headers={"Cache-Control": "no-store"}
    )


async def _socket(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(max_msg_size=_LARGEST, heartbeat=30.0)
    await socket.prepare(request)
    request.app[_SOCKETS].add(socket)
    caller = caller_of(request.headers)
    await socket.send_str(f"Connected as {caller.user if caller else 'nobody'}.")
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(f"Echo: {message.data}")
    return socket


async def _nothing(_request: web.Request) -> web.Response:
    return web.Response(status=404, headers={"Cache-Control": "no-store"})


async def _close_sockets(application: web.Application) -> None:
    sockets = application[_SOCKETS]
    for socket in tuple(sockets):
        await socket.close(code=1001, message=b"The demo is stopping")
