"""What a request's cookies stand for: a live session, or none and why. Frozen values, made by ``finding`` and ``sessions`` alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from gateway.session.handle import Handle
    from gateway.session.record import Session

AbsentReason = Literal["none", "unreadable", "ended", "idle", "expired", "ambiguous"]


@dataclass(frozen=True, slots=True)
class Found:
    """A live session. ``last_seen`` and ``idle_expires`` are epoch seconds, and so are the times of its grant, by ``RefreshRules``.

    ``expires`` is when it ends whatever happens; ``due_at`` from when its grant is to be renewed; ``tokens_until`` and ``serves_until`` how
    long its tokens, and it itself, do without a newer one.

    ``rendered`` is for whoever derives something of the identity and would do so at each request, under a number of its own; it goes when
    the session's copy in this process goes.
    """

    session: Session
    handle: Handle
    last_seen: float
    idle_expires: float
    expires: float = math.inf
    due_at: float = math.inf
    tokens_until: float = math.inf
    serves_until: float = math.inf
    rendered: dict[int, bytes] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Absent:
    """No session, and why. ``handles`` are those of the live sessions when several were presented: whoever ends them ends all."""

    reason: AbsentReason
    handles: tuple[Handle, ...] = ()
