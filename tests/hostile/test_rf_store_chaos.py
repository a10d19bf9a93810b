"""RF and RD: the store dies, empties, fills up or crawls in the middle of a refresh; or an operator, a signal or a crash comes in between.

Two whole gateways, each with a way of its own to one Redis, and a provider that ends a sign-in when it sees an old refresh token. After
each: who was signed in is, who was ended is not, and the provider was asked once.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import pytest_asyncio

from tests.support.gateway_process import secret_file
from tests.support.processes import children
from tests.support.redis_proxy import RedisProxy, redis_proxy
from tests.support.redis_sentinel import SentinelHouse, redis_sentinel
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.several_gateways import PATIENCE, TOKEN_ROUTE, Several, access_token, ask, nobody, several, until, user

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMIN_TOKEN = "operators-token-0123456789abcdef"
MOST_COMMANDS = 24
"""Of a refresh, at the replica that does it and at the one that hears of it: locks, looks, the write, one read each, and Lua's own."""


@dataclass
class Chaos:
    """A pair of gateways, the server that they share, and their ways to it."""

    pair: Several
    server: RedisServer
    ways: list[RedisProxy]

    @asynccontextmanager
    async def in_flight(self, *, before_the_grant: bool = False) -> AsyncIterator[str]:
        """Within, the provider has granted and its answer is not there yet, or (never) has its request; at the end it comes. The cookie."""
        pair, bad = self.pair, self.pair.provider.misbehaviour
        cookie = await pair.signed_in_and_run_out()
        gate = asyncio.Event()
        bad.refresh_held, bad.refresh_gate = (gate, None) if before_the_grant else (None, gate)
        for house in pair.houses:
            assert user(await ask(house, cookie)) == "alice-sub"
        await until(lambda: (len(pair.provider.refresh_requests) if before_the_grant else pair.provider.refreshes) == 1)
        yield cookie
        bad.refresh_held = bad.refresh_gate = None
        if not before_the_grant:
            gate.set()

    async def locks_age(self) -> None:
        """As if so much time had passed that no lock is left."""
        for key in await self.pair.one.keys():
            if key.startswith("gateway:r:"):
                await self.pair.one.redis.delete(key)

    async def everybody_is_signed_in(self, cookie: str, *, asked: int = 1) -> None:
        """With the newest token, at both, after so many requests to the provider; whoever did not refresh is asked first."""
        for house in reversed(self.pair.houses):
            async with asyncio.timeout(PATIENCE):
                while (answer := await ask(house, cookie, TOKEN_ROUTE)).status == 503:
                    await asyncio.sleep(0.05)
            assert access_token(answer) == self.pair.provider.tokens_issued[-1]["access_token"]
            assert user(answer) == "alice-sub"
        assert (len(self.pair.provider.refresh_requests), self.pair.provider.refreshes) == (asked, 1)
        assert self.pair.provider.reuses == 0


@asynccontextmanager
async def chaos(folder: Path, **how: Any) -> AsyncIterator[Chaos]:
    admin = {"token": {"file": str(secret_file(folder, "admin_token", ADMIN_TOKEN))}}
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(redis_server(extra=("--appendonly", "yes", "--appendfsync", "always")))
        ways = [await stack.enter_async_context(redis_proxy(server.port)) for _ in range(2)]
        how = {"total_timeout": "5s", "refresh_timeout": "20s", "admin": admin, "ways": [way.url for way in ways]} | how
        pair = await stack.enter_async_context(several(folder, store=server, **how))
        yield Chaos(pair, server, ways)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def standing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Chaos]:
    async with chaos(tmp_path_factory.mktemp("chaos")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def world(standing: Chaos) -> Chaos:
    await standing.pair.reset()
    standing.pair.provider.revoked.clear()
    return standing


async def test_a_store_that_is_killed_and_started_again(world: Chaos) -> None:
    """RD-02, RF-07: the grant is written when it is back, before anybody shows the old token."""
    async with world.in_flight() as cookie:
        world.server.kill()
    for house in world.pair.houses:
        assert user(await ask(house, cookie)) == "alice-sub", "its copy serves"
    await asyncio.to_thread(world.server.start)
    for house in world.pair.houses:
        await house.redis.connection_pool.disconnect()
    await world.everybody_is_signed_in(cookie)


@pytest.mark.parametrize("who", [pytest.param((0, 1), id="everybody"), pytest.param((0,), id="who refreshes")])
async def test_a_store_that_cannot_be_reached_for_longer_than_a_lock_lives(world: Chaos, who: tuple[int, ...]) -> None:
    """RD-04, RF-07: where both were cut off, the other waits until what was granted is written; where one was, its lock is not lost yet."""
    async with world.in_flight() as cookie:
        for index in who:
            world.ways[index].cut()
    asking = [asyncio.ensure_future(ask(house, cookie, TOKEN_ROUTE)) for house in world.pair.houses]
    # Longer than a pause between two attempts to write may be, or whoever comes first shows an old token.
    await asyncio.sleep(2.0)
    if len(who) == 2:
        await world.locks_age()
    for way in world.ways:
        way.mend()
    asking += [asyncio.ensure_future(ask(house, cookie, TOKEN_ROUTE)) for _ in range(10) for house in reversed(world.pair.houses)]
    assert {answer.status for answer in await asyncio.gather(*asking)} <= {200, 503}
    await world.everybody_is_signed_in(cookie)


async def test_a_store_that_is_emptied(world: Chaos) -> None:
    """RD-16, RF-10: everybody is signed out, nothing comes back, and what was granted is revoked."""
    async with world.in_flight() as cookie:
        await world.pair.one.redis.flushall()
    granted = world.pair.provider.tokens_issued[-1]
    await until(lambda: {granted["refresh_token"], granted["access_token"]} <= set(world.pair.provider.revoked))
    for house in world.pair.houses:
        await nobody(house, cookie)
    assert not {key for key in await world.pair.one.sessions() if not key.startswith("gateway:r:")}
    assert len(world.pair.provider.refresh_requests) == 1


@pytest.mark.parametrize(
    ("full", "again"),
    [
        pytest.param(("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0"), id="RD-07 out of memory"),
        pytest.param(("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"), id="RD-05 read-only"),
    ],
)
@pytest.mark.parametrize("granted", [pytest.param(True, id="before the write"), pytest.param(False, id="before the lock")])
async def test_a_store_that_takes_no_writes(world: Chaos, full: tuple[str, ...], again: tuple[str, ...], granted: bool) -> None:
    """A provider is asked by nobody who could not keep what it gives; what it gave is written when that is possible."""
    server, provider = world.server, world.pair.provider
    if granted:
        async with world.in_flight() as cookie:
            server.command(*full)
    else:
        cookie = await world.pair.signed_in_and_run_out()
        server.command(*full)
        for house in world.pair.houses:
            assert user(await ask(house, cookie)) == "alice-sub"
            assert (await ask(house, cookie, TOKEN_ROUTE)).status == 503
        assert provider.refresh_requests == []
    await asyncio.sleep(0.3)
    server.command(*again)
    await world.everybody_is_signed_in(cookie)


async def test_a_slow_link(world: Chaos) -> None:
    """RD-04: every answer of the store comes 0.2 s late, to one of them; nobody asks twice, and nobody is refused."""
    cookie = await world.pair.signed_in_and_run_out()
    world.ways[1].delay = 0.2
    try:
        answers = await asyncio.gather(*(ask(house, cookie, TOKEN_ROUTE) for _ in range(20) for house in world.pair.houses))
        assert {answer.status for answer in answers} == {200}
        await world.everybody_is_signed_in(cookie)
    finally:
        world.ways[1].delay = 0.0


async def test_an_operator_who_ends_the_session(world: Chaos) -> None:
    """RF-10: ended is ended, and what was granted meanwhile is revoked."""
    async with world.in_flight() as cookie:
        (key,) = [key[len("gateway:s:{") : -1] for key in await world.pair.one.keys() if key.startswith("gateway:s:")]
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        url = f"{world.pair.other.gateway.admin}/sessions/{key}"
        async with aiohttp.ClientSession() as client, client.delete(url, headers=headers) as answer:
            assert answer.status < 300, await answer.text()
        for house in world.pair.houses:
            await nobody(house, cookie)
    granted = world.pair.provider.tokens_issued[-1]
    await until(lambda: {granted["refresh_token"], granted["access_token"]} <= set(world.pair.provider.revoked))
    for house in world.pair.houses:
        await nobody(house, cookie)


async def test_a_reload_meanwhile(world: Chaos) -> None:
    """RF-08: SIGHUP takes nothing from what is under way."""
    async with world.in_flight() as cookie:
        for house in world.pair.houses:
            house.gateway.hang_up()
        await until(lambda: all(house.logged("secrets.reloaded") for house in world.pair.houses))
    await world.everybody_is_signed_in(cookie)


async def test_a_mended_secret_counts_at_once(world: Chaos) -> None:
    """A reload ends the rests that a wrong secret caused."""
    cookie = await world.pair.signed_in_and_run_out()
    world.pair.provider.misbehaviour.refresh_status = 503
    assert (await ask(world.pair.one, cookie, TOKEN_ROUTE)).status == 503
    world.pair.provider.misbehaviour.refresh_status = 200
    before = len(world.pair.one.logged("secrets.reloaded"))
    world.pair.one.gateway.hang_up()
    await until(lambda: len(world.pair.one.logged("secrets.reloaded")) > before)
    assert user(await ask(world.pair.one, cookie, TOKEN_ROUTE)) == "alice-sub"
    await world.everybody_is_signed_in(cookie, asked=2)


async def test_what_a_refresh_costs_the_store(world: Chaos) -> None:
    """RF-02: a handful of commands, however many wait for it."""
    cookie = await world.pair.signed_in_and_run_out()
    for _ in range(2):
        await world.everybody_is_signed_in(cookie)
    before = world.pair.commands()
    await asyncio.gather(*(ask(house, cookie, TOKEN_ROUTE) for _ in range(50) for house in world.pair.houses))
    assert world.pair.commands() == before, "and none when it is done"
    world.pair.provider.misbehaviour.expires_in = 1
    cookie = await world.pair.signed_in_and_run_out()
    before = world.pair.commands()
    answers = await asyncio.gather(*(ask(house, cookie, TOKEN_ROUTE) for _ in range(50) for house in world.pair.houses))
    assert {answer.status for answer in answers} == {200}
    assert world.pair.commands() - before <= 2 * MOST_COMMANDS


async def test_a_worker_that_crashes_in_the_middle(tmp_path: Path) -> None:
    """RF-04: the one that takes its place goes on when the lock has gone, once."""
    async with chaos(tmp_path, count=1, server={"workers": 2}) as world:
        house = world.pair.one
        async with world.in_flight(before_the_grant=True) as cookie:
            for pid in children(house.gateway.process.pid):
                os.kill(pid, signal.SIGKILL)
        await world.locks_age()
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    answer = await ask(house, cookie, TOKEN_ROUTE)
                except OSError:
                    continue
                if answer.status == 200:
                    break
                assert answer.status == 503
        assert user(answer) == "alice-sub"
        assert world.pair.provider.reuses == 0


@dataclass
class Primary:
    """Whoever is it."""

    house: SentinelHouse

    @property
    def url(self) -> str:
        return self.house.master.url

    def command(self, *words: str) -> bytes:
        return self.house.master.command(*words)


@pytest.mark.parametrize("knew", [pytest.param(True, id="after the write"), pytest.param(False, id="with a write that no replica knew")])
async def test_a_primary_that_is_killed_in_the_middle(tmp_path: Path, knew: bool) -> None:
    """RD-05: the grant is written at the new one, and nobody is signed out."""
    async with redis_sentinel() as house, several(tmp_path, store=Primary(house), ways=[house.url] * 2, refresh_timeout="20s") as pair:
        cookie = await pair.signed_in_and_run_out()
        old = house.master
        replica = next(server for server in house.servers if server is not old)
        gate = pair.provider.misbehaviour.refresh_gate = asyncio.Event()
        assert user(await ask(pair.one, cookie)) == "alice-sub"
        await until(lambda: pair.provider.refreshes == 1)
        pair.provider.misbehaviour.refresh_gate = None
        if not knew:
            replica.freeze()
            old.command("CLIENT", "KILL", "TYPE", "replica")
            gate.set()
            await until(lambda: bool(pair.one.logged("session.refreshed")))
        old.kill()
        gate.set()
        if not knew:
            replica.thaw()
        await house.failed_over(away_from=old)
        for each in pair.houses:
            async with asyncio.timeout(PATIENCE):
                while (answer := await ask(each, cookie, TOKEN_ROUTE)).status == 503:
                    await asyncio.sleep(0.05)
            assert access_token(answer) == pair.provider.tokens_issued[-1]["access_token"]
        assert (len(pair.provider.refresh_requests), pair.provider.reuses) == (1, 0)
