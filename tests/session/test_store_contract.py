"""One contract, every store: memory and each Redis and Valkey server there is keep the same promises."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.session.store.protocol import Ended, NewSession, Stored

if TYPE_CHECKING:
    from tests.session.conftest import Shop

NEW = NewSession(key="k" * 43, record=b"record\x00\xff", tokens=b"tokens\x00\xff", last_seen=1_700_000_000_123, lifetime=3600.0, idle=600.0)
OTHER = replace(NEW, key="o" * 43, record=b"other", tokens=b"other tokens")
NOTHING = Stored(record=None, last_seen=None)
GONE = Ended(tokens=None, card=None, there=False)


async def test_a_session_is_read_back_byte_for_byte(shop: Shop):
    await shop.store.create(NEW, replaces=())
    assert await shop.store.read(NEW.key) == Stored(record=NEW.record, last_seen=NEW.last_seen)
    assert await shop.store.tokens(NEW.key) == NEW.tokens
    assert await shop.store.tokens(NEW.key) == NEW.tokens, "reading takes nothing away"


async def test_what_was_never_there_is_nothing(shop: Shop):
    assert await shop.store.read("x" * 43) == NOTHING
    assert await shop.store.tokens("x" * 43) is None
    assert await shop.store.end("x" * 43) == GONE
    await shop.store.touch(["x" * 43], last_seen=1, idle=600.0)
    assert await shop.store.read("x" * 43) == NOTHING
    assert shop.dump() == {}


async def test_an_ended_session_is_gone_and_its_tokens_go_to_one(shop: Shop):
    await shop.store.create(NEW, replaces=())
    await shop.store.create(OTHER, replaces=())
    answers = await asyncio.gather(*(shop.store.end(NEW.key) for _ in range(5)))
    assert sorted(answers, key=lambda ended: ended.tokens is not None) == [GONE] * 4 + [Ended(NEW.tokens, None, there=True)]
    assert await shop.store.read(NEW.key) == NOTHING
    assert await shop.store.tokens(NEW.key) is None
    assert await shop.store.read(OTHER.key) == Stored(record=OTHER.record, last_seen=OTHER.last_seen), "nobody else is touched"
    await shop.store.end(OTHER.key)
    assert shop.dump() == {}


async def test_a_note_of_use_is_kept(shop: Shop):
    await shop.store.create(NEW, replaces=())
    shop.later(500)
    await shop.store.touch([NEW.key], last_seen=NEW.last_seen + 500_000, idle=600.0)
    shop.later(500)
    assert await shop.store.read(NEW.key) == Stored(record=NEW.record, last_seen=NEW.last_seen + 500_000)
    shop.later(101)
    assert await shop.store.read(NEW.key) == Stored(record=NEW.record, last_seen=None)


async def test_many_are_asked_for_at_once_and_told_apart(shop: Shop):
    await shop.store.create(NEW, replaces=())
    await shop.store.create(OTHER, replaces=())
    await shop.store.touch([OTHER.key], last_seen=OTHER.last_seen + 1, idle=60.0)
    asked = [NEW.key, "x" * 43, OTHER.key]
    assert await shop.store.last_seen([]) == []
    assert await shop.store.missing([]) == frozenset()
    assert await shop.store.missing([NEW.key, OTHER.key]) == frozenset()
    assert await shop.store.missing(asked) == {"x" * 43}
    assert await shop.store.last_seen(asked) == [NEW.last_seen, None, OTHER.last_seen + 1]
    shop.later(61)
    assert await shop.store.last_seen(asked) == [NEW.last_seen, None, None]
    await shop.store.end(NEW.key)
    assert await shop.store.last_seen(asked) == [None, None, None]
    assert await shop.store.missing(asked) == {NEW.key, "x" * 43}


async def test_use_of_many_is_noted_at_once(shop: Shop):
    await shop.store.create(NEW, replaces=())
    await shop.store.create(OTHER, replaces=())
    await shop.store.touch([], last_seen=1, idle=60.0)
    await shop.store.touch([NEW.key, "x" * 43, OTHER.key], last_seen=NEW.last_seen + 1, idle=60.0)
    assert await shop.store.last_seen([NEW.key, "x" * 43, OTHER.key]) == [NEW.last_seen + 1, None, NEW.last_seen + 1]
    assert await shop.store.read("x" * 43) == NOTHING
    shop.later(61)
    assert await shop.store.last_seen([NEW.key, OTHER.key]) == [None, None]


async def test_a_late_note_brings_nothing_back(shop: Shop):
    await shop.store.create(NEW, replaces=())
    await shop.store.end(NEW.key)
    await shop.store.touch([NEW.key], last_seen=NEW.last_seen, idle=600.0)
    assert await shop.store.read(NEW.key) == NOTHING
    assert shop.dump() == {}
    await shop.store.create(NEW, replaces=())
    shop.later(601)
    await shop.store.touch([NEW.key], last_seen=NEW.last_seen, idle=600.0)
    assert await shop.store.read(NEW.key) == Stored(record=NEW.record, last_seen=None)


async def test_idle_time_and_lifetime_run_out_by_themselves(shop: Shop):
    await shop.store.create(NEW, replaces=())
    shop.later(599)
    assert (await shop.store.read(NEW.key)).last_seen == NEW.last_seen
    shop.later(1)
    assert await shop.store.read(NEW.key) == Stored(record=NEW.record, last_seen=None)
    shop.later(3000)
    assert await shop.store.read(NEW.key) == NOTHING
    assert await shop.store.tokens(NEW.key) is None
    assert await shop.store.end(NEW.key) == GONE
    assert shop.dump() == {}


async def test_a_new_session_destroys_the_one_it_replaces(shop: Shop):
    await shop.store.create(NEW, replaces=())
    await shop.store.create(OTHER, replaces=(NEW.key,))
    assert await shop.store.read(NEW.key) == NOTHING
    assert await shop.store.tokens(NEW.key) is None
    assert await shop.store.read(OTHER.key) == Stored(record=OTHER.record, last_seen=OTHER.last_seen)
    if shop.server is not None:
        assert len(shop.dump()) == 3


async def test_a_new_session_destroys_all_that_it_replaces(shop: Shop):
    third = replace(NEW, key="t" * 43)
    await shop.store.create(NEW, replaces=())
    await shop.store.create(OTHER, replaces=())
    await shop.store.create(third, replaces=(NEW.key, OTHER.key, NEW.key, third.key))
    assert await shop.store.read(NEW.key) == await shop.store.read(OTHER.key) == NOTHING
    assert await shop.store.read(third.key) == Stored(record=third.record, last_seen=third.last_seen), "never itself"
    if shop.server is not None:
        assert len(shop.dump()) == 3


async def test_replacing_what_has_ended_already_is_no_fault(shop: Shop):
    await shop.store.create(NEW, replaces=("gone" * 10,))
    assert (await shop.store.read(NEW.key)).record == NEW.record


async def test_a_login_is_claimed_once(shop: Shop):
    answers = await asyncio.gather(*(shop.store.claim("s" * 43, lifetime=600.0) for _ in range(10)))
    assert sorted(answers) == [False] * 9 + [True]
    assert await shop.store.claim("t" * 43, lifetime=600.0) is True
    shop.later(599)
    assert await shop.store.claim("s" * 43, lifetime=600.0) is False
    shop.later(1)
    assert await shop.store.claim("s" * 43, lifetime=600.0) is True


async def test_names_of_sessions_and_of_claims_are_apart(shop: Shop):
    await shop.store.claim(NEW.key, lifetime=600.0)
    assert await shop.store.read(NEW.key) == NOTHING
    await shop.store.create(NEW, replaces=())
    await shop.store.end(NEW.key)
    assert await shop.store.claim(NEW.key, lifetime=600.0) is False, "ending a session does not give its name's claim back"


async def test_a_store_that_works_is_ready(shop: Shop):
    await shop.store.ready()
