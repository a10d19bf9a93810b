"""Several that tell a part of the changes each, as one that tells all of them: what ``SessionCache`` asks of whoever follows a cluster.

Answers invariant 7: all is told when every part is, up to the earliest moment of any, and no longer all as soon as one falls silent.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.session.store.protocol import Follower


class JoinedFollower:
    """Makes followers for the parts, and speaks to ``follower`` for all of them."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._parts: set[Part] = set()
        self._whole = False

    def part(self) -> Part:
        """One part more; nothing is followed until it is."""
        part = Part(self, self._follower)
        self._parts.add(part)
        self._judge()
        return part

    def leave_out(self, part: Part) -> None:
        """This part tells nothing that matters any more."""
        self._parts.discard(part)
        self._judge()

    def anew(self, part: Part) -> None:
        """This part is followed from now on, and missed what came before."""
        if part not in self._parts:
            return
        self._whole = False
        self._judge()

    def judge(self, part: Part) -> None:
        """Something of this part is not as it was."""
        if part in self._parts:
            self._judge()

    def _judge(self) -> None:
        whole = bool(self._parts) and all(part.is_followed for part in self._parts)
        if whole and not self._whole:
            self._follower.followed()
        if whole:
            self._follower.answered(min(part.told_until for part in self._parts))
        elif self._whole:
            self._follower.lost()
        self._whole = whole


class Part:
    """A ``Follower`` of one part."""

    def __init__(self, joined: JoinedFollower, follower: Follower) -> None:
        self._joined = joined
        self._follower = follower
        self.is_followed = False
        self.told_until = -math.inf

    def now(self) -> float:
        """See ``Follower``."""
        return self._follower.now()

    def followed(self) -> None:
        """See ``Follower``."""
        self.is_followed = True
        # Nothing of it was told up to any moment yet; ``answered`` comes right behind.
        self.told_until = -math.inf
        self._joined.anew(self)

    def answered(self, at: float) -> None:
        """See ``Follower``."""
        self.told_until = at
        self._joined.judge(self)

    def changed(self, key: str | None) -> None:
        """See ``Follower``: whichever part tells it, it is told."""
        self._follower.changed(key)

    def lost(self) -> None:
        """See ``Follower``."""
        self.is_followed = False
        self._joined.judge(self)

    def refused(self) -> None:
        """See ``Follower``."""
        self.lost()
        self._follower.refused()
