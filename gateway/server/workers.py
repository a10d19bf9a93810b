"""Several processes on one port, under a supervisor that starts them, replaces the one that crashed or hangs, and passes on what it hears.

Answers the crash that would take the gateway down, the hang that would keep what the kernel gives that one process, and the restart that
would lose a connection: the sockets stay open here while a worker is replaced. The supervisor listens to nobody and has no loop and no
thread, so that forking is always safe; what it keeps of the settings is what the next worker needs, so that all workers have the same
(decision 0009).
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

from gateway.server.places import Place
from gateway.server.reloading import read_anew
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

LATE: Final = 5.0
"""Seconds beyond delay and grace after which a worker that still drains is killed."""
SILENCE: Final = 30.0
"""Seconds after which a worker that says nothing hangs, and is replaced. With a watchdog of systemd's that is sooner, its time holds."""


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
    silence: float = SILENCE
    _places: list[Place] = field(init=False)
    _told: _Told = field(init=False, default_factory=_Told)
    _selector: selectors.BaseSelector = field(init=False, default_factory=selectors.PollSelector)
    _bell: tuple[socket.socket, socket.socket] = field(init=False, default_factory=socket.socketpair)
    _stopping: bool = field(init=False, default=False)
    _until: float | None = field(init=False, default=None)
    """When those that still drain are killed; None before a stop and after that."""
    _reloading: set[int] = field(init=False, default_factory=set)
    _announced: bool = field(init=False, default=False)
    _well: bool = field(init=False, default=True)
    _looked: float = field(init=False, default_factory=time.monotonic)
    """When it was last looked whether workers say something."""

    def __post_init__(self) -> None:
        if self.notifier.watchdog is not None:
            self.silence = min(self.silence, self.notifier.watchdog)

    def run(self) -> int:
        """Supervise until SIGTERM or SIGINT and until every worker has drained; the exit code: 0, or 1 when one did not end well."""
        self._listen_to_signals()
        now = time.monotonic()
        self._places = [Place(number, due=now) for number in range(self.settings.server.workers)]
        # What is there now is shared with every worker; the collector would copy its pages by touching them.
        gc.collect()
        gc.freeze()
        hang_ups = 0
        while not self._stopping or any(place.pid is not None for place in self._places):
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
        for place in self._places:
            if place.pid is None and place.due <= now and not self._stopping:
                self._fill(place)

    def _fill(self, place: Place) -> None:
        try:
            pid, line = self._fork(place)
        except OSError as fault:
            log.error("worker.not_started", worker=place.number, detail=fault.strerror)  # noqa: TRY400 - its text says it all
            place.put_off()
            return
        place.fill(pid, line)
        self._selector.register(line, selectors.EVENT_READ, place)
        if place.ended:
            log.info("worker.restarted", worker=place.number, pid=pid, ended=place.ended)

    def _fork(self, place: Place) -> tuple[int, socket.socket]:
        """A process more: its id, and our end of the line to it."""
        ours, theirs = socket.socketpair()
        # It hears no signal until it has handlers of its own.
        signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
        try:
            pid = os.fork()
            if pid == 0:
                self._become(place.number, ours, theirs)
        except OSError:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
            theirs.close()
        ours.setblocking(False)  # noqa: FBT003 - the name of the method says it
        return pid, ours

    def _become(self, number: int, ours: socket.socket, theirs: socket.socket) -> NoReturn:
        """The new process, from here to its end: nothing of the supervisor's stays open in it."""
        try:
            sockets = self.listening.of(number)
            self.listening.close(but=sockets)
            for sock in (ours, *self._bell, *(place.line for place in self._places)):
                if sock is not None:
                    sock.close()
            self._selector.close()
            work(self.settings, sockets, self.reload, Link(theirs, watchdog=self.silence), number=number)
        finally:
            # Whatever happens, this process never goes on as a second supervisor.
            os._exit(1)

    def _hear(self, seconds: float) -> None:
        """Wait for a signal, a word of a worker's or the end of one."""
        for key, _ in self._selector.select(seconds):
            line, place = key.fileobj, key.data
            assert isinstance(line, socket.socket)
            try:
                said = line.recv(4096)
            except BlockingIOError:
                continue
            except ConnectionError:
                said = b""
            if place is None:
                continue
            if not said:
                self._selector.unregister(line)
                self._bury(place)
            elif place.hear(said):
                self._reloading.discard(place.number)
                self._announce()

    def _announce(self) -> None:
        """Tell systemd, once every worker is where it should be."""
        if self._stopping or self._reloading or not all(place.ready for place in self._places):
            return
        self.notifier.ready()
        if not self._announced:
            self._announced = True
            log.info(
                "gateway.started",
                workers=len(self._places),
                listen=self.listening.addresses(),
                admin=[address_of(sock) for sock in self.listening.admin],
            )

    def _bury(self, place: Place) -> None:
        pid, code = place.pid, place.leave()
        # One that cannot tell of its reload any more is replaced by one that has the new secrets.
        self._reloading.discard(place.number)
        if not self._stopping:
            log.warning("worker.lost", worker=place.number, pid=pid, ended=place.ended)
        elif code != 0:
            self._well = False
            log.warning("worker.not_drained", worker=place.number, pid=pid, ended=place.ended)

    def _begin_to_stop(self) -> None:
        server = self.settings.server
        self._stopping = True
        self.notifier.stopping()
        log.info("gateway.draining", delay=server.shutdown_delay, grace=server.shutdown_grace)
        self._until = time.monotonic() + server.shutdown_delay + server.shutdown_grace + LATE
        # A port is closed when the last copy of its socket is.
        self.listening.close()
        self._tell_all(signal.SIGTERM)

    def _kill_all(self) -> None:
        self._well = False
        self._until = None
        self._tell_all(signal.SIGKILL)

    def _pass_on_new_secrets(self) -> None:
        """Workers to come have the new ones too. Faulty ones go nowhere, so that all workers keep the same."""
        if self._stopping:
            return
        self.notifier.reloading()
        fresh = read_anew(self.reload)
        if fresh is None:
            self.notifier.ready()
            return
        session = replace(self.settings.session, keys=fresh.session.keys)
        provider = replace(self.settings.provider, client_secret=fresh.provider.client_secret)
        admin = replace(self.settings.admin, token=fresh.admin.token)
        self.settings = replace(self.settings, session=session, provider=provider, admin=admin)
        self._reloading = {place.number for place in self._places if place.pid is not None}
        self._tell_all(signal.SIGHUP)

    def _tell_all(self, number: signal.Signals) -> None:
        for place in self._places:
            place.tell(number)

    def _look_for_silence(self) -> None:
        """Replace a worker whose loop does not turn any more; the supervisor itself is alive, and says so."""
        now = time.monotonic()
        self.notifier.alive()
        # Whoever stopped this process for a while, or the machine, stopped the workers too, and what they said may not have been read.
        stood_still = now - self._looked > self.silence / 2
        self._looked = now
        for place in self._places:
            if stood_still:
                place.excuse()
            elif place.silent_for() > self.silence:
                log.error("worker.hung", worker=place.number, pid=place.pid)
                place.tell(signal.SIGKILL)

    def _patience(self) -> float:
        """Seconds until something is due: the next look for silence at the latest."""
        now = time.monotonic()
        due = [now + self.silence / 3]
        if self._until is not None:
            due.append(self._until)
        if not self._stopping:
            due += [place.due for place in self._places if place.pid is None]
        return max(0.0, min(due) - now)
