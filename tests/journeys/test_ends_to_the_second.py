"""Sessions end when they should and not before, though each process serves them from its own copy: whole gateways, and their own clock.

Nothing is measured. An answer that lets somebody in was asked for before the end; one that refuses came after it. Both are compared with
the end that the gateway itself told, on the clock that it reads.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway_process import gateway, new_key_file
from tests.support.mirror_app import mirror_app
from tests.support.mock_provider import mock_provider
from tests.support.ports import free_port
from tests.support.processes import until
from tests.support.redis_servers import redis_server
from tests.support.user_agent import FETCH, UserAgent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from tests.support.gateway_process import GatewayProcess
    from tests.support.mock_provider import MockProvider

PATIENCE = 30.0
STORES = [pytest.param(True, id="memory"), pytest.param(False, id="Redis")]


@dataclass(frozen=True)
class Asked:
    """One answer, and what the clock said before it was asked for and when it was there."""

    before: float
    status: int
    told: Mapping[str, Any]
    after: float


@dataclass
class House:
    """One or several processes before one app; a browser's origin leads to the first."""

    gateways: list[GatewayProcess]
    provider: MockProvider
    browser: UserAgent

    async def sign_in(self) -> None:
        await self.provider.sign_in(self.browser, self.gateways[0].url + "/", "alice")

    async def use(self, at: int = 0, path: str = "/") -> Asked:
        """A fetch at one of the processes, as a balancer would send it there."""
        cookies = "; ".join(f"{cookie.key}={cookie.value}" for cookie in self.browser.cookies)
        headers = FETCH | {"Host": self.gateways[0].url.removeprefix("http://"), "Cookie": cookies}
        before = time.time()
        answer = await self.browser.ask(self.gateways[at].url + path, headers=headers)
        after = time.time()
        own = path.startswith("/oauth2/") and answer.status == 200
        return Asked(before, answer.status, json.loads(answer.body)["session"] if own else {}, after)

    async def look(self, at: int = 0) -> Asked:
        """What is told of the times, without using the session."""
        return await self.use(at, "/oauth2/userinfo?extend=false")


@asynccontextmanager
async def running_house(folder: Path, *, memory: bool = False, processes: int = 1, **session: str) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        provider = stack.enter_context(mock_provider())
        store = "memory" if memory else (await stack.enter_async_context(redis_server())).url
        app = await stack.enter_async_context(mirror_app())
        public = free_port()
        key = new_key_file(folder)
        gateways = []
        for index in range(processes):
            home = folder / str(index)
            home.mkdir()
            running = gateway(
                home,
                issuer=provider.issuer,
                client_id=provider.client_id,
                client_secret=provider.client_secret,
                store=store,
                upstream=app.url,
                port=public if index == 0 else free_port(),
                key_files=[key],
                server={"public_url": f"http://127.0.0.1:{public}"},
                session=session,
            )
            gateways.append(await stack.enter_async_context(running))
        if not memory:
            await until(lambda: all("tracking.up" in one.log for one in gateways))
        browser = await stack.enter_async_context(UserAgent(*(one.url for one in gateways)))
        yield House(gateways, provider, browser)


@pytest.mark.parametrize("memory", STORES)
async def test_a_session_in_constant_use_ends_at_its_lifetime(tmp_path: Path, memory: bool) -> None:
    async with running_house(tmp_path, memory=memory, lifetime="4s", idle="4s") as house:
        await house.sign_in()
        end = (await house.look()).told["expires"]
        answers = []
        async with asyncio.timeout(PATIENCE):
            while not answers or answers[-1].status == 200:
                answers.append(await house.use())
                await asyncio.sleep(0.005)
        assert [asked.status for asked in answers[-2:]] == [200, 401]
        assert all(asked.before < end for asked in answers[:-1])
        assert answers[-1].after >= end
        for path in ("/", "/oauth2/userinfo", "/oauth2/userinfo?extend=false", "/open/"):
            assert (await house.use(path=path)).status == (200 if path == "/open/" else 401)


@pytest.mark.parametrize("memory", STORES)
async def test_asking_for_the_times_moves_none_of_them(tmp_path: Path, memory: bool) -> None:
    async with running_house(tmp_path, memory=memory, lifetime="1h", idle="4s") as house:
        await house.sign_in()
        # A use, so that the copy of the process is what answers.
        assert (await house.use()).status == 200
        answers = []
        async with asyncio.timeout(PATIENCE):
            while not answers or answers[-1].status == 200:
                answers.append(await house.look())
                await asyncio.sleep(0.01)
        (times,) = {(asked.told["created"], asked.told["expires"], asked.told["idle_expires"]) for asked in answers[:-1]}
        # Whole seconds are told, of an end between two of them.
        assert all(asked.before < times[2] + 1 for asked in answers[:-1])
        assert answers[-1].after >= times[2]
        for asked in answers[:-1]:
            assert times[2] - asked.after - 1 < asked.told["idle_expires_in"] <= times[2] + 1 - asked.before
            assert times[1] - asked.after - 1 < asked.told["expires_in"] <= times[1] - asked.before
        assert (await house.use()).status == 401


async def test_use_at_one_process_keeps_a_session_alive_at_another_and_idleness_ends_it_at_both(tmp_path: Path) -> None:
    idle = 4.0
    async with running_house(tmp_path, processes=2, lifetime="1h", idle=f"{idle:.0f}s") as house:
        await house.sign_in()
        assert (await house.use(1)).status == 200, "the other process has a copy of its own from here on"
        begun = (await house.look(1)).told["idle_expires"]
        used = await house.use()
        async with asyncio.timeout(PATIENCE):
            while used.before < begun + 1:
                used = await house.use()
                assert used.status == 200
                await asyncio.sleep(0.02)
        # As the other process knows it, it has been over for a while; the store knows better.
        assert (await house.look(1)).status == 200
        assert (await house.use(1)).status == 200
        last = await house.use()
        assert last.status == 200

        answers = []
        async with asyncio.timeout(PATIENCE):
            while not answers or answers[-1].status == 200:
                answers.append(await house.look(1))
                await asyncio.sleep(0.01)
        end = answers[-2].told["idle_expires"]
        # A use is written where a tenth of the idle time has passed since the last that was.
        assert last.before + idle * 0.9 - 1 < end <= last.after + idle
        assert all(asked.before < end + 1 for asked in answers[:-1])
        assert answers[-1].after >= end
        assert [(await house.use(at)).status for at in (0, 1)] == [401, 401]
