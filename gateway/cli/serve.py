"""``gateway serve``: the real thing, from one YAML file."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import uvloop

from gateway.config.compiling import load_settings
from gateway.errors import ConfigRefused
from gateway.server.run import serve
from gateway.telemetry import logs

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config.settings import Settings


def run(config: Path) -> int:
    """Serve until told to stop; the exit code: 0 after draining, 2 for a refused file, 1 for an address that is taken."""
    logs.configure()
    log = logs.get("cli")
    try:
        settings, warnings = load_settings(config, environ=os.environ)
    except ConfigRefused as refused:
        print("\n".join(refused.faults), file=sys.stderr)  # noqa: T201 - the person at the terminal reads this
        return 2
    for warning in warnings:
        log.warning("config.warning", detail=str(warning))

    def reload() -> Settings:
        return load_settings(config, environ=os.environ)[0]

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(serve(settings, reload=reload))
    except OSError as taken:
        log.warning("listen.failed", detail=f"{taken.strerror or taken}: is another process on that address?")
        return 1
