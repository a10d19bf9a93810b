"""Two gateway processes before one app, one Redis between them: who signs out at one is out at both, and requests cost Redis nothing."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.gateway_process import gateway, new_key_file
from tests.support.mirror_app import mirror_app
from tests.support.mock_provider import mock_provider
from tests.support.ports import free_port
from tests.support.redis_servers import redis_server
from tests.support.user_agent import FETCH, NAVIGATION, UserAgent, forms

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.support.gateway_process import GatewayProcess
    from tests.support.mock_provider import MockProvider
    from tests.support.redis_servers import RedisServer
    from tests.support.user_agent import Answer

PATIENCE = 30.0
"""Seconds after which something that has to happen counts as never."""
ABOUT_CHANGES = {b"ping", b"role", b"info", b"hello", b"client|tracking", b"client"}


@dataclass
class House:
    """``one`` is where the browser's origin leads; ``other`` listens elsewhere under the same origin."""

    one: GatewayProcess
    other: GatewayProcess
    provider: MockProvider
    store: RedisServer

    async def at_the_other(self, browser: UserAgent, path: str) -> Answer:
        """The same request as at ``one``, cookies and Host included, as a balancer would send it to the other process."""
        cookies = "; ".join(f"{cookie.key}={cookie.value}" for cookie in browser.cookies)
        host = self.one.url.removeprefix("http://")
        return await browser.ask(self.other.url + path, headers=FETCH | {"Host": host, "Cookie": cookies})

    def commands(self) -> int:
        """How many commands Redis has carried out that were not about being told of changes."""
        stats = self.store.command("INFO", "commandstats")
        return sum(int(calls) for name, calls in re.findall(rb"cmdstat_(\S+?):calls=(\d+)", stats) if name not in ABOUT_CHANGES)


@asynccontextmanager
async def running_house(folder: Path, **session: object) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        provider = stack.enter_context(mock_provider())
        store = await stack.enter_async_context(redis_server())
        app = await stack.enter_async_context(mirror_app())
        ports = free_port(), free_port()
        key = new_key_file(folder)
        gateways = []
        for index, port in enumerate(ports):
            home = folder / str(index)
            home.mkdir()
            running = gateway(
                home,
                issuer=provider.issuer,
                client_id=provider.client_id,
                client_secret=provider.client_secret,
                store=store.url,
                upstream=app.url,
                port=port,
                key_files=[key],
                server={"public_url": f"http://127.0.0.1:{ports[0]}"},
                session=session,
            )
            gateways.append(await stack.enter_async_context(running))
        await until(lambda: all("tracking.up" in one.log for one in gateways))
        yield House(*gateways, provider, store)


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not happened():
            await asyncio.sleep(0.02)


async def test_signed_in_requests_cost_the_store_nothing_and_a_sign_out_counts_everywhere(tmp_path: Path) -> None:
    async with running_house(tmp_path) as house, UserAgent(house.one.url, house.other.url) as browser:
        await house.provider.sign_in(browser, house.one.url + "/", "alice")
        for _ in range(3):  # the news of the session's own birth may be one read more
            assert (await house.at_the_other(browser, "/")).status == 200
            assert (await browser.ask(house.one.url + "/", headers=FETCH)).status == 200
            await asyncio.to_thread(house.store.command, "PING")
        before = house.commands()
        for number in range(500):
            for answer in (
                await browser.ask(f"{house.one.url}/{number}", headers=FETCH),
                await house.at_the_other(browser, f"/open/{number}"),
            ):
                assert answer.status == 200
                assert ["X-Forwarded-User", "alice"] in [list(line) for line in json.loads(answer.body)["headers"]]
        assert house.commands() == before, "1,000 requests at two processes"

        stolen = await house.at_the_other(browser, "/before")
        assert stolen.status == 200
        cookies = "; ".join(f"{cookie.key}={cookie.value}" for cookie in browser.cookies)
        (form,) = forms(await browser.open(house.one.url + "/oauth2/sign_out"))
        answer = await browser.ask(form.action, method="POST", headers=NAVIGATION | {"Sec-Fetch-Site": "same-origin"}, data={})
        assert answer.status == 303
        async with UserAgent(house.one.url, house.other.url) as thief:
            headers = FETCH | {"Cookie": cookies, "Host": house.one.url.removeprefix("http://")}
            assert (await thief.ask(house.one.url + "/", headers=headers)).status == 401, "here at once"
            async with asyncio.timeout(PATIENCE):
                while (status := (await thief.ask(house.other.url + "/", headers=headers)).status) == 200:
                    await asyncio.sleep(0.005)
            assert status == 401


async def test_an_outage_is_bridged_and_then_refused_with_nobody_signed_out(tmp_path: Path) -> None:
    async with running_house(tmp_path, outage_grace="3s") as house, UserAgent(house.one.url) as browser:
        await house.provider.sign_in(browser, house.one.url + "/", "alice")
        assert (await browser.ask(house.one.url + "/", headers=FETCH)).status == 200
        house.store.pause(8_000)
        assert (await browser.ask(house.one.url + "/", headers=FETCH)).status == 200
        async with asyncio.timeout(PATIENCE):
            while (answer := await browser.ask(house.one.url + "/", headers=FETCH)).status == 200:
                await asyncio.sleep(0.05)
        assert answer.status == 503
        assert answer.header("Retry-After")
        assert "Set-Cookie" not in dict(answer.headers)
        async with asyncio.timeout(PATIENCE):
            while (answer := await browser.ask(house.one.url + "/", headers=FETCH)).status != 200:
                assert answer.status == 503
                await asyncio.sleep(0.2)


async def test_asking_for_the_time_left_is_no_use(tmp_path: Path) -> None:
    async with running_house(tmp_path, idle="6s") as house, UserAgent(house.one.url) as browser:
        await house.provider.sign_in(browser, house.one.url + "/", "alice")
        url = house.one.url + "/oauth2/userinfo?extend="
        left = json.loads((await browser.ask(url + "false", headers=FETCH)).body)["session"]
        assert 0 <= left["idle_expires_in"] <= 6
        assert left["idle_expires_in"] <= left["expires_in"]
        async with asyncio.timeout(PATIENCE):
            while (answer := await browser.ask(url + "false", headers=FETCH)).status == 200:
                assert json.loads(answer.body)["session"]["idle_expires"] == left["idle_expires"]
                await asyncio.sleep(0.2)
        assert answer.status == 401
        assert (await browser.ask(url + "maybe", headers=FETCH)).status == 400
        assert (await browser.ask(url + "true&extend=false", headers=FETCH)).status == 400
