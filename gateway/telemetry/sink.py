"""Lines to a file descriptor that can never hold up whoever logs: a bounded queue, and a thread that alone waits for the reader.

Answers the log that stops the gateway: a pipe that nobody reads, a terminal that was paused, a full disk, a reader that is gone. What
finds no room is dropped and counted, and ``log.dropped`` says how much it was as soon as a line gets through again. ``O_NONBLOCK`` would
belong to the shell and to everybody else who writes there too, so it is left as it is.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import threading
import time
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Final

MOST_WAITING: Final = 2000
"""Lines that wait for the reader; at a few hundred bytes each, less than a megabyte."""
LAST_WORDS: Final = 1.0
"""Seconds at most that the end of a process waits for its last lines to get out."""
BEFORE_FORK: Final = 0.1
"""Seconds at most that a fork waits for the thread to end: a process without threads forks safely."""
_NOT_FOR_THE_THREAD: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(slots=True)
class _Mark:
    """A place in the queue that somebody waits for; ``last`` also asks the thread to end."""

    last: bool
    passed: threading.Event = field(default_factory=threading.Event)


class Sink:
    """What structlog takes for a logger: every level is ``write``. The descriptor stays the caller's."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._begin()

    def write(self, line: str) -> None:
        """Take a line without its end. Never waits, never raises for what the descriptor does."""
        if self._waiting.qsize() >= MOST_WAITING:
            self._count()
            return
        self._put(line)

    debug = info = warning = error = critical = exception = write

    def flush(self, seconds: float) -> None:
        """Wait until everything said so far is out, ``seconds`` at most."""
        mark = _Mark(last=False)
        self._put(mark)
        mark.passed.wait(seconds)

    def pause(self, seconds: float) -> None:
        """End the thread, unless it is held up for longer than ``seconds``; the next line starts another."""
        thread = self._thread
        if thread is not None:
            self._waiting.put(_Mark(last=True))
            thread.join(seconds)

    def renew(self) -> None:
        """For the child after a fork: it has no thread, and what waited then is its parent's to write."""
        self._begin()

    def _begin(self) -> None:
        self._waiting: SimpleQueue[str | _Mark] = SimpleQueue()
        self._lock = threading.Lock()
        """Guards the two below; nobody waits for the descriptor while holding it."""
        self._thread: threading.Thread | None = None
        self._dropped = 0
        self._cut = False
        """Whether the descriptor took a part of a line and no more; only the thread knows."""

    def _put(self, item: str | _Mark) -> None:
        self._waiting.put(item)
        with self._lock:
            if self._thread is None:
                self._start()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="log", daemon=True)
        # Signals are for the thread that has their handlers; this one inherits the mask.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_FOR_THE_THREAD)
        try:
            thread.start()
        except RuntimeError:
            # No thread can be had: what waits goes on waiting, and the next line tries again.
            return
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._thread = thread

    def _run(self) -> None:
        while True:
            item = self._waiting.get()
            if isinstance(item, str):
                self._get_out(item)
                continue
            item.passed.set()
            if item.last:
                with self._lock:
                    # Whoever put a line before this sees no thread after it, or is seen here.
                    if self._waiting.empty():
                        self._thread = None
                        return

    def _get_out(self, line: str) -> None:
        if not self._write_whole(line):
            self._count()
            return
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        if dropped and not self._write_whole(_dropped_line(dropped)):
            self._count(dropped)

    def _write_whole(self, line: str) -> bool:
        """A line in one write, so that lines of several processes do not run into each other; whether all of it is out."""
        data = (b"\n" if self._cut else b"") + line.encode("utf-8", "backslashreplace") + b"\n"
        sent = 0
        while sent < len(data):
            try:
                sent += os.write(self._descriptor, data[sent:])
            except BlockingIOError:
                # Somebody else made it non-blocking: this thread may wait all the same.
                _wait_for_room(self._descriptor)
            except OSError:
                self._cut = self._cut or sent > 0
                return False
        self._cut = False
        return True

    def _count(self, lines: int = 1) -> None:
        with self._lock:
            self._dropped += lines


def open_sink(descriptor: int) -> Sink:
    """The sink of this process from now on: its last lines get out at exit, and it goes on after a fork, in both processes."""
    global _current  # noqa: PLW0603 - a process has one log
    if _current is not None:
        _current.pause(LAST_WORDS)
    _current = Sink(descriptor)
    return _current


def flush(seconds: float = LAST_WORDS) -> None:
    """Let this process's lines get out. For an end that runs no exit handlers."""
    if _current is not None:
        _current.flush(seconds)


_current: Sink | None = None


def _before_fork() -> None:
    if _current is not None:
        _current.pause(BEFORE_FORK)


def _in_child() -> None:
    if _current is not None:
        _current.renew()


os.register_at_fork(before=_before_fork, after_in_child=_in_child)
atexit.register(flush)


def _wait_for_room(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll()


def _dropped_line(lines: int) -> str:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return json.dumps({"lines": lines, "room": "telemetry", "event": "log.dropped", "level": "warning", "timestamp": now})
