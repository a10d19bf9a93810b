"""Sentinel, as real processes: whoever is the primary is asked and followed, and nobody is signed out by a failover."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.errors import StoreUnavailable
from gateway.session.store.opening import open_store
from gateway.session.store.protocol import NewSession, Stored
from gateway.session.store.redis_address import parse_redis_address
from gateway.session.store.redis_sentinel import PrimaryUnknown, Sentinels
from tests.support.followers import Heard, until
from tests.support.redis_sentinel import PATIENCE, SERVICE, SentinelHouse, redis_sentinel
from tests.support.redis_servers import redis_server, server_binaries, server_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from gateway.session.store.protocol import SessionStore

NEW = NewSession(key="k" * 43, record=b"record", tokens=b"tokens", last_seen=1_700_000_000_123, lifetime=3600.0, idle=600.0)
OTHER = replace(NEW, key="o" * 43)
WHOLE = Stored(record=NEW.record, last_seen=NEW.last_seen)

every_server = pytest.mark.parametrize("binary", [pytest.param(one, id=server_id(one)) for one in server_binaries()])


@pytest.fixture
async def house(binary: Path) -> AsyncIterator[SentinelHouse]:
    async with redis_sentinel(binary, password="hunter2") as house:
        yield house


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[SessionStore, Heard]]:
    """A store that is followed."""
    store, heard = open_store(url), Heard()
    store.follow(heard)
    try:
        await heard.until_followed()
        yield store, heard
    finally:
        await store.close()


async def replicated(house: SentinelHouse) -> None:
    """Return when the replica has what the master has."""

    def same() -> bool:
        return len({server.command("DBSIZE") for server in house.servers}) == 1

    await house.until(same)


async def read_again(store: SessionStore) -> int:
    """Read until it works; how often it did not. Never does it say that there is nothing."""
    failed = 0
    async with asyncio.timeout(30):
        while True:
            try:
                assert await store.read(NEW.key) == WHOLE
            except StoreUnavailable:
                failed += 1
                await asyncio.sleep(0.02)
            else:
                return failed


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


@every_server
async def test_a_dead_master_signs_nobody_out_and_changes_are_told_by_the_next(house: SentinelHouse):
    async with opened(house.url) as (store, heard), opened(house.url) as (elsewhere, _):
        await store.create(NEW, replaces=())
        await elsewhere.create(OTHER, replaces=())
        await replicated(house)
        master = house.master
        master.kill()
        await until(lambda: "lost" in heard.news)
        await house.failed_over(away_from=master)
        await read_again(store)
        await heard.until_followed()
        heard.news.clear()
        await ended(elsewhere, NEW.key)
        await until(lambda: NEW.key in heard.news)
        assert await store.read(NEW.key) == Stored(None, None)
        assert await store.read(OTHER.key) == WHOLE


@every_server
async def test_an_old_master_that_comes_back_is_believed_no_more(house: SentinelHouse):
    async with opened(house.url) as (store, heard):
        await store.create(NEW, replaces=())
        await replicated(house)
        old = house.master
        old.freeze()
        await house.failed_over(away_from=old)
        old.thaw()
        await house.until(lambda: b"role:slave" in old.command("INFO", "replication"))
        await read_again(store)
        await heard.until_followed()
        heard.news.clear()
        await store.create(OTHER, replaces=())
        await until(lambda: OTHER.key in heard.news)
        assert b"B" in _tracking_flags(house.master.command("CLIENT", "LIST"))
        assert b"B" not in _tracking_flags(old.command("CLIENT", "LIST"))


@every_server
async def test_a_failover_by_hand_is_a_moment_of_nothing(house: SentinelHouse):
    async with opened(house.url) as (store, heard):
        await store.create(NEW, replaces=())
        await replicated(house)
        master = house.master
        house.sentinels[0].command("SENTINEL FAILOVER", SERVICE)
        reading = asyncio.create_task(_keep_reading(store, lambda: house_moved.is_set() and heard.is_followed))
        house_moved = asyncio.Event()
        await house.failed_over(away_from=master)
        house_moved.set()
        await reading
        await heard.until_followed()
        heard.news.clear()
        # What is written before the former master knows that it is one may be its alone, and goes when it follows the next.
        written: list[str] = []
        async with asyncio.timeout(PATIENCE):
            while not set(written) & set(heard.news):
                written.append(f"{len(written):043d}")
                with suppress(StoreUnavailable):
                    await store.create(replace(OTHER, key=written[-1]), replaces=())
                await asyncio.sleep(0.1)


@every_server
async def test_without_sentinels_the_master_goes_on(house: SentinelHouse):
    async with opened(house.url) as (store, heard):
        await store.create(NEW, replaces=())
        for sentinel in house.sentinels:
            sentinel.kill()
        assert await store.read(NEW.key) == WHOLE
        await heard.until_followed()
        assert "lost" not in heard.news
        store_anew = open_store(house.url)
        with pytest.raises(StoreUnavailable, match="PrimaryUnknown"):
            await store_anew.read(NEW.key)
        house.sentinels[0].start()
        await read_again(store_anew)
        await store_anew.close()


async def _keep_reading(store: SessionStore, enough: Callable[[], bool]) -> None:
    while not enough():
        await read_again(store)
        await asyncio.sleep(0.01)


def _tracking_flags(clients: bytes) -> set[bytes]:
    return {bytes([flag]) for line in clients.split(b"\n") for word in line.split() if word.startswith(b"flags=") for flag in word[6:]}


@asynccontextmanager
async def telling(**said: str) -> AsyncIterator[int]:
    """A sentinel that says this of its master; the port."""
    words = [part.encode() for pair in said.items() for part in (pair[0].replace("_", "-"), pair[1])]
    answer = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_the_newest_decision_counts_whoever_answers_first():
    async with telling(ip="10.0.0.1", port="6379", config_epoch="4") as old, telling(ip="10.0.0.2", port="6380", config_epoch="5") as new:
        for hosts in ((old, new), (new, old), (1, old, new)):
            url = "redis+sentinel://" + ",".join(f"127.0.0.1:{port}" for port in hosts) + "/main"
            sentinels = Sentinels(parse_redis_address(url))
            assert await sentinels.primary() == ("10.0.0.2", 6380)
            await sentinels.close()


@pytest.mark.parametrize(
    "said",
    [
        pytest.param({"port": "6379"}, id="no address"),
        pytest.param({"ip": "10.0.0.1", "port": "x"}, id="a port that is none"),
        pytest.param({"ip": "é", "port": "1"}, id="an address that is none"),
        pytest.param({}, id="nothing"),
    ],
)
async def test_a_sentinel_that_talks_nonsense_is_none(said: dict[str, str]):
    async with telling(**said) as port:
        sentinels = Sentinels(parse_redis_address(f"redis+sentinel://127.0.0.1:{port}/main"))
        with pytest.raises(PrimaryUnknown):
            await sentinels.primary()
        await sentinels.close()


async def test_a_sentinel_that_names_a_replica_leads_nowhere():
    async with redis_server() as server:
        server.command("REPLICAOF", "127.0.0.1", "1")
        async with telling(ip="127.0.0.1", port=str(server.port), config_epoch="1") as port:
            store, heard = open_store(f"redis+sentinel://127.0.0.1:{port}/main"), Heard()
            store.follow(heard)
            with pytest.raises(StoreUnavailable, match="NotPrimary"):
                await store.read(NEW.key)
            assert not heard.is_followed
            server.command("REPLICAOF", "NO", "ONE")
            await store.ready()
            await heard.until_followed()
            await store.close()


async def test_another_name_moves_every_connection_though_the_old_one_works():
    async with redis_server() as one, redis_server() as other:
        named = {"port": str(one.port)}

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.read(65536):
                port = named["port"].encode()
                writer.write(b"*6\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n$%d\r\n%s\r\n" % (len(port), port))
                writer.write(b"$12\r\nconfig-epoch\r\n$1\r\n1\r\n")
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as sentinel:
            url = f"redis+sentinel://127.0.0.1:{sentinel.sockets[0].getsockname()[1]}/main"
            async with opened(url) as (store, heard):
                await store.create(NEW, replaces=())
                assert one.command("DBSIZE") == b":3\r\n"
                heard.news.clear()
                named["port"] = str(other.port)
                await until(lambda: "followed" in heard.news)
                await store.create(OTHER, replaces=())
                assert (one.command("DBSIZE"), other.command("DBSIZE")) == (b":3\r\n", b":3\r\n")
                await until(lambda: OTHER.key in heard.news)
