"""One process of several, from its fork to its end: it serves as a process alone does, and ends in order when its supervisor is gone.

Answers the orphan that keeps a port: nobody is left to replace or stop it, so it drains.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Final, NoReturn

import uvloop
from typing_extensions import override

from gateway.server.drain import Stop
from gateway.server.run import serve
from gateway.server.systemd import Notifier
from gateway.telemetry import logs

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from gateway.config.settings import Settings
    from gateway.server.sockets import Sockets

log = logs.get("server")

PASSED_ON: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What a supervisor is told and its workers hear. Blocked over the fork, until the worker has handlers."""


class Link(Notifier):
    """A worker's end of the line to its supervisor. It says what a service says to systemd; when it ends, the supervisor is gone."""

    def __init__(self, line: socket.socket, *, watchdog: float | None) -> None:
        super().__init__(watchdog=watchdog)
        self._line = line
        line.setblocking(False)  # noqa: FBT003 - the name of the method says it

    @override
    def _tell(self, state: str) -> None:
        with contextlib.suppress(OSError):
            self._line.send(state.encode() + b"\n")

    def watch(self, gone: Callable[[], None]) -> None:
        """Call ``gone`` when the supervisor is gone: nobody is left to replace or stop this worker."""
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(self._line)
            gone()

        loop.add_reader(self._line, ended)


def work(settings: Settings, sockets: Sockets, reload: Callable[[], Settings], link: Link, *, number: int) -> NoReturn:
    """Be worker ``number`` until told to stop, then end this process: what called is the supervisor's, and none of it runs here."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for told in PASSED_ON:
            signal.signal(told, signal.SIG_DFL)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            code = runner.run(_serve(settings, sockets, reload, link))
    except BaseException as fault:  # noqa: BLE001 - whatever it is, this process ends here
        log.error("worker.failed", worker=number, fault=type(fault).__name__, where=_place(fault))  # noqa: TRY400 - words may quote a secret
    finally:
        logs.flush()
        for stream in (sys.stdout, sys.stderr):
            # None where it was closed before the start.
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.flush()
        os._exit(code)


async def _serve(settings: Settings, sockets: Sockets, reload: Callable[[], Settings], link: Link) -> int:
    # systemd may send one signal to every process of the service, and a terminal does; the supervisor sends it too.
    stop = Stop(patient=True)
    link.watch(stop.ask)
    return await serve(settings, sockets=sockets, reload=reload, notifier=link, stop=stop, name="worker")


def _place(fault: BaseException) -> str:
    """Where it was raised."""
    trace = fault.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
