"""CS: what other sites can make a browser send changes nothing, shows nothing, and frames nothing of ours."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from tests.support.hostile_house import CALLBACK, HOST, PUBLIC, SESSION, SIGN_OUT, START, every_row_has_its_place
from tests.support.user_agent import FETCH, NAVIGATION, Answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.hostile_house import Edge, House

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOT_YET = {
    "CS-01": "SameSite is Lax and no key says otherwise, so there is no mode that would need this defence",
    "CS-02": "no mode in which a page's own header is demanded of it",
}

ENDPOINTS = ("start", "callback", "auth", "userinfo", "sign_out", "signed_out")

FOREIGN = [
    pytest.param({"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, id="CS-04 form of evil"),
    pytest.param({"Origin": "null", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, id="CS-04 sandboxed form"),
    pytest.param({"Origin": "null"}, id="CS-04 Origin null"),
    pytest.param({}, id="CS-04 neither Origin nor Referer"),
    pytest.param({"Referer": f"{PUBLIC}/"}, id="CS-04 Referer alone"),
    pytest.param({"Origin": "https://sib.app.example"}, id="CS-04 sibling"),
    pytest.param({"Origin": PUBLIC, "Sec-Fetch-Site": "same-site"}, id="CS-04 sibling, by fetch metadata"),
    pytest.param({"Origin": PUBLIC, "Sec-Fetch-Site": "cross-site"}, id="CS-04 our Origin, another site by fetch metadata"),
    pytest.param({"Sec-Fetch-Site": "none"}, id="CS-04 from nowhere"),
    pytest.param({"Origin": "http://app.example"}, id="CS-04 our name on plain http"),
    pytest.param({"Origin": f"{PUBLIC}:8443"}, id="CS-04 another port"),
    pytest.param({"Origin": f"{PUBLIC}.evil.example"}, id="CS-04 our name in front"),
    pytest.param({"Origin": f"{PUBLIC}/"}, id="CS-04 no serialised origin"),
    pytest.param({"Origin": "HTTPS://APP.EXAMPLE"}, id="CS-04 in capitals, as no browser writes it"),
    pytest.param({"Sec-Fetch-Site": "SAME-ORIGIN"}, id="CS-04 fetch metadata in capitals"),
    pytest.param({"Sec-Fetch-Site": "same-origin, cross-site"}, id="CS-04 two fetch metadata in one"),
]


@pytest.mark.parametrize("headers", FOREIGN)
async def test_another_site_changes_nothing(house: House, browser: Edge, headers: Mapping[str, str]) -> None:
    session = await house.signed_in(browser)
    kept = await house.sessions()
    for accept in ("text/html", "*/*"):
        answer = await browser.ask(SIGN_OUT, method="POST", headers={"Accept": accept} | headers, data={"rd": "/x"})
        assert answer.status == 403
        assert answer.all("Set-Cookie") == []
        assert answer.location is None
    assert await house.sessions() == kept
    assert house.provider.revoke_requests == []
    assert await house.whoami(f"{SESSION}={session}") == "alice-sub"


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([f"Origin: {PUBLIC}", "Origin: https://evil.example"], id="CS-04 two Origin lines"),
        pytest.param([f"Origin: {PUBLIC}", f"Origin: {PUBLIC}"], id="CS-04 our Origin twice"),
        pytest.param(["Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"], id="CS-04 two Sec-Fetch-Site lines"),
        pytest.param(["X-Forwarded-Host: evil.example", "Origin: https://evil.example"], id="CS-04 a host of the caller's own"),
    ],
)
async def test_two_words_of_where_it_comes_from_are_none(house: House, browser: Edge, lines: list[str]) -> None:
    session = await house.signed_in(browser)
    head = [f"POST /oauth2/sign_out HTTP/1.1\r\nHost: {HOST}", f"Cookie: {SESSION}={session}", "Content-Length: 0", *lines, "", ""]

    answer = await house.raw("\r\n".join(head).encode())

    assert answer.status in {400, 403}
    assert await house.whoami(f"{SESSION}={session}") == "alice-sub"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Origin": PUBLIC, "Sec-Fetch-Site": "same-origin"}, id="CS-04 our own page"),
        pytest.param({"Origin": PUBLIC}, id="CS-04 our own page in an old browser"),
        pytest.param({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, id="CS-04 our own page without a referrer"),
    ],
)
async def test_our_own_page_signs_out(house: House, browser: Edge, headers: Mapping[str, str]) -> None:
    session = await house.signed_in(browser)
    answer = await browser.ask(SIGN_OUT, method="POST", headers=dict(headers))

    assert answer.status == 303
    assert await house.sessions() == set()
    assert isinstance(await house.whoami(f"{SESSION}={session}"), Answer)


@pytest.mark.parametrize("endpoint", [pytest.param(endpoint, id=f"CS-05 {endpoint}") for endpoint in ENDPOINTS])
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://sib.app.example", PUBLIC])
async def test_no_endpoint_of_ours_is_read_across_origins(house: House, browser: Edge, endpoint: str, origin: str) -> None:
    await house.signed_in(browser)
    url = f"{PUBLIC}/oauth2/{endpoint}"
    preflight = {"Origin": origin, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    for method, headers in (("OPTIONS", preflight), ("GET", FETCH | {"Origin": origin}), ("POST", FETCH | {"Origin": origin})):
        answer = await browser.ask(url, method=method, headers=headers)
        assert not [name for name, _ in answer.headers if name.lower().startswith("access-control-")]
        assert "evil.example" not in answer.text
    assert house.app.requests == []


@pytest.mark.parametrize("path", [pytest.param("/page", id="CS-05 an app"), pytest.param("/nowhere", id="CS-05 another path")])
async def test_a_preflight_for_an_app_is_not_answered_for_it(house: House, browser: Edge, path: str) -> None:
    answer = await browser.ask(
        PUBLIC + path, method="OPTIONS", headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "PUT"}
    )

    assert answer.status == 401
    assert not [name for name, _ in answer.headers if name.lower().startswith("access-control-")]
    assert house.app.requests == []


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(NAVIGATION | {"Sec-Fetch-Site": "cross-site"}, id="CS-07 a link of evil"),
        pytest.param({"Accept": "image/*", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, id="CS-07 an image"),
        pytest.param(NAVIGATION | {"Sec-Purpose": "prefetch"}, id="CS-07 a prefetch"),
        pytest.param(NAVIGATION | {"Sec-Fetch-Site": "same-origin"}, id="CS-07 a link of ours"),
    ],
)
@pytest.mark.parametrize("path", ["sign_out", "sign_out?rd=/x", "signed_out", "start", "userinfo", "auth"])
async def test_a_get_signs_nobody_out(house: House, browser: Edge, headers: Mapping[str, str], path: str) -> None:
    session = await house.signed_in(browser)
    for method in ("GET", "HEAD"):
        answer = await browser.ask(f"{PUBLIC}/oauth2/{path}", method=method, headers=headers)
        assert not [line for line in answer.all("Set-Cookie") if line.startswith(SESSION + "=")]
    assert await house.whoami(f"{SESSION}={session}") == "alice-sub"
    assert house.provider.revoke_requests == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
@pytest.mark.parametrize("endpoint", [pytest.param(endpoint, id=f"CS-07 {endpoint}") for endpoint in ENDPOINTS if endpoint != "auth"])
async def test_other_methods_are_refused_at_our_endpoints(house: House, browser: Edge, endpoint: str, method: str) -> None:
    session = await house.signed_in(browser)
    same_origin = FETCH | {"Origin": PUBLIC}
    answer = await browser.ask(f"{PUBLIC}/oauth2/{endpoint}", method=method, headers=same_origin)

    assert answer.status == 405
    assert "GET" in (answer.header("Allow") or "")
    assert answer.all("Set-Cookie") == []
    assert await house.whoami(f"{SESSION}={session}") == "alice-sub"


@pytest.mark.parametrize(
    "endpoint", [pytest.param(name, id=f"CS-07 {name}") for name in ("refresh", "logout", "login", "", "jwks.json", "start/x")]
)
async def test_what_is_no_endpoint_is_not_found_and_not_the_apps(house: House, browser: Edge, endpoint: str) -> None:
    await house.signed_in(browser)
    answer = await browser.ask(f"{PUBLIC}/oauth2/{endpoint}")

    assert answer.status == 404
    assert house.app.requests == []


def must_not_be_framed(answer: Answer) -> None:
    policy = answer.header("Content-Security-Policy") or ""
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy
    assert "default-src 'none'" in policy
    assert answer.header("X-Frame-Options") == "DENY"
    assert answer.header("X-Content-Type-Options") == "nosniff"
    assert answer.header("Cache-Control") == "no-store"
    assert answer.header("Referrer-Policy") in {"no-referrer", "same-origin"}
    assert "<script" not in answer.text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        pytest.param("/oauth2/sign_out", 200, id="CS-08 the question before signing out"),
        pytest.param("/oauth2/signed_out", 200, id="CS-08 signed out"),
        pytest.param("/oauth2/callback?code=a&state=b", 400, id="CS-08 a refused callback"),
        pytest.param("/oauth2/nothing", 404, id="CS-08 not found"),
        pytest.param("/x/%2e%2e/y", 400, id="CS-08 a refused target"),
        pytest.param("/oauth2/start?rd=/a&rd=/b", 400, id="CS-08 a refused start"),
    ],
)
async def test_no_page_of_ours_is_framed(house: House, browser: Edge, path: str, status: int) -> None:
    if path == "/oauth2/sign_out":
        await house.signed_in(browser)

    answer = await browser.ask(PUBLIC + path)

    if path.startswith("/oauth2/callback"):
        await house.refused(answer, status=400)
    assert answer.status == status
    must_not_be_framed(answer)


async def test_the_pages_of_a_failing_provider_and_store_are_not_framed(house: House, browser: Edge) -> None:
    """CS-08: 502, 504 and 503."""
    house.provider.misbehaviour.token_hangs = True
    must_not_be_framed(await house.sign_in(browser))
    house.provider.behave()
    house.provider.misbehaviour.id_token_missing = True
    must_not_be_framed(await house.sign_in(browser))
    house.provider.behave()
    await house.signed_in(browser)
    house.store.pause(1500)
    answer = await browser.ask(f"{PUBLIC}/page")
    assert answer.status == 503
    must_not_be_framed(answer)
    await house.reset()


async def test_a_whole_callback_of_the_attackers_signs_nobody_in(house: House, browser: Edge) -> None:
    """CS-10: by link, by form, by image, with and without a session of the victim's."""
    house.provider.login_as = "bob"
    async with house.browser() as attacker:
        callback = await house.to_callback(attacker)
    cross_site = NAVIGATION | {"Sec-Fetch-Site": "cross-site", "Referer": "https://evil.example/"}

    await house.refused(await browser.ask(callback, headers=cross_site), status=400)
    for headers in ({"Accept": "image/*", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, FETCH):
        answer = await browser.ask(callback, headers=headers)
        assert answer.status == 400
        assert answer.all("Set-Cookie") == []
    assert (await browser.ask(callback, method="POST", data={}, headers=cross_site)).status == 405
    assert house.provider.token_requests == []
    session = await house.signed_in(browser)
    answer = await browser.ask(callback, headers=cross_site)
    assert answer.all("Set-Cookie") == []
    assert len(house.provider.token_requests) == 1
    assert await house.whoami(f"{SESSION}={session}") == "alice-sub"


PRETENCES = [
    pytest.param(NAVIGATION, 303, id="CS-11 a navigation"),
    pytest.param({"Accept": "text/html"}, 303, id="CS-11 an old browser"),
    pytest.param({"Accept": "text/html", "X-Requested-With": "XMLHttpRequest"}, 401, id="CS-11 XHR of an old browser"),
    pytest.param(FETCH, 401, id="CS-11 fetch"),
    pytest.param(FETCH | {"Accept": "text/html"}, 401, id="CS-11 fetch that wants HTML"),
    pytest.param(NAVIGATION | {"X-Requested-With": "XMLHttpRequest"}, 303, id="CS-11 a navigation that says XHR"),
    pytest.param({}, 401, id="CS-11 nothing said"),
    pytest.param({"Accept": "*/*"}, 401, id="CS-11 curl"),
    pytest.param(NAVIGATION | {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Site": "cross-site"}, 401, id="CS-11 a frame of evil"),
    pytest.param(NAVIGATION | {"Sec-Fetch-Mode": "NAVIGATE"}, 401, id="CS-11 fetch metadata in capitals"),
    pytest.param(NAVIGATION | {"Authorization": "Basic YWRtaW46YWRtaW4="}, 303, id="CS-11 with credentials of the app's"),
    pytest.param({"Accept": "text/html", "User-Agent": "kube-probe/1.0"}, 303, id="CS-11 a probe by its own word"),
    pytest.param(FETCH | {"X-Forwarded-User": "root", "X-Original-URL": "/public/x"}, 401, id="CS-11 with headers of a proxy"),
    pytest.param(FETCH | {"X-HTTP-Method-Override": "OPTIONS"}, 401, id="CS-11 with another method by its own word"),
]


@pytest.mark.parametrize(("headers", "status"), PRETENCES)
async def test_how_a_caller_asks_decides_the_form_of_no_and_never_a_yes(
    house: House, browser: Edge, headers: Mapping[str, str], status: int
) -> None:
    answer = await browser.ask(f"{PUBLIC}/page", headers=headers)

    assert answer.status == status
    assert house.app.requests == []
    if status == 401:
        assert json.loads(answer.body)["error"] == "login_required"
        assert answer.all("Set-Cookie") == []
    # And somebody who is signed in is let in however they ask.
    await house.signed_in(browser)
    assert (await browser.ask(f"{PUBLIC}/page", headers=headers)).status == 200


async def test_a_login_that_evil_begins_ends_with_us(house: House, browser: Edge) -> None:
    """CS-10: a chain of our own endpoints leads to nobody's page."""
    chained = f"{START}?{urlencode({'rd': '/oauth2/start?rd=//evil.example'})}"
    answer = await browser.open(chained, headers=NAVIGATION | {"Sec-Fetch-Site": "cross-site"})

    assert answer.url == f"{PUBLIC}/"
    assert CALLBACK not in [url for _, url in house.app.requests]


async def test_every_row_has_its_place() -> None:
    every_row_has_its_place("CS", "01 02 04 05 07 08 10 11", globals(), NOT_YET)
