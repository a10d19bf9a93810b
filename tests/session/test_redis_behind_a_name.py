"""One address behind which another server becomes the primary, as managed services have it: connections to the old one are given up."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.errors import StoreUnavailable
from gateway.session.store.opening import open_store
from gateway.session.store.protocol import NewSession, Stored
from tests.support.followers import Heard, until
from tests.support.redis_proxy import redis_proxy
from tests.support.redis_servers import redis_server, server_binaries, server_id

if TYPE_CHECKING:
    from pathlib import Path

NEW = NewSession(key="k" * 43, record=b"record", tokens=b"tokens", last_seen=1_700_000_000_123, lifetime=3600.0, idle=600.0)
OTHER = replace(NEW, key="o" * 43, record=b"other")

every_server = pytest.mark.parametrize("binary", [pytest.param(one, id=server_id(one)) for one in server_binaries()])


@every_server
async def test_a_write_that_a_replica_refuses_is_the_last_on_its_connection(binary: Path):
    async with redis_server(binary) as old, redis_server(binary) as new, redis_proxy(old.port) as proxy:
        store = open_store(proxy.url)
        await store.create(NEW, replaces=())
        old.command("REPLICAOF", "127.0.0.1", "1")
        proxy.backend_port = new.port
        with pytest.raises(StoreUnavailable, match="ReadOnlyError"):
            await store.create(OTHER, replaces=())
        await store.create(OTHER, replaces=())
        assert await store.read(OTHER.key) == Stored(OTHER.record, OTHER.last_seen)
        assert new.command("EXISTS", f"gateway:s:{{{OTHER.key}}}") == b":1\r\n"
        await store.close()


@every_server
async def test_reads_and_changes_follow_to_the_new_primary(binary: Path):
    """Reads would go on at a replica for ever; that it is none of us any more is noticed by the connection for changes."""
    async with redis_server(binary) as old, redis_server(binary) as new, redis_proxy(old.port) as proxy:
        store, heard = open_store(proxy.url), Heard()
        store.follow(heard)
        await heard.until_followed()
        await store.create(NEW, replaces=())
        await until(lambda: NEW.key in heard.news)
        elsewhere = open_store(new.url)
        await elsewhere.create(OTHER, replaces=())
        heard.news.clear()
        proxy.backend_port = new.port
        old.command("REPLICAOF", "127.0.0.1", "1")
        await until(lambda: "followed" in heard.news)
        assert heard.news[:2] == ["lost", "followed"]
        assert await store.read(OTHER.key) == Stored(OTHER.record, OTHER.last_seen), "by a connection of before it would be unknown"
        await elsewhere.end(OTHER.key)
        await until(lambda: OTHER.key in heard.news)
        await elsewhere.close()
        await store.close()
