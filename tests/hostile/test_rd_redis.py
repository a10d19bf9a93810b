"""RD through whole gateways: a store that is full, is emptied, loses a part, holds what is not ours, or lives in another hour.

What is away, or no primary, is in ``test_rd_outages``; what becomes of a refresh meanwhile in ``test_rf_store_chaos``.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import aiohttp
import pytest
import pytest_asyncio

from tests.hostile import test_rd_outages, test_rf_store_chaos, test_what_is_stolen_opens_nothing
from tests.support.gateway_process import secret_file
from tests.support.hostile_house import SESSION, Answer, every_row_has_its_place, hostile_house
from tests.support.process_clock import ProcessClock
from tests.support.redis_servers import redis_server
from tests.support.several_gateways import PATIENCE, SHORT, TOKEN_ROUTE, Several, access_token, ask, nobody, several, until, user

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.hostile_house import Edge, House

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMIN_TOKEN = "operators-token-0123456789abcdef"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def standing_pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Several]:
    async with several(tmp_path_factory.mktemp("pair"), total_timeout="5s") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def pair(standing_pair: Several) -> Several:
    await standing_pair.reset()
    standing_pair.provider.misbehaviour.expires_in = 3600
    return standing_pair


async def signed_in(house: House, who: str = "alice") -> str:
    async with house.browser() as browser:
        return f"{SESSION}={await house.signed_in(browser, who)}"


async def test_everything_is_flushed(house: House, browser: Edge) -> None:
    """RD-16: everybody signs in once, and nobody runs in a circle."""
    cookie = await house.signed_in(browser)
    await house.redis.flushall()
    await _answers(house, cookie, 401)
    again = await house.signed_in(browser)
    assert again != cookie
    assert await house.whoami(f"{SESSION}={again}") == "alice-sub"


@pytest.mark.parametrize("foreign", [pytest.param(word, id=f"RD-10 {word}") for word in ("list", "hash", "stream", "long string", "noise")])
async def test_what_is_not_ours_stands_where_a_session_was(house: House, browser: Edge, foreign: str) -> None:
    """It ends the session, with an error in the log, and is no crash."""
    cookie = await house.signed_in(browser)
    (key,) = [key for key in await house.keys() if ":s:" in key]
    before = len(house.gateway.log)
    await house.redis.delete(key)
    match foreign:
        case "list":
            await house.redis.rpush(key, "x")
        case "hash":
            await house.redis.hset(key, "x", "y")
        case "stream":
            await house.redis.xadd(key, {"x": "y"})
        case "long string":
            await house.redis.setrange(key, 2**20, b"x")
        case _:
            await house.redis.set(key, b"\0" * 200)
    await _answers(house, cookie, 401)
    async with asyncio.timeout(30):
        while not (house.logged("store.value_refused", before) or house.logged("session.damaged", before)):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("login", "why"),
    [
        pytest.param(":a-password-that-is-wrong@", "AuthenticationError", id="RD-11 WRONGPASS"),
        pytest.param("", "AuthenticationError", id="RD-11 NOAUTH"),
        pytest.param("reader:a-password-that-is-right@", "NoPermissionError", id="RD-11 NOPERM"),
    ],
)
async def test_a_store_that_lets_us_do_nothing(tmp_path: Path, house: House, login: str, why: str) -> None:
    """503 for whoever needs it, the code unspent, and a line that says why; the password is in no line."""
    async with redis_server() as server:
        server.command("ACL", "SETUSER", "reader", "on", ">a-password-that-is-right", "~*", "+ping", "+hello")
        server.command("CONFIG", "SET", "requirepass", "the-right-one-and-long")
        url = tmp_path / "store_url"
        url.write_text(server.url.replace("redis://", f"redis://{login}"))
        url.chmod(0o600)
        async with (
            hostile_house(tmp_path / "wrong", provider=house.provider, store=server, session={"store": {"file": str(url)}}) as wrong,
            wrong.browser() as browser,
        ):
            async with asyncio.timeout(PATIENCE):
                while not any(why in line["detail"] for line in wrong.logged("tracking.down") + wrong.logged("store.warning")):
                    await asyncio.sleep(0.05)
            callback = await wrong.to_callback(browser)
            answer = await browser.ask(callback)
            assert (answer.status, answer.all("Set-Cookie")) == (503, [])
            assert house.provider.token_requests == []
            # What no key of ours sealed is nobody's, and is not looked for in the store.
            assert isinstance(refused := await wrong.whoami(f"{SESSION}=A{'a' * 134}"), Answer)
            assert refused.status == 401
            assert not [word for word in ("password-that-is", "the-right-one") if word in wrong.gateway.log]


async def test_a_store_that_is_full(pair: Several) -> None:
    """RD-07: nobody signs in, the code is unspent, and nothing is written by half; who is signed in is, also where it has to be read."""
    cookie = await signed_in(pair.one)
    async with pair.one.browser() as browser:
        callback = await pair.one.to_callback(browser)
        pair.provider.token_requests.clear()
        before = await pair.one.dump()
        pair.one.store.command("CONFIG", "SET", "maxmemory", "1")
        try:
            answer = await browser.ask(callback)
            assert (answer.status, answer.all("Set-Cookie"), answer.location) == (503, [], None)
            assert pair.provider.token_requests == []
            for house in pair.houses:
                assert user(await ask(house, cookie)) == "alice-sub"
            assert await pair.one.dump() == before
        finally:
            pair.one.store.command("CONFIG", "SET", "maxmemory", "0")
        assert (await browser.ask(callback)).status == 303


@pytest.mark.parametrize(
    ("kinds", "stays"),
    [
        pytest.param("s", False, id="RD-08 the record"),
        pytest.param("i", False, id="RD-08 the last use"),
        pytest.param("t", False, id="RD-08 the tokens"),
        pytest.param("cx", True, id="RD-08 what lists it"),
        pytest.param("l", True, id="RD-08 the used login"),
    ],
)
async def test_a_part_that_was_evicted(pair: Several, kinds: str, stays: bool) -> None:
    """Whoever lost what it takes signs in once, and is in; nobody else notices, and a login that was used once is not used twice."""
    async with pair.one.browser() as browser:
        callback = await pair.one.to_callback(browser)
        logins = dict(browser.jar)
        assert (await browser.ask(callback)).status == 303
        cookie = f"{SESSION}={browser.jar[SESSION]}"
        for key in await pair.one.keys():
            if key.startswith(tuple(f"gateway:{kind}:" for kind in kinds)):
                await pair.one.redis.delete(key)
        if kinds == "i":
            # Nobody is told of it: it is found out where the session is read.
            (key,) = [key for key in await pair.one.keys() if key.startswith("gateway:s:")]
            await pair.one.redis.expire(key, 3600)
        if stays:
            for house in pair.houses:
                assert user(await ask(house, cookie, TOKEN_ROUTE)) == "alice-sub"
        else:
            async with asyncio.timeout(PATIENCE):
                while (await ask(pair.other, cookie, TOKEN_ROUTE)).status == 200:
                    await asyncio.sleep(0.05)
            for house in pair.houses:
                await nobody(house, cookie)
        assert user(await ask(pair.other, await signed_in(pair.one))) == "alice-sub"
        if kinds == "l":
            browser.jar = logins
            again = await browser.ask(callback)
            assert again.status == 400
            assert not [line for line in again.all("Set-Cookie") if line.startswith(SESSION + "=")]


async def test_a_lock_that_was_evicted(pair: Several) -> None:
    """RD-08: two gateways refresh at once, at a provider that forgives that: nobody is signed out, and both end at one grant."""
    pair.provider.misbehaviour.expires_in = SHORT
    cookie = await pair.signed_in_and_run_out()
    bad = pair.provider.misbehaviour
    bad.refresh_grace, held = 60, asyncio.Event()
    bad.refresh_held = held
    asking = [asyncio.ensure_future(ask(pair.one, cookie, TOKEN_ROUTE))]
    await until(lambda: len(pair.provider.refresh_requests) == 1)
    (lock,) = [key for key in await pair.one.keys() if key.startswith("gateway:r:")]
    await pair.one.redis.delete(lock)
    asking.append(asyncio.ensure_future(ask(pair.other, cookie, TOKEN_ROUTE)))
    await until(lambda: len(pair.provider.refresh_requests) == 2)
    bad.refresh_held = None
    held.set()
    assert {user(answer) for answer in await asyncio.gather(*asking)} == {"alice-sub"}
    assert len({access_token(await ask(house, cookie, TOKEN_ROUTE)) for house in pair.houses}) == 1
    assert len(pair.provider.refresh_requests) == 2


@pytest.mark.parametrize("policy", [pytest.param(word, id=f"RD-08 {word}") for word in ("allkeys-lru", "allkeys-random")])
async def test_a_store_that_would_evict(tmp_path: Path, policy: str) -> None:
    """The start says so, and that nothing has to be changed but one word."""
    limits = ("--maxmemory", "100mb", "--maxmemory-policy", policy)
    async with redis_server(extra=limits) as server, hostile_house(tmp_path, store=server) as house:
        told = " ".join(line["detail"] for line in await house.hears("store.warning"))
        assert policy in told
        assert "noeviction" in told


@pytest.mark.parametrize("hours", [pytest.param(hours, id=f"RD-17 {hours:+} h") for hours in (-7, 7)])
async def test_a_store_whose_clock_is_hours_off(tmp_path: Path, hours: int) -> None:
    """Everything else lives so many hours from it: sessions begin, are renewed, listed and ended, by times that are relative."""
    clock = ProcessClock(tmp_path)
    clock.set(hours * 3600)
    admin = {"token": {"file": str(secret_file(tmp_path, "admin_token", ADMIN_TOKEN))}}
    async with several(tmp_path, environs=[clock.environ] * 2, admin=admin, total_timeout="5s") as pair:
        pair.provider.set_clock(lambda: time.time() + hours * 3600)
        cookie, stays = await pair.sign_in(), await signed_in(pair.one, "bob")
        async with asyncio.timeout(PATIENCE):
            while pair.provider.refreshes < 1:
                assert user(await ask(pair.one, cookie, TOKEN_ROUTE)) == "alice-sub"
                await asyncio.sleep(0.1)
        for house in pair.houses:
            assert access_token(await ask(house, cookie, TOKEN_ROUTE)) == pair.provider.tokens_issued[-1]["access_token"]
            assert user(await ask(house, stays)) == "bob-sub"
        for key in await pair.one.keys():
            assert 0 < await pair.one.redis.ttl(key) <= 12 * 3600, key
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        async with aiohttp.ClientSession(headers=headers) as client:
            async with client.get(f"{pair.other.gateway.admin}/sessions?user=alice") as answer:
                (listed,) = (await answer.json())["sessions"]
            async with client.delete(f"{pair.other.gateway.admin}/sessions/{listed['id']}") as answer:
                assert answer.status == 200
        for house in pair.houses:
            await nobody(house, cookie)
            assert user(await ask(house, stays)) == "bob-sub"


async def _answers(house: House, cookie: str, status: int) -> None:
    """Wait until an API caller with this session cookie gets this status."""
    async with asyncio.timeout(30):
        while not isinstance(answer := await house.whoami(f"{SESSION}={cookie}"), Answer) or answer.status != status:
            await asyncio.sleep(0.05)


async def test_every_row_has_its_place() -> None:
    also = (test_rd_outages, test_rf_store_chaos, test_what_is_stolen_opens_nothing)
    every_row_has_its_place("RD", "01 02 04 05 07 08 10 11 13 14 16 17 19 20", globals(), {}, also=also)
