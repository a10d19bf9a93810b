"""What a store makes of keys that somebody else wrote, evicted or emptied: an ended session and a line in the log, no more."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from gateway.errors import StoreUnavailable
from gateway.session.store.opening import open_store
from gateway.session.store.protocol import MAX_CARD, MAX_VALUE, Ended, Listed, NewSession, Shown, Stored
from tests.support.redis_servers import RedisServer, redis_server, server_binaries, server_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.session.store.protocol import SessionStore

NEW = NewSession(
    key="k" * 43, record=b"record", tokens=b"tokens", last_seen=1_700_000_000_123, lifetime=3600.0, idle=600.0, card=b"card", indexes=("x",)
)
OTHER = replace(NEW, key="o" * 43, record=b"other", card=b"other card", indexes=("x", "y"))
WHOLE = Stored(record=NEW.record, last_seen=NEW.last_seen)
GONE = Ended(tokens=None, card=None, there=False)
UNKNOWN = Shown(card=None, last_seen=None, there=False)

FOREIGN = [
    pytest.param(("HSET", "{key}", "a", "b"), id="a hash"),
    pytest.param(("RPUSH", "{key}", "a"), id="a list"),
    pytest.param(("SADD", "{key}", "a"), id="a set"),
    pytest.param(("XADD", "{key}", "*", "a", "b"), id="a stream"),
    pytest.param(("ZADD", "{key}", "1", "a"), id="a sorted set"),
    pytest.param(("SET", "{key}", "value"), id="a string"),
]
KINDS_OF_VALUES = "sticre"


@pytest.fixture(params=[pytest.param(binary, id=server_id(binary)) for binary in server_binaries()])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[RedisServer]:
    async with redis_server(request.param) as server:
        yield server


@pytest.fixture
async def store(server: RedisServer) -> AsyncIterator[SessionStore]:
    store = open_store(server.url)
    yield store
    await store.close()


def name(kind: str, key: str = NEW.key) -> str:
    return f"gateway:{kind}:{{{key}}}"


def put(server: RedisServer, key: str, foreign: tuple[str, ...]) -> None:
    server.command("DEL", key)
    assert not server.command(*(word.format(key=key) for word in foreign)).startswith(b"-")


def keys(server: RedisServer) -> set[str]:
    return {word.decode() for word in server.command("KEYS", "*").split(b"\r\n") if word.startswith(b"gateway:")}


@pytest.mark.parametrize("foreign", FOREIGN)
async def test_every_key_of_a_session_may_be_somebody_elses(server: RedisServer, store: SessionStore, foreign: tuple[str, ...]):
    """Nothing raises; where a string of somebody else's stands, it is what it is, as no store can tell what was sealed."""
    is_string = foreign[0] == "SET"
    for kind in KINDS_OF_VALUES:
        put(server, name(kind), foreign)
    with capture_logs() as logs:
        stored = await store.read(NEW.key)
        assert stored == Stored(record=b"value" if is_string else None, last_seen=None)
        assert await store.last_seen([NEW.key]) == [None]
        assert await store.show([NEW.key]) == [Shown(card=b"value" if is_string else None, last_seen=None, there=True)]
        assert await store.tokens(NEW.key) == (b"value" if is_string else None)
        assert not await store.replace(NEW.key, record=b"newer", tokens=b"newer", fence=b"tokens")
        assert not await store.extend(NEW.key, owner=b"me", lifetime=10.0)
        await store.unlock(NEW.key, owner=b"me")
        assert await store.lock(NEW.key, owner=b"me", lifetime=10.0) == 10.0, "nobody's lock that would never end gets an end"
        assert await store.take_tokens(NEW.key) == (b"value" if is_string else None)
        assert await store.end(NEW.key) == Ended(*([b"value"] * 2 if is_string else [None] * 2), there=True)
    assert {entry["log_level"] for entry in logs} == {"error"}
    assert {entry["event"] for entry in logs} == {"store.value_refused"}
    kinds = {entry["kind"] for entry in logs}
    assert kinds == ({"last seen", "lock"} if is_string else {"record", "last seen", "card", "grant", "lock"})
    assert server.command("DBSIZE") == b":0\r\n", "ending deletes what is there, whatever it is"


@pytest.mark.parametrize("foreign", FOREIGN[:4])
async def test_a_record_that_is_none_is_not_made_one_by_a_refresh(server: RedisServer, store: SessionStore, foreign: tuple[str, ...]):
    await store.create(NEW, replaces=())
    put(server, name("s"), foreign)
    assert not await store.replace(NEW.key, record=b"newer", tokens=b"newer", fence=NEW.tokens)
    assert await store.read(NEW.key) == Stored(record=None, last_seen=NEW.last_seen)


@pytest.mark.parametrize("foreign", FOREIGN)
async def test_a_login_takes_the_place_of_what_is_foreign(server: RedisServer, store: SessionStore, foreign: tuple[str, ...]):
    for kind in "stic":
        put(server, name(kind), foreign)
        put(server, name(kind, OTHER.key), foreign)
    with capture_logs() as logs:
        cards = await store.create(NEW, replaces=(OTHER.key,))
    assert cards == ((b"value",) if foreign[0] == "SET" else ())
    assert [entry["kind"] for entry in logs] == ([] if foreign[0] == "SET" else ["card"])
    assert await store.read(NEW.key) == WHOLE
    assert keys(server) == {*(name(kind) for kind in "stic"), "gateway:x:{x}"}


@pytest.mark.parametrize("foreign", [each for each in FOREIGN if each.id != "a sorted set"])
async def test_an_index_that_is_none(server: RedisServer, store: SessionStore, foreign: tuple[str, ...]):
    put(server, "gateway:x:{x}", foreign)
    with capture_logs() as logs:
        with pytest.raises(StoreUnavailable, match="something else"):
            await store.listed("x", cursor=0, count=10)
        await store.unlist(NEW.key, ["x"])
        await store.create(NEW, replaces=())
    assert [(entry["log_level"], entry["kind"]) for entry in logs] == [("error", "index")] * 3
    assert await store.listed("x", cursor=0, count=10) == Listed(keys=(NEW.key,), cursor=0), "a login makes room for its own"
    assert await store.read(NEW.key) == WHOLE


async def test_members_that_are_no_keys_are_nobodys(server: RedisServer, store: SessionStore):
    await store.create(NEW, replaces=())
    for member in (b"\xff\xfe", b"", b"a b", b"k" * 65, b"{k}", "ключ".encode()):
        server.command("ZADD", "gateway:x:{x}", "9999999999999", member)
    assert await store.listed("x", cursor=0, count=100) == Listed(keys=(NEW.key,), cursor=0)


@pytest.mark.parametrize("score", ["-inf", "+inf", "0", "1e300"])
async def test_whatever_a_member_is_scored_a_login_is_listed(server: RedisServer, store: SessionStore, score: str):
    server.command("ZADD", "gateway:x:{x}", score, OTHER.key)
    await store.create(NEW, replaces=())
    assert NEW.key in (await store.listed("x", cursor=0, count=100)).keys


@pytest.mark.parametrize(("kind", "most"), [("s", MAX_VALUE), ("t", MAX_VALUE), ("c", MAX_CARD)], ids=["record", "tokens", "card"])
async def test_as_large_as_may_be_and_a_byte_more(server: RedisServer, store: SessionStore, kind: str, most: int):
    field = {"s": "record", "t": "tokens", "c": "card"}[kind]
    large = replace(NEW, **{field: b"x" * most})
    await store.create(large, replaces=())
    assert await read_back(store, kind) == b"x" * most
    assert await store.replace(NEW.key, record=b"newer", tokens=b"newer", fence=large.tokens)
    server.command("SETRANGE", name(kind), most, "x")
    with capture_logs() as logs:
        assert await read_back(store, kind) is None
    assert [entry["fault"] for entry in logs] == ["too large"]


async def read_back(store: SessionStore, kind: str) -> bytes | None:
    if kind == "s":
        return (await store.read(NEW.key)).record
    return await store.tokens(NEW.key) if kind == "t" else (await store.show([NEW.key]))[0].card


async def test_evicted_record(server: RedisServer, store: SessionStore):
    """The session has ended, and everything else of it is as good as gone."""
    await store.create(NEW, replaces=())
    server.command("DEL", name("s"))
    assert (await store.read(NEW.key)).record is None
    assert await store.missing([NEW.key]) == {NEW.key}
    assert await store.last_seen([NEW.key]) == [None]
    assert await store.tokens(NEW.key) is None
    assert await store.show([NEW.key]) == [UNKNOWN]
    assert not await store.replace(NEW.key, record=b"newer", tokens=b"newer", fence=NEW.tokens)
    assert await store.end(NEW.key) == Ended(NEW.tokens, NEW.card, there=False), "what is left can be revoked and unlisted"
    assert keys(server) == {"gateway:x:{x}"}


async def test_evicted_tokens(server: RedisServer, store: SessionStore):
    """The session goes on without them."""
    await store.create(NEW, replaces=())
    server.command("DEL", name("t"))
    assert await store.read(NEW.key) == WHOLE
    assert await store.tokens(NEW.key) is None
    for fence in (NEW.tokens, b""):
        assert not await store.replace(NEW.key, record=b"newer", tokens=b"newer", fence=fence)
    assert await store.end(NEW.key, leave_tokens=30.0) == Ended(None, NEW.card, there=True)
    assert await store.take_tokens(NEW.key) is None


async def test_evicted_note_of_use(server: RedisServer, store: SessionStore):
    """It counts as idle: nobody can say any more when it was used."""
    await store.create(NEW, replaces=())
    server.command("DEL", name("i"))
    assert await store.read(NEW.key) == Stored(record=NEW.record, last_seen=None)
    await store.touch([NEW.key], last_seen=NEW.last_seen, idle=600.0)
    assert await store.show([NEW.key]) == [Shown(card=NEW.card, last_seen=None, there=True)]


async def test_evicted_card(server: RedisServer, store: SessionStore):
    """The session goes on and ends like any other; nobody can tell whose it is."""
    await store.create(NEW, replaces=())
    server.command("DEL", name("c"))
    assert await store.read(NEW.key) == WHOLE
    assert await store.show([NEW.key]) == [Shown(card=None, last_seen=NEW.last_seen, there=True)]
    assert await store.end(NEW.key) == Ended(NEW.tokens, None, there=True)


async def test_evicted_lock(server: RedisServer, store: SessionStore):
    """Two may refresh at once, and the second writes nothing."""
    await store.create(NEW, replaces=())
    assert await store.lock(NEW.key, owner=b"me", lifetime=10.0) is None
    server.command("DEL", name("r"))
    assert await store.lock(NEW.key, owner=b"you", lifetime=10.0) is None
    assert not await store.extend(NEW.key, owner=b"me", lifetime=10.0)
    assert await store.replace(NEW.key, record=b"yours", tokens=b"yours", fence=NEW.tokens)
    assert not await store.replace(NEW.key, record=b"mine", tokens=b"mine", fence=NEW.tokens)


async def test_evicted_index(server: RedisServer, store: SessionStore):
    """Sessions that were listed are found by nobody until they expire; new ones are."""
    await store.create(NEW, replaces=())
    server.command("DEL", "gateway:x:{x}")
    assert await store.listed("x", cursor=0, count=10) == Listed(keys=(), cursor=0)
    await store.unlist(NEW.key, ["x"])
    await store.create(OTHER, replaces=())
    assert await store.listed("x", cursor=0, count=10) == Listed(keys=(OTHER.key,), cursor=0)


async def test_evicted_tokens_of_an_ended_session(server: RedisServer, store: SessionStore):
    await store.create(NEW, replaces=())
    await store.end(NEW.key, leave_tokens=30.0)
    server.command("DEL", name("e"))
    assert await store.take_tokens(NEW.key) is None


async def test_flushed(server: RedisServer, store: SessionStore):
    await store.create(NEW, replaces=())
    await store.lock(NEW.key, owner=b"me", lifetime=10.0)
    await store.claim("s" * 43, lifetime=600.0)
    server.command("FLUSHALL")
    assert await store.read(NEW.key) == Stored(record=None, last_seen=None)
    assert await store.missing([NEW.key]) == {NEW.key}
    assert await store.end(NEW.key) == GONE
    assert not await store.extend(NEW.key, owner=b"me", lifetime=10.0)
    assert await store.listed("x", cursor=0, count=10) == Listed(keys=(), cursor=0)
    await store.create(NEW, replaces=(OTHER.key,))
    assert await store.read(NEW.key) == WHOLE
