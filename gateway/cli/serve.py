"""``gateway serve``: the real thing, from one YAML file."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

import uvloop

from gateway.config.compiling import load_settings
from gateway.errors import ConfigRefused
from gateway.server import systemd
from gateway.server.listener import check_parser
from gateway.server.run import serve
from gateway.server.sockets import open_listening
from gateway.server.workers import Supervisor
from gateway.telemetry import logs

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config.settings import Settings


def run(config: Path) -> int:
    """Serve until told to stop.

    The exit code: 0 after draining, 1 for an address that is taken or a stop that was cut short, 2 for a refused file.
    """
    # A reload that is asked for before there is a handler waits for it, and ends nobody.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    logs.configure()
    log = logs.get("cli")
    try:
        check_parser()
        settings, warnings = load_settings(config, environ=os.environ)
    except ConfigRefused as refused:
        print("\n".join(refused.faults), file=sys.stderr)  # noqa: T201 - the person at the terminal reads this
        return 2
    for warning in warnings:
        log.warning("config.warning", detail=str(warning))

    def reload() -> Settings:
        return load_settings(config, environ=os.environ)[0]

    workers = settings.server.workers
    notifier = systemd.notifier_of(os.environ, pid=os.getpid())
    try:
        inherited = systemd.adopt(systemd.descriptors_of(os.environ, pid=os.getpid()))
        listening = open_listening(settings.server.listen, settings.admin.listen, workers=workers, inherited=inherited)
    except OSError as refusal:
        log.warning("listen.failed", detail=f"{refusal.strerror or refusal}")
        return 1
    systemd.forget(os.environ)
    if workers > 1:
        return Supervisor(settings, listening, reload, notifier).run()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(settings, sockets=listening.of(0), reload=reload, notifier=notifier))
