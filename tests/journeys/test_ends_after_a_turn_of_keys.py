"""Whoever goes on under a new session key is found and ended under it when the old one is gone, by user and by the provider's session."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.support.gateway_process import new_key_file, secret_file
from tests.support.hostile_house import SESSION
from tests.support.leaks import sweep
from tests.support.redis_servers import redis_server
from tests.support.several_gateways import PATIENCE, Several, ask, nobody, several, until, user
from tests.support.user_agent import NAVIGATION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.redis_servers import RedisServer

ADMIN_TOKEN = "operators-token-0123456789abcdef"
SID = "session-at-the-provider-1"


@dataclass
class Turning:
    """Two gateways, and the keys that they are told of; ``old`` is theirs at the start."""

    pair: Several
    server: RedisServer
    old: Path
    new: Path
    reloads: int = 0

    async def turn_to(self, *keys: Path) -> None:
        written = "".join(f"  - file: {key}\n" for key in keys)
        self.reloads += 1
        for house in self.pair.houses:
            path = house.gateway.config
            path.write_text(re.sub(r"(?<=  keys:\n)(  - file: .*\n)+", written, path.read_text()))
            house.gateway.hang_up()
        await until(lambda: all(len(house.logged("secrets.reloaded")) == self.reloads for house in self.pair.houses))

    async def turn_over(self) -> None:
        """The new key seals everywhere, and the old one opens."""
        await self.turn_to(self.new, self.old)
        await until(lambda: all(house.logged("session_key.seals") for house in self.pair.houses))

    async def signed_in(self, who: str) -> str:
        self.pair.provider.misbehaviour.id_token_claims = {"sid": f"{SID}-{who}"}
        async with self.pair.one.browser() as browser:
            return f"{SESSION}={await self.pair.one.signed_in(browser, who)}"

    async def given_again(self, cookie: str, at: int) -> str:
        """The cookie that a browser has after some pages at a gateway."""
        async with asyncio.timeout(PATIENCE):
            while not (told := (await ask(self.pair.houses[at], cookie, headers=NAVIGATION)).all("Set-Cookie")):
                await asyncio.sleep(0.02)
        again = told[0].partition(";")[0]
        sweep.secret(again.partition("=")[2], "cookie value")
        return again

    async def asked(self, at: int, path: str, *, method: str = "GET") -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        url = self.pair.houses[at].gateway.admin + path
        async with aiohttp.ClientSession() as client, client.request(method, url, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            return dict(await answer.json())


@asynccontextmanager
async def turning(folder: Path) -> AsyncIterator[Turning]:
    admin = {"token": {"file": str(secret_file(folder, "admin_token", ADMIN_TOKEN))}}
    async with redis_server() as server, several(folder, store=server, admin=admin, total_timeout="5s") as pair:
        pair.provider.misbehaviour.expires_in = 3600
        yield Turning(pair, server, folder / "session_key", new_key_file(folder, "new_key"))


@pytest.mark.parametrize(
    "by", [pytest.param("sub=alice-sub", id="by user"), pytest.param(f"sid={SID}-alice", id="by the provider's session")]
)
async def test_who_went_on_under_the_new_key_is_found_under_it(tmp_path: Path, by: str) -> None:
    async with turning(tmp_path) as world:
        pair = world.pair
        alice, bob = await world.signed_in("alice"), await world.signed_in("bob")
        await world.turn_over()
        for at in range(2):
            (listed,) = (await world.asked(at, "/sessions?sub=alice-sub"))["sessions"]
        # Each gateway may be asked; whoever was listed by one of them is not listed again by the other.
        again = await world.given_again(alice, 1)
        assert await world.given_again(alice, 0) != alice
        for at in range(2):
            (same,) = (await world.asked(at, "/sessions?sub=alice-sub"))["sessions"]
            assert all(same[name] == listed[name] for name in ("id", "sub", "sid", "name", "address", "created", "expires"))

        await world.turn_to(world.new)
        for house in pair.houses:
            assert user(await ask(house, again)) == "alice-sub"
            await nobody(house, bob)
        everybody = await world.asked(0, "/sessions")
        assert ([each["id"] for each in everybody["sessions"]], everybody["unreadable"]) == ([listed["id"]], 1)

        ended = await world.asked(1, f"/sessions?{by}", method="DELETE")
        assert ended["ended"] == 1
        for house in pair.houses:
            await nobody(house, again)


async def test_no_cookie_outlives_its_key_unlisted(tmp_path: Path) -> None:
    """While the store takes no writes nobody is listed anew, so nobody is given a cookie that would be found by nobody; pages go on."""
    async with turning(tmp_path) as world:
        alice = await world.signed_in("alice")
        await world.turn_over()
        world.server.command("CONFIG", "SET", "maxmemory", "1")
        for _ in range(5):
            for house in world.pair.houses:
                answer = await ask(house, alice, headers=NAVIGATION)
                assert (user(answer), answer.all("Set-Cookie")) == ("alice-sub", [])
                await house.hears("session.not_relisted")
        world.server.command("CONFIG", "SET", "maxmemory", "0")
        again = await world.given_again(alice, 0)
        await world.turn_to(world.new)
        assert user(await ask(world.pair.other, again)) == "alice-sub"
        assert len((await world.asked(1, "/sessions?sub=alice-sub"))["sessions"]) == 1


async def test_a_turn_of_keys_costs_the_store_a_few_commands_once(tmp_path: Path) -> None:
    """A page under an old cookie is answered without the store; and when its cookie is new, nothing is asked any more."""
    async with turning(tmp_path) as world:
        alice = await world.signed_in("alice")
        await world.turn_over()
        for at in range(2):
            again = await world.given_again(alice, at)
        for cookie in (alice, again):
            for rounds in (1, 20):
                before = world.pair.commands()
                for _ in range(rounds):
                    for house in world.pair.houses:
                        assert user(await ask(house, cookie, headers=NAVIGATION)) == "alice-sub"
            assert world.pair.commands() == before, "once each gateway knows it"
