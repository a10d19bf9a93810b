"""A Redis that is down, slow, full, read-only, foreign or closed to us: ``StoreUnavailable`` or an ended session, nothing else."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from gateway.errors import StoreUnavailable
from gateway.session.cookies import CookieNames
from gateway.session.lifecycle import Lifetimes
from gateway.session.record import identity_from
from gateway.session.sealing import Keyring
from gateway.session.sessions import Absent, Found, Sessions
from gateway.session.store.opening import open_store
from gateway.session.store.protocol import Ended, Listed, NewSession, Shown, Stored
from gateway.session.store.redis import COMMANDS, RedisStore
from gateway.session.store.redis_address import parse_redis_address
from gateway.session.store.redis_options import RedisOptions
from tests.support.redis_servers import RedisServer, redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.session.conftest import Clock, FakeProvider

NEW = NewSession(key="k" * 43, record=b"record", tokens=b"tokens", last_seen=1_700_000_000_123, lifetime=3600.0, idle=600.0)
LISTED = replace(NEW, card=b"card", indexes=("x",))
WHOLE = Stored(record=NEW.record, last_seen=NEW.last_seen)
NAMES = CookieNames.for_origin("https://apps.example.org")
PASSWORD = "p/w #:@%é"


@pytest.fixture
async def server() -> AsyncIterator[RedisServer]:
    async with redis_server() as server:
        yield server


@pytest.fixture
async def store(server: RedisServer) -> AsyncIterator[RedisStore]:
    store = RedisStore(parse_redis_address(server.url))
    yield store
    await store.close()


def key(kind: str) -> str:
    return f"gateway:{kind}:{{{NEW.key}}}"


async def every_method_is_unavailable(store: RedisStore) -> None:
    for attempt in (
        store.read(NEW.key),
        store.missing([NEW.key]),
        store.last_seen([NEW.key]),
        store.touch([NEW.key], last_seen=1, idle=1.0),
        store.create(LISTED, replaces=("o" * 43,)),
        store.tokens(NEW.key),
        store.replace(NEW.key, record=b"r", tokens=b"t", fence=NEW.tokens),
        store.end(NEW.key),
        store.take_tokens(NEW.key),
        store.unlist(NEW.key, ["x"]),
        store.listed("x", cursor=0, count=10),
        store.show([NEW.key]),
        store.lock(NEW.key, owner=b"me", lifetime=1.0),
        store.extend(NEW.key, owner=b"me", lifetime=1.0),
        store.unlock(NEW.key, owner=b"me"),
        store.claim("s", lifetime=1.0),
        store.ready(),
    ):
        with pytest.raises(StoreUnavailable):
            await attempt


async def test_down_at_start_then_up(server: RedisServer, store: RedisStore):
    server.stop()
    await every_method_is_unavailable(store)
    server.start()
    await store.ready()
    await store.create(NEW, replaces=())
    assert await store.read(NEW.key) == WHOLE


async def test_killed_under_load_and_back(server: RedisServer, store: RedisStore):
    await store.create(NEW, replaces=())
    assert await asyncio.gather(*(store.read(NEW.key) for _ in range(50))) == [WHOLE] * 50
    server.kill()
    answers = await asyncio.gather(*(store.read(NEW.key) for _ in range(50)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {StoreUnavailable}
    server.start()
    await store.create(NEW, replaces=())
    assert await asyncio.gather(*(store.read(NEW.key) for _ in range(50))) == [WHOLE] * 50, "no connection of before fails now"


async def test_a_server_that_does_not_answer_is_an_outage_and_its_late_answers_are_nobodys(server: RedisServer, store: RedisStore):
    await store.create(NEW, replaces=())
    server.pause(60_000)
    answers = await asyncio.gather(store.read(NEW.key), store.tokens(NEW.key), store.ready(), return_exceptions=True)
    assert {type(answer) for answer in answers} == {StoreUnavailable}
    server.kill()
    server.start()
    await store.create(NEW, replaces=())
    assert await store.tokens(NEW.key) == NEW.tokens
    assert await store.read(NEW.key) == WHOLE


async def test_flushall_signs_out_and_nothing_more(server: RedisServer, store: RedisStore):
    await store.create(NEW, replaces=())
    server.command("FLUSHALL")
    assert await store.read(NEW.key) == Stored(None, None)


@pytest.mark.parametrize(
    "foreign",
    [
        pytest.param(("HSET", "{key}", "a", "b"), id="a hash"),
        pytest.param(("RPUSH", "{key}", "a"), id="a list"),
        pytest.param(("SADD", "{key}", "a"), id="a set"),
        pytest.param(("XADD", "{key}", "*", "a", "b"), id="a stream"),
        pytest.param(("SETRANGE", "{key}", str(64 * 1024), "x"), id="one byte too many"),
        pytest.param(("SETRANGE", "{key}", str(64 * 1024 * 1024), "x"), id="64 MiB"),
    ],
)
async def test_foreign_values_are_an_ended_session_and_an_error_in_the_log(
    server: RedisServer, store: RedisStore, foreign: tuple[str, ...]
):
    await store.create(NEW, replaces=())
    for kind in "sti":
        server.command("DEL", key(kind))
        server.command(*(word.format(key=key(kind)) for word in foreign))
    sent = bytes_sent(server)
    with capture_logs() as logs:
        assert await store.read(NEW.key) == Stored(None, None)
        assert await store.tokens(NEW.key) is None
        assert await store.end(NEW.key) == Ended(None, None, there=True)
    assert bytes_sent(server) - sent < 300_000, "a large value is not read whole"
    assert [entry["event"] for entry in logs] == ["store.value_refused"] * 4
    assert {entry["log_level"] for entry in logs} == {"error"}
    assert server.command("DBSIZE") == b":0\r\n", "ending deletes what is there, whatever it is"
    assert await store.read(NEW.key) == Stored(None, None)


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "1e9", " 1", "9" * 16, "٣"])
async def test_a_time_that_is_none_is_idle(server: RedisServer, store: RedisStore, value: str):
    await store.create(NEW, replaces=())
    server.command("SET", key("i"), value)
    with capture_logs() as logs:
        assert await store.read(NEW.key) == Stored(NEW.record, None)
    assert [entry["event"] for entry in logs] == ["store.value_refused"]


def bytes_sent(server: RedisServer) -> int:
    found = re.search(rb"total_net_output_bytes:(\d+)", server.command("INFO", "stats"))
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize(
    ("break_it", "code"),
    [
        pytest.param(("CONFIG", "SET", "maxmemory", "1"), "OutOfMemoryError", id="out of memory"),
        pytest.param(("CONFIG", "SET", "min-replicas-to-write", "1"), "NOREPLICAS", id="no replica takes the write"),
        pytest.param(("REPLICAOF", "127.0.0.1", "1"), "ReadOnlyError", id="a replica after a failover"),
    ],
)
async def test_a_store_that_takes_no_writes(
    server: RedisServer, store: RedisStore, clock: Clock, provider: FakeProvider, *, break_it: tuple[str, ...], code: str
):
    sessions = Sessions(Keyring([bytes(32)]), store, Lifetimes(1800.0, 43_200.0, 600.0), clock=clock)
    signed_in = provider.signed_in()
    identity = identity_from(signed_in.claims, frozenset())
    cookie, begun = await sessions.begin(signed_in, identity, NAMES, replaces=())
    before = server.command("DBSIZE")
    server.command(*break_it)
    with pytest.raises(StoreUnavailable, match=code):
        await sessions.begin(signed_in, identity, NAMES, replaces=(begun.handle.key,))
    with pytest.raises(StoreUnavailable, match=code):
        await sessions.claim_login("state")
    assert server.command("DBSIZE") == before, "nothing half-written, nothing half-destroyed"
    clock.now += 900
    with capture_logs() as logs:
        found = await sessions.find([f"{NAMES.session}={cookie}".encode()], NAMES)
        assert isinstance(found, Found), "a note that fails fails nobody"
        assert (found.session, found.last_seen) == (begun.session, clock.now)
        while not logs:
            await asyncio.sleep(0)
        await sessions.close()
    assert [entry["event"] for entry in logs] == ["session.touch_failed"]


async def test_an_outage_is_not_nobody(server: RedisServer, store: RedisStore, clock: Clock, provider: FakeProvider):
    sessions = Sessions(Keyring([bytes(32)]), store, Lifetimes(1800.0, 43_200.0, 600.0), clock=clock)
    signed_in = provider.signed_in()
    cookie, begun = await sessions.begin(signed_in, identity_from(signed_in.claims, frozenset()), NAMES, replaces=())
    cookies = [f"{NAMES.session}={cookie}".encode()]
    assert isinstance(await sessions.find(cookies, NAMES), Found)
    server.kill()
    for attempt in (sessions.find(cookies, NAMES), sessions.end(begun.handle), sessions.tokens(begun.handle), sessions.ready()):
        with pytest.raises(StoreUnavailable):
            await attempt
    server.start()
    assert await sessions.find(cookies, NAMES) == Absent("ended"), "this server keeps nothing on disk"


async def test_a_password_opens_and_no_error_holds_it():
    async with redis_server(password=PASSWORD) as server:
        store = open_store(server.url)
        await store.create(NEW, replaces=())
        assert await store.read(NEW.key) == WHOLE
        await store.close()
        details = []
        for url in (server.url.replace("@", "wrong@"), re.sub("//.*@", "//", server.url), server.url):
            if url == server.url:
                server.kill()
            store = open_store(url)
            with pytest.raises(StoreUnavailable) as refused:
                await store.read(NEW.key)
            await store.close()
            details.append(f"{refused.value.detail}{refused.value!r}{refused.value.__cause__!r}")
        place = f"redis://127.0.0.1:{server.port}/0"
        assert all(detail.startswith(f"{place}: ") for detail in details)
        assert [detail[len(place) + 2 :].partition("Store")[0] for detail in details] == [
            "AuthenticationError",
            "AuthenticationError",
            "ConnectionError",
        ]
        for detail in details:
            assert PASSWORD not in detail
            assert "p%2Fw" not in detail


async def test_a_user_without_rights_is_refused_by_name_of_the_fault(server: RedisServer):
    server.command("ACL", "SETUSER", "weak", "on", ">hunter2", "~gateway:*", "+ping")
    store = open_store(server.url.replace("//", "//weak:hunter2@"))
    await store.ready()
    with pytest.raises(StoreUnavailable) as refused:
        await store.read(NEW.key)
    assert refused.value.detail.endswith("NoPermissionError")
    await store.close()


async def test_exactly_these_commands_are_used(server: RedisServer):
    rights = [f"+{command}" for command in COMMANDS]
    server.command("ACL", "SETUSER", "gateway", "on", ">hunter2", "~gateway:*", *rights)
    store = open_store(server.url.replace("//", "//gateway:hunter2@"))
    await store.ready()
    await store.create(LISTED, replaces=("o" * 43,))
    assert await store.missing([NEW.key]) == frozenset()
    assert await store.listed("x", cursor=0, count=10) == Listed((NEW.key,), 0)
    assert await store.show([NEW.key]) == [Shown(b"card", NEW.last_seen, there=True)]
    assert await store.lock(NEW.key, owner=b"me", lifetime=10.0) is None
    assert await store.extend(NEW.key, owner=b"me", lifetime=20.0)
    assert await store.replace(NEW.key, record=NEW.record, tokens=NEW.tokens, fence=NEW.tokens)
    await store.unlock(NEW.key, owner=b"me")
    await store.touch([NEW.key], last_seen=NEW.last_seen, idle=600.0)
    assert await store.claim("s", lifetime=1.0)
    assert await store.read(NEW.key) == WHOLE
    assert await store.tokens(NEW.key) == NEW.tokens
    assert await store.end(NEW.key, leave_tokens=30.0) == Ended(None, b"card", there=True)
    assert await store.take_tokens(NEW.key) == NEW.tokens
    await store.unlist(NEW.key, ["x"])
    used = {name.decode() for name in re.findall(rb"cmdstat_([a-z]+)[:|]", server.command("INFO", "commandstats"))}
    assert COMMANDS - {"wait"} <= used <= COMMANDS | {"acl", "auth", "client", "hello"}, "there is no replica to wait for"
    await store.close()


async def test_a_unix_socket():
    async with redis_server(by_socket=True, password=PASSWORD) as server:
        store = open_store(server.url)
        await store.create(NEW, replaces=())
        assert await store.read(NEW.key) == WHOLE
        server.kill()
        with pytest.raises(StoreUnavailable) as refused:
            await store.read(NEW.key)
        assert refused.value.detail.startswith("unix:///")
        await store.close()


async def test_prefix_and_database_keep_gateways_apart(server: RedisServer):
    stores = [open_store(server.url), open_store(server.url, RedisOptions(prefix="other:")), open_store(server.url.replace("/0", "/1"))]
    await stores[0].create(NEW, replaces=())
    assert [(await store.read(NEW.key)).record for store in stores] == [NEW.record, None, None]
    for store in stores:
        await store.close()


async def test_connections_are_bounded(server: RedisServer):
    store = RedisStore(parse_redis_address(server.url, RedisOptions(connections=3)))
    await store.create(NEW, replaces=())
    assert await asyncio.gather(*(store.read(NEW.key) for _ in range(200))) == [WHOLE] * 200
    ours = [line for line in server.command("CLIENT", "LIST").splitlines() if b"id=" in line]
    assert len(ours) <= 3 + 1, "three, and the one that asks"
    server.pause(60_000)
    answers = await asyncio.gather(*(store.read(NEW.key) for _ in range(20)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {StoreUnavailable}, "a bounded wait, then 503"
    await store.close()
