"""Two gateways over a real Cluster, and over Sentinel: the promises of one server hold over several, also while a primary dies."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp
import pytest

from gateway.session.store.redis import COMMANDS
from tests.support.gateway_process import secret_file
from tests.support.hostile_house import PUBLIC, SESSION
from tests.support.redis_cluster import RedisCluster, redis_cluster
from tests.support.redis_sentinel import SentinelHouse, redis_sentinel
from tests.support.several_gateways import PATIENCE, TOKEN_ROUTE, Several, access_token, ask, nobody, several, until, user
from tests.support.user_agent import FETCH, NAVIGATION, forms

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from tests.support.redis_servers import RedisServer
    from tests.support.user_agent import Answer

ADMIN_TOKEN = "operators-token-0123456789abcdef"
FREE_ROUNDS = 10
OF_SESSIONS = {name.encode() for name in COMMANDS - {"ping", "info"}}
"""What a request could ask about sessions; the rest is about the servers themselves."""


@dataclass
class Spread:
    """Two gateways, and what their sessions are spread over; ``keys`` are the records of those who signed in, by cookie."""

    pair: Several
    servers: RedisCluster | SentinelHouse
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def primaries(self) -> Sequence[RedisServer]:
        return self.servers.primaries() if isinstance(self.servers, RedisCluster) else [self.servers.master]

    @property
    def replicas(self) -> Sequence[RedisServer]:
        nodes = self.servers.nodes if isinstance(self.servers, RedisCluster) else self.servers.servers
        return [node for node in nodes if node.running and node not in self.primaries]

    def records(self) -> set[str]:
        return {key.decode() for node in self.primaries for key in re.findall(rb"gateway:s:\{[^}]+\}", node.command("KEYS", "gateway:s:*"))}

    def primary_of(self, cookie: str) -> RedisServer:
        return self.servers.primary_of(self.keys[cookie]) if isinstance(self.servers, RedisCluster) else self.servers.master

    async def sign_in(self) -> str:
        """Somebody with a session; the Cookie header."""
        before = self.records()
        async with self.pair.one.browser() as browser:
            cookie = f"{SESSION}={await self.pair.one.signed_in(browser)}"
        (self.keys[cookie],) = self.records() - before
        return cookie

    async def sign_in_everywhere(self) -> dict[int, str]:
        """A session at every primary there is: cookies by port."""
        found: dict[int, str] = {}
        while len(found) < len(self.primaries):
            cookie = await self.sign_in()
            found.setdefault(self.primary_of(cookie).port, cookie)
        return found

    async def sign_out(self, at: int) -> str:
        """Sign somebody in, and out again at one of the gateways; the cookie."""
        house = self.pair.houses[at]
        async with house.browser() as browser:
            cookie = f"{SESSION}={await house.signed_in(browser)}"
            for each in self.pair.houses:
                assert user(await ask(each, cookie)) == "alice-sub"
            (form,) = forms(await browser.open(PUBLIC + "/oauth2/sign_out"))
            answer = await browser.ask(form.action, method="POST", headers=NAVIGATION | {"Sec-Fetch-Site": "same-origin"}, data={})
            assert answer.status == 303
        return cookie

    async def replicated(self) -> None:
        """Wait until the replicas hold as much as the primaries."""

        def sizes(nodes: Sequence[RedisServer]) -> int:
            return sum(int(node.command("DBSIZE")[1:-2]) for node in nodes)

        await until(lambda: sizes(self.replicas) == sizes(self.primaries))

    def commands(self) -> int:
        found = [re.findall(rb"cmdstat_(\S+?):calls=(\d+)", node.command("INFO", "commandstats")) for node in self.primaries]
        return sum(int(calls) for each in found for name, calls in each if name in OF_SESSIONS)

    async def listed(self, at: int) -> set[str]:
        """The store keys of alice's sessions as an operator sees them at a gateway."""
        url = f"{self.pair.houses[at].gateway.admin}/sessions?user=alice-sub"
        async with aiohttp.ClientSession() as client, client.get(url, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}) as answer:
            assert answer.status == 200, await answer.text()
            return {f"gateway:s:{{{each['id'].removeprefix('s_')}}}" for each in (await answer.json())["sessions"]}

    async def all_is_well(self, cookies: Sequence[str]) -> None:
        """No command for who is signed in, one refresh for who asks at both, an end that counts at both, and all of it listed."""
        pair = self.pair
        free = 0
        async with asyncio.timeout(PATIENCE):  # the news of a birth, or of a new primary, are a read more each
            while free < FREE_ROUNDS:
                free = 0 if await self._cost_of_a_round(cookies) else free + 1
        for at in range(2):
            gone = await self.sign_out(at)
            for house in pair.houses:
                await nobody(house, gone)
        assert await self.listed(0) == await self.listed(1) == self.records()
        assert {self.keys[cookie] for cookie in cookies} <= self.records()

    async def _cost_of_a_round(self, cookies: Sequence[str]) -> int:
        before = self.commands()
        assert before > 0
        for cookie in cookies:
            for house in self.pair.houses:
                assert user(await ask(house, cookie)) == "alice-sub"
        return self.commands() - before

    async def one_refresh_a_session(self, cookies: Sequence[str]) -> None:
        """Of sessions whose tokens have run out, asked for at both gateways at once."""
        pair, before = self.pair, self.pair.provider.refreshes
        for cookie in cookies:
            await pair.run_out(cookie)
        answers = await asyncio.gather(*(ask(house, each, TOKEN_ROUTE) for each in cookies for _ in range(10) for house in pair.houses))
        assert {user(answer) for answer in answers} == {"alice-sub"}
        assert len({access_token(answer) for answer in answers}) == len(cookies)
        assert (pair.provider.refreshes - before, pair.provider.reuses) == (len(cookies), 0)

    async def served_again(self, cookie: str) -> None:
        """It is 200 at both gateways in the end, and 503 until then: nobody is sent to sign in, and no cookie is touched."""
        for house in self.pair.houses:
            async with asyncio.timeout(PATIENCE):
                while unavailable(answer := await ask(house, cookie, headers=NAVIGATION)):
                    await asyncio.sleep(0.05)
            assert user(answer) == "alice-sub"


def unavailable(answer: Answer) -> bool:
    if answer.status == 200:
        return False
    assert (answer.status, answer.location, answer.all("Set-Cookie")) == (503, None, []), answer.text
    assert answer.header("Retry-After")
    return True


@asynccontextmanager
async def spread(folder: Path, servers: RedisCluster | SentinelHouse) -> AsyncIterator[Spread]:
    async with AsyncExitStack() as stack:
        admin = {"token": {"file": str(secret_file(folder, "admin_token", ADMIN_TOKEN))}}
        store = servers.nodes[0] if isinstance(servers, RedisCluster) else servers.master
        running = several(folder, store=store, ways=[servers.url] * 2, admin=admin, session={"outage_grace": "0s"}, total_timeout="5s")
        yield Spread(await stack.enter_async_context(running), servers)


@pytest.mark.parametrize("kind", [pytest.param("cluster", id="Cluster"), pytest.param("sentinel", id="Sentinel")])
async def test_over_a_failover(tmp_path: Path, kind: str) -> None:
    """What holds before a primary is killed holds when its replica has taken its place, for the same sessions; no ended one is back."""
    opened = redis_cluster(replicas=3) if kind == "cluster" else redis_sentinel()
    async with opened as servers, spread(tmp_path, servers) as world:
        cookies = [*(await world.sign_in_everywhere()).values()]
        world.pair.provider.misbehaviour.expires_in = 3600
        await world.one_refresh_a_session(cookies)
        await world.all_is_well(cookies)
        gone = await world.sign_out(1)

        await world.replicated()
        killed = world.primary_of(cookies[0])
        await asyncio.to_thread(killed.kill)
        for house in world.pair.houses:
            async with asyncio.timeout(PATIENCE):
                while not unavailable(await ask(house, cookies[0], headers=FETCH)):
                    await asyncio.sleep(0.01)
        for cookie in cookies:
            await world.served_again(cookie)
        if isinstance(servers, SentinelHouse):
            await servers.failed_over(away_from=killed)
        else:
            await servers.until(servers.is_well)
        for house in world.pair.houses:
            await nobody(house, gone)
        assert world.records() == {world.keys[cookie] for cookie in world.keys}

        for node in world.primaries:
            node.command("CONFIG", "SET", "repl-diskless-sync-delay", "0")
        await asyncio.to_thread(killed.start)
        if isinstance(servers, SentinelHouse):
            # What the sentinels would have done themselves in ten seconds.
            killed.command("REPLICAOF", "127.0.0.1", servers.master.port)
        await servers.until(lambda: b"master_link_status:up" in killed.command("INFO", "replication"))
        world.pair.provider.misbehaviour.expires_in = 3600
        await world.all_is_well([*cookies, await world.sign_in()])


async def test_a_primary_that_nobody_takes_the_place_of(tmp_path: Path) -> None:
    """A part of a cluster that is away costs its own sessions alone, and for as long; a sign-in is a matter of which part it falls to."""
    async with redis_cluster() as cluster:
        for node in cluster.nodes:
            node.command("CONFIG", "SET", "cluster-require-full-coverage", "no")
        async with spread(tmp_path, cluster) as world:
            found = await world.sign_in_everywhere()
            world.pair.provider.misbehaviour.expires_in = 3600
            dead = cluster.nodes[-1]
            cookie = found.pop(dead.port)
            for each in found.values():
                await world.served_again(each)
            await asyncio.to_thread(dead.freeze)
            for house in world.pair.houses:
                async with asyncio.timeout(PATIENCE):
                    while not unavailable(await ask(house, cookie)):
                        await asyncio.sleep(0.05)
                for each in found.values():
                    assert user(await ask(house, each)) == "alice-sub"
            assert unavailable(await ask(world.pair.one, cookie, headers=NAVIGATION))
            async with AsyncExitStack() as stack:
                browsers = [await stack.enter_async_context(world.pair.one.browser()) for _ in range(4)]
                answers = await asyncio.gather(*(world.pair.one.sign_in(browser) for browser in browsers))
            assert {answer.status for answer in answers} <= {303, 503}
            await asyncio.to_thread(dead.thaw)
            for each in (cookie, *found.values()):
                await world.served_again(each)
            await world.all_is_well([cookie, *found.values()])
