"""A cluster, as real processes: slots move, primaries die and come, and nobody is signed out by it, nor any change left untold."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.errors import StoreUnavailable
from gateway.session.store.opening import open_store
from gateway.session.store.protocol import NewSession, Stored
from tests.support.followers import Heard, until
from tests.support.redis_cluster import RedisCluster, redis_cluster
from tests.support.redis_servers import RedisServer, server_binaries, server_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.session.store.protocol import SessionStore

NEW = NewSession(key="k" * 43, record=b"record", tokens=b"tokens", last_seen=1_700_000_000_123, lifetime=3600.0, idle=600.0)
WHOLE = Stored(record=NEW.record, last_seen=NEW.last_seen)
NOTHING = Stored(None, None)
PEOPLE = [replace(NEW, key=letter * 43) for letter in "abcdefghijkl"]
"""Enough for every primary to have some."""
KEY = f"gateway:s:{{{NEW.key}}}"

every_server = pytest.mark.parametrize("binary", [pytest.param(one, id=server_id(one)) for one in server_binaries()])


@asynccontextmanager
async def opened(cluster: RedisCluster) -> AsyncIterator[tuple[SessionStore, Heard]]:
    """A store that is followed."""
    store, heard = open_store(cluster.url), Heard()
    store.follow(heard)
    try:
        await heard.until_followed()
        yield store, heard
    finally:
        await store.close()


async def read_again(store: SessionStore, key: str = NEW.key) -> None:
    """Read until it works; never does it say that there is nothing."""
    async with asyncio.timeout(30):
        while True:
            try:
                assert await store.read(key) == WHOLE
            except StoreUnavailable:
                await asyncio.sleep(0.02)
            else:
                return


async def ended(store: SessionStore, key: str) -> None:
    """End it, if only in the end: a replica that has to know of it may be missing for a while."""
    async with asyncio.timeout(30):
        while True:
            try:
                await store.end(key)
            except StoreUnavailable as failure:
                if "no replica" in failure.detail:
                    return
                await asyncio.sleep(0.05)
            else:
                return


async def told(heard: Heard, store: SessionStore, key: str) -> None:
    """A change of this session is told."""
    heard.news.clear()
    await store.touch([key], last_seen=NEW.last_seen, idle=600.0)
    await store.create(replace(NEW, key=key), replaces=())
    await until(lambda: key in heard.news)


@every_server
async def test_every_primary_tells_its_own(binary: Path):
    async with redis_cluster(binary) as cluster, opened(cluster) as (store, heard), opened(cluster) as (elsewhere, _):
        owners = {cluster.primary_of(f"{{{person.key}}}").port for person in PEOPLE}
        assert len(owners) == 3, "each primary has somebody"
        for person in PEOPLE:
            await store.create(person, replaces=())
        await until(lambda: {person.key for person in PEOPLE} <= set(heard.news))
        heard.news.clear()
        for person in PEOPLE:
            await elsewhere.end(person.key)
        await until(lambda: {person.key for person in PEOPLE} <= set(heard.news))
        assert "lost" not in heard.news
        for node in cluster.primaries():
            tracking = [line for line in node.command("CLIENT", "LIST").split(b"\n") if b"flags=tB" in line or b"flags=Bt" in line]
            assert len(tracking) == 2, "one a process"


@every_server
async def test_a_dead_primary_signs_nobody_out_and_its_replica_tells_the_changes(binary: Path):
    async with redis_cluster(binary, replicas=3, password="hunter2") as cluster, opened(cluster) as (store, heard):
        for person in PEOPLE:
            await store.create(person, replaces=())
        primary = cluster.primary_of(KEY)
        await store.create(NEW, replaces=())
        await cluster.until(lambda: _replicas_have_all(cluster))
        primary.kill()
        await until(lambda: "lost" in heard.news)
        await read_again(store)
        for person in PEOPLE:
            await read_again(store, person.key)
        await heard.until_followed()
        heard.news.clear()
        await ended(store, NEW.key)
        await until(lambda: NEW.key in heard.news)
        assert await store.read(NEW.key) == NOTHING
        primary.start()
        await cluster.until(lambda: b"role:slave" in primary.command("INFO", "replication"))
        await heard.until_followed()
        await told(heard, store, NEW.key)


def _replicas_have_all(cluster: RedisCluster) -> bool:
    sizes = [int(node.command("DBSIZE")[1:-2]) for node in cluster.nodes]
    return sum(sizes[:3]) == sum(sizes[3:])


@every_server
async def test_a_cluster_that_is_down_is_an_outage_and_comes_back(binary: Path):
    async with redis_cluster(binary) as cluster, opened(cluster) as (store, heard):
        await store.create(NEW, replaces=())
        lost = next(node for node in cluster.nodes if node is not cluster.primary_of(KEY))
        lost.kill()
        await until(lambda: not heard.is_followed)
        async with asyncio.timeout(30):
            while True:
                try:
                    assert await store.read(NEW.key) == WHOLE
                except StoreUnavailable as failure:
                    if "Down" in failure.detail:
                        break
                await asyncio.sleep(0.02)
        with pytest.raises(StoreUnavailable):
            await store.ready()
        lost.start()
        await read_again(store)
        await heard.until_followed()
        async with asyncio.timeout(30):
            while True:
                try:
                    await store.ready()
                except StoreUnavailable:
                    await asyncio.sleep(0.02)
                else:
                    break
        await told(heard, store, NEW.key)


@every_server
async def test_a_slot_that_moves_takes_its_sessions_along(binary: Path):
    async with redis_cluster(binary) as cluster, opened(cluster) as (store, heard), opened(cluster) as (elsewhere, _):
        await store.create(NEW, replaces=())
        source = cluster.primary_of(KEY)
        target = next(node for node in cluster.nodes if node is not source)
        slot = cluster.slot(KEY)
        cluster.begin_move(slot, source=source, target=target)
        await read_again(store)
        assert await store.read("x" * 43) == NOTHING
        heard.news.clear()
        cluster.move_keys(slot, source=source, target=target)
        await until(lambda: NEW.key in heard.news)
        await read_again(store)
        assert await store.tokens(NEW.key) == NEW.tokens
        await told(heard, elsewhere, NEW.key)
        cluster.finish_move(slot, target=target)
        await read_again(store)
        await heard.until_followed()
        await until(lambda: None in heard.news)
        heard.news.clear()
        await elsewhere.end(NEW.key)
        await until(lambda: NEW.key in heard.news)
        assert await store.read(NEW.key) == NOTHING


@every_server
async def test_a_node_that_comes_and_takes_a_slot_is_followed_from_its_first_key_on(binary: Path):
    async with redis_cluster(binary) as cluster, opened(cluster) as (store, heard), opened(cluster) as (elsewhere, _):
        await store.create(NEW, replaces=())
        fresh = RedisServer(binary=binary, clustered=True)
        cluster.nodes.append(fresh)
        await asyncio.to_thread(fresh.start)
        fresh.command("CLUSTER", "MEET", "127.0.0.1", cluster.nodes[0].port)
        await cluster.until(lambda: cluster.is_well() and all(len(cluster.known(node)) == 4 for node in cluster.nodes))
        source, slot = cluster.primary_of(KEY), cluster.slot(KEY)
        cluster.begin_move(slot, source=source, target=fresh)
        cluster.move_keys(slot, source=source, target=fresh)
        heard.news.clear()
        await read_again(store)
        assert "lost" in heard.news, "nothing is kept of a node that nobody follows"
        await heard.until_followed()
        await told(heard, elsewhere, NEW.key)
        cluster.finish_move(slot, target=fresh)
        await heard.until_followed()
        await told(heard, elsewhere, NEW.key)
