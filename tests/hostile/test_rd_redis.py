"""RD through a whole gateway: a store that is away, refuses, is emptied or holds what is not ours. What it costs a refresh is in RF."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.hostile_house import PUBLIC, SESSION, Answer, hostile_house
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.hostile_house import Edge, House

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _unavailable(browser: Edge) -> None:
    """503 with a time to come back, no cookie touched and no way to the provider: an outage is no reason to sign in (invariant 9)."""
    answer = await browser.ask(f"{PUBLIC}/page")
    assert answer.status == 503
    assert answer.header("Retry-After")
    assert answer.location is None
    assert answer.all("Set-Cookie") == []
    assert (await browser.ask(f"{PUBLIC}/public/x")).status == 200


async def test_a_store_that_is_down_and_comes_back(tmp_path: Path) -> None:
    """RD-01, RD-02, RD-20: public pages go on; known sessions serve as long without the store as configured, here not at all."""
    async with hostile_house(tmp_path / "house", session={"outage_grace": "0s"}) as house, house.browser() as browser:
        cookie = await house.signed_in(browser)
        house.store.kill()
        await _answers(house, cookie, 503)
        await _unavailable(browser)
        assert browser.jar[SESSION] == cookie

        house.store.start()
        # It kept nothing (RD-16): one sign-in, and in.
        await _answers(house, cookie, 401)
        assert await house.signed_in(browser) != cookie


async def test_everything_is_flushed(house: House, browser: Edge) -> None:
    """RD-16: everybody signs in once, and nobody runs in a circle."""
    cookie = await house.signed_in(browser)
    await house.redis.flushall()
    await _answers(house, cookie, 401)
    again = await house.signed_in(browser)
    assert again != cookie
    assert await house.whoami(f"{SESSION}={again}") == "alice-sub"


@pytest.mark.parametrize("foreign", ["a list", "a hash", "a long string", "noise"])
async def test_what_is_not_ours_stands_where_a_session_was(house: House, browser: Edge, foreign: str) -> None:
    """RD-10: it ends the session, with an error in the log, and is no crash."""
    cookie = await house.signed_in(browser)
    (key,) = [key for key in await house.keys() if ":s:" in key]
    before = len(house.gateway.log)
    await house.redis.delete(key)
    match foreign:
        case "a list":
            await house.redis.rpush(key, "x")
        case "a hash":
            await house.redis.hset(key, "x", "y")
        case "a long string":
            await house.redis.setrange(key, 2**20, b"x")
        case _:
            await house.redis.set(key, b"\0" * 200)
    await _answers(house, cookie, 401)
    async with asyncio.timeout(30):
        while not (house.logged("store.value_refused", before) or house.logged("session.damaged", before)):
            await asyncio.sleep(0.05)


async def test_a_password_that_is_wrong(tmp_path: Path, house: House) -> None:
    """RD-11: 503 for whoever has a session, and a line that says why; the password is in no line."""
    cookie = f"{SESSION}=A{'a' * 134}"
    async with redis_server() as server:
        server.command("CONFIG", "SET", "requirepass", "the-right-one-and-long")
        url = tmp_path / "store_url"
        url.write_text(server.url.replace("redis://", "redis://:a-password-that-is-wrong@"))
        url.chmod(0o600)
        changes = {"store": {"file": str(url)}}
        async with (
            hostile_house(tmp_path / "wrong", provider=house.provider, store=server, session=changes) as wrong,
            wrong.browser() as browser,
        ):
            (told, *_) = await wrong.hears("tracking.down")
            assert "Authentication" in told["detail"]
            callback = await wrong.to_callback(browser)
            answer = await browser.ask(callback)
            assert answer.status == 503
            assert SESSION not in browser.jar
            # What no key of ours sealed is nobody's, and is not looked for in the store.
            assert isinstance(refused := await wrong.whoami(cookie), Answer)
            assert refused.status == 401
            assert "a-password-that-is-wrong" not in wrong.gateway.log


async def _answers(house: House, cookie: str, status: int) -> None:
    """Wait until an API caller with this session cookie gets this status."""
    async with asyncio.timeout(30):
        while not isinstance(answer := await house.whoami(f"{SESSION}={cookie}"), Answer) or answer.status != status:
            await asyncio.sleep(0.05)
