"""Refreshes while the store goes away, comes back or forgets, and a provider means one person: nobody waits or is signed out in vain."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from typing_extensions import override

from gateway.errors import RefreshUnavailable, StoreUnavailable
from gateway.session.cache import LONGEST_UNSETTLED, SETTLING, SessionCache
from gateway.session.found import Absent, Found
from gateway.session.refresh_rules import Follows
from gateway.session.refreshing import AT_ONCE, STORE_REST
from gateway.session.renewal import LOCK_LIFETIME
from gateway.session.store.memory import MemoryStore
from tests.session.conftest import Clock, Shop
from tests.session.refresh_house import DUE, LIFETIMES, LIVES, RefreshHouse, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.session.store.protocol import Stored


@dataclass
class Line:
    """What lies between the store and whoever asks it."""

    away: bool = False
    """It does nothing."""
    unheard: bool = False
    """It takes locks, and nobody hears of it."""
    late: asyncio.Event = field(default_factory=asyncio.Event)
    """Answers to who asks for a lock come when this is set."""
    reads: int = 0


class Shaky(MemoryStore):
    """A store behind a bad line."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.line = Line()
        self.line.late.set()

    @override
    async def read(self, key: str) -> Stored:
        self.line.reads += 1
        self._pass()
        stored = await super().read(key)
        await asyncio.sleep(0)
        return stored

    @override
    async def tokens(self, key: str) -> bytes | None:
        self.line.reads += 1
        self._pass()
        tokens = await super().tokens(key)
        await asyncio.sleep(0)
        return tokens

    @override
    async def lock(self, key: str, *, owner: bytes, lifetime: float) -> float | None:
        self._pass()
        held = await super().lock(key, owner=owner, lifetime=lifetime)
        await self.line.late.wait()
        if self.line.unheard:
            raise StoreUnavailable("no answer")
        return held

    def _pass(self) -> None:
        if self.line.away:
            raise StoreUnavailable("no answer")


@pytest.fixture
def store(clock: Clock) -> Shaky:
    return Shaky(clock)


@pytest.fixture
async def house(store: Shaky, clock: Clock) -> AsyncIterator[RefreshHouse]:
    async with RefreshHouse(Shop(store, clock)) as running:
        yield running


def test_a_store_that_comes_back_is_left_to_those_who_have_to_write(clock: Clock):
    cache = SessionCache(outage_grace=30, monotonic=clock)
    cache.lost()
    assert cache.unsettled <= 0, "never followed: there is no outage"
    cache.followed()
    assert cache.unsettled <= 0
    cache.lost()
    assert cache.unsettled == LONGEST_UNSETTLED
    clock.now += 9
    cache.lost()
    assert cache.unsettled == LONGEST_UNSETTLED - 9
    cache.followed()
    assert cache.unsettled == SETTLING
    clock.now += SETTLING
    assert cache.unsettled <= 0
    cache.lost()
    cache.refused()
    assert cache.unsettled <= 0, "it is there, and tells nothing"


async def test_no_grant_is_asked_for_while_another_may_have_to_be_written(house: RefreshHouse):
    one = house.replica(follow=True, follows=Follows.REFRESH_TOKEN)
    cookie, _ = await house.sign_in()
    cache = one.sessions._cache
    house.later(LIVES)
    cache.lost()
    await one.alive(cookie, renewed=False)
    assert one.beside.tasks == set()
    waiting = asyncio.ensure_future(one.use(cookie))
    await until(lambda: one.beside.tasks)
    cache.followed()
    await one.alive(cookie, renewed=False)
    assert house.op.refresh_requests == []
    house.later(SETTLING)
    assert isinstance(await waiting, Found)
    assert house.op.refreshes == 1


async def test_news_that_overtake_the_answer_that_somebody_else_is_at_it(house: RefreshHouse, store: Shaky):
    one, other = house.replica(follow=True), house.replica(follow=True, follows=Follows.REFRESH_TOKEN)
    cookie, _ = await house.sign_in()
    gate = house.op.misbehaviour.refresh_gate = asyncio.Event()
    house.later(LIVES)
    await one.alive(cookie)
    await until(lambda: house.op.refreshes)
    store.line.late.clear()
    waiting = asyncio.ensure_future(other.use(cookie))
    await until(lambda: other.beside.tasks)
    await asyncio.sleep(0.05)
    gate.set()
    await one.beside.settled()
    store.line.late.set()
    async with asyncio.timeout(LOCK_LIFETIME / 2):  # far before the lock would have ended
        assert isinstance(await waiting, Found)
    assert house.op.refreshes == 1


async def test_a_store_that_was_away_is_used_as_soon_as_it_is_back(house: RefreshHouse, store: Shaky):
    """RD-02: its failures are none of the provider's, and do not add up."""
    one = house.replica(follow=True, follows=Follows.REFRESH_TOKEN)
    cookie, _ = await house.sign_in()
    await one.alive(cookie)
    house.later(LIVES)
    store.line.away = True
    for _ in range(8):
        with pytest.raises(RefreshUnavailable) as raised:
            await one.use(cookie)
        assert raised.value.retry_after == 1
        house.later(STORE_REST)
    store.line.away = False
    assert isinstance(await one.use(cookie), Found)
    assert house.op.refreshes == 1


async def test_a_lock_that_was_taken_unheard_is_known_again(house: RefreshHouse, store: Shaky):
    one = house.replica(follow=True, follows=Follows.REFRESH_TOKEN)
    cookie, _ = await house.sign_in()
    await one.alive(cookie)
    house.later(LIVES)
    store.line.unheard = True
    with pytest.raises(RefreshUnavailable):
        await one.use(cookie)
    store.line.unheard = False
    house.later(STORE_REST)
    async with asyncio.timeout(LOCK_LIFETIME / 2):
        assert isinstance(await one.use(cookie), Found)


async def test_what_is_needed_of_a_provider_beside_the_grant_is_fetched_before_the_lock_is_taken(house: RefreshHouse, store: Shaky):
    house.replica()
    cookie, begun = await house.sign_in()
    cold = house.replica()
    house.op.misbehaviour.discovery_hangs = True
    house.later(DUE)
    asked = len(house.op.discovery_requests)
    await cold.alive(cookie)
    await until(lambda: len(house.op.discovery_requests) > asked)
    assert await store.lock(begun.handle.key, owner=b"somebody", lifetime=1) is None


async def test_who_had_to_wait_for_a_place_waits_for_another_replica_all_the_same(house: RefreshHouse, store: Shaky):
    one = house.replica(follow=True, follows=Follows.REFRESH_TOKEN)
    people = [await house.sign_in() for _ in range(AT_ONCE + 1)]
    held = house.op.misbehaviour.refresh_held = asyncio.Event()
    house.later(LIVES)
    working = [asyncio.ensure_future(one.use(cookie)) for cookie, _ in people[:-1]]
    await until(lambda: len(house.op.refresh_requests) == AT_ONCE)
    cookie, begun = people[-1]
    waiting = asyncio.ensure_future(one.use(cookie))
    await until(lambda: len(one.beside.tasks) == AT_ONCE + 1)
    house.later(9)
    await store.lock(begun.handle.key, owner=b"somebody else", lifetime=9)
    held.set()
    await asyncio.gather(*working)
    await asyncio.wait({waiting}, timeout=0.1)
    assert not waiting.done(), "it may wait from when it had its place"
    house.later(9)
    one.sessions._cache.changed(None)
    assert isinstance(await waiting, Found)


async def test_who_waits_for_a_refresh_goes_before_those_whom_nobody_waits_for(house: RefreshHouse):
    """RF-08: its tokens have ended, and theirs have not."""
    one = house.replica(follow=True)
    many = [await house.sign_in("alice") for _ in range(AT_ONCE + 2)]
    held = house.op.misbehaviour.refresh_held = asyncio.Event()
    house.later(DUE)
    for cookie, _ in many:
        await one.alive(cookie)
    await until(lambda: len(house.op.refresh_requests) == AT_ONCE)
    _, begun = many[-1]
    shown = await one.tokens(begun.handle)
    waiting = asyncio.ensure_future(one.sessions.renewed(begun))
    await asyncio.sleep(0)
    held.set()
    await waiting
    await house.settled()
    requests = house.op.refresh_requests
    assert len(requests) == AT_ONCE + 2
    assert requests[AT_ONCE].form["refresh_token"] == shown.refresh_token


async def test_a_provider_that_limits_one_person_is_asked_for_others(house: RefreshHouse):
    one = house.replica()
    alice, _ = await house.sign_in()
    bob, _ = await house.sign_in("bob")
    house.op.misbehaviour.refresh_status, house.op.misbehaviour.refresh_retry_after = 429, "300"
    house.later(DUE)
    await one.alive(alice)
    await house.settled()
    house.op.misbehaviour.refresh_status = 200
    house.later(2)
    await one.alive(bob)
    await one.alive(alice)
    await house.settled()
    assert house.op.refreshes == 1
    assert len(house.op.refresh_requests) == 2, "the first one rests"


async def test_a_mended_configuration_ends_every_rest(house: RefreshHouse):
    one = house.replica()
    cookie, _ = await house.sign_in()
    house.op.misbehaviour.refresh_status = 503
    house.later(DUE)
    for _ in range(2):
        await one.alive(cookie)
        await house.settled()
    assert len(house.op.refresh_requests) == 1
    house.op.misbehaviour.refresh_status = 200
    one.sessions.try_again()
    await one.alive(cookie)
    await house.settled()
    assert house.op.refreshes == 1


async def test_tokens_that_are_gone_end_the_session_before_they_are_due(house: RefreshHouse, store: Shaky):
    """RD-08"""
    one = house.replica()
    cookie, begun = await house.sign_in()
    record, fence = (await store.read(begun.handle.key)).record, await store.tokens(begun.handle.key)
    assert await store.replace(begun.handle.key, record=record, tokens=b"", fence=fence)
    await one.alive(cookie)
    assert await one.tokens(begun.handle) is None
    await house.settled()
    assert await one.use(cookie) == Absent("ended")
    assert house.op.refresh_requests == []


async def test_many_reads_at_one_moment_are_one(house: RefreshHouse, store: Shaky):
    one = house.replica(follow=True)
    cookie, begun = await house.sign_in()
    before = store.line.reads
    assert all(isinstance(answer, Found) for answer in await asyncio.gather(*(one.use(cookie) for _ in range(50))))
    assert len({id(answer) for answer in await asyncio.gather(*(one.tokens(begun.handle) for _ in range(50)))}) >= 1
    assert store.line.reads == before + 2


async def test_who_comes_after_a_change_reads_anew(house: RefreshHouse, store: Shaky):
    one = house.replica(follow=True)
    cookie, begun = await house.sign_in()
    early = asyncio.ensure_future(one.use(cookie))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await store.end(begun.handle.key)
    assert await one.use(cookie) == Absent("ended")
    await early
    assert await one.use(cookie) == Absent("ended")


async def test_a_clock_that_is_set_back_is_no_idle_session(house: RefreshHouse, store: Shaky, clock: Clock):
    """The store's own time goes on: the last note ages, however long ago it will have been."""
    one = house.replica(follow=True)
    cookie, begun = await house.sign_in()
    await one.alive(cookie)
    clock.now -= 600
    await one.alive(cookie)
    await one.sessions.notes_written()
    assert (await store.read(begun.handle.key)).last_seen == int(clock.now * 1000)
    used = {begun.handle.key: clock.now + 600}
    assert await one.sessions.note_uses(used) == {begun.handle.key: clock.now}
    assert LIFETIMES.idle > 600
