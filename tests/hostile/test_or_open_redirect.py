"""OR: where a login, a logout or a forward-auth check sends a browser is our own origin or a listed one, whatever was asked for.

Every Location is read as browsers read it: by a WHATWG URL parser, against the address of the page that sent it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import ada_url
import pytest
import pytest_asyncio

from tests.support.hostile_house import CALLBACK, HOST, PUBLIC, SIGN_OUT, START, every_row_has_its_place, hostile_house, read_page
from tests.support.user_agent import NAVIGATION, forms

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.hostile_house import Edge, House
    from tests.support.user_agent import Answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOUSE = {"server": {"trusted_proxies": ["127.0.0.1/32"]}}
SAME_ORIGIN_POST = NAVIGATION | {"Origin": PUBLIC, "Sec-Fetch-Site": "same-origin"}

NOT_YET: dict[str, str] = {}


@dataclass(frozen=True)
class Asked:
    """A return URL, and what may become of it: one of ``kept``, and "/" where ``home`` says so."""

    text: str
    kept: tuple[str, ...] = ()
    home: bool = True


def refused(row: str, text: str, name: str | None = None) -> object:
    """R: never used."""
    return pytest.param(Asked(text), id=f"{row} {name or _name(text)}")


def unchanged(row: str, text: str) -> object:
    """Refused by policy, or emitted exactly as it came: not decoded, not normalised."""
    return pytest.param(Asked(text, (text,)), id=f"{row} {_name(text)}")


def kept(row: str, text: str, sent: str | None = None) -> object:
    """K: kept exactly."""
    return pytest.param(Asked(text, (sent or text,), home=False), id=f"{row} {_name(text)}")


def _name(text: str) -> str:
    return text.encode("unicode_escape").decode()[:60] or "empty"


RETURN_URLS = [
    refused("OR-01", "//evil.example"),
    refused("OR-02", "///evil.example"),
    refused("OR-04", "/\\evil.example"),
    refused("OR-05", "\\/evil.example"),
    refused("OR-07", "/\\/evil.example"),
    refused("OR-08", "/\\\\evil.example"),
    refused("OR-10", "\\/\\/evil.example/"),
    refused("OR-11", "//evil.example\\@app.example"),
    refused("OR-13", "//;@evil.example"),
    refused("OR-14", "//evil.example:443/x"),
    refused("OR-16", "/\n/evil.example"),
    refused("OR-17", "/\r/evil.example"),
    refused("OR-19", "/\t\t/\t/evil.example"),
    refused("OR-20", " //evil.example"),
    refused("OR-22", "\x01//evil.example"),
    refused("OR-23", "\0//evil.example"),
    pytest.param(Asked("/ /evil.example", ("/%20/evil.example",)), id="OR-25 / /evil.example"),
    pytest.param(Asked("/\u00a0/evil.example", ("/%C2%A0/evil.example",)), id="OR-26 no-break space"),
    unchanged("OR-28", "/.//evil.example"),
    unchanged("OR-29", "/..//evil.example"),
    unchanged("OR-31", "/%2e%2e//evil.example"),
    refused("OR-32", "/./\\evil.example"),
    refused("OR-34", "https://evil.example"),
    refused("OR-35", "HTTPS://EVIL.EXAMPLE"),
    refused("OR-37", "https:/evil.example"),
    refused("OR-38", "https:///evil.example"),
    refused("OR-40", "http://evil.example:80#@app.example/"),
    refused("OR-41", "https://app.example.evil.example/"),
    refused("OR-43", "https://app.example@evil.example/"),
    refused("OR-44", "https://app.example:443@evil.example/"),
    refused("OR-46", "https://evil.example\\.app.example/"),
    refused("OR-47", "https://evil.example%2f.app.example/"),
    refused("OR-49", "https://evil.example%3f.app.example/"),
    refused("OR-50", "https://evil.example%5c.app.example/"),
    refused("OR-52", "https://evil.example?.app.example/"),
    refused("OR-53", "https://evil.example&.app.example/"),
    refused("OR-55", "http://app.example/x"),
    refused("OR-56", "https://app.example./x"),
    refused("OR-58", "https://evil\u3002example/"),
    refused("OR-59", "//evil%E3%80%82example"),
    refused("OR-61", "http://3405803785/"),
    refused("OR-62", "http://0xcb.0.0x71.9/"),
    refused("OR-64", "https://app.example%00.evil.example/"),
    refused("OR-65", "javascript:alert(1)"),
    refused("OR-67", "\x19JaVaScRiPt:alert(1)"),
    refused("OR-68", "javascript://app.example/%0aalert(1)"),
    refused("OR-70", "vbscript:x"),
    refused("OR-70", "file:///etc/passwd"),
    refused("OR-70", "blob:https://app.example/1"),
    refused("OR-70", "intent://x#Intent;end"),
    refused("OR-70", "mailto:a@b"),
    refused("OR-70", "ws://evil.example"),
    refused("OR-71", "/ok\r\nSet-Cookie: x=y"),
    pytest.param(Asked("/ok\u010d\u010aX: y", ("/ok%C4%8D%C4%8AX:%20y",)), id="OR-73 CR and LF after a cut to Latin-1"),
    kept("OR-74", "/\u00e9", "/%C3%A9"),
    refused("OR-76", "/" + "a" * 3000, "3000 characters"),
    refused("OR-76", "/" + "a" * 20000, "20000 characters"),
    refused("OR-77", "", "empty"),
    kept("OR-79", "/%2fevil.example"),
    kept("OR-79", "/%5cevil.example"),
    kept("OR-79", "/%09/evil.example"),
    refused("OR-80", "%252f%252fevil.example"),
    refused("OR-82", "/oauth2/sign_out"),
    refused("OR-82", "/oauth2/callback?code=a&state=b"),
    refused("OR-82", "/oauth2/start?rd=//evil.example"),
    refused("OR-83", "/x/../oauth2/sign_out"),
    refused("OR-83", "/%2e/oauth2/sign_out"),
    kept("OR-85", "/search?u=https://other.example/p"),
    kept("OR-85", "/a?next=//x"),
    kept("OR-85", "/a//b"),
]

EVERY_RETURN_URL = pytest.mark.parametrize("asked", RETURN_URLS)
TOO_LONG = {400, 413, 414, 431}


def judge(answer: Answer, asked: Asked) -> None:
    """The oracle O7 on a final redirect, and the row's own verdict."""
    location = answer.header("Location")
    assert location is not None
    assert re.fullmatch(r"[\x21-\x7e]+", location)
    assert ada_url.URL(location, base=CALLBACK).origin == PUBLIC
    assert location in (*asked.kept, *(("/",) if asked.home else ()))


async def finish_login(house: House, browser: Edge, start: Answer) -> Answer:
    """From the redirect to the provider to the answer of the callback."""
    assert start.location is not None
    assert start.location.startswith(house.provider.issuer + "/")
    at_provider = await browser.ask(start.location)
    assert at_provider.location is not None
    assert at_provider.location.startswith(CALLBACK)
    return await browser.ask(at_provider.location)


@EVERY_RETURN_URL
async def test_a_login_comes_back_to_us(house: House, browser: Edge, asked: Asked) -> None:
    start = await browser.ask(f"{START}?rd={quote(asked.text, safe='')}")
    if start.status in TOO_LONG and asked.home:
        await house.nobody_got_in(start)
        return
    assert "evil" not in urlsplit(start.location or "").query
    judge(await finish_login(house, browser, start), asked)


@EVERY_RETURN_URL
async def test_a_logout_ends_with_us(house: House, browser: Edge, asked: Asked) -> None:
    answer = await browser.ask(f"{SIGN_OUT}?rd={quote(asked.text, safe='')}", method="POST", headers=SAME_ORIGIN_POST)
    if answer.status in TOO_LONG and asked.home:
        await house.nobody_got_in(answer)
        return
    assert answer.status == 303
    assert answer.location is not None
    assert answer.location.startswith(f"{PUBLIC}/oauth2/signed_out")
    judge(await browser.ask(answer.location), asked)


@EVERY_RETURN_URL
async def test_a_logout_through_the_provider_ends_with_us(house: House, browser: Edge, asked: Asked) -> None:
    await house.signed_in(browser)
    page = await browser.ask(f"{SIGN_OUT}?rd={quote(asked.text, safe='')}")
    if page.status in TOO_LONG and asked.home:
        return
    assert page.status == 200
    for way in read_page(page).ways:
        assert way == "button" or ada_url.URL(way, base=SIGN_OUT).origin == PUBLIC
    (form,) = forms(page)
    answer = await browser.ask(form.action, method="POST", data=form.fields, headers=SAME_ORIGIN_POST)
    assert answer.status == 303
    assert answer.location is not None
    assert answer.location.startswith(house.provider.issuer + "/end_session?")
    back = await browser.ask(answer.location)
    assert back.location is not None
    assert back.location.startswith(f"{PUBLIC}/oauth2/signed_out")
    judge(await browser.ask(back.location), asked)


def is_a_header_value(text: str) -> bool:
    return bool(text) and not re.search(r"[\0\r\n]", text)


@pytest.mark.parametrize("family", ["X-Forwarded-Uri", "X-Original-URL"])
@pytest.mark.parametrize("asked", [case for case in RETURN_URLS if is_a_header_value(case.values[0].text)])
async def test_a_forward_auth_check_names_no_other_place(house: House, browser: Edge, asked: Asked, family: str) -> None:
    told = {
        "X-Forwarded-Uri": [
            "X-Forwarded-Method: GET",
            "X-Forwarded-Proto: https",
            f"X-Forwarded-Host: {HOST}",
            f"X-Forwarded-Uri: {asked.text}",
        ],
        "X-Original-URL": ["X-Original-Method: GET", f"X-Original-URL: {PUBLIC}{asked.text}"],
    }[family]
    lines = ["GET /oauth2/auth HTTP/1.1", f"Host: {HOST}", "Accept: text/html", "Connection: close", *told, "", ""]
    answer = await house.raw("\r\n".join(lines).encode())

    if answer.status != 401:
        assert answer.status in {400, 403, 413, 414, 431}
        assert answer.header("Location") is None
        return
    named = answer.header("Location")
    assert named is not None
    assert re.fullmatch(r"[\x21-\x7e]+", named)
    assert named.startswith(f"{START}?rd=")
    final = (await finish_login(house, browser, await browser.ask(named))).header("Location")
    assert final is not None
    assert ada_url.URL(final, base=CALLBACK).origin == PUBLIC
    # What a check is about is told raw: it is the request-target of the original request.
    assert final in ("/", asked.text.strip(), asked.text.strip().partition("#")[0])
    assert not final.startswith("/oauth2/")


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("//evil.example/%2e%2e", id="OR-86 scheme-relative request-target"),
        pytest.param("http://evil.example/x", id="OR-88 absolute request-target"),
        *(pytest.param(case.values[0].text, id=case.id) for case in RETURN_URLS if re.fullmatch(r"[^\0\r\n ]+", case.values[0].text)),
    ],
)
async def test_a_request_target_is_come_back_to_as_it_was_or_refused(house: House, browser: Edge, target: str) -> None:
    answer = await house.raw(f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\nAccept: text/html\r\nConnection: close\r\n\r\n".encode())

    if answer.status != 303 or target.startswith("/oauth2/"):
        assert answer.status in {303, 400, 414, 431}
        assert answer.status == 400 or target.startswith("/oauth2/") or len(target) > 8192
        assert house.app.requests == []
        return
    for line in answer.all("Set-Cookie"):
        name, _, value = line.partition(";")[0].partition("=")
        browser.jar[name] = value
    final = await finish_login(house, browser, answer)
    # In absolute-form and of our own host it is its path (RFC 9112 section 3.2.2), come back to at the origin that the operator named.
    path = target.removeprefix(f"http://{HOST}")
    judge(final, Asked(path, (path,)))


async def test_without_rd_a_login_comes_back_home(house: House, browser: Edge) -> None:
    """OR-77: the parameter missing, and under other names."""
    for query in ("", "?", "?rd[]=//evil.example", "?RD=/x", "?r%64=/ok"):
        final = await finish_login(house, browser, await browser.ask(START + query))
        assert final.location == PUBLIC + ("/ok" if "%64" in query else "/")


@pytest.mark.parametrize(
    "query",
    [pytest.param("rd=/ok&rd=//evil.example", id="OR-77 rd twice"), pytest.param("rd=/ok&r%64=/ok", id="OR-77 rd twice, one encoded")],
)
async def test_a_doubled_rd_is_refused(house: House, browser: Edge, query: str) -> None:
    await house.refused(await browser.ask(f"{START}?{query}"), status=400)
    answer = await browser.ask(f"{SIGN_OUT}?{query}", method="POST", headers=SAME_ORIGIN_POST)
    await house.refused(answer, status=400)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/", id="OR-89 an app"),
        pytest.param("/oauth2/start?rd=/x", id="OR-89 start"),
        pytest.param("/oauth2/callback?code=a&state=b", id="OR-89 callback"),
    ],
)
@pytest.mark.parametrize("host", ["evil.example", "app.example.evil.example", "app.example:8443", "evil.example:443", "app.example."])
async def test_a_host_that_is_not_ours_goes_nowhere(house: House, path: str, host: str) -> None:
    answer = await house.raw(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\nConnection: close\r\n\r\n".encode())

    assert answer.status == 421
    assert answer.all("Set-Cookie") == []
    await house.nobody_got_in(answer)
    assert "evil" not in answer.text


async def test_two_places_for_rd_are_not_two_answers(house: House, browser: Edge) -> None:
    """OR-91: one in the query and one in the form."""
    answer = await browser.ask(f"{SIGN_OUT}?rd=/one", method="POST", data={"rd": "/two"}, headers=SAME_ORIGIN_POST)

    await house.refused(answer, status=400)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def listing_house(standing_house: House, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with hostile_house(
        tmp_path_factory.mktemp("listing"),
        provider=standing_house.provider,
        store=standing_house.store,
        session={"return_to": ["https://*.app.example"]},
    ) as house:
        yield house


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("https://sib.app.example/x", id="OR-92 a name below"),
        pytest.param("https://sib.app.example/x?a=//b#c", id="OR-92 with query and fragment"),
        pytest.param("https://app.example/x", id="OR-92 our own origin"),
    ],
)
async def test_a_listed_place_is_kept(house: House, listing_house: House, place: str) -> None:
    async with listing_house.browser() as browser:
        final = await finish_login(house, browser, await browser.ask(f"{START}?rd={quote(place, safe='')}"))
        assert final.location == place


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("https://evil.example/.app.example", id="OR-92 elsewhere"),
        pytest.param("http://sib.app.example/", id="OR-92 plain http"),
        pytest.param("https://sib.app.example:8443/", id="OR-92 another port"),
        pytest.param("https://evilapp.example/", id="OR-92 no dot before it"),
        pytest.param("https://a.b.app.example/", id="OR-92 two labels below"),
        *(
            pytest.param(case.values[0].text, id=f"OR-92 {case.id}")
            for case in RETURN_URLS
            if str(case.id)[3:5] in {"41", "43", "44", "46", "47", "49", "50", "52", "53", "58", "64"}
        ),
    ],
)
async def test_a_list_lets_nothing_else_through(house: House, listing_house: House, place: str) -> None:
    async with listing_house.browser() as browser:
        final = await finish_login(house, browser, await browser.ask(f"{START}?rd={quote(place, safe='')}"))
        assert final.header("Location") == "/"


async def test_every_row_has_its_place() -> None:
    every_row_has_its_place(
        "OR",
        "01 02 04 05 07 08 10 11 13 14 16 17 19 20 22 23 25 26 28 29 31 32 34 35 37 38 40 41 43 44 46 47 49 50 52 53 55 56 58 59 61 62 "
        "64 65 67 68 70 71 73 74 76 77 79 80 82 83 85 86 88 89 91 92",
        globals(),
        NOT_YET,
    )
