"""The memory store is bounded: full of live sessions it takes no login and drops nobody."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.errors import StoreUnavailable
from gateway.session.store.memory import MAX_OCTETS, MAX_SESSIONS, MemoryStore
from gateway.session.store.memory_shelf import RESERVE, octets_of
from gateway.session.store.protocol import MAX_CARD, MAX_VALUE, NewSession

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


SMALL = len("0rt")


async def test_full_by_octets_it_takes_no_login_and_drops_nobody(clock: Clock):
    """An eighth is left to those who are signed in."""
    store = MemoryStore(clock=clock, max_octets=800)
    big = replace(new(0), tokens=b"t" * (700 - 2 * SMALL))
    await store.create(big, replaces=())
    await store.create(new(1), replaces=())
    with pytest.raises(StoreUnavailable):
        await store.create(replace(new(2), card=b"card"), replaces=())
    assert [(await store.read(f"{number}")).record for number in range(3)] == [b"r", b"r", None]
    assert await store.tokens("0") == big.tokens
    assert await store.replace("1", record=b"r", tokens=b"t" * 90, fence=b"t"), "what is renewed may grow"
    with pytest.raises(StoreUnavailable):
        await store.replace("1", record=b"r", tokens=b"t" * 200, fence=b"t" * 90)
    assert await store.tokens("1") == b"t" * 90
    await store.end("0")
    assert await store.replace("1", record=b"r", tokens=b"t" * 200, fence=b"t" * 90)
    await store.create(replace(new(2), card=b"card"), replaces=())


async def test_a_large_session_that_replaces_a_large_one_fits(clock: Clock):
    store = MemoryStore(clock=clock, max_octets=800)
    for number in range(5):
        await store.create(replace(new(number), tokens=b"t" * 600), replaces=(f"{number - 1}",))
    assert [(await store.read(f"{number}")).record for number in (3, 4)] == [None, b"r"]


async def test_idle_sessions_make_room_by_their_octets(clock: Clock):
    store = MemoryStore(clock=clock, max_octets=800)
    await store.create(replace(new(0), tokens=b"t" * 600), replaces=())
    clock.now += 600
    assert await store.replace("0", record=b"r", tokens=b"t" * 700, fence=b"t" * 600), "there is room"
    assert not await store.replace("0", record=b"r", tokens=b"t" * 900, fence=b"t" * 700), "nobody uses it"
    assert (await store.read("0")).record is None
    await store.create(replace(new(1), tokens=b"t" * 600), replaces=())


async def test_tokens_that_ends_left_are_bounded_too(clock: Clock):
    store = MemoryStore(clock=clock, max_fleeting_octets=800)
    for number in range(3):
        await store.create(replace(new(number), tokens=b"%d" % number * 300), replaces=())
        await store.end(f"{number}", leave_tokens=30.0)
    assert [await store.take_tokens(f"{number}") for number in range(3)] == [None, b"1" * 300, b"2" * 300], "the oldest made room"


async def test_the_default_takes_as_many_sessions_as_it_counts(clock: Clock):
    """Of five KiB each; of the largest that there can be, hundreds."""
    store = MemoryStore(clock=clock)
    usual = replace(new(0), record=b"r" * 1024, tokens=b"t" * 4096)
    for number in range(MAX_SESSIONS):
        await store.create(replace(usual, key=f"{number}"), replaces=())
    with pytest.raises(StoreUnavailable):
        await store.create(new(MAX_SESSIONS), replaces=())
    await store.close()
    largest = replace(new(0), record=b"r" * MAX_VALUE, tokens=b"t" * MAX_VALUE, card=b"c" * MAX_CARD)
    fit = (MAX_OCTETS - MAX_OCTETS // RESERVE) // octets_of(replace(largest, key="000"))
    assert 800 < fit < 1000
    for number in range(fit):
        await store.create(replace(largest, key=f"{number:03}"), replaces=())
    with pytest.raises(StoreUnavailable):
        await store.create(replace(largest, key=f"{fit}"), replaces=())


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
