"""The contract of what looks after sessions without their cookies, over every store: listed, shown, ended, and their tokens left behind."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import redis as redis_py

from gateway.session.store.protocol import Ended, Listed, NewSession, Shown, Stored

if TYPE_CHECKING:
    from tests.session.conftest import Shop

NEW = NewSession(
    key="k" * 43,
    record=b"record",
    tokens=b"tokens\x00\xff",
    last_seen=1_700_000_000_123,
    lifetime=3600.0,
    idle=600.0,
    card=b"card\x00\xff",
    indexes=("alice", "main"),
)
OTHER = replace(NEW, key="o" * 43, card=b"other card", indexes=("bob", "main"))
GONE = Ended(tokens=None, card=None, there=False)
UNKNOWN = Shown(card=None, last_seen=None, there=False)


def key(number: int) -> str:
    return f"{number:0>43}"


async def members(shop: Shop, index: str, *, count: int = 100) -> list[str]:
    """All that an index lists; whatever is told twice is once in it."""
    found: dict[str, None] = {}
    cursor = 0
    while True:
        part = await shop.store.listed(index, cursor=cursor, count=count)
        found |= dict.fromkeys(part.keys)
        cursor = part.cursor
        if not cursor:
            return sorted(found)


async def test_a_session_is_listed_under_its_names(shop: Shop):
    await shop.store.create(NEW, replaces=())
    await shop.store.create(OTHER, replaces=())
    assert await members(shop, "alice") == [NEW.key]
    assert await members(shop, "bob") == [OTHER.key]
    assert await members(shop, "main") == [NEW.key, OTHER.key]
    assert await shop.store.listed("nobody", cursor=0, count=10) == Listed(keys=(), cursor=0)


async def test_a_session_is_listed_anew_with_another_card(shop: Shop):
    """Beside where it is; all of it lives as long as before."""
    await shop.store.create(NEW, replaces=())
    await shop.store.create(OTHER, replaces=())
    shop.later(600)
    before = lifetimes(shop)
    relisted = shop.store.relist(NEW.key, card=b"another", indexes=("alice again", "main"), now=NEW.last_seen + 600_000, lifetime=3000.0)
    assert await relisted
    assert [shown.card for shown in await shop.store.show([NEW.key, OTHER.key])] == [b"another", b"other card"]
    for index, listed in (("alice", [NEW.key]), ("alice again", [NEW.key]), ("main", [NEW.key, OTHER.key])):
        assert await members(shop, index, count=1) == listed
    after = lifetimes(shop)
    for name, left in before.items():
        assert left - 10_000 < after.pop(name) <= (3_000_000 if ":x:" in name else left)
    assert all(0 < left <= 3_000_000 for left in after.values()), "the new list"
    assert (await shop.store.end(NEW.key)).card == b"another"
    shop.later(3001)
    assert shop.dump() == {}


@pytest.mark.parametrize("session", [pytest.param(None, id="it has ended"), pytest.param(replace(NEW, card=b""), id="it has no card")])
async def test_nothing_comes_back_by_being_listed_anew(shop: Shop, session: NewSession | None):
    if session is not None:
        await shop.store.create(session, replaces=())
    assert not await shop.store.relist(NEW.key, card=b"another", indexes=("alice again",), now=NEW.last_seen, lifetime=3000.0)
    await shop.store.unlist(NEW.key, ("alice again",))
    assert await members(shop, "alice again") == []
    assert (await shop.store.show([NEW.key]))[0].card is None
    assert await shop.store.missing([NEW.key]) == (frozenset() if session else {NEW.key})


async def test_many_that_are_listed_anew_in_the_middle_of_a_search_are_not_missed(shop: Shop):
    for number in range(60):
        await shop.store.create(replace(NEW, key=key(number)), replaces=())
    first = await shop.store.listed("main", cursor=0, count=10)
    for number in range(0, 60, 2):
        await shop.store.relist(key(number), card=b"another", indexes=("main",), now=NEW.last_seen, lifetime=3600.0)
    seen, cursor = set(first.keys), first.cursor
    while cursor:
        part = await shop.store.listed("main", cursor=cursor, count=10)
        seen, cursor = seen | set(part.keys), part.cursor
    assert seen == {key(number) for number in range(60)}


async def test_many_are_told_in_parts_and_none_is_missed(shop: Shop):
    for number in range(300):
        await shop.store.create(replace(NEW, key=key(number)), replaces=())
    first = await shop.store.listed("main", cursor=0, count=50)
    assert first.cursor, "not all at once"
    assert await members(shop, "main", count=50) == [key(number) for number in range(300)]


async def test_who_stays_is_told_though_others_go_meanwhile(shop: Shop):
    for number in range(300):
        await shop.store.create(replace(NEW, key=key(number)), replaces=())
    found: set[str] = set()
    cursor, gone = 0, 0
    while True:
        part = await shop.store.listed("main", cursor=cursor, count=20)
        found |= set(part.keys)
        for number in range(gone, min(gone + 20, 150)):
            await shop.store.end(key(number))
            await shop.store.unlist(key(number), NEW.indexes)
        gone += 20
        cursor = part.cursor
        if not cursor:
            break
    assert found >= {key(number) for number in range(150, 300)}


async def test_who_has_ended_is_taken_off(shop: Shop):
    await shop.store.create(NEW, replaces=())
    await shop.store.create(OTHER, replaces=())
    await shop.store.end(NEW.key)
    await shop.store.unlist(NEW.key, NEW.indexes)
    await shop.store.unlist(NEW.key, NEW.indexes)
    await shop.store.unlist(NEW.key, ("nobody",))
    await shop.store.unlist(NEW.key, ())
    assert await members(shop, "alice") == []
    assert await members(shop, "main") == [OTHER.key]
    await shop.store.end(OTHER.key)
    await shop.store.unlist(OTHER.key, OTHER.indexes)
    assert shop.dump() == {}, "an index of nobody is none"


async def test_who_has_expired_is_taken_off_by_the_next_who_comes(shop: Shop):
    await shop.store.create(replace(NEW, lifetime=60.0), replaces=())
    await shop.store.create(replace(OTHER, lifetime=7200.0), replaces=())
    shop.later(60 + 301)  # clocks of replicas may be five minutes apart
    third = replace(NEW, key="t" * 43, last_seen=NEW.last_seen + 361_000)
    await shop.store.create(third, replaces=())
    assert await members(shop, "main") == [OTHER.key, third.key]


async def test_an_index_lives_as_long_as_the_longest_that_it_lists(shop: Shop):
    await shop.store.create(replace(NEW, lifetime=7200.0), replaces=())
    await shop.store.create(replace(OTHER, lifetime=60.0), replaces=())
    shop.later(7199)
    assert NEW.key in await members(shop, "main")
    shop.later(1)
    assert shop.dump() == {}


async def test_what_is_told_of_sessions(shop: Shop):
    await shop.store.create(NEW, replaces=())
    await shop.store.create(OTHER, replaces=())
    await shop.store.touch([OTHER.key], last_seen=OTHER.last_seen + 5, idle=60.0)
    assert await shop.store.show([]) == []
    assert await shop.store.show([OTHER.key, "x" * 43, NEW.key]) == [
        Shown(card=OTHER.card, last_seen=OTHER.last_seen + 5, there=True),
        UNKNOWN,
        Shown(card=NEW.card, last_seen=NEW.last_seen, there=True),
    ]
    shop.later(61)
    assert await shop.store.show([OTHER.key]) == [Shown(card=OTHER.card, last_seen=None, there=True)]
    await shop.store.end(OTHER.key)
    assert await shop.store.show([OTHER.key]) == [UNKNOWN]
    shop.later(3600)
    assert await shop.store.show([NEW.key]) == [UNKNOWN]


async def test_a_session_without_a_card(shop: Shop):
    bare = replace(NEW, card=b"", indexes=())
    await shop.store.create(bare, replaces=())
    assert await shop.store.show([bare.key]) == [Shown(card=None, last_seen=bare.last_seen, there=True)]
    assert await shop.store.end(bare.key) == Ended(tokens=bare.tokens, card=None, there=True)


async def test_the_card_goes_to_the_first_who_ends_it(shop: Shop):
    await shop.store.create(NEW, replaces=())
    answers = await asyncio.gather(*(shop.store.end(NEW.key) for _ in range(5)))
    assert answers.count(GONE) == 4
    assert answers.count(Ended(tokens=NEW.tokens, card=NEW.card, there=True)) == 1


async def test_a_login_is_told_the_cards_of_those_it_replaced(shop: Shop):
    third = replace(NEW, key="t" * 43, card=b"", indexes=())
    for each in (NEW, OTHER, third):
        assert await shop.store.create(each, replaces=()) == ()
    newest = replace(NEW, key="n" * 43, card=b"newest")
    cards = await shop.store.create(newest, replaces=(NEW.key, "x" * 43, third.key, OTHER.key, NEW.key, newest.key))
    assert sorted(cards) == sorted((NEW.card, OTHER.card))
    assert await shop.store.show([NEW.key, OTHER.key, newest.key]) == [UNKNOWN, UNKNOWN, Shown(b"newest", newest.last_seen, there=True)]
    assert newest.key in await members(shop, "alice")


async def test_tokens_are_left_for_one_who_takes_them(shop: Shop):
    await shop.store.create(NEW, replaces=())
    assert await shop.store.take_tokens(NEW.key) is None, "none while the session lives"
    assert await shop.store.end(NEW.key, leave_tokens=30.0) == Ended(tokens=None, card=NEW.card, there=True)
    assert await shop.store.read(NEW.key) == Stored(record=None, last_seen=None)
    assert await shop.store.tokens(NEW.key) is None
    assert await shop.store.show([NEW.key]) == [UNKNOWN]
    answers = await asyncio.gather(*(shop.store.take_tokens(NEW.key) for _ in range(5)))
    assert sorted(answers, key=bool) == [None] * 4 + [NEW.tokens]
    await shop.store.unlist(NEW.key, NEW.indexes)
    assert shop.dump() == {}


async def test_tokens_are_left_for_so_long(shop: Shop):
    await shop.store.create(NEW, replaces=())
    await shop.store.end(NEW.key, leave_tokens=30.0)
    shop.later(29)
    assert await shop.store.end(NEW.key, leave_tokens=30.0) == GONE
    assert await shop.store.end(NEW.key) == GONE, "they are for who takes them"
    shop.later(1)
    assert await shop.store.take_tokens(NEW.key) is None, "a second end leaves them no longer"


async def test_tokens_of_a_session_about_to_expire_are_left_as_long(shop: Shop):
    await shop.store.create(replace(NEW, lifetime=10.0), replaces=())
    await shop.store.end(NEW.key, leave_tokens=30.0)
    shop.later(29)
    assert await shop.store.take_tokens(NEW.key) == NEW.tokens


@pytest.mark.parametrize("leave", [0.0, 30.0])
async def test_everything_that_is_kept_ends_by_itself(shop: Shop, leave: float):
    await shop.store.create(NEW, replaces=())
    await shop.store.create(OTHER, replaces=("x" * 43,))
    await shop.store.claim("s" * 43, lifetime=600.0)
    await shop.store.lock(NEW.key, owner=b"me", lifetime=20.0)
    await shop.store.lock("x" * 43, owner=b"me", lifetime=20.0)
    await shop.store.extend(NEW.key, owner=b"me", lifetime=60.0)
    await shop.store.replace(NEW.key, record=b"newer", tokens=b"newer tokens", fence=NEW.tokens)
    await shop.store.touch([NEW.key], last_seen=NEW.last_seen, idle=600.0)
    await shop.store.end(OTHER.key, leave_tokens=leave)
    if shop.server is not None:
        assert sorted(lifetimes(shop)) == sorted(
            [*(f"gateway:{kind}:{{{NEW.key}}}" for kind in "sticr"), f"gateway:r:{{{'x' * 43}}}", f"gateway:l:{{{'s' * 43}}}"]
            + [f"gateway:x:{{{name}}}" for name in ("alice", "bob", "main")]
            + ([f"gateway:e:{{{OTHER.key}}}"] if leave else [])
        )
    assert all(0 < left <= 3_600_000 for left in lifetimes(shop).values())
    shop.later(3600)
    assert shop.dump() == {}


def lifetimes(shop: Shop) -> dict[str, int]:
    """Milliseconds that each key has left, over all servers."""
    found: dict[str, int] = {}
    for url in shop.urls:
        with redis_py.Redis.from_url(url) as client:
            found |= {name.decode(): client.pttl(name) for name in client.keys("*")}
    return found
