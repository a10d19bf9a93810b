"""Session keys are turned over under load, by one SIGHUP, with everybody staying in: one process and several, either store."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.support.gateway_process import gateway, new_key_file
from tests.support.leaks import sweep
from tests.support.mirror_app import mirror_app, values
from tests.support.mock_provider import mock_provider
from tests.support.processes import until
from tests.support.redis_servers import redis_server
from tests.support.user_agent import FETCH, NAVIGATION, UserAgent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.gateway_process import GatewayProcess
    from tests.support.mock_provider import MockProvider

MANY = 40
"""New connections, of which the kernel gives each of several sockets some."""


@dataclass
class House:
    """A gateway and its provider; ``text`` is its configuration with one key."""

    gateway: GatewayProcess
    provider: MockProvider
    workers: int
    keys: tuple[Path, Path]
    reloads: int = 0

    async def turn_to(self, *keys: Path) -> None:
        """Write these keys, newest first, and have every process read them."""
        written = "".join(f"  - file: {key}\n" for key in keys)
        path = self.gateway.config
        path.write_text(re.sub(r"(?<=  keys:\n)(  - file: .*\n)+", written, path.read_text()))
        self.gateway.hang_up()
        self.reloads += self.workers
        await until(lambda: self.gateway.log.count("secrets.reloaded") == self.reloads)

    async def ask(self, cookie: str, *, navigation: bool = False) -> tuple[int, str, str | None]:
        """One request on a connection of its own: its status, who the app took it for (or where it leads), and a new session cookie."""
        headers = dict(NAVIGATION if navigation else FETCH) | {"Cookie": f"gateway={cookie}"}
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True), cookie_jar=aiohttp.DummyCookieJar()) as client,
            client.get(self.gateway.url + "/page", headers=headers, allow_redirects=False) as answer,
        ):
            told = [morsel.value for name, morsel in answer.cookies.items() if name == "gateway"]
            for value in told:
                sweep.secret(value, "cookie value")
            if answer.status != 200:
                return answer.status, answer.headers.get("Location", ""), None
            seen = json.loads(await answer.read())["headers"]
            return answer.status, "".join(values(seen, "X-Forwarded-User")), told[0] if told else None


@asynccontextmanager
async def running_house(folder: Path, *, memory: bool, workers: int) -> AsyncIterator[House]:
    keys = folder / "keys"
    keys.mkdir()
    pair = new_key_file(keys, "first"), new_key_file(keys, "second")
    async with AsyncExitStack() as stack:
        provider = stack.enter_context(mock_provider())
        store = "memory" if memory else (await stack.enter_async_context(redis_server())).url
        app = await stack.enter_async_context(mirror_app())
        running = await stack.enter_async_context(
            gateway(
                folder,
                issuer=provider.issuer,
                client_id=provider.client_id,
                client_secret=provider.client_secret,
                store=store,
                upstream=app.url,
                key_files=pair[:1],
                server={"workers": workers},
            )
        )
        yield House(running, provider, workers, pair)


@dataclass
class Tab:
    """A browser's tab that goes on and on, with the cookie that it was given last."""

    house: House
    cookie: str
    seen: list[tuple[int, str]] = field(default_factory=list)
    given: int = 0

    async def go_on(self) -> None:
        while True:
            for navigation in (True, False):
                status, who, again = await self.house.ask(self.cookie, navigation=navigation)
                self.seen.append((status, who))
                if again is not None:
                    self.cookie = again
                    self.given += 1


def session_cookie(browser: UserAgent) -> str:
    (value,) = (cookie.value for cookie in browser.cookies if cookie.key == "gateway")
    return value


@pytest.mark.parametrize(
    ("memory", "workers"),
    [
        pytest.param(True, 1, id="one process, in memory"),
        pytest.param(False, 1, id="one process, Redis"),
        pytest.param(False, 3, id="three workers, Redis"),
    ],
)
async def test_one_signal_turns_the_keys_over_and_nobody_is_signed_out(tmp_path: Path, memory: bool, workers: int) -> None:
    async with (
        running_house(tmp_path, memory=memory, workers=workers) as house,
        UserAgent(house.gateway.url) as browser,
        UserAgent(house.gateway.url) as between,
    ):
        first, second = house.keys
        url = house.gateway.url
        await house.provider.sign_in(browser, url + "/", "alice")
        old = session_cookie(browser)
        page = await between.open(url + "/between")
        assert page.url.startswith(house.provider.issuer)

        tabs = [Tab(house, old) for _ in range(4)]
        going = [asyncio.create_task(tab.go_on()) for tab in tabs]
        await house.turn_to(second, first)
        await until(lambda: house.gateway.log.count("session_key.seals") == workers)
        await until(lambda: all(tab.given for tab in tabs) or any(task.done() for task in going))
        so_far = [len(tab.seen) for tab in tabs]
        await until(lambda: all(len(tab.seen) >= before + MANY for tab, before in zip(tabs, so_far, strict=True)))
        for task in going:
            task.cancel()
        await asyncio.wait(going)
        assert {what for tab in tabs for what in tab.seen} == {(200, "alice")}
        assert [tab.given for tab in tabs] == [1, 1, 1, 1], "once each, and the one that was given stays"
        assert len({tab.cookie for tab in tabs} | {old}) == 5

        # Each of them is good at every process, and a login that began before the turn ends well.
        for cookie in (old, tabs[0].cookie):
            assert {(await house.ask(cookie))[:2] for _ in range(MANY)} == {(200, "alice")}
        answer = await between.open(page.url, method="POST", data={"sub": "bob"})
        assert (answer.status, answer.url) == (200, url + "/between")

        # What is gone opens nothing: a 401, or one sign-in.
        await house.turn_to(second)
        assert {(await house.ask(old))[0] for _ in range(MANY)} == {401}
        assert {(await house.ask(cookie))[:2] for cookie in (tab.cookie for tab in tabs) for _ in range(MANY // 4)} == {(200, "alice")}
        assert (await house.ask(session_cookie(between)))[:2] == (200, "bob")
        status, where, _ = await house.ask(old, navigation=True)
        assert (status, where.startswith(house.provider.issuer)) == (303, True)
        answer = await house.provider.sign_in(browser, url + "/page", "alice")
        assert (answer.status, answer.url) == (200, url + "/page")
        assert {(await house.ask(session_cookie(browser)))[:2] for _ in range(MANY)} == {(200, "alice")}


async def test_keys_that_share_none_with_those_before_seal_at_once(tmp_path: Path) -> None:
    """A key that leaked is taken away: nothing that it sealed is good, and nobody waits to sign in again."""
    async with running_house(tmp_path, memory=False, workers=2) as house, UserAgent(house.gateway.url) as browser:
        await house.provider.sign_in(browser, house.gateway.url + "/", "alice")
        leaked = session_cookie(browser)
        await house.turn_to(house.keys[1])
        assert "session_key.seals" not in house.gateway.log
        assert {(await house.ask(leaked))[0] for _ in range(MANY)} == {401}
        await house.provider.sign_in(browser, house.gateway.url + "/", "alice")
        assert {(await house.ask(session_cookie(browser)))[:2] for _ in range(MANY)} == {(200, "alice")}
