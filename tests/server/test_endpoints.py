"""What the endpoints owe a browser at their edges: two sessions at once, answers that are refused, an outage at each step, a stop."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp
import pytest
import structlog
from structlog.testing import capture_logs

from gateway.errors import StoreUnavailable
from gateway.proxy.websocket_frames import SESSION_ENDED
from gateway.session.sessions import Found
from tests.support.fake_provider import REMOVED
from tests.support.house import house
from tests.support.user_agent import FETCH, NAVIGATION, UserAgent, forms

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, MutableMapping

    from gateway.proxy.websocket_frames import Ending
    from tests.support.house import House
    from tests.support.user_agent import Answer


@pytest.fixture
async def home() -> AsyncIterator[House]:
    async with house() as inside:
        yield inside


@pytest.fixture
async def browser(home: House) -> AsyncIterator[UserAgent]:
    async with UserAgent(home.url) as agent:
        yield agent


def cookie_header(browser: UserAgent) -> str:
    return "; ".join(f"{cookie.key}={cookie.value}" for cookie in browser.cookies)


async def answered(home: House, browser: UserAgent, path: str = "/page") -> str:
    """Begin a login and let the provider answer; the callback URL, not opened."""
    return (await browser.until(home.url + path, home.url + "/oauth2/callback")).location or ""


def with_query(url: str, **changes: str | None) -> str:
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()} | changes
    return url.partition("?")[0] + "?" + urlencode({name: value for name, value in query.items() if value is not None})


def one_page_with_one_way_on(answer: Answer) -> None:
    assert answer.text.count("<h1") == 1
    assert answer.text.count("<a ") + answer.text.count("<button") == 1
    assert answer.header("Cache-Control") == "no-store"


async def sign_out(home: House, headers: dict[str, str]) -> Answer:
    async with UserAgent(home.url) as anybody:
        return await anybody.ask(
            home.url + "/oauth2/sign_out", method="POST", headers=NAVIGATION | {"Sec-Fetch-Site": "same-origin"} | headers
        )


async def test_two_live_sessions_in_one_request_are_nobodys_and_signing_out_ends_both(home: House, browser: UserAgent) -> None:
    await browser.open(home.url + "/")
    home.provider.login_as = "bob"
    async with UserAgent(home.url) as other:
        await other.open(home.url + "/")
        both = {"Cookie": f"{cookie_header(browser)}; {cookie_header(other)}"}
    async with UserAgent(home.url) as anybody:
        assert (await anybody.ask(home.url + "/", headers=FETCH | both)).status == 401
        page = await anybody.ask(home.url + "/oauth2/sign_out", headers=NAVIGATION | both)
        assert len(forms(page)) == 1

        assert (await sign_out(home, both)).status == 303

        for cookie in both["Cookie"].split("; "):
            assert (await anybody.ask(home.url + "/", headers=FETCH | {"Cookie": cookie})).status == 401


async def test_a_new_login_replaces_every_session_that_the_request_brought(home: House, browser: UserAgent) -> None:
    await browser.open(home.url + "/")
    first = cookie_header(browser)
    await browser.open(home.url + "/oauth2/start")
    assert cookie_header(browser) != first

    async with UserAgent(home.url) as anybody:
        assert (await anybody.ask(home.url + "/", headers=FETCH | {"Cookie": first})).status == 401
    assert (await browser.ask(home.url + "/", headers=FETCH)).status == 200


async def test_a_callback_with_the_wrong_iss_uses_up_its_state(home: House, browser: UserAgent) -> None:
    callback = await answered(home, browser)
    kept = {"Cookie": cookie_header(browser)}

    refused = await browser.ask(with_query(callback, iss="https://evil.example"))
    assert refused.status == 400
    one_page_with_one_way_on(refused)

    async with UserAgent(home.url) as again:
        replayed = await again.ask(callback, headers=NAVIGATION | kept)
        assert [cookie for cookie in replayed.all("Set-Cookie") if cookie.startswith("gateway=")] == []
    assert home.provider.token_requests == []


async def test_what_the_provider_says_is_shown_as_its_words_and_as_text(home: House, browser: UserAgent) -> None:
    home.provider.misbehaviour.authorize_error = "temporarily_unavailable"
    home.provider.misbehaviour.authorize_error_description = "Maintenance <b>until</b> 5"
    answer = await browser.open(home.url + "/page?x=1")

    assert answer.status == 502
    assert "Maintenance &lt;b&gt;until&lt;/b&gt; 5" in answer.text
    one_page_with_one_way_on(answer)
    assert 'href="/oauth2/start?rd=/page%3Fx%3D1"' in answer.text


@pytest.mark.parametrize("path", ["/oauth2/c%61llback", "/oauth2/%63allback?code=a&state=b", "/oauth2/sign%5Fout"])
async def test_an_endpoint_in_another_spelling_is_none(home: House, browser: UserAgent, path: str) -> None:
    assert (await browser.ask(home.url + path)).status == 404
    assert home.app.requests == []


async def test_nobody_is_asked_for_a_body_that_is_refused(home: House) -> None:
    host = home.url.removeprefix("http://")
    for head, status in (
        (f"POST /oauth2/nothing HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n", b"404"),
        (f"POST /oauth2/sign_out HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n", b"403"),
        (f"POST /private HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n", b"401"),
        (f"POST /oauth2/sign_out HTTP/1.1\r\nHost: {host}\r\nExpect: x\r\nContent-Length: 9\r\n\r\n", b"417"),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(host.rpartition(":")[2]))
        writer.write(head.encode())
        assert (await reader.readline()).split(b" ")[1] == status
        writer.close()


async def test_a_form_that_waits_for_100_gets_it_once_it_is_wanted(home: House) -> None:
    host = home.url.removeprefix("http://")
    reader, writer = await asyncio.open_connection("127.0.0.1", int(host.rpartition(":")[2]))
    writer.write(
        f"POST /oauth2/sign_out HTTP/1.1\r\nHost: {host}\r\nOrigin: {home.url}\r\nExpect: 100-continue\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 5\r\n\r\n".encode()
    )
    assert b" 100 " in await reader.readline()
    assert await reader.readline() == b"\r\n"
    writer.write(b"rd=/x")
    assert b" 303 " in await reader.readline()
    writer.close()


async def test_tokens_that_cannot_be_kept_sign_nobody_in_and_are_given_back(home: House, browser: UserAgent) -> None:
    home.provider.misbehaviour.token_document = {"access_token": "a" * 16_000, "refresh_token": "r" * 16_000, "x": "y"}
    home.provider.misbehaviour.id_token_claims = {"at_hash": REMOVED, "groups": ["g" * 100] * 200}

    answer = await browser.open(home.url + "/page")

    assert answer.status == 502
    one_page_with_one_way_on(answer)
    assert browser.cookie_names() == set()
    await home.parts.detached.drain(5)
    assert len(home.provider.revoke_requests) >= 1


class Outage:
    """The session store of a house, made to fail at chosen commands; everything else reaches the real one."""

    def __init__(self, home: House, *commands: str) -> None:
        self._real = home.parts.sessions._store
        self._commands = commands
        home.parts.sessions._store = self
        self._home = home

    def __getattr__(self, name: str) -> object:
        if name in self._commands:
            return self._fail
        return getattr(self._real, name)

    async def _fail(self, *_args: object, **_options: object) -> None:
        raise StoreUnavailable("the store is down")

    def over(self) -> None:
        self._home.parts.sessions._store = self._real


async def test_an_outage_before_the_code_is_spent_can_be_tried_again(home: House, browser: UserAgent) -> None:
    callback = await answered(home, browser)
    outage = Outage(home, "claim")
    down = await browser.ask(callback)
    assert (down.status, home.provider.token_requests) == (503, [])
    assert down.header("Retry-After") is not None
    one_page_with_one_way_on(down)
    outage.over()

    answer = await browser.open(callback)

    assert (answer.status, answer.url) == (200, home.url + "/page")


async def test_an_outage_after_the_code_was_spent_signs_nobody_in_and_says_so(home: House, browser: UserAgent) -> None:
    callback = await answered(home, browser)
    outage = Outage(home, "create")

    down = await browser.ask(callback)

    assert down.status == 503
    assert "still signed in" not in down.text
    one_page_with_one_way_on(down)
    assert browser.cookie_names() == set()
    await home.parts.detached.drain(5)
    assert len(home.provider.revoke_requests) >= 1
    outage.over()
    assert (await browser.open(home.url + "/page")).status == 200


async def test_a_sign_out_in_an_outage_keeps_the_cookie_so_that_it_can_be_tried_again(home: House, browser: UserAgent) -> None:
    await browser.open(home.url + "/")
    held = {"Cookie": cookie_header(browser)}
    outage = Outage(home, "end")
    down = await sign_out(home, held)
    assert (down.status, down.all("Set-Cookie")) == (503, [])
    outage.over()

    assert (await sign_out(home, held)).status == 303


async def test_a_stop_waits_for_a_callback_whose_browser_hung_up() -> None:
    with capture_logs() as told:
        async with house() as home, UserAgent(home.url) as browser:
            callback = await answered(home, browser)
            cookies = cookie_header(browser)
            home.provider.misbehaviour.token_delay = 0.5
            host = home.url.removeprefix("http://")
            _, writer = await asyncio.open_connection("127.0.0.1", int(host.rpartition(":")[2]))
            target = callback.removeprefix(home.url)
            writer.write(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookies}\r\n\r\n".encode())
            while not home.provider.token_requests:
                await asyncio.sleep(0.01)
            writer.transport.abort()
            assert "login.finished" not in [line["event"] for line in told]
    assert "login.finished" in [line["event"] for line in told]


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/nothing", "GET", 404), ("/livez", "POST", 405), ("/livez", "GET", 200), ("/readyz", "HEAD", 200), ("/metrics", "GET", 404)],
)
async def test_the_admin_listener_says_no_more_than_it_must(home: House, path: str, method: str, status: int) -> None:
    async with UserAgent() as probe:
        answer = await probe.ask(home.admin + path, method=method, headers={})

    assert answer.status == status
    assert answer.header("Server") == "gateway"
    assert answer.header("Cache-Control") == "no-store"


class Open:
    """Something that a session holds open."""

    endless, idle, heard, moved = True, math.inf, 0, 0

    def __init__(self) -> None:
        self.endings: list[Ending] = []

    def end(self, ending: Ending) -> None:
        self.endings.append(ending)


async def test_a_sign_out_has_ended_everything_before_anything_is_said(home: House, browser: UserAgent) -> None:
    """A log that fails keeps nobody signed in, here or at the provider."""
    await browser.open(home.url + "/")
    held = {"Cookie": cookie_header(browser)}
    (site,) = home.parts.sites.values()
    found = await home.parts.sessions.find([held["Cookie"].encode()], site.names)
    assert isinstance(found, Found)
    channel = Open()
    home.parts.live.hold(found, channel)

    def failing(_logger: object, _method: str, event: MutableMapping[str, object]) -> MutableMapping[str, object]:
        if event["event"] in {"session.ended", "session.connections_ended"}:
            raise BrokenPipeError
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[failing])
    try:
        with suppress(aiohttp.ClientError):
            await sign_out(home, held)
    finally:
        structlog.configure(**before)
    assert set(channel.endings) == {SESSION_ENDED}
    await home.parts.detached.drain(5)
    assert len(home.provider.revoke_requests) >= 1
    assert (await browser.ask(home.url + "/", headers=FETCH | held)).status == 401
