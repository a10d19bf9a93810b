"""Several processes on one port, under a supervisor that starts them, replaces the one that crashed, and passes on what it is told.

Answers the crash that would take the gateway down, and the restart that would lose a connection: the sockets stay open here while a worker
is replaced. The supervisor listens to nobody and has no loop and no thread, so that forking is always safe; what it keeps of the settings
is what the next worker needs, so that all workers have the same (decision 0009).
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NoReturn

from gateway.errors import ConfigRefused
from gateway.server.run import log_kept
from gateway.server.sockets import address_of
from gateway.server.worker import PASSED_ON, Link, work
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from gateway.config.settings import Settings
    from gateway.server.sockets import Listening
    from gateway.server.systemd import Notifier

log = logs.get("server")

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
"""Seconds before a worker is replaced, doubling from one to the other with each that did not last."""
STEADY: Final = 10.0
"""Seconds after which a worker counts as having lasted."""
LATE: Final = 5.0
"""Seconds beyond delay and grace after which a worker that still drains is killed."""


@dataclass(slots=True)
class _Worker:
    """One place among the workers. ``pid`` and ``line`` are None while it is empty; then ``due`` says when it is filled."""

    number: int
    due: float
    pid: int | None = None
    line: socket.socket | None = None
    heard: bytes = b""
    """The beginning of a word of which the end has not come yet."""
    started: float = 0.0
    last_heard: float = 0.0
    failures: int = 0
    ended: str = ""
    ready: bool = False


@dataclass(slots=True)
class _Told:
    """What signals said, and no work is done about in the handlers."""

    stops: int = 0
    hang_ups: int = 0

    def hear(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self.hang_ups += 1
        else:
            self.stops += 1


@dataclass(slots=True)
class Supervisor:
    """``run`` is the whole of its life. Times are those of the monotonic clock."""

    settings: Settings
    listening: Listening
    reload: Callable[[], Settings]
    notifier: Notifier
    _workers: list[_Worker] = field(init=False)
    _told: _Told = field(init=False, default_factory=_Told)
    _selector: selectors.BaseSelector = field(init=False, default_factory=selectors.PollSelector)
    _bell: tuple[socket.socket, socket.socket] = field(init=False, default_factory=socket.socketpair)
    _stopping: bool = field(init=False, default=False)
    _until: float | None = field(init=False, default=None)
    """When those that still drain are killed; None before a stop and after that."""
    _reloading: set[int] = field(init=False, default_factory=set)
    _announced: bool = field(init=False, default=False)
    _well: bool = field(init=False, default=True)

    def run(self) -> int:
        """Supervise until SIGTERM or SIGINT and until every worker has drained; the exit code: 0, or 1 when one did not end well."""
        self._listen_to_signals()
        now = time.monotonic()
        self._workers = [_Worker(number, due=now) for number in range(self.settings.server.workers)]
        # What is there now is shared with every worker; the collector would copy its pages by touching them.
        gc.collect()
        gc.freeze()
        hang_ups = 0
        while not self._stopping or any(worker.pid is not None for worker in self._workers):
            if self._told.stops and not self._stopping:
                self._begin_to_stop()
            if self._until is not None and (self._told.stops > 1 or time.monotonic() >= self._until):
                self._kill_all()
            if self._told.hang_ups > hang_ups:
                hang_ups = self._told.hang_ups
                self._pass_on_new_secrets()
            self._fill_places()
            self._look_for_silence()
            self._hear(self._patience())
        log.info("gateway.stopped")
        return 0 if self._well else 1

    def _listen_to_signals(self) -> None:
        for end in self._bell:
            end.setblocking(False)  # noqa: FBT003 - the name of the method says it
        self._selector.register(self._bell[0], selectors.EVENT_READ)
        signal.set_wakeup_fd(self._bell[1].fileno(), warn_on_full_buffer=False)
        for number in PASSED_ON:
            signal.signal(number, self._told.hear)
        # Whoever started us may have left it ignored, and then nobody could be waited for.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)

    def _fill_places(self) -> None:
        now = time.monotonic()
        for worker in self._workers:
            if not self._stopping and worker.pid is None and worker.due <= now:
                self._start(worker)

    def _start(self, worker: _Worker) -> None:
        ours, theirs = socket.socketpair()
        # The next process hears no signal until it has handlers of its own.
        signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
        try:
            pid = os.fork()
            if pid == 0:
                self._become(worker, ours, theirs)
        except OSError as fault:
            log.error("worker.not_started", worker=worker.number, detail=fault.strerror)  # noqa: TRY400 - its text says it all
            ours.close()
            self._put_off(worker)
            return
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
            theirs.close()
        ours.setblocking(False)  # noqa: FBT003 - the name of the method says it
        self._selector.register(ours, selectors.EVENT_READ, worker)
        if worker.ended:
            log.info("worker.restarted", worker=worker.number, pid=pid, ended=worker.ended)
        worker.pid, worker.line, worker.heard, worker.ready = pid, ours, b"", False
        worker.started = worker.last_heard = time.monotonic()

    def _become(self, worker: _Worker, ours: socket.socket, theirs: socket.socket) -> NoReturn:
        """The new process, from here to its end: nothing of the supervisor's stays open in it."""
        try:
            sockets = self.listening.of(worker.number)
            self.listening.close(but=sockets)
            for sock in (ours, *self._bell, *(other.line for other in self._workers)):
                if sock is not None:
                    sock.close()
            self._selector.close()
            work(self.settings, sockets, self.reload, Link(theirs, watchdog=self.notifier.watchdog), number=worker.number)
        finally:
            # Whatever happens, this process never goes on as a second supervisor.
            os._exit(1)

    def _hear(self, seconds: float | None) -> None:
        """Wait for a signal, a word of a worker's or the end of one."""
        for key, _ in self._selector.select(seconds):
            line, worker = key.fileobj, key.data
            assert isinstance(line, socket.socket)
            try:
                said = line.recv(4096)
            except ConnectionError:
                said = b""
            if worker is None:
                continue
            if said:
                self._take(worker, said)
            else:
                self._bury(worker)

    def _take(self, worker: _Worker, said: bytes) -> None:
        worker.last_heard = time.monotonic()
        *words, worker.heard = (worker.heard + said).split(b"\n")
        if b"READY=1" in words:
            worker.ready = True
            self._reloading.discard(worker.number)
            self._announce()

    def _announce(self) -> None:
        """Tell systemd, once every worker is where it should be."""
        if self._stopping or self._reloading or not all(worker.ready for worker in self._workers):
            return
        self.notifier.ready()
        if not self._announced:
            self._announced = True
            log.info(
                "gateway.started",
                workers=len(self._workers),
                listen=self.listening.addresses(),
                admin=[address_of(sock) for sock in self.listening.admin],
            )

    def _bury(self, worker: _Worker) -> None:
        assert worker.line is not None
        assert worker.pid is not None
        self._selector.unregister(worker.line)
        worker.line.close()
        code = os.waitstatus_to_exitcode(os.waitpid(worker.pid, 0)[1])
        worker.ended = f"exit {code}" if code >= 0 else f"signal {-code}"
        if time.monotonic() - worker.started >= STEADY:
            worker.failures = 0
        self._put_off(worker)
        worker.ready = False
        self._reloading.discard(worker.number)
        if not self._stopping:
            log.warning("worker.lost", worker=worker.number, pid=worker.pid, ended=worker.ended)
        elif code != 0:
            self._well = False
            log.warning("worker.not_drained", worker=worker.number, pid=worker.pid, ended=worker.ended)
        worker.pid = worker.line = None

    def _put_off(self, worker: _Worker) -> None:
        worker.due = time.monotonic() + pause(worker.failures)
        worker.failures += 1

    def _begin_to_stop(self) -> None:
        server = self.settings.server
        self._stopping = True
        self.notifier.stopping()
        log.info("gateway.draining", delay=server.shutdown_delay, grace=server.shutdown_grace)
        self._until = time.monotonic() + server.shutdown_delay + server.shutdown_grace + LATE
        # A port is closed when the last copy of its socket is.
        self.listening.close()
        self._signal_all(signal.SIGTERM)

    def _kill_all(self) -> None:
        self._well = False
        self._until = None
        self._signal_all(signal.SIGKILL)

    def _pass_on_new_secrets(self) -> None:
        """Workers to come have the new ones too. Faulty ones go nowhere, so that all workers keep the same."""
        if self._stopping:
            return
        self.notifier.reloading()
        try:
            fresh = self.reload()
        except ConfigRefused as refused:
            log_kept(refused)
            self.notifier.ready()
            return
        except Exception as fault:  # noqa: BLE001 - a reload never ends the gateway
            log.warning("secrets.kept", fault=type(fault).__name__)
            self.notifier.ready()
            return
        session = replace(self.settings.session, keys=fresh.session.keys)
        provider = replace(self.settings.provider, client_secret=fresh.provider.client_secret)
        self.settings = replace(self.settings, session=session, provider=provider)
        self._reloading = {worker.number for worker in self._workers if worker.pid is not None}
        self._signal_all(signal.SIGHUP)

    def _signal_all(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.pid is not None:
                # Nobody but us waits for it, so the number is still its own.
                os.kill(worker.pid, number)

    def _look_for_silence(self) -> None:
        """With a watchdog, a worker whose loop does not turn any more is replaced; the supervisor itself is alive."""
        silence = self.notifier.watchdog
        if silence is None:
            return
        self.notifier.alive()
        for worker in self._workers:
            if worker.pid is not None and time.monotonic() - worker.last_heard > silence:
                log.error("worker.hung", worker=worker.number, pid=worker.pid)
                os.kill(worker.pid, signal.SIGKILL)

    def _patience(self) -> float | None:
        """Seconds until something is due, or None."""
        now = time.monotonic()
        due = [] if self._until is None else [self._until]
        if not self._stopping:
            due += [worker.due for worker in self._workers if worker.pid is None]
        if self.notifier.watchdog is not None:
            due.append(now + self.notifier.watchdog / 3)
        return max(0.0, min(due) - now) if due else None


def pause(failures: int) -> float:
    """Seconds to wait before the next start of a worker of which the last ``failures`` did not last."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures, 16))
