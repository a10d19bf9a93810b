"""Sessions in Redis or Valkey: one round trip to read, one transaction to begin or end, no answer ever to the wrong caller.

Answers RD-01 to RD-19 and invariants 7, 9 and 13. Per session these keys with one hash tag, each with a time to live, values sealed before
they come here; and beside them what was claimed and what lists sessions::

    {prefix}s:{<hash>}   the record          {prefix}r:{<hash>}   the lock of who refreshes it
    {prefix}t:{<hash>}   the tokens          {prefix}e:{<hash>}   the tokens that an end left
    {prefix}i:{<hash>}   last seen (ms)      {prefix}l:{<hash>}   a claimed login
    {prefix}c:{<hash>}   the card            {prefix}x:{<hash>}   an index: store keys, scored by their expiry (epoch ms)

Every command has one key, or keys with one hash tag, so that a cluster can route it; ``Exchange`` knows how it travels, ``Answers`` what
came of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.errors import StoreUnavailable
from gateway.session.store import scripts
from gateway.session.store.answers import TIME_BYTES, Answers, Refused
from gateway.session.store.exchange import Exchange, Unacknowledged
from gateway.session.store.protocol import MAX_CARD, MAX_VALUE, Ended, Listed, Shown, Stored, UnknownToReplicas
from gateway.session.store.redis_servers import open_servers
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.session.store.protocol import Follower, NewSession
    from gateway.session.store.redis_address import RedisAddress
    from gateway.session.store.scripts import Command
    from gateway.session.store.servers import Following

_READS: Final = ("ping", "getrange", "exists", "pttl", "strlen", "type", "zscan", "info")
_WRITES: Final = ("set", "del", "pexpire", "rename", "zadd", "zrem", "zremrangebyscore", "eval", "multi", "exec", "wait")
COMMANDS: Final = frozenset(_READS + _WRITES)
"""All that is sent, by the scripts too: the rights that the store takes, beside those to follow changes."""
CLOCKS_APART: Final = 300_000
"""Milliseconds that the clocks of replicas may be apart before one takes another's sessions out of an index."""

log = logs.get("session")


class RedisStore:
    """A ``SessionStore`` in Redis or Valkey servers. Nothing is connected before the first command."""

    def __init__(self, address: RedisAddress) -> None:
        self._servers = open_servers(address)
        self._exchange = Exchange(self._servers)
        self._answers = Answers(address.place)
        self._prefix = address.options.prefix
        self._followings: list[Following] = []

    def follow(self, follower: Follower) -> None:
        """See ``SessionStore.follow``. Records alone are under the prefix; notes of use are nobody's news."""
        self._followings.append(self._servers.follow(follower, prefix=f"{self._prefix}s:"))

    async def read(self, key: str) -> Stored:
        """See ``SessionStore.read``. GETRANGE bounds what a foreign value can make us read (RD-10)."""
        record, last_seen = await self._exchange.each(self._get("s", key, MAX_VALUE), self._get("i", key, TIME_BYTES))
        return Stored(record=self._answers.value(record, most=MAX_VALUE, kind="record"), last_seen=self._answers.time(last_seen))

    async def missing(self, keys: Sequence[str]) -> frozenset[str]:
        """See ``SessionStore.missing``. EXISTS of many keys would be cheaper, and is refused by a cluster."""
        if not keys:
            return frozenset()
        there = await self._exchange.each(*(("EXISTS", self._key("s", key)) for key in keys))
        self._answers.check(there)
        return frozenset(key for key, answer in zip(keys, there, strict=True) if not answer)

    async def last_seen(self, keys: Sequence[str]) -> list[int | None]:
        """See ``SessionStore.last_seen``. The records themselves stay where they are: EXISTS tells that they are there."""
        commands: list[Command] = []
        for key in keys:
            commands += [("EXISTS", self._key("s", key)), self._get("i", key, TIME_BYTES)]
        answers = await self._exchange.each(*commands) if commands else []
        self._answers.check(answers[::2])
        return [self._answers.time(value) if there else None for there, value in zip(answers[::2], answers[1::2], strict=True)]

    async def touch(self, keys: Sequence[str], *, last_seen: int, idle: float) -> None:
        """See ``SessionStore.touch``. XX: a note that comes late does not bring back what a sign-out deleted."""
        if not keys:
            return
        lifetime = _milliseconds(idle)
        self._answers.check(await self._exchange.each(*(("SET", self._key("i", key), last_seen, "PX", lifetime, "XX") for key in keys)))

    async def create(self, new: NewSession, *, replaces: tuple[str, ...]) -> tuple[bytes, ...]:
        """See ``SessionStore.create``."""
        leaving = tuple(dict.fromkeys(key for key in replaces if key != new.key))
        make = self._create_at_once if self._servers.spans_slots else self._create_in_steps
        cards = await make(new, leaving)
        return tuple(card for card in cards if card is not None)

    async def _create_at_once(self, new: NewSession, leaving: tuple[str, ...]) -> list[bytes | None]:
        """In one transaction. What is refused before it begins leaves everything as it was; later, nothing stays of the new session."""
        listing, writing, ending = self._listing_of(new), self._writing(new), [self._ending(key) for key in leaving]
        commands = (*listing, *writing, *ending)
        try:
            if ending:
                answers = await self._exchange.at_once_for_good(*commands, written=scripts.propagate(self._key("w", new.key)))
            else:
                answers = await self._exchange.at_once(*commands)
            self._answers.check(answers)
        except (Refused, Unacknowledged):
            await self._give_up(new.key)
            raise
        self._tell_foreign(answers[: len(listing)])
        return [self._answers.value(card, most=MAX_CARD, kind="card") for _, card, _ in answers[len(commands) - len(ending) :]]

    async def _create_in_steps(self, new: NewSession, leaving: tuple[str, ...]) -> list[bytes | None]:
        """Each step at the servers that have its keys, and the session last."""
        ended = [await self.end(key) for key in leaving]
        if new.indexes:
            listed = await self._exchange.each(*self._listing_of(new))
            self._answers.check(listed)
            self._tell_foreign(listed)
        self._answers.check(await self._exchange.at_once(*self._writing(new)))
        return [each.card for each in ended]

    async def tokens(self, key: str) -> bytes | None:
        """See ``SessionStore.tokens``."""
        there, tokens = await self._exchange.each(("EXISTS", self._key("s", key)), self._get("t", key, MAX_VALUE))
        self._answers.check((there,))
        return self._answers.value(tokens, most=MAX_VALUE, kind="grant") if there else None

    async def replace(self, key: str, *, record: bytes, tokens: bytes, fence: bytes) -> bool:
        """See ``SessionStore.replace``."""
        keys = (self._key("s", key), self._key("t", key))
        command = scripts.replace(keys, record=record, tokens=tokens, fence=fence, most=MAX_VALUE)
        try:
            (done,) = await self._exchange.for_good(command, written=scripts.propagate(self._key("w", key)))
        except Unacknowledged as late:
            ((done,),) = late.answers
            if self._answers.done(done, kind="grant"):
                raise UnknownToReplicas(late.detail) from None
        return self._answers.done(done, kind="grant")

    async def end(self, key: str, *, leave_tokens: float = 0.0) -> Ended:
        """See ``SessionStore.end``. A GETDEL that is bounded and leaves no part behind: read and deleted in one transaction."""
        ending = self._ending(key, leave_tokens)
        try:
            tokens, card, there = await self._exchange.for_good(ending, written=scripts.propagate(self._key("w", key)))
        except Unacknowledged as late:
            ((_, _, there),) = late.answers
            raise UnknownToReplicas(late.detail, ended=there == 1) from None
        return Ended(
            tokens=self._answers.value(tokens, most=MAX_VALUE, kind="grant"),
            card=self._answers.value(card, most=MAX_CARD, kind="card"),
            there=there == 1,
        )

    async def take_tokens(self, key: str) -> bytes | None:
        """See ``SessionStore.take_tokens``."""
        (tokens,) = await self._exchange.each(scripts.take(self._key("e", key), most=MAX_VALUE))
        return self._answers.value(tokens, most=MAX_VALUE, kind="grant")

    async def unlist(self, key: str, indexes: Sequence[str]) -> None:
        """See ``SessionStore.unlist``."""
        if indexes:
            self._answers.check(await self._exchange.each(*(("ZREM", self._key("x", index), key) for index in indexes)), kind="index")

    async def relist(self, key: str, *, card: bytes, indexes: Sequence[str], now: int, lifetime: float) -> bool:
        """See ``SessionStore.relist``. XX: an end that came between is not undone."""
        listed = await self._exchange.each(*self._listing(key, indexes, now=now, lifetime=lifetime))
        self._answers.check(listed)
        self._tell_foreign(listed)
        (written,) = await self._exchange.each(("SET", self._key("c", key), card, "XX", "KEEPTTL"))
        self._answers.check((written,))
        return written is not None

    async def listed(self, index: str, *, cursor: int, count: int) -> Listed:
        """See ``SessionStore.listed``."""
        (part,) = await self._exchange.each(("ZSCAN", self._key("x", index), cursor, "COUNT", count))
        following, keys = self._answers.part(part)
        return Listed(keys=keys, cursor=following)

    async def show(self, keys: Sequence[str]) -> list[Shown]:
        """See ``SessionStore.show``. EXISTS comes last: of a session that ends in between a card may be left, never the record alone."""
        commands: list[Command] = []
        for key in keys:
            commands += [self._get("c", key, MAX_CARD), self._get("i", key, TIME_BYTES), ("EXISTS", self._key("s", key))]
        answers = await self._exchange.each(*commands) if commands else []
        self._answers.check(answers[2::3])
        return [
            Shown(card=self._answers.value(card, most=MAX_CARD, kind="card"), last_seen=self._answers.time(last_seen), there=True)
            if there
            else Shown(card=None, last_seen=None, there=False)
            for card, last_seen, there in zip(answers[::3], answers[1::3], answers[2::3], strict=True)
        ]

    async def lock(self, key: str, *, owner: bytes, lifetime: float) -> float | None:
        """See ``SessionStore.lock``."""
        lock, milliseconds = self._key("r", key), _milliseconds(lifetime)
        taken, left = await self._exchange.each(("SET", lock, owner, "PX", milliseconds, "NX"), ("PTTL", lock))
        self._answers.check((taken, left))
        if taken:
            return None
        if left == -1:
            log.error("store.value_refused", kind="lock", fault="no time to live")
            self._answers.check(await self._exchange.each(("PEXPIRE", lock, milliseconds)))
            return lifetime
        return max(0, int(left)) / 1000

    async def extend(self, key: str, *, owner: bytes, lifetime: float) -> bool:
        """See ``SessionStore.extend``."""
        (done,) = await self._exchange.each(scripts.extend(self._key("r", key), owner=owner, milliseconds=_milliseconds(lifetime)))
        return self._answers.done(done, kind="lock")

    async def unlock(self, key: str, *, owner: bytes) -> None:
        """See ``SessionStore.unlock``."""
        self._answers.check(await self._exchange.each(scripts.unlock(self._key("r", key), owner=owner)), kind="lock")

    async def claim(self, name: str, *, lifetime: float) -> bool:
        """See ``SessionStore.claim``."""
        (answer,) = await self._exchange.each(("SET", self._key("l", name), b"1", "PX", _milliseconds(lifetime), "NX"))
        self._answers.check((answer,))
        return answer is not None

    async def ready(self) -> None:
        """See ``SessionStore.ready``."""
        self._answers.check(await self._exchange.each(("PING",)))

    async def close(self) -> None:
        """See ``SessionStore.close``."""
        for following in self._followings:
            await following.close()
        await self._exchange.close()

    def _key(self, kind: str, key: str) -> str:
        return f"{self._prefix}{kind}:{{{key}}}"

    def _get(self, kind: str, key: str, most: int) -> Command:
        return ("GETRANGE", self._key(kind, key), 0, most)

    def _writing(self, new: NewSession) -> list[Command]:
        lifetime = _milliseconds(new.lifetime)
        card = [("SET", self._key("c", new.key), new.card, "PX", lifetime)] if new.card else []
        return [
            ("SET", self._key("s", new.key), new.record, "PX", lifetime),
            ("SET", self._key("t", new.key), new.tokens, "PX", lifetime),
            ("SET", self._key("i", new.key), new.last_seen, "PX", _milliseconds(new.idle)),
            *card,
        ]

    def _listing_of(self, new: NewSession) -> list[Command]:
        return self._listing(new.key, new.indexes, now=new.last_seen, lifetime=new.lifetime)

    def _listing(self, key: str, indexes: Sequence[str], *, now: int, lifetime: float) -> list[Command]:
        left, expired = _milliseconds(lifetime), now - CLOCKS_APART
        return [scripts.add(self._key("x", index), key, score=now + left, expired=expired, milliseconds=left) for index in indexes]

    def _ending(self, key: str, leave_tokens: float = 0.0) -> Command:
        keys = [self._key(kind, key) for kind in "sticre"]
        return scripts.end(keys, most=(MAX_VALUE, MAX_CARD), milliseconds=_milliseconds(leave_tokens) if leave_tokens else 0)

    def _tell_foreign(self, listed: Sequence[object]) -> None:
        for _ in range(listed.count(1)):
            log.error("store.value_refused", kind="index", fault="wrong type")

    async def _give_up(self, key: str) -> None:
        """Have nothing stay of a session that nobody has the cookie of, as far as the store takes it."""
        try:
            self._answers.check(await self._exchange.each(self._ending(key)))
        except StoreUnavailable as failure:
            log.warning("store.session_left", detail=failure.detail)


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))
