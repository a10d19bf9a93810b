"""What is large but honest works, what is too large is told so, and a login that failed still knows where it was going (CK, ST)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import pytest

from tests.support.hostile_house import CALLBACK, HOST, PUBLIC, parameters, read_page, sealed_login, with_parameters

if TYPE_CHECKING:
    from tests.support.hostile_house import Edge, House

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    "cookies",
    [
        pytest.param("; ".join(f"bomb{number}={'x' * 4000}" for number in range(60)), id="CK-11 60 cookies of 4 KB"),
        pytest.param("\r\nCookie: ".join(f"a{number}=1" for number in range(300)), id="CK-11 300 cookie lines"),
    ],
)
async def test_a_cookie_bomb_is_told_as_such(house: House, cookies: str) -> None:
    answer = await house.raw(
        f"GET /page HTTP/1.1\r\nHost: {HOST}\r\nAccept: text/html\r\nCookie: {cookies}\r\nConnection: close\r\n\r\n".encode()
    )

    assert answer.status == 431
    await house.nobody_got_in(answer)


async def test_fifty_tabs_at_once_lock_nobody_out(house: House, browser: Edge) -> None:
    """CK-28: a browser that restores its tabs starts all logins before the first answer comes."""
    await asyncio.gather(*(browser.ask(f"{PUBLIC}/tab/{number}?{'q' * 150}") for number in range(50)))

    for _ in range(4):
        answer = await browser.ask(f"{PUBLIC}/page")
        assert answer.status == 303, f"locked out by {len(browser.cookie_header())} bytes of login cookies: {answer.status}"
    assert len(browser.logins) <= 5
    await house.signed_in(browser)


async def test_a_login_that_took_too_long_still_knows_where_it_was_going(house: House, browser: Edge) -> None:
    """ST-07: a target that was sealed by us may be believed longer than the login."""
    name, value, state = sealed_login(house, age=11 * 60)
    browser.jar = {name: value}
    answer = await browser.ask(f"{CALLBACK}?{urlencode({'code': 'c', 'state': state, 'iss': house.provider.issuer})}")

    await house.refused(answer, status=400)
    (way,) = read_page(answer).ways
    assert parameters(way)["rd"] == "/deep?x=1"
    assert (await browser.open(PUBLIC + way)).url == f"{PUBLIC}/deep?x=1"


async def test_a_long_explanation_of_the_provider_ends_the_login_as_a_short_one_does(house: House, browser: Edge) -> None:
    """ST-08: 12 KB of error_description."""
    callback = await house.to_callback(browser)
    answer = await browser.ask(with_parameters(callback, code=None, error="access_denied", error_description="d" * 12_000))

    await house.refused(answer, status=403)
    assert browser.logins == []
    await house.recovers(browser, answer)


async def test_a_code_of_8_kb_reaches_the_token_endpoint(house: House, browser: Edge) -> None:
    """ST-13: as long as a provider may make it."""
    begun = parameters(await house.to_callback(browser))
    answer = await browser.ask(f"{CALLBACK}?code={'c' * 8192}&state={begun['state']}&iss={quote(begun['iss'], safe='')}")

    (request,) = house.provider.token_requests
    assert request.form["code"] == "c" * 8192
    await house.refused(answer, status=400)
