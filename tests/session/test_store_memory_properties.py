"""The memory store under a stranger's hand: whatever comes in whatever order, nobody who lives is dropped, and nothing outgrows its bound.

A dict of what must be there is held against the store after every step. Nothing in the store waits, so that no step can be interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.errors import StoreUnavailable
from gateway.session.store.memory import MemoryStore
from gateway.session.store.memory_shelf import RESERVE, octets_of
from gateway.session.store.protocol import NewSession
from tests.session.conftest import Clock

if TYPE_CHECKING:
    from collections.abc import Coroutine

MOST = 4
MOST_CLAIMS = 3
MOST_OCTETS = 800
FOR_LOGINS = MOST_OCTETS - MOST_OCTETS // RESERVE
MOST_FLEETING = 200
paddings = st.sampled_from([0, 50, 250])
keys = st.sampled_from(["a", "b", "c", "d", "e", "f", "g"])
indexes = st.lists(st.sampled_from(["all", "alice", "bob"]), unique=True).map(tuple)
seconds = st.sampled_from([1.0, 10.0, 100.0, 1000.0])


def done(work: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine gives that never waits."""
    try:
        work.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("the memory store waited, so it can be interrupted")


@dataclass
class Known:
    """A session that was created and not ended; the times are epoch seconds."""

    number: int
    tokens: bytes
    until: float
    idle_until: float
    indexes: set[str]
    octets: int
    card: bytes


class Told:
    """A follower that notes what it was told."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def now(self) -> float:
        return 0.0

    def followed(self) -> None:
        pass

    def answered(self, at: float) -> None:
        pass

    def changed(self, key: str | None) -> None:
        assert key is not None
        self.keys.append(key)

    def lost(self) -> None:
        raise AssertionError("memory loses nobody")

    def refused(self) -> None:
        raise AssertionError("memory refuses nobody")


class Stranger(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.store = MemoryStore(
            clock=self.clock, max_sessions=MOST, max_octets=MOST_OCTETS, max_claims=MOST_CLAIMS, max_fleeting_octets=MOST_FLEETING
        )
        self.told = Told()
        self.store.follow(self.told)
        self.known: dict[str, Known] = {}
        self.claims: dict[str, float] = {}
        self.number = 0

    def live(self, key: str) -> Known | None:
        """What has to be known of a session. One that stood idle for too long may have made room for another: the store says whether."""
        known = self.known.get(key)
        if known is None or self.clock.now >= known.until:
            return None
        swept = self.clock.now >= known.idle_until and key not in self.store._sessions.items
        return None if swept else known

    def staying(self, *leaving: str) -> list[Known]:
        """Who is signed in without those, and dropped for nobody."""
        return [known for each, known in self.known.items() if each not in leaving and self.clock.now < min(known.until, known.idle_until)]

    @rule(key=keys, replaces=st.lists(keys, max_size=3).map(tuple), lifetime=seconds, idle=seconds, listed=indexes, padding=paddings)
    def create(self, key: str, replaces: tuple[str, ...], lifetime: float, idle: float, *, listed: tuple[str, ...], padding: int) -> None:
        self.number += 1
        mark = b"%d" % self.number
        new = NewSession(
            key,
            b"r" + mark,
            b"t" + mark + bytes(padding),
            last_seen=self.number,
            lifetime=lifetime,
            idle=idle,
            card=b"c" + mark,
            indexes=listed,
        )
        leaving = {key, *replaces}
        cards_leaving = sorted(known.card for each in leaving - {key} if (known := self.live(each)))
        staying = self.staying(*leaving)
        room = len(staying) < MOST and sum(known.octets for known in staying) + octets_of(new) <= FOR_LOGINS
        self.told.keys.clear()
        try:
            cards = done(self.store.create(new, replaces=replaces))
        except StoreUnavailable:
            assert not room, "there was room"
            assert self.told.keys == []
            return
        assert room, "more than there is room for"
        assert sorted(cards) == cards_leaving
        assert set(self.told.keys) == {key, *replaces}
        for each in leaving:
            self.known.pop(each, None)
        now = self.clock.now
        self.known[key] = Known(self.number, new.tokens, now + lifetime, now + idle, set(listed), octets_of(new), new.card)

    @rule(key=keys, idle=seconds)
    def touch(self, key: str, idle: float) -> None:
        done(self.store.touch([key], last_seen=0, idle=idle))
        known = self.live(key)
        if known is not None and self.clock.now < known.idle_until:
            known.idle_until = self.clock.now + idle

    @rule(key=keys, leave=st.sampled_from([0.0, 30.0]))
    def end(self, key: str, leave: float) -> None:
        self.told.keys.clear()
        known = self.live(key)
        ended = done(self.store.end(key, leave_tokens=leave))
        assert ended.tokens == (None if known is None or leave else known.tokens)
        assert ended.card == (None if known is None else known.card)
        assert self.told.keys == [key]
        self.known.pop(key, None)
        if known is not None and leave:
            left = done(self.store.take_tokens(key))
            assert left == (known.tokens if len(key) + len(known.tokens) <= MOST_FLEETING else None)
            assert done(self.store.take_tokens(key)) is None

    @rule(key=keys, stale=st.booleans(), padding=paddings)
    def replace(self, key: str, stale: bool, padding: int) -> None:
        known = self.live(key)
        fence = b"another" if stale or known is None else known.tokens
        self.number += 1
        record, tokens = b"r%d" % self.number, b"t%d" % self.number + bytes(padding)
        kept = self.store._sessions.items.get(key)
        before = None if known is None or kept is None else kept.new
        others = sum(other.octets for other in self.staying(key))
        try:
            written = done(self.store.replace(key, record=record, tokens=tokens, fence=fence))
        except StoreUnavailable:
            assert known is not None
            assert before is not None
            assert others + octets_of(replace(before, record=record, tokens=tokens)) > MOST_OCTETS, "there was room"
            assert done(self.store.tokens(key)) == known.tokens
            return
        # One that stood idle for too long may have had to make room for itself.
        assert written is (known is not None and not stale and self.live(key) is not None)
        if written and known is not None:
            known.tokens = tokens
            known.octets = octets_of(self.store._sessions.items[key].new)

    @rule(key=keys, index=st.sampled_from(["all", "alice", "bob"]))
    def unlist(self, key: str, index: str) -> None:
        done(self.store.unlist(key, (index,)))
        if key in self.known:
            self.known[key].indexes.discard(index)

    @rule(key=keys, listed=indexes)
    def relist(self, key: str, listed: tuple[str, ...]) -> None:
        known = self.live(key)
        before = None if known is None else self.store._sessions.items[key].new
        card = b"" if before is None else b"%s-again" % before.card[:4]
        try:
            done_so = done(self.store.relist(key, card=card, indexes=listed, now=0, lifetime=1.0))
        except StoreUnavailable:
            assert known is not None
            assert before is not None
            again = replace(before, card=card, indexes=tuple(dict.fromkeys((*before.indexes, *listed))))
            others = sum(other.octets for other in self.staying(key))
            assert self.live(key) is None or others + octets_of(again) > MOST_OCTETS, "there was room"
            return
        assert done_so is (known is not None)
        if known is not None:
            known.indexes |= set(listed)
            known.card = card
            known.octets = octets_of(self.store._sessions.items[key].new)

    @rule(name=keys, lifetime=seconds)
    def claim(self, name: str, lifetime: float) -> None:
        first = done(self.store.claim(name, lifetime=lifetime))
        held = self.clock.now < self.claims.get(name, 0.0)
        # One that had to make room for others can be claimed again; one that was never claimed always can.
        assert first or held
        if first:
            self.claims[name] = self.clock.now + lifetime

    @rule(key=keys, owner=st.sampled_from([b"1", b"2"]), lifetime=seconds)
    def lock(self, key: str, owner: bytes, lifetime: float) -> None:
        left = done(self.store.lock(key, owner=owner, lifetime=lifetime))
        assert left is None or left > 0
        if left is None:
            assert done(self.store.extend(key, owner=owner, lifetime=lifetime))
            assert not done(self.store.extend(key, owner=b"another", lifetime=lifetime))
            done(self.store.unlock(key, owner=b"another"))
            assert done(self.store.lock(key, owner=b"another", lifetime=lifetime)) == pytest.approx(lifetime)

    @rule(passed=seconds)
    def later(self, passed: float) -> None:
        self.clock.now += passed

    @invariant()
    def whoever_lives_is_there_and_nobody_else(self) -> None:
        now = self.clock.now
        for key in "abcdefg":
            known = self.live(key)
            stored = done(self.store.read(key))
            if known is None:
                assert stored.record is None
            elif now < known.idle_until:
                assert stored.record is not None
                assert stored.last_seen is not None
                assert done(self.store.tokens(key)) == known.tokens
            else:
                # Idle for too long: it may have made room for another. It never counts as used.
                assert stored.last_seen is None
        alive = {key for key in "abcdefg" if (known := self.live(key)) is not None and now < known.idle_until}
        assert not alive & done(self.store.missing(list("abcdefg")))

    @invariant()
    def an_index_lists_who_lives_and_holds_nobody_for_ever(self) -> None:
        shelf = self.store._sessions
        for index in ("all", "alice", "bob"):
            members: list[str] = []
            cursor = 0
            while True:
                part = done(self.store.listed(index, cursor=cursor, count=2))
                members += part.keys
                cursor = part.cursor
                if not cursor:
                    break
            assert len(set(members)) == len(members)
            wanted = {
                key for key, known in self.known.items() if index in known.indexes and self.clock.now < min(known.until, known.idle_until)
            }
            assert wanted <= set(members)
            assert set(members) <= set(shelf.items), "a member without a session"
        assert all(shelf.indexes.values()), "an index of nobody"

    @invariant()
    def nothing_grows_beyond_its_bound(self) -> None:
        assert len(self.store._sessions.items) <= MOST
        assert len(self.store._claims._items) <= MOST_CLAIMS
        assert len(self.store._locks._items) <= MOST
        assert len(self.store._left._items) <= MOST
        shelf = self.store._sessions
        assert shelf.octets == sum(octets_of(kept.new) for kept in shelf.items.values()) <= MOST_OCTETS
        for fleeting in (self.store._claims, self.store._locks, self.store._left):
            held = sum(len(name) + len(value) for name, (value, _) in fleeting._items.items())
            assert fleeting._octets == held <= MOST_FLEETING


Stranger.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestStranger = Stranger.TestCase
