"""When a session ends: at its absolute lifetime or after its idle time, at the very second, whatever the store's own timers did.

Answers CK-23 and RD-17: expiry stands inside the sealed record and is judged here, with the time as an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

TOUCH_FRACTION: Final = 10
"""The idle time is written when a tenth of it has passed since the last note, not at every request."""


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Seconds: a session unused for ``idle`` ends, each ends after ``lifetime``, a login in flight after ``login``."""

    idle: float
    lifetime: float
    login: float


def ended(*, expires: float, last_seen: float, lifetimes: Lifetimes, now: float) -> Literal["idle", "expired"] | None:
    """Why a session with these times (epoch seconds) is over at ``now``; None while it lives. The edge itself is over."""
    if now >= expires:
        return "expired"
    if now >= idle_expires(expires=expires, last_seen=last_seen, lifetimes=lifetimes):
        return "idle"
    return None


def idle_expires(*, expires: float, last_seen: float, lifetimes: Lifetimes) -> float:
    """Epoch seconds at which the session ends if nobody uses it again."""
    return min(last_seen + lifetimes.idle, expires)


def touch_due(*, last_seen: float, lifetimes: Lifetimes, now: float) -> bool:
    """Whether this use is worth a write. After a clock was set back it is: by the store's own, the last note ages all the same."""
    return not 0.0 <= now - last_seen < lifetimes.idle / TOUCH_FRACTION
