"""Copies of opened sessions are kept true by the server's own word: Redis 6.2 and 7, Valkey 8, each as a real process.

Nothing is timed: tests wait for what has to happen, and the outage's clock is theirs.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from gateway.errors import StoreUnavailable
from gateway.session.sealing import Keyring
from gateway.session.sessions import Absent, Found, Sessions
from gateway.session.store.opening import open_store
from tests.session.test_sessions import KEY, LIFETIMES, NAMES, OTHER_KEY, begin
from tests.support.redis_proxy import redis_proxy
from tests.support.redis_servers import RedisServer, redis_server, server_binaries, server_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.session.conftest import Clock, FakeProvider

PATIENCE = 30.0
"""Seconds after which something that has to happen counts as never."""
GRACE = 30.0
NOT_OURS = {b"ping", b"role", b"info", b"hello", b"client|tracking", b"client"}

every_server = pytest.mark.parametrize("binary", [pytest.param(one, id=server_id(one)) for one in server_binaries()])


@pytest.fixture
async def server(binary: Path) -> AsyncIterator[RedisServer]:
    async with redis_server(binary) as server:
        yield server


@asynccontextmanager
async def replica(
    url: str, clock: Clock, *, keyring: Keyring | None = None, grace: float = GRACE, silence: Callable[[], float] = lambda: 0.0
) -> AsyncIterator[Sessions]:
    """Sessions as one replica has them, told of every change. ``silence`` is the clock of outages; unless given, it stands still."""
    sessions = Sessions(keyring or Keyring([KEY]), open_store(url), LIFETIMES, clock=clock, monotonic=silence, outage_grace=grace)
    sessions.start()
    try:
        await until(lambda: sessions.told_of_changes)
        yield sessions
    finally:
        await sessions.close()


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not happened():
            await asyncio.sleep(0.005)


async def ended(sessions: Sessions, cookies: list[bytes]) -> None:
    """Wait until this replica refuses; it never says anything but found before."""
    async with asyncio.timeout(PATIENCE):
        while isinstance(found := await sessions.find(cookies, NAMES), Found):
            await asyncio.sleep(0.005)
    assert found == Absent("ended")


def commands(server: RedisServer) -> int:
    """How many commands the server has carried out that were not about being told of changes."""
    stats = server.command("INFO", "commandstats")
    return sum(int(calls) for name, calls in re.findall(rb"cmdstat_(\S+?):calls=(\d+)", stats) if name not in NOT_OURS)


async def kill_tracking(server: RedisServer) -> None:
    """Close the connections on which changes are told, as an operator could."""
    killed = 0
    for line in server.command("CLIENT", "LIST").split(b"\n"):
        fields = dict(field.partition(b"=")[::2] for field in line.split())
        if b"B" in fields.get(b"flags", b""):
            server.command("CLIENT", "KILL", "ID", fields[b"id"])
            killed += 1
    assert killed == 1, "one a process"


@every_server
async def test_a_signed_in_request_asks_the_store_nothing(server: RedisServer, clock: Clock, provider: FakeProvider):
    async with replica(server.url, clock) as sessions:
        cookies, begun = await begin(sessions, provider)
        assert sessions.cached(cookies, NAMES) is None
        assert await sessions.find(cookies, NAMES) == begun
        # The news of its own birth may come late, and is one more read.
        await until(lambda: sessions.watches(begun.handle))
        await settled(sessions, cookies)
        before = commands(server)
        for _ in range(1000):
            assert sessions.cached(cookies, NAMES) == begun
            assert await sessions.find(cookies, NAMES) == begun
        assert commands(server) == before


async def settled(sessions: Sessions, cookies: list[bytes]) -> None:
    """Return when this session's copy stays: every change of before was told."""
    told = asyncio.Event()
    marker, _ = new_marker(sessions, told)
    await marker
    await sessions.find(cookies, NAMES)


def new_marker(sessions: Sessions, told: asyncio.Event) -> tuple[asyncio.Task[None], str]:
    """Write a record of nobody and wait until that is told: what came before was told before."""
    key = "m" * 43
    sessions.on_change(lambda changed: told.set() if changed == key else None)

    async def write() -> None:
        store = sessions._store
        await store._exchange.each(("SET", f"gateway:s:{{{key}}}", b"x", "PX", 1000))
        async with asyncio.timeout(PATIENCE):
            await told.wait()

    return asyncio.ensure_future(write()), key


@every_server
async def test_a_session_that_is_deleted_anywhere_is_refused_everywhere(server: RedisServer, clock: Clock, provider: FakeProvider):
    async with replica(server.url, clock) as here, replica(server.url, clock) as there:
        cookies, begun = await begin(here, provider)
        others, other = await begin(here, provider, sub="bob")
        for sessions in (here, there):
            await settled(sessions, cookies)
            await settled(sessions, others)
            assert sessions.watches(begun.handle)
        server.command("DEL", f"gateway:s:{{{begun.handle.key}}}")
        for sessions in (here, there):
            await ended(sessions, cookies)
            assert sessions.cached(others, NAMES) == other
        await here.end(other.handle)
        assert here.cached(others, NAMES) is None, "here at once, whatever is told"
        assert await here.find(others, NAMES) == Absent("ended")
        await ended(there, others)


@every_server
async def test_a_login_that_replaces_a_session_ends_it_everywhere(server: RedisServer, clock: Clock, provider: FakeProvider):
    async with replica(server.url, clock) as here, replica(server.url, clock) as there:
        cookies, begun = await begin(here, provider)
        await settled(here, cookies)
        await settled(there, cookies)
        await begin(here, provider, replaces=(begun.handle.key,))
        assert here.cached(cookies, NAMES) is None
        assert await here.find(cookies, NAMES) == Absent("ended")
        await ended(there, cookies)


@every_server
@pytest.mark.parametrize("flush", ["FLUSHALL", "FLUSHDB"])
async def test_a_flush_empties_everything(server: RedisServer, clock: Clock, provider: FakeProvider, flush: str):
    async with replica(server.url, clock) as sessions:
        cookies, _ = await begin(sessions, provider)
        await settled(sessions, cookies)
        server.command(flush)
        await ended(sessions, cookies)


@every_server
async def test_a_record_that_is_written_anew_is_read_again(server: RedisServer, clock: Clock, provider: FakeProvider):
    async with replica(server.url, clock) as sessions:
        cookies, begun = await begin(sessions, provider)
        await settled(sessions, cookies)
        key = f"gateway:s:{{{begun.handle.key}}}"
        server.command("PEXPIRE", key, 1_000_000)
        await until(lambda: not sessions.watches(begun.handle))
        assert await sessions.find(cookies, NAMES) == begun, "changed is not ended"


@every_server
async def test_notes_of_use_are_no_news(server: RedisServer, clock: Clock, provider: FakeProvider):
    async with replica(server.url, clock) as here, replica(server.url, clock) as there:
        cookies, begun = await begin(here, provider)
        await settled(here, cookies)
        await settled(there, cookies)
        clock.now += LIFETIMES.idle / 10
        before = commands(server)
        found = here.cached(cookies, NAMES)
        assert found is not None
        assert found.last_seen == clock.now
        assert here.cached(cookies, NAMES) is found
        await here.notes_written()
        assert commands(server) == before + 1, "one note a session and tenth"
        assert await told_nothing_of(begun.handle.key, there)
        assert there.watches(begun.handle)
        clock.now += LIFETIMES.idle - 1
        assert there._finding._known((NAMES.origin, NAMES.session, cookies[0].partition(b"=")[2]), clock.now) is None
        found = await there.find(cookies, NAMES)
        assert isinstance(found, Found), "idle as far as this replica knew: the store knows better"


async def told_nothing_of(key: str, sessions: Sessions) -> bool:
    told: list[str | None] = []
    sessions.on_change(told.append)
    task, _ = new_marker(sessions, asyncio.Event())
    await task
    return key not in told


@every_server
async def test_a_killed_connection_is_made_anew_and_everything_read_again(server: RedisServer, clock: Clock, provider: FakeProvider):
    async with replica(server.url, clock) as sessions:
        cookies, begun = await begin(sessions, provider)
        await settled(sessions, cookies)
        told: list[str | None] = []
        sessions.on_change(told.append)
        await kill_tracking(server)
        await until(lambda: None in told)
        assert not sessions.watches(begun.handle)
        await until(lambda: sessions.told_of_changes)
        assert await sessions.find(cookies, NAMES) == begun
        assert sessions.watches(begun.handle)
        server.command("DEL", f"gateway:s:{{{begun.handle.key}}}")
        await ended(sessions, cookies)


@every_server
@pytest.mark.parametrize("grace", [pytest.param(30.0, id="thirty seconds of grace"), pytest.param(0.0, id="none")])
async def test_a_dead_server_is_bridged_for_the_grace(server: RedisServer, clock: Clock, provider: FakeProvider, grace: float):
    async with replica(server.url, clock, grace=grace, silence=clock) as sessions:
        cookies, begun = await begin(sessions, provider)
        await settled(sessions, cookies)
        assert sessions.cached(cookies, NAMES) == begun
        server.kill()
        await until(lambda: not sessions.told_of_changes)
        if grace:
            assert await sessions.find(cookies, NAMES) == begun
            clock.now += grace - 1
            assert await sessions.find(cookies, NAMES) == begun
            assert await sessions.find(cookies, NAMES, extend=False) == begun, "who only looks is served too"
            clock.now += 1
        assert sessions.cached(cookies, NAMES) is None
        with pytest.raises(StoreUnavailable):
            await sessions.find(cookies, NAMES)
        server.start()
        await until(lambda: sessions.told_of_changes)
        await ended(sessions, cookies)  # this server keeps nothing on disk


@every_server
async def test_nobody_unknown_is_let_in_during_an_outage_and_no_end_is_forgotten(server: RedisServer, clock: Clock, provider: FakeProvider):
    async with replica(server.url, clock) as sessions:
        cookies, begun = await begin(sessions, provider)
        unknown, _ = await begin(sessions, provider, sub="bob")
        await settled(sessions, cookies)
        server.kill()
        await until(lambda: not sessions.told_of_changes)
        with pytest.raises(StoreUnavailable):
            await sessions.find(unknown, NAMES)
        assert isinstance(await sessions.find(cookies, NAMES), Found)
        with pytest.raises(StoreUnavailable):
            await sessions.end(begun.handle)
        with pytest.raises(StoreUnavailable):
            await sessions.find(cookies, NAMES)


@every_server
async def test_lifetimes_hold_during_an_outage(server: RedisServer, clock: Clock, provider: FakeProvider):
    async with replica(server.url, clock, grace=1e6) as sessions:
        cookies, _ = await begin(sessions, provider)
        await settled(sessions, cookies)
        server.kill()
        await until(lambda: not sessions.told_of_changes)
        clock.now += LIFETIMES.idle - 1
        assert isinstance(await sessions.find(cookies, NAMES), Found), "this replica saw the use itself"
        clock.now += LIFETIMES.idle
        with pytest.raises(StoreUnavailable):
            await sessions.find(cookies, NAMES)


@every_server
async def test_a_server_that_stands_still_is_noticed_and_bridged(server: RedisServer, clock: Clock, provider: FakeProvider):
    async with replica(server.url, clock) as sessions:
        cookies, begun = await begin(sessions, provider)
        await settled(sessions, cookies)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            await until(lambda: not sessions.told_of_changes)
            assert await sessions.find(cookies, NAMES) == begun
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await until(lambda: sessions.told_of_changes)
        assert await sessions.find(cookies, NAMES) == begun


@every_server
async def test_a_change_that_is_told_during_a_read_wins(server: RedisServer, clock: Clock, provider: FakeProvider):
    async with redis_proxy(server.port) as proxy, replica(proxy.url, clock) as sessions:
        cookies, begun = await begin(sessions, provider)
        await settled(sessions, [])
        told: list[str | None] = []
        sessions.on_change(told.append)
        proxy.answers.clear()
        proxy.asked.clear()
        find = asyncio.create_task(sessions.find(cookies, NAMES))
        await proxy.asked.wait()
        # The server has read the record when it carries out what comes after; the answer is on its way.
        await until(lambda: b"cmdstat_getrange" in server.command("INFO", "commandstats"))
        server.command("DEL", f"gateway:s:{{{begun.handle.key}}}")
        await until(lambda: begun.handle.key in told)
        proxy.answers.set()
        assert await find == begun, "what was read is used once"
        assert not sessions.watches(begun.handle)
        assert await sessions.find(cookies, NAMES) == Absent("ended")


@every_server
async def test_a_replica_that_is_told_late_never_serves_beyond_the_grace(server: RedisServer, clock: Clock, provider: FakeProvider):
    async with redis_proxy(server.port) as proxy, replica(proxy.url, clock, silence=clock) as sessions:
        cookies, begun = await begin(sessions, provider)
        await settled(sessions, cookies)
        proxy.pushes.clear()
        server.command("DEL", f"gateway:s:{{{begun.handle.key}}}")
        assert await sessions.find(cookies, NAMES) == begun, "nobody can know yet"
        clock.now += GRACE
        assert await sessions.find(cookies, NAMES) == Absent("ended")
        proxy.pushes.set()


@every_server
async def test_without_the_right_to_be_told_every_request_asks(server: RedisServer, clock: Clock, provider: FakeProvider):
    server.command("ACL", "SETUSER", "gateway", "on", ">hunter2", "~*", "+@all", "-client")
    sessions = Sessions(Keyring([KEY]), open_store(server.url.replace("//", "//gateway:hunter2@")), LIFETIMES, clock=clock)
    with capture_logs() as logs:
        sessions.start()
        await until(lambda: bool(logs))
        await asyncio.sleep(0)
    assert [entry["event"] for entry in logs] == ["tracking.down"]
    assert "CLIENT TRACKING" in logs[0]["detail"]
    assert "hunter2" not in logs[0]["detail"]
    cookies, begun = await begin(sessions, provider)
    assert await sessions.find(cookies, NAMES) == begun
    assert not sessions.watches(begun.handle)
    await sessions.close()


@every_server
async def test_a_right_that_is_taken_away_ends_the_grace(server: RedisServer, clock: Clock, provider: FakeProvider):
    server.command("ACL", "SETUSER", "gateway", "on", ">hunter2", "~*", "+@all")
    async with replica(server.url.replace("//", "//gateway:hunter2@"), clock) as sessions:
        cookies, begun = await begin(sessions, provider)
        await settled(sessions, cookies)
        server.command("ACL", "SETUSER", "gateway", "-client")
        await kill_tracking(server)
        await until(lambda: sessions.cached(cookies, NAMES) is None)
        assert await sessions.find(cookies, NAMES) == begun, "it can still be asked"


@every_server
async def test_other_keys_come_and_the_copies_go(server: RedisServer, clock: Clock, provider: FakeProvider):
    keyring = Keyring([KEY])
    async with replica(server.url, clock, keyring=keyring) as sessions:
        cookies, begun = await begin(sessions, provider)
        await settled(sessions, cookies)
        keyring.replace([KEY])
        assert sessions.cached(cookies, NAMES) == begun, "the same keys are no change"
        keyring.replace([OTHER_KEY, KEY])
        assert await sessions.find(cookies, NAMES) == begun
        assert sessions.cached(cookies, NAMES) == begun
        keyring.replace([OTHER_KEY])
        assert sessions.cached(cookies, NAMES) is None
        assert await sessions.find(cookies, NAMES) == Absent("unreadable")


@every_server
async def test_keys_of_others_are_nobodys_session(server: RedisServer, clock: Clock, provider: FakeProvider):
    async with replica(server.url, clock) as sessions:
        cookies, begun = await begin(sessions, provider)
        await settled(sessions, cookies)
        for key in ("gateway:s:", "gateway:s:{}", "gateway:s:{" + "a" * 44 + "}", b"gateway:s:{\xff\r\n}", "gateway:s:{" + "b" * 43 + "}x"):
            server.command("SET", key, "x")
        await settled(sessions, cookies)
        assert sessions.cached(cookies, NAMES) == begun


async def test_copies_of_two_origins_are_two(clock: Clock, provider: FakeProvider):
    sessions = Sessions(Keyring([KEY]), open_store("memory", clock=clock), LIFETIMES, clock=clock, monotonic=clock)
    sessions.start()
    cookies, begun = await begin(sessions, provider)
    assert await sessions.find(cookies, NAMES) == begun
    assert sessions.cached(cookies, NAMES) == begun
    elsewhere = type(NAMES).for_origin("https://other.example.org")
    assert sessions.cached(cookies, elsewhere) is None
    assert await sessions.find(cookies, elsewhere) == Absent("unreadable")
    assert sessions.cached([cookies[0] + b"; " + NAMES.session.encode() + b"=other"], NAMES) is None, "of several it has no word"
    await sessions.close()
