"""The memory store is bounded: full of live sessions it takes no login and drops nobody."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.errors import StoreUnavailable
from gateway.session.store.memory import MemoryStore
from gateway.session.store.protocol import NewSession

if TYPE_CHECKING:
    from tests.session.conftest import Clock


def new(number: int) -> NewSession:
    return NewSession(key=f"{number}", record=b"r", tokens=b"t", last_seen=0, lifetime=3600.0, idle=600.0)


async def test_full_of_live_sessions_it_takes_no_login(clock: Clock):
    store = MemoryStore(clock=clock, max_sessions=3)
    for number in range(3):
        await store.create(new(number), replaces=())
    with pytest.raises(StoreUnavailable):
        await store.create(new(3), replaces=())
    with pytest.raises(StoreUnavailable):
        await store.create(new(3), replaces=("unknown",))
    assert [(await store.read(f"{number}")).record for number in range(4)] == [b"r", b"r", b"r", None]


async def test_a_login_that_replaces_takes_the_place(clock: Clock):
    store = MemoryStore(clock=clock, max_sessions=1)
    await store.create(new(0), replaces=())
    await store.create(new(1), replaces=("0",))
    assert (await store.read("0")).record is None
    assert (await store.read("1")).record == b"r"


async def test_a_login_that_replaces_several_frees_a_place_for_each(clock: Clock):
    store = MemoryStore(clock=clock, max_sessions=2)
    await store.create(new(0), replaces=())
    await store.create(new(1), replaces=())
    await store.create(new(2), replaces=("0", "1", "1"))
    await store.create(new(3), replaces=())
    assert [(await store.read(f"{number}")).record for number in range(4)] == [None, None, b"r", b"r"]


async def test_a_refused_login_ends_nothing(clock: Clock):
    store = MemoryStore(clock=clock, max_sessions=2)
    await store.create(new(0), replaces=())
    await store.create(replace(new(1), idle=3600.0), replaces=())
    with pytest.raises(StoreUnavailable):
        await store.create(new(2), replaces=())
    assert (await store.read("0")).record == b"r"


async def test_idle_sessions_make_room_and_used_ones_stay(clock: Clock):
    store = MemoryStore(clock=clock, max_sessions=3)
    for number in range(3):
        await store.create(new(number), replaces=())
    clock.now += 599
    await store.touch("1", last_seen=599_000, idle=600.0)
    with pytest.raises(StoreUnavailable):
        await store.create(new(3), replaces=())
    clock.now += 1
    await store.create(new(3), replaces=())
    await store.create(new(4), replaces=())
    with pytest.raises(StoreUnavailable):
        await store.create(new(5), replaces=())
    assert [(await store.read(f"{number}")).record for number in (1, 3, 4)] == [b"r"] * 3


async def test_sessions_at_their_end_make_room(clock: Clock):
    store = MemoryStore(clock=clock, max_sessions=1)
    await store.create(replace(new(0), lifetime=100.0), replaces=())
    clock.now += 99
    with pytest.raises(StoreUnavailable):
        await store.create(new(1), replaces=())
    clock.now += 1
    await store.create(new(1), replaces=())


async def test_claims_are_bounded_too(clock: Clock):
    store = MemoryStore(clock=clock, max_claims=2)
    assert await store.claim("a", lifetime=600.0)
    assert await store.claim("b", lifetime=900.0)
    with pytest.raises(StoreUnavailable):
        await store.claim("c", lifetime=600.0)
    assert await store.claim("a", lifetime=600.0) is False
    clock.now += 600
    assert await store.claim("c", lifetime=600.0)
    with pytest.raises(StoreUnavailable):
        await store.claim("d", lifetime=600.0)
    clock.now += 300
    assert await store.claim("d", lifetime=600.0)


async def test_closing_keeps_nobody(clock: Clock):
    store = MemoryStore(clock=clock)
    await store.create(new(0), replaces=())
    await store.close()
    assert (await store.read("0")).record is None
