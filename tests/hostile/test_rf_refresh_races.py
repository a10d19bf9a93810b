"""RF: tokens run out under many requests, at several gateways, while providers lie, stall and die; nobody is signed out who should not be.

Whole gateways before one Redis and a provider that rotates refresh tokens and ends a grant when an old one comes. Grants are counted there.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import pytest_asyncio

from tests.hostile import test_rf_provider_chaos, test_rf_store_chaos
from tests.support.fake_provider import REMOVED
from tests.support.hostile_house import PUBLIC, SESSION, every_row_has_its_place
from tests.support.several_gateways import PATIENCE, TOKEN_ROUTE, Several, access_token, ask, nobody, several, until, user
from tests.support.user_agent import NAVIGATION, forms

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def standing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Several]:
    async with several(tmp_path_factory.mktemp("several")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def pair(standing: Several) -> Several:
    await standing.reset()
    return standing


@pytest_asyncio.fixture(loop_scope="module")
async def fresh(tmp_path: Path) -> AsyncIterator[Several]:
    """A pair that no test has taught to leave the provider alone."""
    async with several(tmp_path) as running:
        yield running


async def test_rf_01_many_requests_at_one_gateway(pair: Several) -> None:
    """RF-01: 100 requests that need the token, which has run out: one refresh, and all get the new one."""
    cookie = await pair.signed_in_and_run_out()
    answers = await asyncio.gather(*(ask(pair.one, cookie, TOKEN_ROUTE) for _ in range(100)))
    assert len({access_token(answer) for answer in answers}) == 1
    assert access_token(answers[0]) == pair.provider.tokens_issued[-1]["access_token"]
    assert {user(answer) for answer in answers} == {"alice-sub"}
    assert (pair.provider.refreshes, len(pair.provider.refresh_requests)) == (1, 1)


async def test_rf_02_many_requests_at_four_gateways(tmp_path: Path) -> None:
    """RF-02: 200 requests over four gateways: one refresh."""
    async with several(tmp_path, 4) as four:
        cookie = await four.signed_in_and_run_out()
        answers = await asyncio.gather(*(ask(house, cookie, TOKEN_ROUTE) for _ in range(50) for house in four.houses))
        assert len(answers) == 200
        assert {access_token(answer) for answer in answers} == {four.provider.tokens_issued[-1]["access_token"]}
        assert (four.provider.refreshes, len(four.provider.refresh_requests), four.provider.reuses) == (1, 1, 0)


async def test_who_needs_no_token_waits_for_none(pair: Several) -> None:
    """RF-01: a route that sends no token is answered while the provider holds the refresh."""
    cookie = await pair.signed_in_and_run_out()
    held = pair.provider.misbehaviour.refresh_held = asyncio.Event()
    answers = await asyncio.gather(*(ask(house, cookie) for _ in range(20) for house in pair.houses))
    assert {user(answer) for answer in answers} == {"alice-sub"}
    assert pair.provider.refreshes == 0
    held.set()
    await until(lambda: pair.provider.refreshes == 1)


@pytest.mark.parametrize("latency", [pytest.param(seconds, id=f"RF-02 provider takes {seconds} s") for seconds in (0.05, 1, 3, 6)])
async def test_a_slow_provider_signs_nobody_out(slow: Several, latency: float) -> None:
    cookie = await slow.signed_in_and_run_out()
    slow.provider.misbehaviour.refresh_answer_delay = latency
    answers = await asyncio.gather(*(ask(house, cookie, TOKEN_ROUTE) for _ in range(20) for house in slow.houses))
    assert {access_token(answer) for answer in answers} == {slow.provider.tokens_issued[-1]["access_token"]}
    assert (slow.provider.refreshes, slow.provider.reuses) == (1, 0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def standing_slow(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Several]:
    async with several(tmp_path_factory.mktemp("slow"), total_timeout="8s") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def slow(standing_slow: Several) -> Several:
    await standing_slow.reset()
    return standing_slow


FAILURES = [
    pytest.param({"refresh_hangs": True}, id="RF-05 never answers"),
    pytest.param({"refresh_status": 500}, id="RF-05 500"),
    pytest.param({"refresh_status": 429, "refresh_retry_after": "2"}, id="RF-05 429 with Retry-After"),
    pytest.param({"refresh_status": 401, "refresh_error": "invalid_client"}, id="RF-05 invalid_client"),
    pytest.param({"refresh_document": {"access_token": REMOVED}, "refresh_rotates": False}, id="RF-05 no access token"),
]


@pytest.mark.parametrize("knobs", FAILURES)
async def test_a_provider_that_fails_signs_nobody_out(fresh: Several, knobs: dict[str, Any]) -> None:
    cookie = await fresh.signed_in_and_run_out()
    right = {name: getattr(fresh.provider.misbehaviour, name) for name in knobs}
    for name, value in knobs.items():
        setattr(fresh.provider.misbehaviour, name, value)
    answers = await asyncio.gather(*(ask(house, cookie, TOKEN_ROUTE) for _ in range(10) for house in fresh.houses))
    assert {answer.status for answer in answers} == {503}, "who needs the token"
    for answer in answers:
        assert int(answer.header("Retry-After") or 0) >= 1
        assert not answer.all("Set-Cookie")
        assert json.loads(answer.body)["error"] == "refresh_unavailable"
    for house in fresh.houses:
        assert user(await ask(house, cookie)) == "alice-sub", "who does not"
    # Both gateways may have tried, one after the other: whoever waited for the first one's lock takes the next turn.
    assert len(fresh.provider.refresh_requests) <= 2 + len(answers) // 10
    for name, value in right.items():
        setattr(fresh.provider.misbehaviour, name, value)
    async with asyncio.timeout(PATIENCE):
        while (answer := await ask(fresh.other, cookie, TOKEN_ROUTE)).status == 503:
            await asyncio.sleep(0.2)
    assert user(answer) == "alice-sub"


async def test_rf_05_a_grant_that_the_provider_ended(pair: Several) -> None:
    """RF-05: 401 for a script, the sign-in for a page load, never 500, one request to the provider, and a new sign-in works."""
    cookie = await pair.signed_in_and_run_out()
    pair.provider.end_grants()
    answers = await asyncio.gather(*(ask(house, cookie, TOKEN_ROUTE) for _ in range(20) for house in pair.houses))
    assert {answer.status for answer in answers} == {401}
    for house in pair.houses:
        await nobody(house, cookie)
    assert len(pair.provider.refresh_requests) == 1
    assert user(await ask(pair.other, await pair.sign_in())) == "alice-sub"


@pytest.mark.parametrize("forgives", [pytest.param(True, id="RF-07 provider forgives"), pytest.param(False, id="RF-07 provider does not")])
async def test_an_answer_that_is_lost(fresh: Several, forgives: bool) -> None:
    """The provider has rotated, and its answer never comes: the old token is tried once more, and never in a loop."""
    cookie = await fresh.signed_in_and_run_out()
    fresh.provider.misbehaviour.refresh_answer_lost = True
    fresh.provider.misbehaviour.refresh_grace = 60 if forgives else 0
    assert (await ask(fresh.one, cookie, TOKEN_ROUTE)).status == 503
    assert user(await ask(fresh.one, cookie)) == "alice-sub", "kept for now"
    fresh.provider.misbehaviour.refresh_answer_lost = False
    async with asyncio.timeout(PATIENCE):
        while (answer := await ask(fresh.other, cookie, TOKEN_ROUTE)).status == 503:
            await asyncio.sleep(0.2)
    assert answer.status == (200 if forgives else 401)
    assert fresh.provider.reuses == 1
    if not forgives:
        await nobody(fresh.one, cookie)
        async with fresh.one.browser() as browser:
            page = await browser.open(PUBLIC + "/again")
            assert user(page) == "alice-sub", "one clean sign-in"


@pytest.mark.parametrize(
    ("granted", "forgives", "status"),
    [
        pytest.param(False, False, 200, id="RF-04 before the grant"),
        pytest.param(True, True, 200, id="RF-04 between grant and write, provider forgives"),
        pytest.param(True, False, 401, id="RF-04 between grant and write, provider does not"),
    ],
)
async def test_a_gateway_that_is_killed_in_the_middle(tmp_path: Path, granted: bool, forgives: bool, status: int) -> None:
    """Its lock ends by itself, who waits elsewhere goes on with the old token, once."""
    async with several(tmp_path, total_timeout="8s") as pair:
        cookie = await pair.signed_in_and_run_out()
        bad = pair.provider.misbehaviour
        bad.refresh_grace = 60 if forgives else 0
        bad.refresh_held, bad.refresh_gate = (None, asyncio.Event()) if granted else (asyncio.Event(), None)
        assert user(await ask(pair.one, cookie)) == "alice-sub"
        await until(lambda: (pair.provider.refreshes if granted else len(pair.provider.refresh_requests)) == 1)
        pair.one.gateway.process.kill()
        bad.refresh_held = bad.refresh_gate = None
        # It waits for a lock that nobody gives back, ten seconds at most.
        answers = await asyncio.gather(*(ask(pair.other, cookie, TOKEN_ROUTE) for _ in range(20)))
        assert {answer.status for answer in answers} == {status}
        assert len(pair.provider.refresh_requests) == 2
        assert pair.provider.reuses == granted
        if status == 401:
            await nobody(pair.other, cookie)


async def test_rf_08_a_browser_that_goes_away(pair: Several) -> None:
    """RF-08: whoever caused the refresh hangs up in the middle of it; it is finished and written all the same."""
    cookie = await pair.signed_in_and_run_out()
    gate = pair.provider.misbehaviour.refresh_gate = asyncio.Event()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(pair.one.listener.rpartition(":")[2]))
    writer.write(f"GET {TOKEN_ROUTE} HTTP/1.1\r\nHost: app.example\r\nCookie: {cookie}\r\n\r\n".encode())
    await until(lambda: pair.provider.refreshes == 1)
    writer.transport.abort()
    del reader
    gate.set()
    pair.provider.misbehaviour.refresh_gate = None
    assert access_token(await ask(pair.other, cookie, TOKEN_ROUTE)) == pair.provider.tokens_issued[-1]["access_token"]
    assert len(pair.provider.refresh_requests) == 1


async def test_rf_10_a_sign_out_meanwhile(pair: Several) -> None:
    """RF-10: who signs out while the refresh is under way stays signed out everywhere, and the new tokens are revoked."""
    async with pair.other.browser() as browser:
        cookie = f"{SESSION}={await pair.other.signed_in(browser)}"
        pair.provider.misbehaviour.expires_in = 3600
        await pair.run_out(cookie)
        gate = pair.provider.misbehaviour.refresh_gate = asyncio.Event()
        assert user(await ask(pair.one, cookie)) == "alice-sub"
        await until(lambda: pair.provider.refreshes == 1)
        (form,) = forms(await browser.open(PUBLIC + "/oauth2/sign_out"))
        answer = await browser.ask(form.action, method="POST", headers=NAVIGATION | {"Sec-Fetch-Site": "same-origin"}, data={})
        assert answer.status == 303
    gate.set()
    granted = pair.provider.tokens_issued[-1]
    await until(lambda: {granted["refresh_token"], granted["access_token"]} <= set(pair.provider.revoked))
    for house in pair.houses:
        await nobody(house, cookie)
    assert await pair.one.sessions() <= {key for key in await pair.one.sessions() if key.startswith("gateway:r:")}, "nothing came back"


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"sub": "mallory-sub"}, id="RF-11 another sub"),
        pytest.param({"iss": "https://evil.example"}, id="RF-11 another iss"),
        pytest.param({"aud": "another client"}, id="RF-11 another aud"),
        pytest.param({"auth_time": 1_000_000_000}, id="RF-11 an older auth_time"),
        pytest.param({"nonce": "another"}, id="RF-11 another nonce"),
    ],
)
async def test_a_session_never_changes_hands(pair: Several, claims: dict[str, Any]) -> None:
    cookie = await pair.signed_in_and_run_out()
    pair.provider.misbehaviour.refresh_id_token_claims = claims
    answers = await asyncio.gather(*(ask(house, cookie, TOKEN_ROUTE) for _ in range(5) for house in pair.houses))
    assert {answer.status for answer in answers} == {401}
    for house in pair.houses:
        await nobody(house, cookie)
    granted = pair.provider.tokens_issued[-1]
    await until(lambda: {granted["refresh_token"], granted["access_token"]} <= set(pair.provider.revoked))
    assert len(pair.provider.refresh_requests) == 1


@pytest.mark.parametrize(
    "ends", [pytest.param(False, id="RF-13 tokens run out"), pytest.param(True, id="RF-13 the provider ends the grant")]
)
async def test_what_is_open_while_tokens_run_out(pair: Several, ends: bool) -> None:
    """A tunnel goes on when tokens run out and are renewed, and ends with its session when the provider ends that."""
    cookie = await pair.sign_in()
    headers = {"Host": "app.example", "Cookie": cookie, "Origin": PUBLIC}
    async with aiohttp.ClientSession() as client, client.ws_connect(pair.other.listener + "/ws", headers=headers) as socket:
        await socket.receive_str()
        await pair.run_out(cookie)
        if ends:
            pair.provider.end_grants()
        await socket.send_str("still there")
        assert await socket.receive_str() == "still there"
        # What the browser sends through the tunnel is use of its session: no request has to come.
        await until(lambda: len(pair.provider.refresh_requests) == 1)
        if ends:
            message = await asyncio.wait_for(socket.receive(), PATIENCE)
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1008)
            return
        assert access_token(await ask(pair.one, cookie, TOKEN_ROUTE)) == pair.provider.tokens_issued[-1]["access_token"]
        await socket.send_str("and on")
        assert await socket.receive_str() == "and on"
        assert pair.provider.refreshes == 1


@pytest.mark.parametrize(
    ("method", "body"),
    [
        pytest.param("GET", "", id="RF-14 GET"),
        pytest.param("POST", "", id="RF-14 POST without a body"),
        pytest.param("PUT", "once", id="RF-14 PUT with a body"),
    ],
)
async def test_an_app_that_calls_its_token_expired(pair: Several, method: str, body: str) -> None:
    """Its 401 is the caller's: no request is sent to it twice, no grant is asked for on an app's word, and the session stays."""
    pair.provider.misbehaviour.expires_in = 3600
    async with pair.one.browser() as browser:
        cookie = f"{SESSION}={await pair.one.signed_in(browser)}"
    app, challenge = pair.one.app, 'Bearer error="invalid_token", error_description="The access token expired"'
    app.requests.clear()
    app.status, app.also = 401, {"WWW-Authenticate": challenge}
    head = f"{method} {TOKEN_ROUTE} HTTP/1.1\r\nHost: app.example\r\nCookie: {cookie}\r\nOrigin: {PUBLIC}\r\nConnection: close\r\n"
    for house in pair.houses:
        answer = await house.raw(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        assert (answer.status, answer.header("WWW-Authenticate"), answer.all("Set-Cookie")) == (401, challenge, [])
        assert json.loads(answer.body)["body"] == body, "the app's own words"
    assert app.requests == [(method, TOKEN_ROUTE)] * len(pair.houses)
    assert pair.provider.refresh_requests == []
    app.status, app.also = 200, {}
    for house in pair.houses:
        assert access_token(await ask(house, cookie, TOKEN_ROUTE)) == pair.provider.tokens_issued[-1]["access_token"]


async def test_rf_16_clocks_that_differ(tmp_path: Path) -> None:
    """RF-16: the provider's clock is as far ahead as clocks may be; no app gets an access token after its true end."""
    async with several(tmp_path) as pair:
        pair.provider._clock = lambda: time.time() + 0.9
        pair.provider.misbehaviour.expires_in = 4
        async with pair.one.browser() as browser:
            cookie = f"{SESSION}={await pair.one.signed_in(browser)}"
        until_ = time.time() + 7
        issued: dict[str, float] = {}
        while time.time() < until_:
            for document in pair.provider.tokens_issued:
                issued.setdefault(document["access_token"], time.time())
            for house in pair.houses:
                asked = time.time()
                token = access_token(await ask(house, cookie, TOKEN_ROUTE))
                issued.setdefault(token, asked)
                assert asked < issued[token] + 4, "used after its end"
            await asyncio.sleep(0.05)
        assert pair.provider.refreshes >= 2
        assert pair.provider.refreshes == len(pair.provider.refresh_requests)


async def test_rf_17_somebody_else_signs_in_meanwhile(pair: Several) -> None:
    """RF-17: in another tab somebody else signs in while the first session is refreshed: neither becomes the other."""
    async with pair.one.browser() as browser:
        cookie = f"{SESSION}={await pair.one.signed_in(browser)}"
        pair.provider.misbehaviour.expires_in = 3600
        await pair.run_out(cookie)
        gate = pair.provider.misbehaviour.refresh_gate = asyncio.Event()
        assert user(await ask(pair.other, cookie)) == "alice-sub"
        await until(lambda: pair.provider.refreshes == 1)
        pair.provider.login_as = "bob"
        location = (await browser.until(PUBLIC + "/oauth2/start?rd=/bob", PUBLIC + "/oauth2/callback")).location
        assert location is not None
        assert (await browser.ask(location)).status == 303
        theirs = f"{SESSION}={browser.jar[SESSION]}"
    gate.set()
    granted = next(each for each in reversed(pair.provider.tokens_issued) if "scope" not in each)
    await until(lambda: granted["refresh_token"] in pair.provider.revoked)
    for house in pair.houses:
        await nobody(house, cookie)
        assert user(await ask(house, theirs, TOKEN_ROUTE)) == "bob-sub"


async def test_a_store_that_pauses_while_the_grant_is_written(pair: Several) -> None:
    """RF-07: the grant exists nowhere but in this process while the store gives no answer; it is written when it does."""
    cookie = await pair.signed_in_and_run_out()
    gate = pair.provider.misbehaviour.refresh_gate = asyncio.Event()
    assert user(await ask(pair.one, cookie)) == "alice-sub"
    await until(lambda: pair.provider.refreshes == 1)
    pair.one.store.pause(4_000)
    gate.set()
    pair.provider.misbehaviour.refresh_gate = None
    async with asyncio.timeout(PATIENCE):
        while (answer := await ask(pair.other, cookie, TOKEN_ROUTE)).status == 503:
            await asyncio.sleep(0.2)
    assert access_token(answer) == pair.provider.tokens_issued[-1]["access_token"]
    assert (pair.provider.refreshes, pair.provider.reuses) == (1, 0)


async def test_a_stop_in_the_middle(tmp_path: Path) -> None:
    """RF-08: a gateway that is asked to stop finishes the refresh that it began."""
    async with several(tmp_path) as pair:
        cookie = await pair.signed_in_and_run_out()
        gate = pair.provider.misbehaviour.refresh_gate = asyncio.Event()
        assert user(await ask(pair.one, cookie)) == "alice-sub"
        await until(lambda: pair.provider.refreshes == 1)
        stopping = asyncio.ensure_future(pair.one.gateway.stop())
        await until(lambda: "gateway.draining" in pair.one.gateway.log)
        gate.set()
        pair.provider.misbehaviour.refresh_gate = None
        assert await stopping == 0
        assert access_token(await ask(pair.other, cookie, TOKEN_ROUTE)) == pair.provider.tokens_issued[-1]["access_token"]
        assert len(pair.provider.refresh_requests) == 1


async def test_what_a_refresh_costs_the_store(pair: Several) -> None:
    """RF-02: nothing while nothing is due, also where a token is sent; and a refresh a handful of commands, whoever asks."""
    pair.provider.misbehaviour.expires_in = 3600
    async with pair.one.browser() as browser:
        cookie = f"{SESSION}={await pair.one.signed_in(browser)}"
    for _ in range(3):
        for house in pair.houses:
            for path in ("/x", TOKEN_ROUTE):
                assert user(await ask(house, cookie, path)) == "alice-sub"
    before = pair.commands()
    for _ in range(50):
        for house in pair.houses:
            assert user(await ask(house, cookie, TOKEN_ROUTE)) == "alice-sub"
    assert pair.commands() == before


async def test_asking_for_the_time_left_has_nothing_renewed(pair: Several) -> None:
    """RF-01: a page that shows the time left neither uses the session nor its refresh token."""
    cookie = await pair.signed_in_and_run_out()
    for _ in range(10):
        tokens = (await pair.times(cookie))["tokens"]
        assert tokens["access_expires_in"] == 0
        assert tokens["renewable"] is True
    assert pair.provider.refresh_requests == []


@pytest.mark.parametrize("follows", [pytest.param(word, id=f"RF-05 session_follows: {word}") for word in ("refresh_token", "id_token")])
async def test_a_session_that_follows(tmp_path: Path, follows: str) -> None:
    """It waits for its refresh, is kept while the provider fails, can be left, and ends with the grant."""
    async with several(tmp_path, session={"session_follows": follows}) as pair:
        if follows == "id_token":
            pair.provider.misbehaviour.id_token_claims = {"exp": int(time.time()) + 3}
        cookie = await pair.sign_in()
        await pair.run_out(cookie)
        while time.time() < (await pair.times(cookie))["tokens"]["id_token_expires"] and follows == "id_token":
            await asyncio.sleep(0.05)
        pair.provider.misbehaviour.id_token_claims = {}
        pair.provider.misbehaviour.refresh_status = 503
        for house in pair.houses:
            answer = await ask(house, cookie)
            assert (answer.status, json.loads(answer.body)["error"]) == (503, "refresh_unavailable")
        page = await ask(pair.one, cookie, "/oauth2/sign_out", headers=NAVIGATION)
        assert page.status == 200, "who wants to leave can"
        pair.provider.misbehaviour.refresh_status = 200
        async with asyncio.timeout(PATIENCE):
            while (answer := await ask(pair.other, cookie)).status == 503:
                await asyncio.sleep(0.2)
        assert user(answer) == "alice-sub"
        assert pair.provider.refreshes == 1


async def test_every_row_has_its_place() -> None:
    also = (test_rf_provider_chaos, test_rf_store_chaos)
    every_row_has_its_place("RF", "01 02 04 05 07 08 10 11 13 14 16 17", globals(), {}, also=also)
