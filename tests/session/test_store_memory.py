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
    await store.touch(["1"], last_seen=599_000, idle=600.0)
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


async def test_strangers_who_fill_the_claims_keep_nobody_from_signing_in(clock: Clock):
    store = MemoryStore(clock=clock, max_claims=3)
    assert [await store.claim(name, lifetime=660.0) for name in "abcde"] == [True] * 5
    assert [await store.claim(name, lifetime=660.0) for name in "edc"] == [False] * 3, "the youngest are kept"
    assert await store.claim("a", lifetime=660.0), "the oldest made room"
    assert await store.claim("c", lifetime=660.0), "and so did the next"


async def test_claims_that_ended_make_room_first(clock: Clock):
    store = MemoryStore(clock=clock, max_claims=3)
    for name in "ab":
        assert await store.claim(name, lifetime=660.0)
    clock.now += 659
    assert await store.claim("c", lifetime=660.0)
    clock.now += 1
    assert [await store.claim(name, lifetime=660.0) for name in "de"] == [True, True]
    assert [await store.claim(name, lifetime=660.0) for name in "cde"] == [False] * 3


async def test_closing_keeps_nobody(clock: Clock):
    store = MemoryStore(clock=clock)
    await store.create(new(0), replaces=())
    await store.close()
    assert (await store.read("0")).record is None
