"""How many lines of one kind a minute may write: what anybody can cause without a session must not fill a disk or bury the rest.

Answers the flood of refused requests. A kind is written in full at first, then once a minute with the number of those left out, until a
minute passed in which nothing had to be left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable

IN_FULL: Final = 20
"""Lines of a kind in a minute before any is left out."""
SECONDS: Final = 60.0


@dataclass(slots=True)
class _Minute:
    began: float
    left: int
    """How many more lines it may have."""
    suppressed: int = 0


class Budget:
    """Kinds are few: names of events and error codes of ours, never words of a caller. Times are seconds that nobody sets back."""

    def __init__(self) -> None:
        self._minutes: dict[Hashable, _Minute] = {}

    def spend(self, kind: Hashable, now: float) -> int | None:
        """None when the line is to be left out; otherwise how many of its kind were left out since the last one."""
        minute = self._minutes.get(kind)
        if minute is None or now - minute.began >= SECONDS:
            suppressed = 0 if minute is None else minute.suppressed
            self._minutes[kind] = _Minute(now, left=0 if suppressed else IN_FULL - 1)
            return suppressed
        if not minute.left:
            minute.suppressed += 1
            return None
        minute.left -= 1
        return 0
