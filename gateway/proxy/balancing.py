"""Which of several upstreams takes a request, and which are left alone for a while. Pure rules: the clock is an argument.

Answers UP-01 for routes with several upstreams: one that refuses connections or does not answer in time is put aside, longer each time;
the last one standing never is, for an upstream that may be down is better than none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

FAILURES = 3
"""Consecutive failures after which an upstream is put aside; after that, each single one is enough until it answers."""
FAILED_CHECKS = 2
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""Seconds that an upstream is put aside for; the pause doubles with each further failure."""


@dataclass(slots=True)
class Health:
    """What is known of one upstream. Times are those of the caller's monotonic clock, in seconds."""

    failures: int = 0
    """Consecutive refused or timed out attempts."""
    aside_until: float = 0.0
    ailing: bool = False
    """What active checks say, where there are any."""
    failed_checks: int = 0

    def failed(self, now: float) -> bool:
        """Note a refused connection or an answer that did not come in time. Returns whether this put the upstream aside."""
        self.failures += 1
        beyond = self.failures - FAILURES
        if beyond < 0 or (beyond > 0 and now < self.aside_until):
            return False  # exchanges that began before it was put aside say nothing new
        self.aside_until = now + min(FIRST_PAUSE * 2.0 ** min(beyond, 16), LONGEST_PAUSE)
        return True

    def answered(self) -> None:
        """Note an answer, whatever it said: the upstream is there."""
        self.failures = 0
        self.aside_until = 0.0

    def checked(self, *, well: bool) -> None:
        """Note an active check: ``FAILED_CHECKS`` in a row make an upstream ail, one that went well makes it well."""
        self.failed_checks = 0 if well else self.failed_checks + 1
        self.ailing = self.failed_checks >= FAILED_CHECKS

    def usable(self, now: float) -> bool:
        """Whether requests should go there."""
        return not self.ailing and self.aside_until <= now


def choose(health: Sequence[Health], loads: Sequence[int], *, now: float, turn: int, tried: Collection[int] = ()) -> int:
    """The index of the upstream to take: of the usable ones the least loaded, from ``turn`` on (count it up) where several are.

    ``loads`` counts exchanges in flight and requests waiting. When none is usable, the one whose pause ends first is taken, those that
    answer checks before those that do not. ``tried`` were tried for this request already and are not taken again. Raises ValueError when
    all were tried.
    """
    count = len(health)
    best: int | None = None
    rank: tuple[bool, bool, float] = (True, True, 0.0)
    for step in range(count):
        index = (turn + step) % count
        if index in tried:
            continue
        member = health[index]
        mine = (False, False, float(loads[index])) if member.usable(now) else (True, member.ailing, member.aside_until)
        if best is None or mine < rank:
            best, rank = index, mine
    if best is None:
        raise ValueError("every upstream was tried")
    return best
