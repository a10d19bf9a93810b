"""When a grant is renewed, who waits for it, when its end is the session's, and how long a failure rests. Nothing here waits.

Answers RF-16 (a margin of at least the clock skew) and "no refresh token: the session ends when the policy says so, without a storm":
a refresh that brought no new id_token is not asked for one again, and no grant is renewed twice within ``LEAST_AGE``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.session.grant import Grant

AHEAD_FRACTION: Final = 5
LONGEST_AHEAD: Final = 300.0
LEAST_AGE: Final = 1.0
"""Seconds: no grant is younger than this when it is renewed, whatever lifetime the provider gives."""

FIRST_REST: Final = 2.0
LONGEST_REST: Final = 120.0


class Follows(Enum):
    """Whose end is the session's, besides its own (``session.session_follows``)."""

    NONE = "none"
    REFRESH_TOKEN = "refresh_token"  # noqa: S105 - the name of a policy
    ID_TOKEN = "id_token"  # noqa: S105 - as above


@dataclass(frozen=True, slots=True)
class RefreshRules:
    """``ahead`` and ``skew`` are seconds; ``ahead`` None: a fifth of the lifetime, five minutes at most.

    ``sends_id_token``: some route sends it upstream, so it is renewed in time.
    """

    follows: Follows = Follows.NONE
    ahead: float | None = None
    skew: float = 60.0
    sends_id_token: bool = False

    def due_at(self, grant: Grant | None) -> float:
        """Epoch seconds from which a use of the session has its grant renewed; a grant of which nothing is known is looked at at once."""
        if grant is None:
            return -math.inf
        if not grant.refreshable:
            return math.inf
        access = math.inf if grant.access_expires is None else self._ahead_of(grant.access_expires, grant.obtained)
        if not self.sends_id_token and self.follows is not Follows.ID_TOKEN:
            return access
        if grant.id_renewed and grant.id_expires is not None:
            return min(access, self._ahead_of(grant.id_expires, grant.obtained))
        return min(access, self._id_until(grant))

    def tokens_until(self, grant: Grant | None) -> float:
        """Epoch seconds from which whoever needs the tokens waits for newer ones; never where there is no way to them."""
        return min(self._access_until(grant), self._id_until(grant) if self.sends_id_token else math.inf)

    def serves_until(self, grant: Grant | None) -> float:
        """Epoch seconds from which every request of the session waits for a newer grant; never where there is no way to one."""
        match self.follows:
            case Follows.NONE:
                return math.inf
            case Follows.REFRESH_TOKEN:
                return self._access_until(grant)
            case Follows.ID_TOKEN:
                return self._id_until(grant)

    def ends_at(self, grant: Grant | None) -> float:
        """Epoch seconds at which the session is over because its grant is, and there is no way to a newer one."""
        if grant is None:
            return math.inf
        end: float | None = None
        if self.follows is Follows.REFRESH_TOKEN and not grant.refreshable:
            end = grant.access_expires
        elif self.follows is Follows.ID_TOKEN and not (grant.refreshable and (grant.id_renewed or _before_its_end(grant))):
            end = grant.id_expires
        return math.inf if end is None else end

    def _ahead_of(self, end: float, obtained: float) -> float:
        lifetime = max(0.0, end - obtained)
        ahead = min(lifetime / AHEAD_FRACTION, LONGEST_AHEAD) if self.ahead is None else self.ahead
        margin = min(max(ahead, self.skew), lifetime / 2)
        return max(end - margin, obtained + LEAST_AGE)

    def _access_until(self, grant: Grant | None) -> float:
        if grant is None or not grant.refreshable or grant.access_expires is None:
            return math.inf
        return max(grant.access_expires, grant.obtained + LEAST_AGE)

    def _id_until(self, grant: Grant | None) -> float:
        if grant is None or not grant.refreshable or grant.id_expires is None:
            return math.inf
        if not grant.id_renewed and not _before_its_end(grant):
            return math.inf
        return max(grant.id_expires, grant.obtained + LEAST_AGE)


def rest_after(failures: int, *, chance: float, asked: float = 0.0) -> float:
    """Seconds before the next attempt after so many failures in a row (one or more), ``chance`` from 0 to 1; never less than ``asked``.

    It doubles from ``FIRST_REST`` to ``LONGEST_REST``, and a part of up to a half is left to chance, so that many do not come at once.
    """
    whole = min(FIRST_REST * 2.0 ** min(failures - 1, 16), LONGEST_REST)
    return max(asked * (1 + chance / 10), whole * (0.5 + chance / 2))


def _before_its_end(grant: Grant) -> bool:
    """Whether the last refresh came before the id_token's end: then one more, after it, may bring a new one."""
    return grant.id_expires is None or grant.obtained < grant.id_expires


class ProviderPause:
    """When a provider that fails is left alone: by all sessions of a process, and asked by one at a time until it is well again.

    What it asks for counts for all when it fails a second session: it may have meant the first one's user alone. Times are seconds of a
    clock that nobody sets.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._failed = ""
        self._until = -math.inf
        self._probing = False

    def left(self, now: float) -> float:
        """Seconds for which it is not to be asked; 0 when it may be."""
        if now < self._until:
            return self._until - now
        return FIRST_REST if self._probing else 0.0

    def enter(self) -> None:
        """It is being asked, since nothing was left."""
        self._probing = self._failures > 0

    def leave(self, key: str, *, well: bool | None, now: float, chance: float, asked: float = 0.0) -> None:
        """It was asked for this session, and is well or not; None: it was not asked after all."""
        if well is None:
            self._probing = False
        elif well:
            self._failures, self._probing = 0, False
        else:
            another = self._failures > 0 and key != self._failed
            # Of many that fail together one counts, and so of one that fails again and again.
            if self._failures == 0 or (another and now >= self._until):
                self._failures += 1
            self._until = max(self._until, now + rest_after(self._failures, chance=chance, asked=asked if another else 0.0))
            self._failed, self._probing = key, False
