"""Refreshes of many sessions while the provider answers in HTML, turns its keys over, hangs at a stop, or lives in another time.

Whole gateways before one Redis. Whatever happens at the provider, nobody is signed out and no refresh token is used twice.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.hostile_house import SESSION
from tests.support.process_clock import ProcessClock
from tests.support.redis_proxy import redis_proxy
from tests.support.redis_servers import redis_server
from tests.support.several_gateways import PATIENCE, SHORT, TOKEN_ROUTE, Several, access_token, ask, several, until, user

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.user_agent import Answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEN_MINUTES = 600.0


async def sign_in_and_run_out(running: Several, count: int, *, at_once: int = 10) -> list[str]:
    """So many sessions whose tokens have run out, and are renewed for an hour when they are; their Cookie headers."""
    running.provider.misbehaviour.expires_in = SHORT
    places = asyncio.Semaphore(at_once)

    async def one(house: Any) -> str:
        async with places, house.browser() as browser:
            return f"{SESSION}={await house.signed_in(browser)}"

    cookies = await asyncio.gather(*(one(running.houses[index % len(running.houses)]) for index in range(count)))
    running.provider.misbehaviour.expires_in = 3600
    await asyncio.gather(*(running.run_out(cookie) for cookie in cookies))
    return cookies


async def with_a_token(running: Several, index: int, cookie: str) -> Answer:
    """What a route that needs the token answers in the end: 503 is "not yet", and never a sign-out."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await ask(running.houses[index], cookie, TOKEN_ROUTE)
            if answer.status != 503:
                return answer
            assert json.loads(answer.body)["error"] == "refresh_unavailable"
            assert not answer.all("Set-Cookie")
            await asyncio.sleep(0.2)


def nobody_lost_anything(running: Several, grants: int) -> None:
    assert (running.provider.refreshes, running.provider.reuses, running.provider.revoked) == (grants, 0, [])
    assert not any(house.logged("session.ended") for house in running.houses)


@pytest.mark.parametrize("status", [pytest.param(status, id=f"RF-05 HTML, {status}") for status in (200, 502)])
async def test_a_page_of_html_is_no_answer(tmp_path: Path, status: int) -> None:
    async with several(tmp_path, 1) as running:
        (cookie,) = await sign_in_and_run_out(running, 1)
        running.provider.misbehaviour.refresh_page = status
        answer = await ask(running.one, cookie, TOKEN_ROUTE)
        assert (answer.status, json.loads(answer.body)["error"]) == (503, "refresh_unavailable")
        assert user(await ask(running.one, cookie)) == "alice-sub"
        running.provider.misbehaviour.refresh_page = None
        assert access_token(await with_a_token(running, 0, cookie)) == running.provider.tokens_issued[-1]["access_token"]
        nobody_lost_anything(running, 1)


@pytest.mark.parametrize("stale", [pytest.param(False, id="RF-05 JWKS fails"), pytest.param(True, id="RF-05 JWKS is stale")])
async def test_keys_that_are_turned_over_while_the_new_ones_cannot_be_had(tmp_path: Path, stale: bool) -> None:
    """Every session that is due meanwhile is renewed, not only the first; and people sign in again when the keys are there."""
    async with several(tmp_path) as pair:
        cookies = await sign_in_and_run_out(pair, 6)
        before = pair.provider.published()
        pair.provider.rotate_key("key-new")
        if stale:
            pair.provider.misbehaviour.jwks_document = {"keys": before}
        else:
            pair.provider.misbehaviour.jwks_status = 500
        for index, cookie in enumerate(cookies):
            assert user(await with_a_token(pair, index % 2, cookie)) == "alice-sub"
        for house in pair.houses:
            assert {user(await ask(house, cookie)) for cookie in cookies} == {"alice-sub"}
        nobody_lost_anything(pair, len(cookies))
        assert sum(len(house.logged("refresh.id_token_unread")) for house in pair.houses) == len(cookies)
        if not stale:
            pair.provider.misbehaviour.jwks_status = 200
            async with asyncio.timeout(PATIENCE):
                while True:
                    async with pair.one.browser() as browser:
                        if (await pair.one.sign_in(browser)).status == 303:
                            break
                    await asyncio.sleep(0.2)


@pytest.mark.parametrize(
    "seconds", [pytest.param(TEN_MINUTES, id="RF-16 ten minutes ahead"), pytest.param(-TEN_MINUTES, id="RF-16 ten minutes behind")]
)
async def test_a_providers_clock_that_jumps(tmp_path: Path, seconds: float) -> None:
    async with several(tmp_path) as pair:
        cookies = await sign_in_and_run_out(pair, 4)
        pair.provider.set_clock(lambda: time.time() + seconds)
        for index, cookie in enumerate(cookies):
            assert user(await with_a_token(pair, index % 2, cookie)) == "alice-sub"
        for house in pair.houses:
            assert {user(await ask(house, cookie, TOKEN_ROUTE)) for cookie in cookies} == {"alice-sub"}
        nobody_lost_anything(pair, len(cookies))
        told = [line for house in pair.houses for line in house.logged("refresh.id_token_out_of_time")]
        assert len(told) == len(cookies)


@pytest.mark.parametrize(
    "seconds", [pytest.param(TEN_MINUTES, id="RF-16 ten minutes ahead"), pytest.param(-TEN_MINUTES, id="RF-16 ten minutes behind")]
)
async def test_a_gateways_clock_that_jumps_and_is_set_right(tmp_path: Path, seconds: float) -> None:
    """Its sessions are the other gateway's too: whatever one of them takes for the time, both go on."""
    clock = ProcessClock(tmp_path)
    async with several(tmp_path, environs=[clock.environ]) as pair:
        cookies = await sign_in_and_run_out(pair, 4)
        clock.set(seconds)
        for index, cookie in enumerate(cookies):
            assert user(await with_a_token(pair, index % 2, cookie)) == "alice-sub"
        for offset in (seconds, 0.0):
            clock.set(offset)
            for index in range(len(pair.houses)):
                assert {user(await with_a_token(pair, index, cookie)) for cookie in cookies} == {"alice-sub"}
        assert pair.provider.refreshes >= len(cookies)
        nobody_lost_anything(pair, pair.provider.refreshes)


@pytest.mark.parametrize(
    ("refresh_timeout", "cut"),
    [pytest.param("2s", False, id="RF-08 given up in time"), pytest.param("60s", True, id="RF-08 cut by the end of the grace")],
)
async def test_a_stop_while_the_provider_hangs(tmp_path: Path, refresh_timeout: str, cut: bool) -> None:
    """It ends with its grace at the latest, and another gateway goes on when the lock has run out."""
    async with several(tmp_path, refresh_timeout=refresh_timeout, server={"shutdown_grace": "3s"}) as pair:
        (cookie,) = await sign_in_and_run_out(pair, 1)
        pair.provider.misbehaviour.refresh_hangs = True
        assert user(await ask(pair.one, cookie)) == "alice-sub"
        await until(lambda: len(pair.provider.refresh_requests) == 1)
        async with asyncio.timeout(PATIENCE):
            assert await pair.one.gateway.stop() == 0
        assert bool(pair.one.logged("detached.cut")) is cut
        assert user(await ask(pair.other, cookie)) == "alice-sub"
        pair.provider.misbehaviour.refresh_hangs = False
        # What ten seconds would do as well.
        for lock in await pair.one.redis.keys("gateway:r:*"):
            await pair.one.redis.delete(lock)
        assert access_token(await with_a_token(pair, 1, cookie)) == pair.provider.tokens_issued[-1]["access_token"]
        nobody_lost_anything(pair, 1)


async def test_a_stop_whose_grace_ends_between_grant_and_write(tmp_path: Path) -> None:
    """RF-08: a grant that is there is written before the process is gone, though its store can be reached again only after the grace."""
    grace = {"shutdown_grace": "2s"}
    async with (
        redis_server() as store,
        redis_proxy(store.port) as way,
        several(tmp_path, refresh_timeout="20s", server=grace, store=store, ways=[way.url, store.url]) as pair,
    ):
        (cookie,) = await sign_in_and_run_out(pair, 1)
        gate = pair.provider.misbehaviour.refresh_gate = asyncio.Event()
        assert user(await ask(pair.one, cookie)) == "alice-sub"
        await until(lambda: pair.provider.refreshes == 1)
        stopping = asyncio.ensure_future(pair.one.gateway.stop())
        await until(lambda: "gateway.draining" in pair.one.gateway.log)
        way.cut()
        gate.set()
        pair.provider.misbehaviour.refresh_gate = None
        await until(lambda: "detached.cut" in pair.one.gateway.log)
        way.mend()
        assert await stopping == 0
        assert access_token(await with_a_token(pair, 1, cookie)) == pair.provider.tokens_issued[-1]["access_token"]
        nobody_lost_anything(pair, 1)


async def test_a_provider_that_answers_a_refresh_later_than_anything_else_may_take(tmp_path: Path) -> None:
    """RF-07: it has rotated, so its answer is worth waiting for."""
    async with several(tmp_path, total_timeout="1s", refresh_timeout="30s") as pair:
        (cookie,) = await sign_in_and_run_out(pair, 1)
        pair.provider.misbehaviour.refresh_answer_delay = 2.5
        answers = await asyncio.gather(*(with_a_token(pair, index, cookie) for index in (0, 1, 0, 1)))
        assert {access_token(answer) for answer in answers} == {pair.provider.tokens_issued[-1]["access_token"]}
        nobody_lost_anything(pair, 1)


async def test_many_that_are_due_at_once(tmp_path: Path) -> None:
    """RF-02: 100 sessions at two gateways: one refresh each, all kept; who needs no token is answered while the provider answers nobody."""
    async with several(tmp_path, total_timeout="8s", refresh_timeout="20s") as pair:
        cookies = await sign_in_and_run_out(pair, 100)
        held = pair.provider.misbehaviour.refresh_held = asyncio.Event()
        waiting = [asyncio.ensure_future(with_a_token(pair, index % 2, cookie)) for index, cookie in enumerate(cookies)]
        await until(lambda: len(pair.provider.refresh_requests) >= 10)
        for house in pair.houses:
            assert {user(answer) for answer in await asyncio.gather(*(ask(house, cookie) for cookie in cookies))} == {"alice-sub"}
            async with house.browser() as browser:
                assert await house.signed_in(browser), "nor does anybody who signs in wait"
        assert pair.provider.refreshes == 0
        held.set()
        pair.provider.misbehaviour.refresh_held = None
        assert {user(answer) for answer in await asyncio.gather(*waiting)} == {"alice-sub"}
        nobody_lost_anything(pair, len(cookies))
