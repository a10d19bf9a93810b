"""In a cluster a login is several steps at several servers: wherever it breaks off, nobody has two sessions, and who lives is listed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from gateway.errors import StoreUnavailable
from gateway.session.store.opening import open_store
from gateway.session.store.protocol import NewSession, Stored
from tests.support.redis_cluster import RedisCluster, redis_cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.session.store.protocol import SessionStore
    from tests.support.redis_servers import RedisServer

NOTHING = Stored(record=None, last_seen=None)


@dataclass
class Apart:
    """A session and the one that replaces it, each at a primary of its own, and their index at the third."""

    store: SessionStore
    old: NewSession
    new: NewSession
    servers: dict[str, RedisServer]

    async def listed(self) -> tuple[str, ...]:
        return (await self.store.listed(self.new.indexes[0], cursor=0, count=10)).keys


@pytest.fixture
async def apart() -> AsyncIterator[Apart]:
    async with redis_cluster() as cluster:
        old, index, new = (_key_at(cluster, server) for server in cluster.nodes)
        session = NewSession(old, b"old", b"tokens", 1_700_000_000_123, lifetime=3600.0, idle=600.0, card=b"card", indexes=(index,))
        store = open_store(cluster.url)
        await store.create(session, replaces=())
        servers = dict(zip(("old", "index", "new"), cluster.nodes, strict=True))
        yield Apart(store, session, replace(session, key=new, record=b"new"), servers)
        await store.close()


def _key_at(cluster: RedisCluster, server: RedisServer) -> str:
    return next(key for number in range(1000) if cluster.primary_of(key := f"{number:0>43}") is server)


async def test_all_steps(apart: Apart):
    assert await apart.store.create(apart.new, replaces=(apart.old.key,)) == (b"card",)
    assert await apart.store.read(apart.old.key) == NOTHING
    assert (await apart.store.read(apart.new.key)).record == b"new"
    assert sorted(await apart.listed()) == sorted([apart.old.key, apart.new.key]), "who ended is listed until it is taken off"


async def test_the_old_one_cannot_be_ended(apart: Apart):
    apart.servers["old"].command("CLIENT", "PAUSE", "60000", "WRITE")
    with pytest.raises(StoreUnavailable):
        await apart.store.create(apart.new, replaces=(apart.old.key,))
    apart.servers["old"].command("CLIENT", "UNPAUSE")
    assert await apart.store.read(apart.new.key) == NOTHING
    assert await apart.listed() == (apart.old.key,)


@pytest.mark.parametrize("full", ["index", "new"])
async def test_the_new_one_cannot_be_listed_or_written(apart: Apart, full: str):
    apart.servers[full].command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(StoreUnavailable, match=r"OOM|OutOfMemory"):
        await apart.store.create(apart.new, replaces=(apart.old.key,))
    assert await apart.store.read(apart.old.key) == await apart.store.read(apart.new.key) == NOTHING
    assert await apart.store.missing([apart.old.key, apart.new.key]) == {apart.old.key, apart.new.key}
    apart.servers[full].command("CONFIG", "SET", "maxmemory", "0")
    assert await apart.store.create(apart.new, replaces=(apart.old.key,)) == ()
    assert apart.new.key in await apart.listed()
