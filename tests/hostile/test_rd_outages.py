"""RD through whole gateways: a store that is away, half away, no primary any more, at its bounds, or that tells nobody of changes.

After each nobody lost a session, no cookie was touched, nobody was sent to the provider for it (invariant 9), and it ended by itself.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import pytest_asyncio

from tests.support.gateway_process import secret_file
from tests.support.hostile_house import CALLBACK, PUBLIC, SESSION, Answer, hostile_house, sealed_login
from tests.support.redis_proxy import RedisProxy, redis_proxy
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.several_gateways import PATIENCE, Several, ask, nobody, several, until, user
from tests.support.user_agent import FETCH, NAVIGATION, forms

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.hostile_house import House

pytestmark = pytest.mark.asyncio(loop_scope="module")

NO_GRACE = {"outage_grace": "0s"}
POOL = 3
"""Connections for commands that the pool of one test has."""
TRACKING = 1
"""Connections on which the store tells of changes."""


@asynccontextmanager
async def behind_a_way(folder: Path, count: int = 1, **session: Any) -> AsyncIterator[tuple[Several, RedisProxy, RedisServer]]:
    """Gateways of which the first reaches the store by a way that can be cut."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(redis_server())
        way = await stack.enter_async_context(redis_proxy(server.port))
        ways = [way.url, *[server.url] * (count - 1)]
        running = await stack.enter_async_context(several(folder, count, store=server, ways=ways, session=NO_GRACE | session))
        running.provider.misbehaviour.expires_in = 3600
        yield running, way, server


async def signed_in(house: House, who: str = "alice") -> str:
    async with house.browser() as browser:
        return f"{SESSION}={await house.signed_in(browser, who)}"


def unavailable(answer: Answer) -> bool:
    """Whether this is an outage as it must be: a time to come back, no cookie touched, no way to the provider. Anything but 200 must be."""
    if answer.status == 200:
        return False
    assert answer.status == 503, f"{answer.status}: {answer.text[:300]}"
    assert int(answer.header("Retry-After") or 0) >= 1
    assert answer.location is None
    assert answer.all("Set-Cookie") == []
    return True


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def refusing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Several, RedisProxy]]:
    async with behind_a_way(tmp_path_factory.mktemp("refusing")) as (running, way, _):
        yield running, way


async def refused_for_now(house: House, cookie: str) -> None:
    """Wait until pages and scripts get 503."""
    async with asyncio.timeout(PATIENCE):
        for headers in (FETCH, NAVIGATION):
            while not unavailable(await ask(house, cookie, headers=headers)):
                await asyncio.sleep(0.05)


async def served_again(house: House, cookie: str, who: str = "alice-sub") -> None:
    async with asyncio.timeout(PATIENCE):
        while unavailable(answer := await ask(house, cookie)):
            await asyncio.sleep(0.05)
    assert user(answer) == who


async def test_a_store_that_is_down_at_the_start(tmp_path: Path) -> None:
    """RD-01: the gateway is there, and says at /readyz that it cannot serve; what needs no session is served, and all is well by itself."""
    async with redis_server() as server:
        server.kill()
        async with hostile_house(tmp_path, store=server) as house, house.browser() as browser, aiohttp.ClientSession() as client:

            async def probed(path: str) -> int:
                async with client.get(house.gateway.admin + path) as answer:
                    return answer.status

            assert (await probed("/livez"), await probed("/readyz")) == (200, 503)
            assert (await browser.ask(f"{PUBLIC}/public/x")).status == 200
            name, login, state = sealed_login(house)
            browser.jar[name] = login
            answer = await browser.ask(f"{CALLBACK}?code=unspent&state={state}&iss={house.provider.issuer}")
            assert (answer.status, answer.location) == (503, None)
            assert name in browser.jar, "it can be tried again"
            assert house.provider.token_requests == [], "the code is unspent"

            await asyncio.to_thread(server.start)
            async with asyncio.timeout(PATIENCE):
                while await probed("/readyz") != 200:
                    await asyncio.sleep(0.05)
            cookie = await house.signed_in(browser)
            assert await house.whoami(f"{SESSION}={cookie}") == "alice-sub"


async def test_a_store_that_is_killed_under_load(tmp_path: Path) -> None:
    """RD-02: 200 before and after, 503 in between, and nothing else, for pages and scripts; the session is the same."""
    aof = ("--appendonly", "yes", "--appendfsync", "always")
    async with redis_server(extra=aof) as server, hostile_house(tmp_path, store=server, session=NO_GRACE) as house:
        async with house.browser() as browser:
            cookie = f"{SESSION}={await house.signed_in(browser)}"
        seen: list[tuple[dict[str, str], int]] = []

        async def goes_on(headers: dict[str, str]) -> None:
            while True:
                answer = await ask(house, cookie, headers=headers)
                assert unavailable(answer) or user(answer) == "alice-sub"
                seen.append((headers, answer.status))
                await asyncio.sleep(0.01)

        def last(status: int) -> bool:
            for task in load:
                if task.done():
                    task.result()
            return all(next((s for h, s in reversed(seen) if h is kind), None) == status for kind in (FETCH, NAVIGATION))

        load = [asyncio.create_task(goes_on(headers)) for headers in (FETCH, NAVIGATION) * 4]
        try:
            await until(lambda: last(200))
            server.kill()
            await until(lambda: last(503))
            await asyncio.to_thread(server.start)
            await until(lambda: last(200))
        finally:
            for task in load:
                task.cancel()
            await asyncio.gather(*load, return_exceptions=True)
        assert not house.logged("session.ended")


async def test_connections_that_lead_nowhere(tmp_path: Path) -> None:
    """RD-04: those that stood give no answer and do not end, as behind a firewall that forgot them; others are used soon."""
    async with behind_a_way(tmp_path) as (running, way, _):
        cookie = await signed_in(running.one)
        await served_again(running.one, cookie)
        dead = way.answers, way.pushes
        for gate in dead:
            gate.clear()
        way.answers, way.pushes = asyncio.Event(), asyncio.Event()
        await refused_for_now(running.one, cookie)
        way.answers.set()
        way.pushes.set()
        await served_again(running.one, cookie)
        for gate in dead:
            gate.set()
        assert user(await ask(running.one, cookie)) == "alice-sub"


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(b"LOADING Redis is loading the dataset in memory", id="RD-05 LOADING"),
        pytest.param(b"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", id="RD-05 MASTERDOWN"),
        pytest.param(b"CLUSTERDOWN The cluster is down", id="RD-05 CLUSTERDOWN"),
        pytest.param(b"MOVED 1 127.0.0.1:1", id="RD-05 MOVED"),
        pytest.param(b"ASK 1 127.0.0.1:1", id="RD-05 ASK"),
        pytest.param(b"TRYAGAIN Multiple keys request during rehashing of slot", id="RD-05 TRYAGAIN"),
        pytest.param(b"READONLY You can't write against a read only replica.", id="RD-05 READONLY"),
        pytest.param(b"OOM command not allowed when used memory > 'maxmemory'.", id="RD-07 OOM for whatever is asked"),
    ],
)
async def test_a_store_that_refuses(refusing: tuple[Several, RedisProxy], words: bytes) -> None:
    running, way = refusing
    cookie = await signed_in(running.one)
    await served_again(running.one, cookie)
    running.provider.token_requests.clear()
    async with running.one.browser() as browser:
        callback = await running.one.to_callback(browser)
        way.refuses = words
        try:
            await refused_for_now(running.one, cookie)
            answer = await browser.ask(callback)
            assert (answer.status, answer.all("Set-Cookie")) == (503, [])
            assert running.provider.token_requests == [], "its code is unspent"
        finally:
            way.refuses = None
        await served_again(running.one, cookie)
        async with asyncio.timeout(PATIENCE):
            while (answer := await browser.ask(callback)).status == 503:
                await asyncio.sleep(0.05)
        assert (answer.status, answer.location) == (303, PUBLIC + "/page"), "and good for one sign-in"


@pytest.mark.parametrize("cut", [pytest.param(False, id="RD-20 it says nothing"), pytest.param(True, id="RD-20 it is cut")])
async def test_a_store_that_tells_of_no_changes(tmp_path: Path, cut: bool) -> None:
    """Whoever signs out elsewhere meanwhile is nobody here two seconds later, with ``outage_grace`` of none; others go on."""
    async with behind_a_way(tmp_path, 2) as (pair, way, _):
        stays = await signed_in(pair.one, "bob")
        async with pair.other.browser() as browser:
            cookie = f"{SESSION}={await pair.other.signed_in(browser)}"
            for each, who in ((cookie, "alice-sub"), (stays, "bob-sub")):
                await served_again(pair.one, each, who)
            way.pushes.clear()
            if cut:
                # The next connection that is to tell of changes tells nothing, while commands go on.
                way.cut()
                way.mend()
            (form,) = forms(await browser.open(PUBLIC + "/oauth2/sign_out"))
            answer = await browser.ask(form.action, method="POST", headers=NAVIGATION | {"Sec-Fetch-Site": "same-origin"}, data={})
            assert answer.status == 303
        await nobody(pair.one, cookie)
        assert user(await ask(pair.one, stays)) == "bob-sub", "nobody else notices"
        way.pushes.set()
        await nobody(pair.one, cookie)


async def test_more_at_once_than_connections(tmp_path: Path) -> None:
    """RD-14: who gets none in time is told to come back, none is opened beyond the bound, and the wait of the others harms nobody."""
    async with behind_a_way(tmp_path, redis={"pool": POOL}) as (running, way, _):
        cookies = [await signed_in(running.one) for _ in range(4 * POOL)]
        way.most = 0
        way.answers.clear()
        answers = await asyncio.gather(*(ask(running.one, cookie) for cookie in cookies for _ in range(3)))
        assert all(unavailable(answer) for answer in answers)
        way.answers.set()
        for cookie in cookies:
            await served_again(running.one, cookie)
        assert 0 < way.most <= POOL + TRACKING


async def test_callers_that_go_away_in_the_middle_of_a_read(tmp_path: Path) -> None:
    """RD-13: a thousand of them, on connections to the store that others use next: everybody is who they are."""
    async with redis_server() as server, redis_proxy(server.port) as way:
        # Who may not follow changes keeps no copies, so every request is a read.
        server.command("ACL", "SETUSER", "reader", "on", ">only-for-this", "~*", "+@all", "-client")
        url = secret_file(tmp_path, "store_url", way.url.replace("//", "//reader:only-for-this@"))
        session = NO_GRACE | {"redis": {"pool": POOL}, "store": {"file": str(url)}}
        async with several(tmp_path, 1, store=server, session=session, followed=False) as running:
            running.provider.misbehaviour.expires_in = 3600
            people = {await signed_in(running.one, who): f"{who}-sub" for who in ("alice", "bob") * 4}
            port = int(running.one.listener.rpartition(":")[2])

            async def goes_away(cookie: str) -> None:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(f"GET /x HTTP/1.1\r\nHost: app.example\r\nCookie: {cookie}\r\n\r\n".encode())
                await asyncio.wait_for(way.asked.wait(), PATIENCE)
                writer.transport.abort()

            for _ in range(25):
                way.asked.clear()
                way.answers.clear()
                await asyncio.gather(*(goes_away(cookie) for cookie in [*people] * 5))
                asking = [asyncio.ensure_future(ask(running.one, cookie)) for cookie in people]
                way.answers.set()
                answers = await asyncio.gather(*asking)
                for answer, who in zip(answers, people.values(), strict=True):
                    assert unavailable(answer) or user(answer) == who
            for cookie, who in people.items():
                assert user(await ask(running.one, cookie)) == who
