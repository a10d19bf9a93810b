"""A Redis that is full, loading, a replica, paused or slow: what it refuses is an outage, what it takes is whole, and sent once."""

from __future__ import annotations

import asyncio
import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.errors import StoreUnavailable
from gateway.session.store.opening import open_store
from gateway.session.store.protocol import Ended, Listed, NewSession, Shown, Stored
from tests.support.redis_proxy import RedisProxy, redis_proxy
from tests.support.redis_servers import RedisServer, redis_server, server_binaries, server_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.session.store.protocol import SessionStore

NEW = NewSession(
    key="k" * 43, record=b"record", tokens=b"tokens", last_seen=1_700_000_000_123, lifetime=3600.0, idle=600.0, card=b"card", indexes=("x",)
)
OTHER = replace(NEW, key="o" * 43, record=b"other", indexes=("x", "y"))
WHOLE = Stored(record=NEW.record, last_seen=NEW.last_seen)
NOTHING = Stored(record=None, last_seen=None)

every_server = pytest.mark.parametrize("binary", [pytest.param(binary, id=server_id(binary)) for binary in server_binaries()])


@pytest.fixture
async def server(binary: Path) -> AsyncIterator[RedisServer]:
    debugging = () if "6.2" in server_id(binary) else ("--enable-debug-command", "yes")
    async with redis_server(binary, extra=debugging) as server:
        yield server


@pytest.fixture
async def store(server: RedisServer) -> AsyncIterator[SessionStore]:
    store = open_store(server.url)
    yield store
    await store.close()


async def everything_reads_as_before(store: SessionStore) -> None:
    assert await store.read(NEW.key) == WHOLE
    assert await store.tokens(NEW.key) == NEW.tokens
    assert await store.missing([NEW.key, OTHER.key]) == {OTHER.key}
    assert await store.last_seen([NEW.key]) == [NEW.last_seen]
    assert await store.show([NEW.key]) == [Shown(NEW.card, NEW.last_seen, there=True)]
    assert await store.listed("x", cursor=0, count=10) == Listed((NEW.key,), 0)
    assert await store.listed("y", cursor=0, count=10) == Listed((), 0)


async def is_refused(store: SessionStore, code: str, *writes: str) -> None:
    attempts = {
        "create": lambda: store.create(OTHER, replaces=(NEW.key,)),
        "replace": lambda: store.replace(NEW.key, record=b"newer", tokens=b"newer", fence=NEW.tokens),
        "touch": lambda: store.touch([NEW.key], last_seen=NEW.last_seen + 1, idle=600.0),
        "lock": lambda: store.lock(OTHER.key, owner=b"me", lifetime=10.0),
        "claim": lambda: store.claim("s" * 43, lifetime=10.0),
        "end": lambda: store.end(NEW.key),
        "end, leaving tokens": lambda: store.end(NEW.key, leave_tokens=30.0),
        "unlist": lambda: store.unlist(NEW.key, ["x"]),
    }
    outcomes = await asyncio.gather(*(attempts[write]() for write in writes or attempts), return_exceptions=True)
    for write, outcome in zip(writes or attempts, outcomes, strict=True):
        assert isinstance(outcome, StoreUnavailable), write
        assert re.search(code, outcome.detail), (write, outcome.detail)


@every_server
async def test_out_of_memory_nobody_comes_and_everybody_may_go(server: RedisServer, store: SessionStore):
    await store.create(NEW, replaces=())
    await store.lock(NEW.key, owner=b"me", lifetime=10.0)
    server.command("CONFIG", "SET", "maxmemory", "1")
    await is_refused(store, "OutOfMemoryError|OOM", "create", "replace", "touch", "lock", "claim")
    await everything_reads_as_before(store)
    assert await store.extend(NEW.key, owner=b"me", lifetime=20.0)
    await store.unlock(NEW.key, owner=b"me")
    assert await store.end(NEW.key, leave_tokens=30.0) == Ended(None, NEW.card, there=True)
    assert await store.take_tokens(NEW.key) == NEW.tokens
    await store.unlist(NEW.key, ["x"])
    assert server.command("DBSIZE") == b":0\r\n"


@every_server
async def test_memory_that_runs_out_at_any_point_leaves_nothing_half_written(server: RedisServer, store: SessionStore):
    large = replace(OTHER, record=b"r" * 60_000, tokens=b"t" * 60_000)
    await store.create(NEW, replaces=())
    await store.create(large, replaces=(NEW.key,))  # whatever the server allocates once
    await store.end(large.key)
    for each in (NEW, large):
        await store.unlist(each.key, each.indexes)
    outcomes = set()
    for room in range(0, 200_000, 8_000):
        await store.create(NEW, replaces=())
        found = re.search(rb"used_memory:(\d+)", server.command("INFO", "memory"))
        assert found is not None
        server.command("CONFIG", "SET", "maxmemory", int(found[1]) + room)
        try:
            await store.create(large, replaces=(NEW.key,))
            written = True
        except StoreUnavailable:
            written = False
        outcomes.add(written)
        old, new = (await store.read(NEW.key)).record, (await store.read(large.key)).record
        listed = (await store.listed("y", cursor=0, count=10)).keys
        assert (old, new, listed) == ((None, large.record, (large.key,)) if written else (NEW.record, None, ()))
        server.command("CONFIG", "SET", "maxmemory", "0")
        for each in (NEW, large):
            await store.end(each.key)
            await store.unlist(each.key, each.indexes)
        assert server.command("DBSIZE") == b":0\r\n"
    assert outcomes == {True, False}


@every_server
async def test_a_replica_after_a_failover_refuses_and_loses_nothing(server: RedisServer, store: SessionStore):
    await store.create(NEW, replaces=())
    server.command("REPLICAOF", "127.0.0.1", "1")
    await is_refused(store, "ReadOnlyError|READONLY")
    await everything_reads_as_before(store)
    server.command("REPLICAOF", "NO", "ONE")
    await store.create(OTHER, replaces=(NEW.key,))
    assert await store.read(NEW.key) == NOTHING


@every_server
async def test_a_server_that_is_loading_is_an_outage_until_it_has_loaded(server: RedisServer, store: SessionStore):
    await store.create(NEW, replaces=())
    many = [replace(OTHER, key=f"{number:0>43}", record=os.urandom(60_000), indexes=()) for number in range(200)]
    await asyncio.gather(*(store.create(each, replaces=()) for each in many))  # it looks up from loading every 2 MiB
    assert server.command("CONFIG", "SET", "key-load-delay", 5000) == b"+OK\r\n"
    reloading = asyncio.ensure_future(asyncio.to_thread(server.command, "DEBUG", "RELOAD"))
    async with asyncio.timeout(20):
        while b"loading:1" not in await asyncio.to_thread(server.command, "INFO", "persistence"):
            await asyncio.sleep(0.01)
        with pytest.raises(StoreUnavailable, match="BusyLoadingError"):
            await store.read(NEW.key)
        await is_refused(store, "BusyLoadingError|TimeoutError")  # it answers between two chunks that it loads
        assert await reloading == b"+OK\r\n"
    await everything_reads_as_before(store)


@every_server
async def test_paused_for_writes_it_reads(server: RedisServer, store: SessionStore):
    await store.create(NEW, replaces=())
    server.command("CLIENT", "PAUSE", "60000", "WRITE")
    await everything_reads_as_before(store)
    with pytest.raises(StoreUnavailable):
        await store.create(OTHER, replaces=(NEW.key,))
    with pytest.raises(StoreUnavailable):
        await store.end(NEW.key)
    server.command("CLIENT", "UNPAUSE")
    await everything_reads_as_before(store)


class Slow:
    """A server behind a line whose answers can be held back."""

    def __init__(self, server: RedisServer, proxy: RedisProxy, store: SessionStore) -> None:
        self.server = server
        self.proxy = proxy
        self.store = store

    async def unanswered(self, attempt: object) -> None:
        """What was asked is done, and the answer comes too late."""
        self.proxy.answers.clear()
        with pytest.raises(StoreUnavailable, match="Timeout"):
            await attempt  # type: ignore[misc]
        self.proxy.answers.set()

    def calls(self, command: str) -> int:
        found = re.search(rf"cmdstat_{command}:calls=(\d+)".encode(), self.server.command("INFO", "commandstats"))
        return int(found[1]) if found else 0


@pytest.fixture
async def slow() -> AsyncIterator[Slow]:
    async with redis_server() as server, redis_proxy(server.port) as proxy:
        store = open_store(proxy.url)
        yield Slow(server, proxy, store)
        await store.close()


async def test_a_login_whose_answer_comes_too_late_is_sent_once(slow: Slow):
    await slow.unanswered(slow.store.create(NEW, replaces=()))
    assert slow.calls("exec") == 1
    assert await slow.store.read(NEW.key) == WHOLE


async def test_an_end_whose_answer_comes_too_late_is_an_end(slow: Slow):
    await slow.store.create(NEW, replaces=())
    before = slow.calls("eval")
    await slow.unanswered(slow.store.end(NEW.key))
    assert slow.calls("eval") == before + 1
    assert await slow.store.read(NEW.key) == NOTHING
    assert await slow.store.end(NEW.key) == Ended(None, None, there=False)


async def test_a_refresh_whose_answer_comes_too_late_is_known_by_what_is_there(slow: Slow):
    await slow.store.create(NEW, replaces=())
    before = slow.calls("eval")
    await slow.unanswered(slow.store.replace(NEW.key, record=b"newer", tokens=b"newer tokens", fence=NEW.tokens))
    assert slow.calls("eval") == before + 1
    assert not await slow.store.replace(NEW.key, record=b"newer", tokens=b"newer tokens", fence=NEW.tokens), "asked again, it says no"
    assert await slow.store.tokens(NEW.key) == b"newer tokens", "so whoever is refused looks whether it was its own"


async def test_a_lock_whose_answer_comes_too_late_is_had_by_extending_it(slow: Slow):
    await slow.unanswered(slow.store.lock(NEW.key, owner=b"me", lifetime=10.0))
    assert await slow.store.lock(NEW.key, owner=b"you", lifetime=10.0) is not None
    assert await slow.store.extend(NEW.key, owner=b"me", lifetime=10.0)


async def test_a_claim_whose_answer_comes_too_late_is_used_up(slow: Slow):
    await slow.unanswered(slow.store.claim("s" * 43, lifetime=10.0))
    assert not await slow.store.claim("s" * 43, lifetime=10.0)


async def test_late_answers_are_nobodys(slow: Slow):
    await slow.store.create(NEW, replaces=())
    await slow.store.create(OTHER, replaces=())
    await slow.unanswered(slow.store.read(NEW.key))
    assert (await slow.store.read(OTHER.key)).record == OTHER.record
    assert await slow.store.tokens(OTHER.key) == OTHER.tokens
