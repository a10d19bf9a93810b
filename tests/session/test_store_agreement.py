"""Memory and Redis are one store to whoever asks: whatever is done in whatever order, both answer alike.

Time is the machine's, in whole steps; the server's keys are aged by it. What may differ by the contract is not compared: sessions that have
ended and are listed still, and how long exactly a lock is held.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from gateway.session.store.memory import MemoryStore
from gateway.session.store.opening import open_store
from gateway.session.store.protocol import NewSession
from tests.session.conftest import Clock, Shop
from tests.support.redis_servers import RedisServer, server_binaries, server_id

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gateway.session.store.protocol import SessionStore

KEYS = [letter * 43 for letter in "ab"]
INDEXES = ["alice", "main"]
OWNERS = [b"me", b"you"]

keys = st.sampled_from(KEYS)
values = st.sampled_from([b"v1", b"v2", b"v3\x00\xff"])
lifetimes = st.sampled_from([100.0, 200.0, 400.0])
times = st.integers(1_700_000_000_000, 1_700_000_000_009)
owners = st.sampled_from(OWNERS)
sessions = st.builds(
    NewSession,
    key=keys,
    record=values,
    tokens=values,
    last_seen=times,
    lifetime=lifetimes,
    idle=lifetimes,
    card=st.sampled_from([b"", b"card", b"other card"]),
    indexes=st.lists(st.sampled_from(INDEXES), unique=True).map(tuple),
)


class Agreement(RuleBasedStateMachine):
    server: RedisServer

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.server.command("FLUSHALL")
        self.redis = Shop(open_store(self.server.url), self.clock, self.server)
        self.memory = MemoryStore(clock=self.clock)

    def teardown(self) -> None:
        self.loop.run_until_complete(self.redis.store.close())
        self.loop.close()

    def both(self, ask: Callable[[SessionStore], Coroutine[Any, Any, Any]]) -> Any:
        here = self.loop.run_until_complete(ask(self.memory))
        there = self.loop.run_until_complete(ask(self.redis.store))
        assert here == there
        return here

    @rule(new=sessions, replaces=st.lists(keys, max_size=2))
    def create(self, new: NewSession, replaces: list[str]) -> None:
        # A key is used once, as it is drawn at random; an index that lists it as what it was before is none of a store's cares.
        for each in (self.memory, self.redis.store):
            self.loop.run_until_complete(each.unlist(new.key, INDEXES))
            self.loop.run_until_complete(each.end(new.key))
        self.both(lambda store: store.create(new, replaces=tuple(replaces)))

    @rule(key=keys, record=values, tokens=values, fence=st.none() | values)
    def replace(self, key: str, record: bytes, tokens: bytes, fence: bytes | None) -> None:
        """None: whatever the tokens are now."""
        if fence is None:
            fence = self.loop.run_until_complete(self.memory.tokens(key)) or b"none"
        self.both(lambda store, fence=fence: store.replace(key, record=record, tokens=tokens, fence=fence))

    @rule(key=keys, leave=st.sampled_from([0.0, 50.0]))
    def end(self, key: str, leave: float) -> None:
        self.both(lambda store: store.end(key, leave_tokens=leave))

    @rule(key=keys)
    def take_tokens(self, key: str) -> None:
        self.both(lambda store: store.take_tokens(key))

    @rule(some=st.lists(keys, unique=True), seen=times, idle=lifetimes)
    def touch(self, some: list[str], seen: int, idle: float) -> None:
        self.both(lambda store: store.touch(some, last_seen=seen, idle=idle))

    @rule(key=keys, indexes=st.lists(st.sampled_from(INDEXES)))
    def unlist(self, key: str, indexes: list[str]) -> None:
        self.both(lambda store: store.unlist(key, indexes))

    @rule(key=keys, card=values, indexes=st.lists(st.sampled_from(INDEXES), unique=True), now=times)
    def relist(self, key: str, card: bytes, indexes: list[str], now: int) -> None:
        done = self.both(lambda store: store.relist(key, card=card, indexes=indexes, now=now, lifetime=400.0))
        if not done:
            self.both(lambda store: store.unlist(key, indexes))

    @rule(key=keys, owner=owners, lifetime=lifetimes)
    def lock(self, key: str, owner: bytes, lifetime: float) -> None:
        stores = (self.memory, self.redis.store)
        here, there = (self.loop.run_until_complete(store.lock(key, owner=owner, lifetime=lifetime)) for store in stores)
        assert (here is None) == (there is None)
        assert here is None or there == pytest.approx(here, abs=10.0)

    @rule(key=keys, owner=owners, lifetime=lifetimes)
    def extend(self, key: str, owner: bytes, lifetime: float) -> None:
        self.both(lambda store: store.extend(key, owner=owner, lifetime=lifetime))

    @rule(key=keys, owner=owners)
    def unlock(self, key: str, owner: bytes) -> None:
        self.both(lambda store: store.unlock(key, owner=owner))

    @rule(name=keys, lifetime=lifetimes)
    def claim(self, name: str, lifetime: float) -> None:
        self.both(lambda store: store.claim(name, lifetime=lifetime))

    @rule(seconds=st.sampled_from([50.0, 100.0, 200.0]))
    def later(self, seconds: float) -> None:
        self.redis.later(seconds)

    @invariant()
    def both_tell_the_same(self) -> None:
        for key in KEYS:
            if self.both(lambda store, key=key: store.tokens(key)) is not None:
                self.both(lambda store, key=key: store.read(key))
        self.both(lambda store: store.show(KEYS))
        self.both(lambda store: store.last_seen(KEYS))
        missing = self.both(lambda store: store.missing(KEYS))
        for index in INDEXES:
            self.both(lambda store, index=index: living(store, index, missing))


async def living(store: SessionStore, index: str, missing: frozenset[str]) -> list[str]:
    return sorted(set((await store.listed(index, cursor=0, count=100)).keys) - missing)


@pytest.mark.parametrize("binary", [pytest.param(index, id=server_id(binary)) for index, binary in enumerate(server_binaries())])
def test_memory_and_redis_agree(binary: int, running_servers: Callable[[int], RedisServer]):
    class Here(Agreement):
        server = running_servers(binary)

    run_state_machine_as_test(
        Here, settings=settings(max_examples=50, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    )
