"""Which sessions rest before the next attempt to renew their grants, and for how long: by what failed, and by what others are at.

Answers invariant 14: it is bounded, and what is forgotten is merely tried once more.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.session.refresh_rules import LONGEST_REST

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_RESTS: Final = 20_000


@dataclass(frozen=True, slots=True)
class _Rest:
    """Until when (monotonic) a session is not tried; ``held``: nothing failed, and who needs it may try."""

    until: float
    failures: int
    held: bool


class Rests:
    """The rests of one process, by store key. ``monotonic`` gives seconds that nobody sets."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._rests: OrderedDict[str, _Rest] = OrderedDict()

    def left(self, key: str, *, held: bool) -> float:
        """Seconds for which this session rests, not more than 0 when it does not; with ``held`` also because another replica is at it."""
        rest = self._rests.get(key)
        return 0.0 if rest is None or (rest.held and not held) else rest.until - self._monotonic()

    def failures(self, key: str) -> int:
        """How many attempts failed in a row; what is long past does not count."""
        rest = self._rests.get(key)
        return 0 if rest is None or self._monotonic() > rest.until + LONGEST_REST else rest.failures

    def failed(self, key: str, seconds: float) -> float:
        """One more attempt failed, and the next comes after so many seconds; they are the answer."""
        return self._put(key, seconds, failures=self.failures(key) + 1, held=False)

    def unreached(self, key: str, seconds: float) -> float:
        """The store gave no answer: nobody tries for so many seconds, and nothing is said of the provider."""
        return self._put(key, seconds, failures=self.failures(key), held=False)

    def held(self, key: str, seconds: float) -> float:
        """Nothing is due for so many seconds, as far as is known, or somebody else is at it."""
        return self._put(key, seconds, failures=self.failures(key), held=True)

    def drop(self, key: str) -> None:
        """It is well."""
        self._rests.pop(key, None)

    def clear(self) -> None:
        """Whatever failed, it may be mended."""
        self._rests.clear()

    def _put(self, key: str, seconds: float, *, failures: int, held: bool) -> float:
        self._rests.pop(key, None)
        self._rests[key] = _Rest(self._monotonic() + seconds, failures, held)
        if len(self._rests) > MOST_RESTS:
            self._rests.popitem(last=False)
        return seconds
