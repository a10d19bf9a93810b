"""``gateway demo``: a provider, an app and the gateway between them in one process, on loopback only, with nothing to set up."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from contextlib import ExitStack
from typing import Final, NoReturn

import uvloop

from gateway.errors import ConfigRefused
from gateway.server.listener import check_parser
from gateway.server.run import serve
from gateway.telemetry import logs

LOOPBACK: Final = "127.0.0.1"

READY: Final = """
  The demo is ready.

    Open       {gateway}/
    Sign in    as alice or bob, at the demo provider ({provider})
    Anybody    may read {gateway}/public/
    Probes     {admin}/readyz

  Everything stays in this process and on this machine. Stop it with Ctrl+C.
"""

MISSING: Final = "The demo needs one package more: pip install 'authcode-gateway[demo]'"


def run(port: int = 8080, provider_port: int = 9000, admin_port: int = 8090) -> int:
    """Run the demo until told to stop, then drain; the exit code. Port 0 lets the system choose one.

    Raises:
        SystemExit: with 1, after one line on stderr: a port is taken, or a package is missing.
    """
    logs.configure(level=logging.WARNING)
    try:
        check_parser()
    except ConfigRefused as refused:
        _fail(refused.faults[0])
    try:
        # These packages are an extra: only this command needs them, so only it imports them.
        from gateway.demo.app import running_app  # noqa: PLC0415
        from gateway.demo.configuration import demo_settings, origins_of  # noqa: PLC0415
        from gateway.demo.provider import running_provider  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("gateway"):
            raise
        _fail(MISSING)

    wanted = {"--port": port, "--provider-port": provider_port, "--admin-port": admin_port}
    with ExitStack() as stack:
        listeners: dict[str, socket.socket] = {}
        for option, number in wanted.items():
            try:
                listeners[option] = stack.enter_context(socket.create_server((LOOPBACK, number)))
            except (OSError, OverflowError):
                _fail(f"Port {number} cannot be used, it is taken or out of range: choose another with {option}.")
        port, admin_port = (listeners[option].getsockname()[1] for option in ("--port", "--admin-port"))
        provider = stack.enter_context(running_provider(listeners["--provider-port"], origins=origins_of(port)))

        async def demo() -> int:
            async with running_app() as app:
                settings = demo_settings(port=port, admin_port=admin_port, provider=provider, app=app)
                # Held until now, so that the three ports are known to differ and to be free.
                listeners["--port"].close()
                listeners["--admin-port"].close()
                return await serve(settings, on_ready=ready)

        def ready() -> None:
            admin = f"http://{LOOPBACK}:{admin_port}"
            print(READY.format(gateway=origins_of(port)[0], provider=provider.issuer, admin=admin), flush=True)  # noqa: T201 - for the person at the terminal

        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(demo())
        except OSError as taken:
            _fail(f"The gateway cannot listen ({taken.strerror or taken}): choose other ports with --port and --admin-port.")


def _fail(line: str) -> NoReturn:
    print(line, file=sys.stderr)  # noqa: T201 - for the person at the terminal
    raise SystemExit(1)
