"""What every session store promises; the contract suite in ``tests/session`` holds each of them to it.

Answers invariants 7, 9 and 11: a write is whole or not at all, an outage is ``StoreUnavailable`` and never "no session", and all that a
store sees is a hashed key, sealed bytes and times. Values are kept no longer than their lifetime; every lifetime is relative (a store's own
clock never matters), and the callers check expiry again inside the sealed value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from gateway.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_VALUE: Final = 64 * 1024
"""Bytes: no value is written or read beyond this, whatever the store holds under the key."""
MAX_CARD: Final = 4 * 1024
"""Bytes, the same for a card: many are read at once."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a store holds of one session at one moment."""

    record: bytes | None = field(repr=False)
    last_seen: int | None
    """Epoch milliseconds; None when the idle time ran out."""


@dataclass(frozen=True, slots=True)
class NewSession:
    """All that one login writes. ``key`` is a hash; the times are seconds from now, ``last_seen`` epoch milliseconds.

    ``indexes`` are the names of the sets that list the session, hashes too; ``card`` is what is told of it where nobody shows its cookie,
    none when empty. Whoever makes one keeps to ``MAX_VALUE`` and ``MAX_CARD``.
    """

    key: str
    record: bytes = field(repr=False)
    tokens: bytes = field(repr=False)
    last_seen: int
    lifetime: float
    idle: float
    card: bytes = field(default=b"", repr=False)
    indexes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """What was left of a session when it ended: to the first who ends it, and None to everybody else.

    ``there`` is whether there was a session, to the first alone too: something may be left of one that has ended, or a card be lost.
    """

    tokens: bytes | None = field(repr=False)
    card: bytes | None = field(repr=False)
    there: bool


class UnknownToReplicas(StoreUnavailable):
    """What was to end, or to be replaced, has been here, and none of the store's replicas knows. ``ended``: this ended a session."""

    def __init__(self, detail: str, *, ended: bool = False) -> None:
        super().__init__(detail)
        self.ended = ended


@dataclass(frozen=True, slots=True)
class Listed:
    """A part of an index: store keys, among them perhaps some of sessions that have ended. ``cursor`` 0: there is no more."""

    keys: tuple[str, ...]
    cursor: int


@dataclass(frozen=True, slots=True)
class Shown:
    """What is told of a session without its cookie; nothing when it has ended. ``last_seen`` as in ``Stored``."""

    card: bytes | None = field(repr=False)
    last_seen: int | None
    there: bool


class Follower(Protocol):
    """Who keeps copies of records and is told when they are not true any more. Nothing here waits, and nothing raises."""

    def now(self) -> float:
        """Seconds of the follower's own clock, for ``answered``."""
        ...

    def followed(self) -> None:
        """From now on every change is told. What was known before may have changed unseen."""
        ...

    def answered(self, at: float) -> None:
        """Every change that the store had made by ``at`` (``now()`` when it was asked) has been told."""
        ...

    def changed(self, key: str | None) -> None:
        """This session was written, ended or has expired; None: any of them may have. It says "read again", not "ended"."""
        ...

    def lost(self) -> None:
        """Changes may go untold until ``followed`` is called again."""
        ...

    def refused(self) -> None:
        """The store can be reached and tells no changes: nothing that is known may be used any longer."""
        ...


class SessionStore(Protocol):
    """Every method raises ``StoreUnavailable``, and nothing else, when the store gives no answer or refuses.

    Whatever is kept under a key of ours and cannot be a value of ours (wrong type, too large) reads as absent, with an error in the log.
    Only an index that is none cannot be ``listed``: nobody knows who stood in it.
    """

    def follow(self, follower: Follower) -> None:
        """Tell this follower of every change until ``close``, and when that cannot be done. Called within the loop."""
        ...

    async def read(self, key: str) -> Stored:
        """The record and the time it was last used, in one round trip."""
        ...

    async def missing(self, keys: Sequence[str]) -> frozenset[str]:
        """Those of these different keys under which there is no session any more; cheap where there is one under each."""
        ...

    async def last_seen(self, keys: Sequence[str]) -> list[int | None]:
        """When each session was last used (epoch milliseconds), in one round trip; None for one that ended or whose idle time ran out."""
        ...

    async def touch(self, keys: Sequence[str], *, last_seen: int, idle: float) -> None:
        """Note that these sessions were used (epoch milliseconds), for ``idle`` seconds, in one round trip; what has ended stays ended."""
        ...

    async def create(self, new: NewSession, *, replaces: tuple[str, ...]) -> tuple[bytes, ...]:
        """Write the session, list it, and destroy those under the keys ``replaces``; the cards of those that were there.

        All at once or not at all. A store of several servers, where that cannot be, destroys and lists first: whatever breaks off in
        between, nobody is left with two sessions, and no session is in none of its indexes.
        """
        ...

    async def tokens(self, key: str) -> bytes | None:
        """The sealed tokens of a session, None when it has ended."""
        ...

    async def replace(self, key: str, *, record: bytes, tokens: bytes, fence: bytes) -> bool:
        """Write record and tokens, at once, for the rest of the session's lifetime, if its tokens are still the sealed ``fence``.

        False, with nothing written: the session has ended, or somebody else has replaced its tokens. Where the store has replicas and none
        of them knows, that is ``UnknownToReplicas``, with all of it written.
        """
        ...

    async def end(self, key: str, *, leave_tokens: float = 0.0) -> Ended:
        """Destroy all of a session at once. It may stay in its indexes until ``unlist``.

        With ``leave_tokens`` its tokens stay for so many seconds, for ``take_tokens``, and are not in the answer: whoever ends a session
        without its cookie cannot open them. Where the store has replicas and none of them knows, that is ``UnknownToReplicas``.
        """
        ...

    async def take_tokens(self, key: str) -> bytes | None:
        """The sealed tokens that an ``end`` left, to the first who takes them; None while the session lives."""
        ...

    async def unlist(self, key: str, indexes: Sequence[str]) -> None:
        """Take a session that has ended out of its indexes."""
        ...

    async def relist(self, key: str, *, card: bytes, indexes: Sequence[str], now: int, lifetime: float) -> bool:
        """List a session in these indexes beside those that it is in, and then put ``card`` in the place of its own.

        False: it has no card, or has ended; what was listed then stays until ``unlist``. ``now`` is epoch milliseconds, and ``lifetime``
        the seconds that are left to it.
        """
        ...

    async def listed(self, index: str, *, cursor: int, count: int) -> Listed:
        """A part of an index, of about ``count`` keys; ``cursor`` is 0, or that of the part before."""
        ...

    async def show(self, keys: Sequence[str]) -> list[Shown]:
        """What is told of each of these sessions, in one round trip a server."""
        ...

    async def lock(self, key: str, *, owner: bytes, lifetime: float) -> float | None:
        """Take the session's lock for ``lifetime`` seconds; None: it is ours, else the seconds after which whoever has it loses it."""
        ...

    async def extend(self, key: str, *, owner: bytes, lifetime: float) -> bool:
        """Have a lock of ours end ``lifetime`` seconds from now; False when it is ours no more."""
        ...

    async def unlock(self, key: str, *, owner: bytes) -> None:
        """Give a lock back, if it is still ours."""
        ...

    async def claim(self, name: str, *, lifetime: float) -> bool:
        """Whether this is the first claim of ``name`` within ``lifetime`` seconds, over all replicas."""
        ...

    async def ready(self) -> None:
        """Return when the store answers."""
        ...

    async def close(self) -> None:
        """Let what is under way end, then give up every connection."""
        ...
