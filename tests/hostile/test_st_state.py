"""ST: an answer of the provider signs in the browser that began this very login, once, and nobody else ever."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import secrets
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode, urlsplit

import pytest
import pytest_asyncio

from tests.support.fake_provider import REMOVED
from tests.support.hostile_house import (
    CALLBACK,
    HOST,
    LOGIN,
    PUBLIC,
    SESSION,
    SIGN_OUT,
    START,
    every_row_has_its_place,
    hostile_house,
    parameters,
    sealed_login,
    sets_session,
    with_parameters,
)
from tests.support.mirror_app import values
from tests.support.user_agent import FETCH, NAVIGATION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.hostile_house import Edge, House

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOT_YET = {
    "ST-11": "one provider only: several are not built",
    "ST-22": "login initiated by a third party is not built",
    "ST-23": "max_age and acr_values with step-up are not built",
}


def _one_off(text: str) -> str:
    return text[:-1] + ("B" if text[-1] == "A" else "A")


@pytest.mark.parametrize(
    "query",
    [
        pytest.param(lambda code, _state: f"code={code}", id="ST-01 ST-19 only a code"),
        pytest.param(lambda code, _state: f"code={code}&state=", id="ST-01 empty"),
        pytest.param(lambda code, _state: f"code={code}&state", id="ST-01 no value"),
        pytest.param(lambda code, _state: f"code={code}&state={'A' * 10240}", id="ST-01 10 KB"),
        pytest.param(lambda code, _state: f"code={code}&state={secrets.token_urlsafe(32)}", id="ST-01 another"),
        pytest.param(lambda code, state: f"code={code}&state={state.swapcase()}", id="ST-01 case swapped"),
        pytest.param(lambda code, state: f"code={code}&state={_one_off(state)}", id="ST-01 last character off"),
        pytest.param(lambda code, state: f"code={code}&state={'B' if state[0] == 'A' else 'A'}{state[1:]}", id="ST-01 first character off"),
        pytest.param(lambda code, state: f"code={code}&state={state[:-1]}", id="ST-01 one character short"),
        pytest.param(lambda code, state: f"code={code}&state={state}A", id="ST-01 one character more"),
        pytest.param(lambda code, state: f"code={code}&state={state}%20", id="ST-01 trailing space"),
        pytest.param(lambda code, state: f"code={code}&state=+{state}", id="ST-01 leading space"),
        pytest.param(lambda code, state: f"code={code}&state={state}%0A", id="ST-01 line feed"),
        pytest.param(lambda code, state: f"code={code}&state={state}%00", id="ST-01 NUL"),
        pytest.param(lambda code, state: f"code={code}&state={state}=", id="ST-01 padded"),
        pytest.param(lambda code, state: f"code={code}&state=%25{ord(state[0]):02X}{state[1:]}", id="ST-01 percent-encoded twice"),
        pytest.param(lambda code, state: f"code={code}&state={state}&state={state}", id="ST-01 twice the same"),
        pytest.param(lambda code, state: f"code={code}&state={state}&state=x", id="ST-01 twice, the first right"),
        pytest.param(lambda code, state: f"code={code}&state=x&state={state}", id="ST-01 twice, the second right"),
        pytest.param(lambda code, state: f"code={code}&state={state}&st%61te=x", id="ST-01 twice, one name encoded"),
        pytest.param(lambda code, state: f"code={code}&code={code}&state={state}", id="ST-01 a code twice"),
        pytest.param(lambda code, state: f"code={code}&State={state}", id="ST-01 another name"),
        pytest.param(lambda code, state: f"code={code};state={state}", id="ST-01 semicolon"),
        pytest.param(lambda _code, state: f"state={state}", id="ST-19 neither code nor error"),
        pytest.param(lambda _code, _state: "", id="ST-19 nothing"),
        pytest.param(lambda _code, state: f"code=&state={state}", id="ST-19 an empty code"),
    ],
)
async def test_another_state_is_refused_and_costs_the_right_one_nothing(
    house: House, browser: Edge, query: Callable[[str, str], str]
) -> None:
    callback = await house.to_callback(browser)
    sent = parameters(callback)

    answer = await browser.ask(f"{CALLBACK}?{query(sent['code'], sent['state'])}&iss={quote(sent['iss'], safe='')}")

    await house.refused(answer, status=400)
    assert house.provider.token_requests == []
    assert (await browser.ask(callback)).location == f"{PUBLIC}/page"
    assert len(house.provider.token_requests) == 1


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("code=a&state={}", id="ST-01 a state of 1 MB"),
        pytest.param("error=access_denied&error_description={}&state=a", id="ST-08 a description of 1 MB"),
        pytest.param("code={}&state=a", id="ST-13 a code of 1 MB"),
    ],
)
async def test_what_does_not_fit_one_line_is_refused(house: House, query: str) -> None:
    target = f"/oauth2/callback?{query.format('A' * 2**20)}"
    answer = await house.raw(f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\nAccept: text/html\r\n\r\n".encode())

    assert answer.status in {400, 414, 431}
    await house.nobody_got_in(answer)
    assert house.provider.token_requests == []


async def test_another_browser_cannot_use_the_answer(house: House, browser: Edge) -> None:
    """ST-02, ST-19: login CSRF, a link preview, a shared link; and whose login it is loses nothing by it."""
    callback = await house.to_callback(browser)
    async with house.browser() as stranger, house.browser() as busy:
        await house.refused(await stranger.ask(callback), status=400)
        await house.to_callback(busy)
        await house.refused(await busy.ask(callback), status=400)
        assert len(busy.logins) == 1
        preview = await stranger.ask(callback, headers={"Accept": "*/*", "User-Agent": "preview-bot"})
        assert preview.status == 400
        assert preview.all("Set-Cookie") == []
    assert house.provider.token_requests == []
    assert await house.keys() == set()

    assert (await browser.ask(callback)).location == f"{PUBLIC}/page"


async def test_somebody_signed_in_is_not_made_somebody_else(house: House, browser: Edge) -> None:
    """ST-02: the attacker's whole callback URL in the victim's browser, which has a session."""
    session = await house.signed_in(browser)
    house.provider.login_as = "bob"
    async with house.browser() as attacker:
        callback = await house.to_callback(attacker)
        asked = len(house.provider.token_requests)
        answer = await browser.ask(callback)

    assert answer.status in {303, 400}
    assert answer.all("Set-Cookie") == []
    assert len(house.provider.token_requests) == asked
    assert await house.whoami(f"{SESSION}={session}") == "alice-sub"


async def test_the_back_button_after_a_login_sends_no_code_again(house: House, browser: Edge) -> None:
    """ST-04: reload and back, with a session, with the login cookie still there, and after the session has ended."""
    callback = await house.to_callback(browser)
    begun = dict(browser.jar)
    assert (await browser.ask(callback)).location == f"{PUBLIC}/page"
    session = browser.jar[SESSION]

    again = await browser.ask(callback)
    assert again.status == 303
    assert (again.location or "").startswith(PUBLIC + "/")
    assert "callback" not in (again.location or "")
    # A browser that restores its cookies has the login cookie too.
    browser.jar |= begun
    again = await browser.ask(callback)
    assert (again.status, again.location) == (303, f"{PUBLIC}/page")
    assert not sets_session(again)
    assert await house.whoami(f"{SESSION}={session}") == "alice-sub"
    await browser.ask(SIGN_OUT, method="POST", headers=NAVIGATION | {"Origin": PUBLIC, "Sec-Fetch-Site": "same-origin"})
    house.app.requests.clear()
    await house.refused(await browser.ask(callback), status=400)
    browser.jar |= begun
    again = await browser.ask(callback)
    assert (again.status, again.location) == (303, f"{PUBLIC}/page")
    assert await house.sessions() == set()
    assert len(house.provider.token_requests) == 1


async def test_a_stolen_login_cookie_is_worth_nothing_after_the_login(house: House, browser: Edge) -> None:
    """ST-04: callback and login cookie in another browser, once they were used."""
    callback = await house.to_callback(browser)
    async with house.browser() as thief:
        thief.jar = dict(browser.jar)
        await browser.ask(callback)
        answer = await thief.ask(callback)
        assert SESSION not in thief.jar
        assert answer.status == 303
        assert (await thief.ask(f"{PUBLIC}/page", headers=FETCH)).status == 401
    assert len(house.provider.token_requests) == 1


@pytest.mark.parametrize("times", [pytest.param(2, id="ST-05 double click"), pytest.param(12, id="ST-05 twelve at once")])
async def test_callbacks_at_once_send_one_token_request(house: House, browser: Edge, times: int) -> None:
    house.provider.misbehaviour.token_delay = 0.2
    callback = await house.to_callback(browser)

    answers = await asyncio.gather(*(browser.ask(callback) for _ in range(times)))

    assert [answer.status for answer in answers] == [303] * times
    assert {answer.location for answer in answers} == {f"{PUBLIC}/page"}
    assert len(house.provider.token_requests) == 1
    assert len([answer for answer in answers if sets_session(answer)]) == 1
    assert await house.whoami(f"{SESSION}={browser.jar[SESSION]}") == "alice-sub"


async def test_a_browser_that_hangs_up_spends_no_code_in_vain(house: House, browser: Edge) -> None:
    """ST-05: the first click's connection is gone, the second one still leads in, or back to the provider, without an error page."""
    house.provider.misbehaviour.token_delay = 0.3
    callback = await house.to_callback(browser)
    first = asyncio.create_task(browser.ask(callback))
    async with asyncio.timeout(5):
        while not house.provider.token_requests:
            await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)

    answer = await browser.open(callback)
    assert answer.status == 200
    assert len({request.form["code"] for request in house.provider.token_requests}) == len(house.provider.token_requests)


async def test_a_login_made_by_the_test_is_one_of_the_gateways(house: House, browser: Edge) -> None:
    """ST-07: so that the refusals below are refusals of what they say."""
    name, value, state = sealed_login(house, age=9 * 60)
    browser.jar = {name: value}
    await house.refused(
        await browser.ask(f"{CALLBACK}?{urlencode({'code': 'c', 'state': state, 'iss': house.provider.issuer})}"), status=400
    )
    assert len(house.provider.token_requests) == 1


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"age": 11 * 60}, id="ST-07 eleven minutes"),
        pytest.param({"age": 10 * 60}, id="ST-07 ten minutes to the second"),
        pytest.param({"age": -11 * 60}, id="ST-07 from the future"),
        pytest.param({"key": bytes(range(32))}, id="ST-07 from another key"),
        pytest.param({"origin": "https://b.example"}, id="ST-07 of another origin"),
    ],
)
async def test_a_login_that_is_over_starts_anew(house: House, browser: Edge, change: dict[str, object]) -> None:
    name, value, state = sealed_login(house, **change)
    browser.jar = {name: value}

    answer = await browser.ask(f"{CALLBACK}?{urlencode({'code': 'c', 'state': state, 'iss': house.provider.issuer})}")

    await house.refused(answer, status=400)
    assert house.provider.token_requests == []
    await house.recovers(browser, answer)


PROVIDER_ERRORS = [
    pytest.param({"error": "access_denied"}, 403, id="ST-08 access_denied"),
    pytest.param({"error": "login_required"}, 502, id="ST-08 login_required"),
    pytest.param({"error": "interaction_required"}, 502, id="ST-08 interaction_required"),
    pytest.param({"error": "server_error"}, 502, id="ST-08 server_error"),
    pytest.param({"error": "temporarily_unavailable"}, 502, id="ST-08 temporarily_unavailable"),
    pytest.param({"error": "<script>alert(1)</script>"}, 502, id="ST-08 markup as the error"),
    pytest.param({"error": "access_denied", "error_description": "<img src=x onerror=alert(1)>"}, 403, id="ST-08 markup as description"),
    pytest.param({"error": "access_denied", "error_description": "a\r\nSet-Cookie: x=y"}, 403, id="ST-08 CR LF as description"),
    pytest.param({"error": "access_denied", "error_description": "d\u00e9ni\u00e9 \u202e"}, 403, id="ST-08 non-ASCII description"),
    pytest.param({"error": "access_denied", "error_description": "d" * 7000}, 403, id="ST-08 7 KB of description"),
    pytest.param({"error": "access_denied", "error_uri": "javascript:alert(1)"}, 403, id="ST-08 error_uri javascript:"),
    pytest.param({"error": "access_denied", "error_uri": "https://evil.example/"}, 403, id="ST-08 error_uri elsewhere"),
    pytest.param({"error": "access_denied\r\nX: y"}, 502, id="ST-08 CR LF as the error"),
]


@pytest.mark.parametrize(("told", "status"), PROVIDER_ERRORS)
async def test_an_error_of_the_provider_ends_the_login(house: House, browser: Edge, told: dict[str, str], status: int) -> None:
    callback = await house.to_callback(browser)
    begun = dict(browser.jar)

    answer = await browser.ask(with_parameters(callback, code=None, **told))

    await house.refused(answer, status=status)
    # Shown, if at all, as text: escaped, on one line, in plain ASCII and not at length; an error_uri is never shown.
    shown = answer.text.partition("<main>")[2]
    assert not re.search(r"<script|<img|Set-Cookie: x=y\n|\r|d{201}|javascript:|evil", shown)
    assert shown.isascii()
    assert not any(line.startswith(("Set-Cookie", "X: y")) for line in shown.splitlines())
    assert browser.logins == []
    # The state is used up: the very cookie and a code do nothing any more.
    browser.jar = begun
    late = await browser.ask(callback)
    assert not sets_session(late)
    assert house.provider.token_requests == []
    browser.jar = {}
    await house.recovers(browser, answer)


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("&error=access_denied", id="ST-08 a code and an error"),
        pytest.param("&error=access_denied&error=server_error", id="ST-08 two errors"),
        pytest.param("&error_description=x&error=", id="ST-08 an empty error is none"),
    ],
)
async def test_a_code_and_an_error_are_neither(house: House, browser: Edge, query: str) -> None:
    callback = await house.to_callback(browser)
    answer = await browser.ask(callback + query)

    if query.endswith("error="):
        # RFC 6749 section 3.1: a parameter without a value is treated as if it were not there.
        assert answer.location == f"{PUBLIC}/page"
        return
    await house.refused(answer, status=400)
    assert house.provider.token_requests == []
    await house.recovers(browser, answer)


@pytest.mark.parametrize(
    "iss",
    [
        pytest.param(lambda _: "https://evil.example", id="ST-10 another"),
        pytest.param(lambda _: None, id="ST-10 missing though advertised"),
        pytest.param(lambda _: "", id="ST-10 empty"),
        pytest.param(lambda issuer: issuer + "/", id="ST-10 trailing slash"),
        pytest.param(lambda issuer: quote(issuer, safe=""), id="ST-10 percent-encoded twice"),
        pytest.param(lambda issuer: issuer.replace("http://", "HTTP://"), id="ST-10 upper-case scheme"),
        pytest.param(lambda issuer: issuer + " ", id="ST-10 trailing space"),
        pytest.param(lambda issuer: issuer + "?x", id="ST-10 with a query"),
        pytest.param(lambda issuer: issuer.replace("127.0.0.1", "localhost"), id="ST-10 another name of the host"),
    ],
)
@pytest.mark.parametrize("answer_is", ["code", "error"])
async def test_an_answer_of_another_issuer_is_refused(
    house: House, browser: Edge, iss: Callable[[str], str | None], answer_is: str
) -> None:
    callback = await house.to_callback(browser)
    changes = {"code": None, "error": "access_denied"} if answer_is == "error" else {}

    answer = await browser.ask(with_parameters(callback, iss=iss(house.provider.issuer), **changes))

    await house.refused(answer, status=400)
    assert house.provider.token_requests == []
    await house.recovers(browser, answer)


async def test_an_iss_twice_is_refused(house: House, browser: Edge) -> None:
    """ST-10: the right one and another."""
    callback = await house.to_callback(browser)
    for query in ("&iss=https://evil.example", f"&iss={quote(house.provider.issuer, safe='')}"):
        await house.refused(await browser.ask(callback + query), status=400)
    assert house.provider.token_requests == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def silent_house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """Its provider's metadata say nothing about iss, nor about PKCE, as long as they are read."""
    async with hostile_house(tmp_path_factory.mktemp("silent")) as house:
        house.provider.misbehaviour.discovery_document = {
            "authorization_response_iss_parameter_supported": REMOVED,
            "code_challenge_methods_supported": REMOVED,
        }
        async with house.browser() as browser:
            assert (await browser.ask(f"{PUBLIC}/page")).status == 303
        yield house


@pytest.mark.parametrize(
    ("iss", "status"),
    [
        pytest.param(lambda _: None, 303, id="ST-10 not promised and not there"),
        pytest.param(lambda issuer: issuer, 303, id="ST-10 not promised, there and right"),
        pytest.param(lambda _: "https://evil.example", 400, id="ST-10 not promised, there and wrong"),
        pytest.param(lambda issuer: issuer + "/", 400, id="ST-10 not promised, with a trailing slash"),
    ],
)
async def test_iss_that_was_not_promised_counts_where_it_is(silent_house: House, iss: Callable[[str], str | None], status: int) -> None:
    await silent_house.reset()
    async with silent_house.browser() as browser:
        callback = await silent_house.to_callback(browser)
        answer = await browser.ask(with_parameters(callback, iss=iss(silent_house.provider.issuer)))
        if status == 303:
            assert answer.location == f"{PUBLIC}/page"
            return
        await silent_house.refused(answer, status=status)
        assert silent_house.provider.token_requests == []


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        pytest.param("c" * 7500, "c" * 7500, id="ST-13 7.5 KB"),
        pytest.param("a+b", "a b", id="ST-13 plus is a space"),
        pytest.param("a%2Bb", "a+b", id="ST-13 encoded plus"),
        pytest.param("a/b", "a/b", id="ST-13 slash"),
        pytest.param("a%2fb", "a/b", id="ST-13 encoded slash"),
        pytest.param("a%20b", "a b", id="ST-13 space"),
        pytest.param("a%C3%A9b", "a\u00e9b", id="ST-13 non-ASCII"),
        pytest.param("a%25b", "a%b", id="ST-13 percent"),
        pytest.param("a%2541", "a%41", id="ST-13 decoded once"),
        pytest.param("a%26b%3Dc", "a&b=c", id="ST-13 ampersand and equals"),
        pytest.param("a=b==", "a=b==", id="ST-13 raw equals"),
        pytest.param("a;b", "a;b", id="ST-13 semicolon"),
        pytest.param("!~*'()", "!~*'()", id="ST-13 marks"),
    ],
)
async def test_a_code_reaches_the_token_endpoint_as_it_was_meant(house: House, browser: Edge, sent: str, meant: str) -> None:
    begun = parameters(await house.to_callback(browser))
    query = f"code={sent}&state={begun['state']}&iss={quote(begun['iss'], safe='')}"

    answer = await browser.ask(f"{CALLBACK}?{query}")

    (request,) = house.provider.token_requests
    assert request.form["code"] == meant
    await house.refused(answer, status=400)
    await house.recovers(browser, answer)


@pytest.mark.parametrize(
    "code",
    [pytest.param("c" * 8193, id="ST-13 longer than 8 KB"), pytest.param("%00", id="ST-13 NUL"), pytest.param("%FF", id="ST-13 no UTF-8")],
)
async def test_a_code_that_is_none_is_not_sent(house: House, browser: Edge, code: str) -> None:
    begun = parameters(await house.to_callback(browser))
    answer = await browser.ask(f"{CALLBACK}?code={code}&state={begun['state']}&iss={quote(begun['iss'], safe='')}")

    await house.refused(answer, status=400)
    assert house.provider.token_requests == []


@pytest.mark.parametrize(
    ("ignores_pkce", "status"), [pytest.param(False, 400, id="ST-14 with PKCE"), pytest.param(True, 502, id="ST-14 the nonce alone")]
)
async def test_a_code_of_somebody_elses_login_does_not_fit(house: House, browser: Edge, ignores_pkce: bool, status: int) -> None:
    async with house.browser() as victim:
        stolen = parameters(await house.to_callback(victim))["code"]
        house.provider.login_as = "bob"
        callback = await house.to_callback(browser)
        house.provider.ignores_pkce = ignores_pkce

        answer = await browser.ask(with_parameters(callback, code=stolen))

        await house.refused(answer, status=status)
        assert len(house.provider.tokens_issued) == (1 if ignores_pkce else 0)
        assert len(house.provider.token_requests) == 1
        # The right code of this login comes too late: a state is good once.
        late = await browser.ask(callback)
        assert not sets_session(late)
        assert len(house.provider.token_requests) == 1
    await house.recovers(browser, answer)


async def test_every_login_has_secrets_of_its_own(house: House) -> None:
    """ST-16: state, nonce and challenge are never seen twice; the verifier is seen at the token endpoint alone."""
    async with house.browser() as browser:
        urls = [(await browser.ask(f"{PUBLIC}/page")).location or "" for _ in range(300)]
        asked = [parameters(url) for url in urls]
        for name in ("state", "nonce", "code_challenge"):
            seen = [one[name] for one in asked]
            assert len(set(seen)) == len(seen)
            assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", value) for value in seen)
        assert {one["code_challenge_method"] for one in asked} == {"S256"}
        assert all(len({one["state"], one["nonce"], one["code_challenge"]}) == 3 for one in asked)
        await house.sign_in(browser)
    (request,) = house.provider.token_requests
    verifier = request.form["code_verifier"]
    assert re.fullmatch(r"[A-Za-z0-9._~-]{43,128}", verifier)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    assert challenge == house.provider.authorize_requests[-1].query["code_challenge"]
    assert all(verifier not in str(one) for one in [*house.provider.authorize_requests, *urls])
    assert verifier not in house.gateway.log


async def test_a_provider_that_is_silent_about_pkce_is_sent_s256(silent_house: House) -> None:
    """ST-17: metadata that drop code_challenge_methods_supported."""
    await silent_house.reset()
    async with silent_house.browser() as browser:
        await silent_house.signed_in(browser)
    (request,) = silent_house.provider.authorize_requests
    assert request.query["code_challenge_method"] == "S256"
    assert len(silent_house.provider.token_requests[0].form["code_verifier"]) == 43


async def test_a_provider_that_knows_plain_alone_is_not_gone_down_to(house: House, tmp_path_factory: pytest.TempPathFactory) -> None:
    """ST-17: refused before the browser goes anywhere; and once it is mended, a sign-in works without a restart."""
    async with hostile_house(tmp_path_factory.mktemp("plain"), store=house.store) as plain, plain.browser() as browser:
        plain.provider.misbehaviour.discovery_document = {"code_challenge_methods_supported": ["plain"]}
        answer = await browser.ask(f"{PUBLIC}/page")
        await plain.refused(answer, status=502)
        assert browser.jar == {}
        assert plain.provider.authorize_requests == []
        plain.provider.behave()
        async with asyncio.timeout(20):
            while (await browser.ask(f"{PUBLIC}/page")).status != 303:
                await asyncio.sleep(0.1)


async def test_head_at_the_callback_uses_nothing_up(house: House, browser: Edge) -> None:
    """ST-19: link checkers and previews send it."""
    callback = await house.to_callback(browser)
    answer = await browser.ask(callback, method="HEAD")

    assert answer.status == 405
    assert answer.all("Set-Cookie") == []
    assert await house.keys() == set()
    assert house.provider.token_requests == []
    assert (await browser.ask(callback)).location == f"{PUBLIC}/page"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_no_other_method_is_taken_at_the_callback(house: House, browser: Edge, method: str) -> None:
    """ST-19: until form_post is built."""
    callback = await house.to_callback(browser)
    answer = await browser.ask(callback, method=method, data=urlsplit(callback).query)

    assert answer.status == 405
    assert "GET" in (answer.header("Allow") or "")
    assert house.provider.token_requests == []
    assert (await browser.ask(callback)).location == f"{PUBLIC}/page"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Sec-Fetch-Dest": "image", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Site": "cross-site"}, id="ST-20 image"),
        pytest.param({"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "cross-site"}, id="ST-20 frame"),
        pytest.param({"Sec-Fetch-Dest": "script", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Site": "cross-site"}, id="ST-20 script"),
        pytest.param({"Sec-Fetch-Dest": "empty", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "cross-site"}, id="ST-20 fetch"),
        pytest.param({"Sec-Fetch-Dest": "object", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "cross-site"}, id="ST-20 object"),
        pytest.param(NAVIGATION | {"Sec-Purpose": "prefetch"}, id="ST-20 prefetch"),
        pytest.param(NAVIGATION | {"Sec-Purpose": "prefetch;prerender"}, id="ST-20 prerender"),
        pytest.param(NAVIGATION | {"Purpose": "prefetch"}, id="ST-20 prefetch of old browsers"),
        pytest.param(NAVIGATION | {"X-Moz": "prefetch"}, id="ST-20 prefetch of old Firefox"),
        pytest.param({"Accept": "image/avif,image/webp,*/*;q=0.8"}, id="ST-20 image of an old browser"),
    ],
)
async def test_only_a_person_begins_a_login(house: House, browser: Edge, headers: dict[str, str]) -> None:
    for url in (f"{START}?rd=/x", f"{PUBLIC}/page"):
        answer = await browser.ask(url, headers={"Accept": "text/html"} | headers)
        assert answer.status == 401
        assert answer.all("Set-Cookie") == []
        assert answer.location is None
    assert await house.keys() == set()


async def test_beginning_a_login_from_another_site_does_no_harm(house: House, browser: Edge) -> None:
    """ST-20: a link on evil.example is a navigation; whoever is signed in stays who they are until they come back."""
    session = await house.signed_in(browser)
    answer = await browser.ask(f"{START}?rd=/x", headers=NAVIGATION | {"Sec-Fetch-Site": "cross-site", "Referer": "https://evil.example/"})

    assert answer.status == 303
    assert all(line.startswith(LOGIN) for line in answer.all("Set-Cookie"))
    assert await house.whoami(f"{SESSION}={session}") == "alice-sub"


async def test_a_callback_may_come_to_another_replica(house: House, browser: Edge, tmp_path_factory: pytest.TempPathFactory) -> None:
    """ST-25: the other process has the same keys and the same store; then the store forgets everything between start and callback."""
    key = house.gateway.config.parent / "session_key"
    folder = tmp_path_factory.mktemp("replica")
    async with hostile_house(folder, provider=house.provider, store=house.store, key_files=[key]) as replica:
        callback = await house.to_callback(browser)
        browser.listener = replica.listener
        assert (await browser.ask(callback)).location == f"{PUBLIC}/page"
        browser.listener = house.listener
        assert await house.whoami(browser.cookie_header()) == "alice-sub"
        # Used once is used up everywhere.
        async with house.browser() as other:
            callback = await house.to_callback(other)
            begun = dict(other.jar)
            await other.ask(callback)
            asked = len(house.provider.token_requests)
            other.jar, other.listener = begun, replica.listener
            assert not sets_session(await other.ask(callback))
            assert len(house.provider.token_requests) == asked

        async with house.browser() as third:
            callback = await house.to_callback(third)
            await house.redis.flushall()
            assert (await third.ask(callback)).location == f"{PUBLIC}/page"


async def test_a_post_is_told_to_sign_in_and_kept_nowhere(house: House, browser: Edge) -> None:
    """ST-26: its body is not stored, its target is not come back to by itself."""
    answer = await browser.ask(f"{PUBLIC}/form", method="POST", data={"card": "4111111111111111"}, headers=NAVIGATION)

    assert answer.status == 401
    assert answer.all("Set-Cookie") == []
    assert house.app.requests == []
    assert await house.keys() == set()
    assert "4111111111111111" not in house.gateway.log
    page = await browser.open(f"{PUBLIC}/form")
    assert house.app.requests == [("GET", "/form")]
    assert values(json.loads(page.body)["headers"], "X-Forwarded-User") == ["alice-sub"]


async def test_every_row_has_its_place() -> None:
    every_row_has_its_place("ST", "01 02 04 05 07 08 10 11 13 14 16 17 19 20 22 23 25 26", globals(), NOT_YET)
