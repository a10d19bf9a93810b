"""A gateway from start to stop: open the parts, listen, answer signals, drain.

It starts while the provider and the store are down and says so at ``/readyz``. SIGHUP takes new keys and secrets; SIGTERM and SIGINT
drain for ``server.shutdown_grace`` and end with 0.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.errors import ConfigRefused
from gateway.server.admin import Readiness, build_admin
from gateway.server.application import build_application
from gateway.server.entry import Entry
from gateway.server.listener import PublicServer
from gateway.server.parts import open_parts
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.config.settings import Listen, Settings
    from gateway.server.parts import Parts

log = logs.get("server")

ADMIN_GRACE = 1.0
"""Seconds that a probe in flight may hold up the end."""


async def serve(
    settings: Settings,
    *,
    on_ready: Callable[[], None] | None = None,
    reload: Callable[[], Settings] | None = None,
) -> int:
    """Run until SIGTERM or SIGINT, then drain; the exit code.

    ``on_ready`` is called once both listeners accept. ``reload`` reads the settings anew on SIGHUP, for keys and secrets alone.

    Raises:
        OSError: an address cannot be listened on.
    """
    stop = asyncio.Event()
    async with running(settings) as parts:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        if reload is not None:
            loop.add_signal_handler(signal.SIGHUP, _reload_secrets, parts, reload)
        log.info("gateway.started", listen=str(settings.server.listen), admin=str(settings.admin.listen))
        if on_ready is not None:
            on_ready()
        await stop.wait()
        log.info("gateway.draining", grace=settings.server.shutdown_grace)
    log.info("gateway.stopped")
    return 0


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Parts]:
    """A gateway that listens within this context; leaving it drains both listeners and closes the parts."""
    async with AsyncExitStack() as stack:
        parts = open_parts(settings)
        stack.push_async_callback(parts.close)
        readiness = Readiness()

        endpoints = web.AppRunner(build_application(parts), access_log=None)
        await endpoints.setup()
        stack.push_async_callback(endpoints.cleanup)
        inner = endpoints.server
        assert inner is not None, "AppRunner.setup makes the server"

        if settings.admin.listen is not None:
            admin = web.ServerRunner(PublicServer(build_admin(parts, readiness)), shutdown_timeout=ADMIN_GRACE)
            await admin.setup()
            stack.push_async_callback(admin.cleanup)
            await _listen(admin, settings.admin.listen)

        # Decision 0001: the listener's handler is ours; the endpoints' Application is reached by the public attributes of its server.
        public = web.ServerRunner(
            PublicServer(Entry(parts, inner.request_handler), request_factory=inner.request_factory),
            shutdown_timeout=settings.server.shutdown_grace,
        )
        await public.setup()
        stack.push_async_callback(public.cleanup)
        await _listen(public, settings.server.listen)
        yield parts
        readiness.draining = True


async def _listen(runner: web.BaseRunner, where: Listen) -> None:
    path = where.unix_path
    site = web.TCPSite(runner, where.host, where.port) if path is None else web.UnixSite(runner, path)
    await site.start()


def _reload_secrets(parts: Parts, reload: Callable[[], Settings]) -> None:
    try:
        parts.reload_secrets(reload())
    except ConfigRefused as refused:
        log.warning("secrets.kept", faults=len(refused.faults), first=refused.faults[0] if refused.faults else "")
    else:
        log.info("secrets.reloaded")
