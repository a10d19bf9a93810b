"""The contract of what a refresh needs, over every store: one alone writes, for a session that lives, and locks end by themselves."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.session.store.protocol import NewSession, Stored

if TYPE_CHECKING:
    from tests.session.conftest import Shop

NEW = NewSession(
    key="k" * 43, record=b"record\x00\xff", tokens=b"tokens\x00\xff", last_seen=1_700_000_000_123, lifetime=3600.0, idle=600.0, card=b"card"
)
NOTHING = Stored(record=None, last_seen=None)


async def test_record_and_tokens_are_replaced_together(shop: Shop):
    await shop.store.create(NEW, replaces=())
    assert await shop.store.replace(NEW.key, record=b"newer\x00", tokens=b"newer tokens\xff", fence=NEW.tokens)
    assert await shop.store.read(NEW.key) == Stored(record=b"newer\x00", last_seen=NEW.last_seen)
    assert await shop.store.tokens(NEW.key) == b"newer tokens\xff"
    (shown,) = await shop.store.show([NEW.key])
    assert shown.card == NEW.card


@pytest.mark.parametrize("fence", [b"tokens", b"tokens\x00\xff\x00", b"tokens\x00\xfe", b"other", NEW.record, b""])
async def test_with_another_fence_nothing_is_written(shop: Shop, fence: bytes):
    await shop.store.create(NEW, replaces=())
    assert not await shop.store.replace(NEW.key, record=b"newer", tokens=b"newer", fence=fence)
    assert (await shop.store.read(NEW.key)).record == NEW.record
    assert await shop.store.tokens(NEW.key) == NEW.tokens


async def test_what_has_ended_is_not_brought_back(shop: Shop):
    assert not await shop.store.replace("x" * 43, record=b"newer", tokens=b"newer", fence=b"")
    await shop.store.create(NEW, replaces=())
    await shop.store.end(NEW.key, leave_tokens=30.0)
    assert not await shop.store.replace(NEW.key, record=b"newer", tokens=b"newer", fence=NEW.tokens)
    assert await shop.store.read(NEW.key) == NOTHING
    assert await shop.store.take_tokens(NEW.key) == NEW.tokens, "and what it left is as it was"
    assert shop.dump() == {}


async def test_a_session_lives_no_longer_for_being_refreshed(shop: Shop):
    await shop.store.create(replace(NEW, idle=7200.0), replaces=())
    shop.later(3000)
    assert await shop.store.replace(NEW.key, record=b"newer", tokens=b"newer tokens", fence=NEW.tokens)
    shop.later(599)
    assert (await shop.store.read(NEW.key)).record == b"newer"
    assert await shop.store.tokens(NEW.key) == b"newer tokens"
    shop.later(1)
    assert (await shop.store.read(NEW.key)).record is None
    assert await shop.store.tokens(NEW.key) is None
    assert not await shop.store.replace(NEW.key, record=b"n", tokens=b"n", fence=b"newer tokens")


async def test_nor_does_a_refresh_count_as_use(shop: Shop):
    await shop.store.create(NEW, replaces=())
    shop.later(599)
    assert await shop.store.replace(NEW.key, record=b"newer", tokens=b"newer tokens", fence=NEW.tokens)
    shop.later(1)
    assert await shop.store.read(NEW.key) == Stored(record=b"newer", last_seen=None)


async def test_of_many_that_come_from_the_same_tokens_one_is_written(shop: Shop):
    await shop.store.create(NEW, replaces=())
    done = await asyncio.gather(
        *(shop.store.replace(NEW.key, record=b"record %d" % n, tokens=b"tokens %d" % n, fence=NEW.tokens) for n in range(10))
    )
    assert sorted(done) == [False] * 9 + [True]
    first = done.index(True)
    assert (await shop.store.read(NEW.key)).record == b"record %d" % first
    assert await shop.store.tokens(NEW.key) == b"tokens %d" % first


@pytest.mark.parametrize("first", ["the end", "the refresh"])
async def test_an_end_beats_a_refresh_in_flight(shop: Shop, first: str):
    await shop.store.create(NEW, replaces=())
    ending = shop.store.end(NEW.key)
    refreshing = shop.store.replace(NEW.key, record=b"newer", tokens=b"newer tokens", fence=NEW.tokens)
    if first == "the end":
        ended, written = await asyncio.gather(ending, refreshing)
    else:
        written, ended = await asyncio.gather(refreshing, ending)
    assert ended.tokens == (b"newer tokens" if written else NEW.tokens), "whatever is the newest is there to be revoked"
    assert await shop.store.read(NEW.key) == NOTHING
    assert shop.dump() == {}


async def test_a_login_in_between_beats_a_refresh(shop: Shop):
    await shop.store.create(NEW, replaces=())
    await shop.store.create(replace(NEW, key="o" * 43), replaces=(NEW.key,))
    assert not await shop.store.replace(NEW.key, record=b"newer", tokens=b"newer tokens", fence=NEW.tokens)
    assert await shop.store.read(NEW.key) == NOTHING


async def test_one_has_the_lock(shop: Shop):
    answers = await asyncio.gather(*(shop.store.lock(NEW.key, owner=b"owner %d" % n, lifetime=10.0) for n in range(10)))
    assert answers.count(None) == 1
    assert all(0 < left <= 10.0 for left in answers if left is not None)
    assert await shop.store.lock("o" * 43, owner=b"me", lifetime=10.0) is None, "of another session's nobody has it"


async def test_a_lock_is_its_owners(shop: Shop):
    assert await shop.store.lock(NEW.key, owner=b"me", lifetime=10.0) is None
    assert await shop.store.lock(NEW.key, owner=b"me", lifetime=10.0) is not None, "not even for its owner a second time"
    for other in (b"you", b"m", b"me2", b""):
        assert not await shop.store.extend(NEW.key, owner=other, lifetime=100.0)
        await shop.store.unlock(NEW.key, owner=other)
    left = await shop.store.lock(NEW.key, owner=b"you", lifetime=10.0)
    assert left is not None
    assert 0 < left <= 10.0
    await shop.store.unlock(NEW.key, owner=b"me")
    assert await shop.store.lock(NEW.key, owner=b"you", lifetime=10.0) is None
    await shop.store.unlock(NEW.key, owner=b"me")
    assert await shop.store.extend(NEW.key, owner=b"you", lifetime=10.0)


async def test_a_lock_that_is_extended_is_kept_so_long_and_no_longer(shop: Shop):
    assert await shop.store.lock(NEW.key, owner=b"me", lifetime=10.0) is None
    shop.later(9)
    assert await shop.store.extend(NEW.key, owner=b"me", lifetime=60.0)
    shop.later(59)
    left = await shop.store.lock(NEW.key, owner=b"you", lifetime=10.0)
    assert left is not None
    assert 0 < left <= 1.0
    assert await shop.store.extend(NEW.key, owner=b"me", lifetime=0.5), "an extension may shorten, too"
    shop.later(0.5)
    assert not await shop.store.extend(NEW.key, owner=b"me", lifetime=60.0)
    assert await shop.store.lock(NEW.key, owner=b"you", lifetime=10.0) is None


async def test_a_lock_goes_with_its_session(shop: Shop):
    await shop.store.create(NEW, replaces=())
    assert await shop.store.lock(NEW.key, owner=b"me", lifetime=1000.0) is None
    await shop.store.end(NEW.key)
    assert not await shop.store.extend(NEW.key, owner=b"me", lifetime=1000.0)
    await shop.store.create(NEW, replaces=())
    assert await shop.store.lock(NEW.key, owner=b"me", lifetime=1000.0) is None
    await shop.store.create(replace(NEW, key="o" * 43), replaces=(NEW.key,))
    assert not await shop.store.extend(NEW.key, owner=b"me", lifetime=1000.0)


async def test_a_lock_is_no_session(shop: Shop):
    assert await shop.store.lock(NEW.key, owner=b"me", lifetime=1000.0) is None
    assert await shop.store.read(NEW.key) == NOTHING
    assert await shop.store.missing([NEW.key]) == {NEW.key}
    assert await shop.store.claim(NEW.key, lifetime=10.0), "nor is it a claim"
