"""Where the store has replicas, an end counts when one of them knows it: nothing that a failover would bring back is told as gone."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import redis as redis_py

from gateway.errors import StoreUnavailable
from gateway.session.grant_write import GrantWrite
from gateway.session.index_names import OfEverybody
from gateway.session.lifecycle import Lifetimes
from gateway.session.sealing import Keyring
from gateway.session.sessions import Sessions
from gateway.session.store import exchange
from gateway.session.store.opening import open_store
from gateway.session.store.protocol import Ended, NewSession, Stored, UnknownToReplicas
from tests.support.redis_proxy import redis_proxy
from tests.support.redis_servers import RedisServer, redis_server, server_binaries, server_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from gateway.session.store.protocol import SessionStore

NEW = NewSession(
    key="k" * 43, record=b"record", tokens=b"tokens", last_seen=1_700_000_000_123, lifetime=3600.0, idle=600.0, card=b"card", indexes=("x",)
)
OTHER = replace(NEW, key="o" * 43, record=b"other")
NOTHING = Stored(record=None, last_seen=None)

every_server = pytest.mark.parametrize("binary", [pytest.param(binary, id=server_id(binary)) for binary in server_binaries()])


class Pair:
    """A primary, its replica, and a store that knows the address of the primary alone."""

    def __init__(self, primary: RedisServer, replica: RedisServer, store: SessionStore) -> None:
        self.primary = primary
        self.replica = replica
        self.store = store

    def freeze(self) -> None:
        """The replica stands still, with its connection open: the primary cannot tell it from one that is slow."""
        os.kill(self.replica.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.replica.pid, signal.SIGCONT)

    def calls(self, command: str) -> int:
        found = re.search(rf"cmdstat_{command}:calls=(\d+)".encode(), self.primary.command("INFO", "commandstats"))
        return int(found[1]) if found else 0

    def promote(self) -> None:
        """What a failover does: the primary is lost, and the replica takes its place."""
        self.primary.kill()
        assert self.replica.command("REPLICAOF", "NO", "ONE") == b"+OK\r\n"

    async def elsewhere(self, ask: Callable[[SessionStore], Awaitable[object]]) -> object:
        """What the replica answers."""
        store = open_store(self.replica.url)
        try:
            return await ask(store)
        finally:
            await store.close()

    def whole(self, server: RedisServer) -> set[str]:
        return set(re.findall(r"gateway:[a-z]:\{[^}]*\}", server.command("KEYS", "*").decode()))


def in_step(primary: RedisServer) -> bool:
    """Whether a replica takes what is written from now on: one that has only just come is told nothing until it has asked for it."""
    with redis_py.Redis(port=primary.port) as client:
        client.delete("nothing")
        client.set("something", "", px=1)
        return b"state=online" in primary.command("INFO", "replication") and client.wait(1, 1000) == 1


@asynccontextmanager
async def pair(binary: Path) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        at_once = ("--repl-diskless-sync-delay", "0")
        primary = await stack.enter_async_context(redis_server(binary, extra=at_once))
        replica = await stack.enter_async_context(redis_server(binary, extra=at_once))
        assert replica.command("REPLICAOF", "127.0.0.1", primary.port) == b"+OK\r\n"
        async with asyncio.timeout(20):
            while not await asyncio.to_thread(in_step, primary):
                pass
        primary.command("CONFIG", "RESETSTAT")
        store = open_store(primary.url)
        stack.push_async_callback(store.close)
        yield Pair(primary, replica, store)


@every_server
async def test_an_end_that_was_told_outlives_the_primary(binary: Path):
    async with pair(binary) as pairing:
        await pairing.store.create(NEW, replaces=())
        assert await pairing.store.end(NEW.key) == Ended(NEW.tokens, NEW.card, there=True)
        assert pairing.calls("wait") == 1
        pairing.promote()
        store = open_store(pairing.replica.url)
        assert await store.read(NEW.key) == NOTHING
        await store.close()


@every_server
async def test_an_end_that_no_replica_knows_is_no_success_and_the_session_is_gone(binary: Path):
    async with pair(binary) as pairing:
        await pairing.store.create(NEW, replaces=())
        pairing.freeze()
        for ended in (True, False):
            with pytest.raises(UnknownToReplicas, match="no replica") as told:
                await pairing.store.end(NEW.key)  # nor is it one when it is asked for again, and there is nothing left to delete
            assert told.value.ended is ended
        assert await pairing.store.read(NEW.key) == NOTHING
        pairing.thaw()
        assert await pairing.store.end(NEW.key) == Ended(None, None, there=False)
        assert pairing.whole(pairing.replica) == {"gateway:x:{x}"}


@every_server
async def test_a_replica_that_stands_still_keeps_nobody_signed_in(binary: Path):
    """Each of them ends and is counted, once; what was told is that a failover could bring them back."""
    async with pair(binary) as pairing:
        index = Sessions(Keyring([bytes(32)]), pairing.store, Lifetimes(idle=600.0, lifetime=3600.0, login=60.0)).index
        keys = [f"{number:0>43}" for number in range(40)]
        for key in keys:
            await pairing.store.create(replace(NEW, key=key, indexes=("everybody",)), replaces=())
        pairing.freeze()
        ended: list[str] = []
        for _ in range(2):
            with pytest.raises(UnknownToReplicas):
                await index.end_all([OfEverybody()], ended)
            assert sorted(ended) == keys
            assert await pairing.store.missing(keys) == {*keys}
        pairing.thaw()
        await index.end_all([OfEverybody()], ended)
        assert sorted(ended) == keys
        assert not {name for name in pairing.whole(pairing.replica) if name[:10] != "gateway:x:"} - {f"gateway:e:{{{key}}}" for key in keys}


@every_server
async def test_another_gateway_does_not_take_the_end_for_known_either(binary: Path):
    async with pair(binary) as pairing:
        await pairing.store.create(NEW, replaces=())
        pairing.freeze()
        with pytest.raises(StoreUnavailable, match="no replica"):
            await pairing.store.end(NEW.key)
        elsewhere = open_store(pairing.primary.url)
        with pytest.raises(StoreUnavailable, match="no replica"):
            await elsewhere.end(NEW.key, leave_tokens=30.0)
        await elsewhere.close()


@every_server
async def test_a_login_whose_old_session_no_replica_saw_end_leaves_none(binary: Path):
    async with pair(binary) as pairing:
        await pairing.store.create(NEW, replaces=())
        pairing.freeze()
        with pytest.raises(StoreUnavailable, match="no replica"):
            await pairing.store.create(OTHER, replaces=(NEW.key,))
        assert await pairing.store.read(NEW.key) == await pairing.store.read(OTHER.key) == NOTHING
        assert pairing.whole(pairing.primary) == {"gateway:x:{x}"}
        await pairing.store.create(OTHER, replaces=())
        assert (await pairing.store.read(OTHER.key)).record == OTHER.record, "a login that replaces nobody waits for nobody"
        pairing.thaw()
        assert await pairing.store.create(NEW, replaces=(OTHER.key,)) == (OTHER.card,)


async def test_out_of_memory_an_end_is_an_end():
    async with pair(server_binaries()[0]) as pairing:
        await pairing.store.create(NEW, replaces=())
        pairing.primary.command("CONFIG", "SET", "maxmemory", "1")
        assert await pairing.store.end(NEW.key) == Ended(NEW.tokens, NEW.card, there=True)
        assert pairing.calls("wait") == 1


async def test_replicas_are_asked_for_by_no_request_that_ends_nothing():
    async with pair(server_binaries()[0]) as pairing:
        before = pairing.calls("info")
        await pairing.store.create(NEW, replaces=())
        await pairing.store.read(NEW.key)
        await pairing.store.touch([NEW.key], last_seen=NEW.last_seen, idle=600.0)
        assert pairing.calls("info") == before + 1, "this one"
        for _ in range(10):
            await pairing.store.end(NEW.key)
        assert pairing.calls("wait") == 10


async def test_one_server_alone_waits_for_nobody():
    async with redis_server() as server:
        store = open_store(server.url)
        await store.create(NEW, replaces=())
        await store.end(NEW.key)
        await store.close()
        assert b"cmdstat_wait" not in server.command("INFO", "commandstats")


async def test_a_replica_that_was_lost_is_waited_for_a_minute_longer(monkeypatch: pytest.MonkeyPatch):
    now = 1000.0
    monkeypatch.setattr(exchange, "monotonic", lambda: now)
    async with pair(server_binaries()[0]) as pairing:
        await pairing.store.end(NEW.key)
        pairing.replica.kill()
        async with asyncio.timeout(10):
            while b"state=online" in pairing.primary.command("INFO", "replication"):
                await asyncio.sleep(0.01)
        for now in (1100.0, 1159.0):  # noqa: B007 - the store reads it
            with pytest.raises(StoreUnavailable, match="no replica"):
                await pairing.store.end(NEW.key)
        now = 1160.0
        assert await pairing.store.end(NEW.key) == Ended(None, None, there=False)


async def test_who_may_not_ask_for_replicas_cannot_say_that_a_session_ended():
    async with pair(server_binaries()[0]) as pairing:
        await pairing.store.create(NEW, replaces=())
        pairing.primary.command("ACL", "SETUSER", "default", "-info")
        with pytest.raises(StoreUnavailable, match="NoPermissionError"):
            await pairing.store.end(NEW.key)
        assert await pairing.store.read(NEW.key) == NOTHING


@every_server
async def test_a_new_grant_that_no_replica_knows_is_said_to_be_so_and_is_written_again(binary: Path):
    newer = {"record": b"newer", "tokens": b"newer"}
    async with pair(binary) as pairing:
        await pairing.store.create(NEW, replaces=())
        assert in_step(pairing.primary)
        pairing.freeze()
        with pytest.raises(UnknownToReplicas, match="no replica"):
            await pairing.store.replace(NEW.key, **newer, fence=NEW.tokens)
        assert await pairing.store.tokens(NEW.key) == b"newer"
        assert not await pairing.store.replace(NEW.key, **newer, fence=NEW.tokens), "what is not written waits for nobody to know"
        with pytest.raises(UnknownToReplicas, match="no replica"):
            await pairing.store.replace(NEW.key, **newer, fence=b"newer")
        pairing.thaw()
        assert await pairing.store.replace(NEW.key, **newer, fence=b"newer")
        pairing.promote()
        assert await pairing.elsewhere(lambda store: store.tokens(NEW.key)) == b"newer"


async def test_the_write_of_a_grant_goes_on_at_the_next_primary():
    """The primary dies with a grant that no replica knew: where it never was, the old tokens are still the fence."""
    async with pair(server_binaries()[0]) as pairing, redis_proxy(pairing.primary.port) as address:
        store = open_store(address.url)
        await store.create(NEW, replaces=())
        assert in_step(pairing.primary)
        pairing.freeze()
        pairing.primary.command("CLIENT", "KILL", "TYPE", "replica")
        write = GrantWrite(store)
        assert await write.write(NEW.key, record=b"newer", tokens=b"newer", fence=NEW.tokens), "nobody waits for a replica"
        pairing.primary.kill()
        pairing.thaw()
        pairing.replica.command("REPLICAOF", "NO", "ONE")
        assert await pairing.elsewhere(lambda store: store.tokens(NEW.key)) == NEW.tokens, "it never knew"
        address.backend_port = pairing.replica.port
        async with asyncio.timeout(20):
            while await pairing.elsewhere(lambda store: store.tokens(NEW.key)) != b"newer":
                await asyncio.sleep(0.05)
        write.close()
        await store.close()
