"""One process of the gateway from start to stop: open the parts, listen, answer signals, drain.

It starts while the provider and the store are down and says so at ``/readyz``. SIGHUP takes new keys and secrets. SIGTERM and SIGINT drain:
``/readyz`` says 503, after ``server.shutdown_delay`` the port closes, and what is in flight has ``server.shutdown_grace``.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.server.admin import Readiness, build_admin
from gateway.server.application import build_application
from gateway.server.drain import Listener, Stop, finish_detached
from gateway.server.entry import Entry
from gateway.server.listener import PublicServer
from gateway.server.parts import open_parts
from gateway.server.reloading import read_anew
from gateway.server.short_way import KnownRequests
from gateway.server.sockets import address_of, open_listening
from gateway.server.store_inspection import inspect_store
from gateway.server.systemd import Notifier
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.config.settings import Settings
    from gateway.server.parts import Parts
    from gateway.server.sockets import Sockets

log = logs.get("server")

ADMIN_GRACE: Final = 1.0
"""Seconds that a probe in flight may hold up the end."""
CLOSING: Final = 2.0
"""Seconds that the back channel and the store have to close."""


async def serve(  # noqa: PLR0913 - what differs between a process alone and one of several
    settings: Settings,
    *,
    sockets: Sockets | None = None,
    on_ready: Callable[[], None] | None = None,
    reload: Callable[[], Settings] | None = None,
    notifier: Notifier | None = None,
    stop: Stop | None = None,
    name: str = "gateway",
) -> int:
    """Run until SIGTERM or SIGINT, then drain; the exit code: 0, or 1 when a second signal cut it short.

    Without ``sockets`` the addresses of ``settings`` are bound. ``on_ready`` is called once both listeners accept. ``reload`` reads the
    settings anew on SIGHUP, for keys and secrets alone. ``notifier`` hears how it goes. ``name`` begins the events of the log.

    Raises:
        OSError: an address cannot be listened on.
    """
    started, draining, stopped = (f"{name}.{step}" for step in ("started", "draining", "stopped"))
    stop = stop or Stop()
    notifier = notifier or Notifier()
    sockets = sockets or open_listening(settings.server.listen, settings.admin.listen).of(0)
    loop = asyncio.get_running_loop()
    beating = asyncio.ensure_future(_beat(notifier))
    async with running(settings, sockets=sockets, stop=stop) as parts:
        # What is there now stays: a collector that walks all of it again and again holds up every request for tens of milliseconds.
        gc.collect()
        gc.freeze()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.ask)
        if reload is not None:
            loop.add_signal_handler(signal.SIGHUP, _reload_secrets, parts, reload, notifier)
        # What came while there was no handler yet comes now.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
        log.info(started, listen=[address_of(sock) for sock in sockets.public], admin=[address_of(sock) for sock in sockets.admin])
        notifier.ready()
        if on_ready is not None:
            on_ready()
        await stop.asked()
        notifier.stopping()
        log.info(draining, delay=settings.server.shutdown_delay, grace=settings.server.shutdown_grace)
    beating.cancel()
    log.info(stopped)
    return 1 if stop.at_once else 0


@asynccontextmanager
async def running(settings: Settings, *, sockets: Sockets | None = None, stop: Stop | None = None) -> AsyncIterator[Parts]:
    """A gateway that listens within this context; leaving it drains both listeners and closes the parts."""
    sockets = sockets or open_listening(settings.server.listen, settings.admin.listen).of(0)
    stop = stop or Stop()
    loop = asyncio.get_running_loop()
    parts = open_parts(settings)
    parts.upstreams.start()
    parts.sessions.start()
    readiness = Readiness()
    endpoints = web.AppRunner(build_application(parts), access_log=None)
    await endpoints.setup()
    inner = endpoints.server
    assert inner is not None, "AppRunner.setup makes the server"
    admin = Listener(PublicServer(build_admin(parts, readiness)))
    # Decision 0001: the listener's handler is ours; the endpoints' Application is reached by the public attributes of its server.
    known = KnownRequests(parts)
    public = Listener(
        PublicServer(
            Entry(parts, inner.request_handler, known=known),
            request_factory=inner.request_factory,
            limits=settings.server.limits,
            proxies=settings.server.trusted_proxies,
            proxy_protocol=settings.server.proxy_protocol,
            short_way=known,
        )
    )
    try:
        await admin.open(sockets.admin)
        await public.open(sockets.public)
        parts.detached.start(inspect_store(settings.session))
        yield parts
        readiness.draining = True
        await stop.unless_at_once(settings.server.shutdown_delay)
    finally:
        readiness.draining = True
        until = loop.time() + settings.server.shutdown_grace
        public.stop_accepting()
        parts.live.end_all()
        await public.let_go()
        await public.finish(until - loop.time(), stop)
        parts.sessions.stop_renewing()
        await finish_detached(parts.detached, until - loop.time(), stop)
        await admin.close(ADMIN_GRACE, stop)
        await endpoints.cleanup()
        try:
            async with asyncio.timeout(CLOSING):
                await parts.close()
        except TimeoutError:
            log.warning("close.cut")


async def _beat(notifier: Notifier) -> None:
    """Say that the loop turns, thrice in the time after which silence counts as a hang."""
    while notifier.watchdog is not None:
        notifier.alive()
        await asyncio.sleep(notifier.watchdog / 3)


def _reload_secrets(parts: Parts, reload: Callable[[], Settings], notifier: Notifier) -> None:
    notifier.reloading()
    try:
        fresh = read_anew(reload)
        if fresh is not None:
            parts.reload_secrets(fresh)
            log.info("secrets.reloaded", session_keys=list(parts.keyring.ids))
    finally:
        # Whoever asked for a reload waits for this.
        notifier.ready()
