"""Answers of a server, read: a value of ours, none, or an outage.

Answers RD-10 and invariants 9 and 14: what cannot be ours (wrong type, too large, not a time) is an error in the log and none; every other
error is ``StoreUnavailable``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from redis.exceptions import ResponseError

from gateway.errors import StoreUnavailable
from gateway.session.store.failures import told
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Iterable

TIME_BYTES: Final = 16

_TIME: Final = re.compile(rb"[0-9]{1,15}")
_MEMBER: Final = re.compile(rb"[A-Za-z0-9_-]{1,64}")

log = logs.get("session")


class Refused(StoreUnavailable):
    """The server answered one of several commands with an error; the others may be done."""


class Answers:
    """Reads the answers of the server at ``place``."""

    def __init__(self, place: str) -> None:
        self._place = place

    def value(self, answer: object, *, most: int, kind: str) -> bytes | None:
        """What was asked for by GETRANGE up to the byte after ``most``; None for none."""
        if self._is_foreign(answer, kind=kind):
            return None
        assert isinstance(answer, bytes)
        if len(answer) > most:
            log.error("store.value_refused", kind=kind, fault="too large")
            return None
        return answer or None

    def time(self, answer: object) -> int | None:
        """Epoch milliseconds, asked for by GETRANGE up to the byte after ``TIME_BYTES``."""
        digits = self.value(answer, most=TIME_BYTES, kind="last seen")
        if digits is not None and not _TIME.fullmatch(digits):
            log.error("store.value_refused", kind="last seen", fault="not a time")
            return None
        return None if digits is None else int(digits)

    def done(self, answer: object, *, kind: str) -> bool:
        """Whether a script did what it was to do, by the number it returned."""
        return not self._is_foreign(answer, kind=kind) and answer == 1

    def part(self, answer: object) -> tuple[int, tuple[str, ...]]:
        """Cursor and members of a ZSCAN; members that are not formed like store keys are nobody's.

        Raises:
            Refused: it is no index. Read as an empty one, it would say that nobody is left to be ended.
        """
        if self._is_foreign(answer, kind="index"):
            raise Refused(f"{self._place}: what should list sessions is something else")
        assert isinstance(answer, list | tuple)
        cursor, members = answer
        return int(cursor), tuple(member.decode() for member, _ in members if _MEMBER.fullmatch(member))

    def check(self, answers: Iterable[object], *, kind: str | None = None) -> None:
        """Raise what was refused; a wrong type under a key of this ``kind`` is a line in the log alone."""
        for answer in answers:
            if kind is None:
                self._raise(answer)
            else:
                self._is_foreign(answer, kind=kind)

    def _is_foreign(self, answer: object, *, kind: str) -> bool:
        if isinstance(answer, ResponseError) and str(answer).startswith("WRONGTYPE"):
            log.error("store.value_refused", kind=kind, fault="wrong type")
            return True
        self._raise(answer)
        return False

    def _raise(self, answer: object) -> None:
        if isinstance(answer, Exception):
            raise Refused(told(self._place, answer))
