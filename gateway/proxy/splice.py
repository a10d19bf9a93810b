"""Bytes from one socket to another through a pipe of the kernel's: they are moved, not copied, and never come here (splice(2)).

Answers SL-04 as ``passage`` does: nothing is read while the other side has not taken what was read before; that waits in the pipe, which
then is nobody else's.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import termios
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    import asyncio

_PIPE: Final = 512 * 1024
"""Bytes of a pipe. The kernel gives one user 64 MiB of them, and afterwards only small ones."""
_SPARES: Final = 4
"""Pipes kept for what is to come."""
MOST: Final = 32
"""Splices at one time. Each takes two descriptors, or four while its sink is behind, and slow bodies shall not use them up."""
_TURN: Final = 2 * 1024 * 1024
"""Bytes after which others have their turn."""
_FLAGS: Final = getattr(os, "SPLICE_F_MOVE", 0) | getattr(os, "SPLICE_F_NONBLOCK", 0)
_POSSIBLE: Final = hasattr(os, "splice") and hasattr(fcntl, "F_SETPIPE_SZ")


class Spliced(Protocol):
    """Whose bytes they are, and who hears of them."""

    def took(self, count: int) -> None:
        """``count`` bytes have left the source, and wait to be given."""
        ...

    def gave(self) -> None:
        """Some of them were taken by the sink."""
        ...

    def all_given(self) -> None:
        """All bytes that were to be moved were."""
        ...

    def gave_up(self, left_over: bytes) -> None:
        """The source ended, or one of the sides failed or cannot do this. ``left_over`` is what the sink did not take."""
        ...


class _Here(threading.local):
    """What there is of this thread's loop."""

    def __init__(self) -> None:
        self.spare: list[tuple[int, int]] = []
        """Empty pipes: (end to read, end to write)."""
        self.open = 0
        """Splices that hold descriptors."""


_here = _Here()


class Splice:
    """Moves ``left`` bytes from ``source`` to ``sink``, descriptors of its own, once ``go_on`` was called."""

    __slots__ = ("_left", "_loop", "_owner", "_pipe", "_reading", "_sink", "_source", "_waiting", "_writing")

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: Spliced, source: int, sink: int, left: int) -> None:
        self._loop = loop
        self._owner = owner
        self._source = source
        self._sink = sink
        self._left = left
        self._pipe: tuple[int, int] | None = None
        """The pipe with bytes that the sink has yet to take."""
        self._waiting = 0
        """How many those are."""
        self._reading = self._writing = False
        _here.open += 1

    @classmethod
    def between(
        cls, owner: Spliced, source: asyncio.BaseTransport, sink: asyncio.BaseTransport | None, left: int, loop: asyncio.AbstractEventLoop
    ) -> Splice | None:
        """Between two transports that neither read the one nor write the other for that time; None where it cannot be."""
        if not _POSSIBLE or _here.open >= MOST or sink is None or not (is_plain(source) and is_plain(sink)):
            return None
        taken = -1
        try:
            if not _here.spare:
                _here.spare.append(_new_pipe())
            taken = os.dup(source.get_extra_info("socket").fileno())
            return cls(loop, owner, taken, os.dup(sink.get_extra_info("socket").fileno()), left)
        except OSError:  # no descriptors are left
            if taken >= 0:
                os.close(taken)
            return None

    @property
    def behind(self) -> bool:
        """Whether the sink has yet to take what was read."""
        return self._waiting > 0

    def go_on(self) -> None:
        """Move what can be moved, whenever it can."""
        self._wait(writing=self._waiting > 0)

    def close(self) -> None:
        """Let go of the sockets. May be called again."""
        if self._source < 0:
            return
        self._stop_waiting()
        os.close(self._source)
        os.close(self._sink)
        self._source = self._sink = -1
        _here.open -= 1
        if self._pipe is not None:
            # Bytes are left in it, which nobody else may get.
            for end in self._pipe:
                os.close(end)
            self._pipe = None
        self._waiting = 0

    def _flow(self) -> None:
        """Move bytes until one of the sockets has to be waited for, or others have their turn."""
        turn = _TURN
        try:
            while turn > 0 or self._waiting or not self._left:
                if self._waiting:
                    self._give()
                elif self._left:
                    turn -= self._take()
                else:
                    self._keep_pipe()
                    self.close()
                    self._owner.all_given()
                    return
        except BlockingIOError:
            if self._reading and turn == _TURN:
                # The source was said to hold something, and nothing comes: urgent data (RFC 9293 section 3.8.5) has us look for ever.
                self._give_up()
                return
        except (OSError, EOFError):
            self._give_up()
            return
        self._keep_pipe()
        if turn <= 0:
            # Registered anew: uvloop tells of a broken connection once.
            self._stop_waiting()
        self._wait(writing=self._waiting > 0)

    def _take(self) -> int:
        if self._pipe is None:
            self._pipe = _here.spare.pop() if _here.spare else _new_pipe()
        count = os.splice(self._source, self._pipe[1], min(self._left, _PIPE), flags=_FLAGS)
        if not count:
            raise EOFError
        self._left -= count
        self._waiting = count
        self._owner.took(count)
        return count

    def _give(self) -> None:
        assert self._pipe is not None
        self._waiting -= os.splice(self._pipe[0], self._sink, self._waiting, flags=_FLAGS)
        self._owner.gave()

    def _give_up(self) -> None:
        left_over = b""
        if self._pipe is not None:
            while len(left_over) < self._waiting:
                left_over += os.read(self._pipe[0], self._waiting - len(left_over))
            self._waiting = 0
            self._keep_pipe()
        self.close()
        self._owner.gave_up(left_over)

    def _keep_pipe(self) -> None:
        """Give an empty pipe back."""
        if self._pipe is None or self._waiting:
            return
        # The kernel's word on it counts: what one body left in it would be another's.
        if len(_here.spare) < _SPARES and _holds(self._pipe) == 0:
            _here.spare.append(self._pipe)
        else:
            for end in self._pipe:
                os.close(end)
        self._pipe = None

    def _wait(self, *, writing: bool) -> None:
        if self._source < 0:
            return
        try:
            self._look_out(writing=writing)
        except OSError:  # the kernel has no more room for descriptors to be watched
            self._give_up()

    def _look_out(self, *, writing: bool) -> None:
        if writing and not self._writing:
            self._stop_waiting()
            self._loop.add_writer(self._sink, self._flow)
            self._writing = True
        elif not writing and not self._reading:
            self._stop_waiting()
            self._loop.add_reader(self._source, self._flow)
            self._reading = True

    def _stop_waiting(self) -> None:
        if self._reading:
            self._loop.remove_reader(self._source)
        if self._writing:
            self._loop.remove_writer(self._sink)
        self._reading = self._writing = False


def _holds(pipe: tuple[int, int]) -> int:
    """Bytes in a pipe."""
    return int.from_bytes(fcntl.ioctl(pipe[0], termios.FIONREAD, bytes(4)), sys.byteorder)


def is_plain(transport: asyncio.BaseTransport) -> bool:
    """Whether what is on the wire is what is written: TCP without TLS."""
    sock = transport.get_extra_info("socket")
    return (
        sock is not None
        and sock.family in (socket.AF_INET, socket.AF_INET6)
        and sock.fileno() >= 0
        and transport.get_extra_info("sslcontext") is None
    )


def _new_pipe() -> tuple[int, int]:
    pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    with suppress(OSError):  # the user's share of memory for pipes may be used up: a small one does
        fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, _PIPE)
    return pipe
