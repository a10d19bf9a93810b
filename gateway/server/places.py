"""One place among the workers: who fills it, what was heard of it, how it was left, and when it is filled again.

Answers the worker that crashes as soon as it starts: the pauses between its starts grow, and it is never given up.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import signal
    import socket

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
"""Seconds before a worker is replaced, doubling from one to the other with each that did not last."""
STEADY: Final = 10.0
"""Seconds after which a worker counts as having lasted."""


@dataclass(slots=True)
class Place:
    """Times are those of the monotonic clock. ``pid`` and ``line`` are None while the place is empty; then ``due`` says when to fill it."""

    number: int
    due: float
    pid: int | None = None
    line: socket.socket | None = None
    ready: bool = False
    ended: str = ""
    """How the last worker here left: ``exit 0`` or ``signal 9``; empty before the first."""
    _words: bytes = b""
    """The beginning of a word of which the end has not come yet."""
    _started: float = 0.0
    _heard: float = 0.0
    _failures: int = 0

    def fill(self, pid: int, line: socket.socket) -> None:
        """A worker was started here."""
        self.pid, self.line, self.ready, self._words = pid, line, False, b""
        self._started = self._heard = time.monotonic()

    def hear(self, said: bytes) -> bool:
        """Take what came on the line; whether the worker says that it is ready, at its start or after a reload."""
        self._heard = time.monotonic()
        *words, self._words = (self._words + said).split(b"\n")
        if b"READY=1" not in words:
            return False
        self.ready = True
        return True

    def silent_for(self) -> float:
        """Seconds since anything was heard; none while the place is empty."""
        return 0.0 if self.pid is None else time.monotonic() - self._heard

    def excuse(self) -> None:
        """Nobody listened for a while: what was not heard in that time counts for nothing."""
        self._heard = time.monotonic()

    def leave(self) -> int:
        """The line has ended: wait for the process behind it, which is ending; its exit code, below 0 for a signal."""
        assert self.line is not None
        assert self.pid is not None
        self.line.close()
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.ended = f"exit {code}" if code >= 0 else f"signal {-code}"
        if time.monotonic() - self._started >= STEADY:
            self._failures = 0
        self.pid = self.line = None
        self.ready = False
        self.put_off()
        return code

    def put_off(self) -> None:
        """Leave it empty for a while, longer each time."""
        self.due = time.monotonic() + pause(self._failures)
        self._failures += 1

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to the worker. Nobody else waits for its process, so the number is still its own."""
        if self.pid is not None:
            os.kill(self.pid, number)


def pause(failures: int) -> float:
    """Seconds to wait before the next start of a worker of which the last ``failures`` did not last."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures, 16))
