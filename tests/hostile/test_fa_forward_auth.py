"""FA: what a proxy is told about a request is what the gateway would have done with it, and nobody but a trusted proxy asks."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import pytest
import pytest_asyncio

from tests.support.hostile_house import SESSION, every_row_has_its_place, hostile_house
from tests.support.mirror_app import values
from tests.support.raw_caller import again_and_again, answers, until_closed, until_closed_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.hostile_house import House
    from tests.support.raw_caller import Said

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOUSE = {"server": {"public_url": ["https://app.example", "https://two.example"], "trusted_proxies": ["127.0.0.1/32"]}}


@dataclass(frozen=True)
class Asked:
    """A request of a browser's, as a line of a table."""

    method: str = "GET"
    host: str = "app.example"
    path: str = "/page"
    cookie: str = ""


def forwarded(asked: Asked) -> str:
    told = f"X-Forwarded-Method: {asked.method}\r\nX-Forwarded-Proto: https\r\n"
    return told + f"X-Forwarded-Host: {asked.host}\r\nX-Forwarded-Uri: {asked.path}\r\n"


def original(asked: Asked) -> str:
    return f"X-Original-Method: {asked.method}\r\nX-Original-URL: https://{asked.host}{asked.path}\r\n"


async def one(house: House, raw: str, *, warm: bool = False) -> Said:
    """The answer to these bytes; ``warm``: after the same ones, less their wish for an end, were answered often enough to be known."""
    if warm:

        def forget() -> None:
            house.app.requests.clear()
            house.app.headers.clear()

        return await again_and_again(house.listener, raw.replace("Connection: close\r\n", "", 1).encode("latin-1"), begins=forget)
    (said,) = answers(await until_closed(house.listener, raw.encode("latin-1")))
    return said


async def check(house: House, headers: str, *, line: str = "GET /oauth2/auth HTTP/1.1", cookie: str = "", warm: bool = False) -> Said:
    """The answer to a forward-auth check with these very headers. No byte of it goes upstream, and nobody keeps it."""
    house.app.requests.clear()
    said = await one(house, f"{line}\r\nHost: app.example\r\nConnection: close\r\n{cookie}{headers}\r\n", warm=warm)
    assert house.app.requests == []
    assert said.header(b"Cache-Control") == b"no-store"  # FA-11
    assert said.header(b"Set-Cookie") is None  # FA-10
    return said


@pytest_asyncio.fixture(loop_scope="module")
async def house(standing_house: House) -> House:
    """The house without forgetting its session."""
    standing_house.app.requests.clear()
    standing_house.app.headers.clear()
    return standing_house


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def session(standing_house: House) -> AsyncIterator[str]:
    await standing_house.reset()
    async with standing_house.browser() as browser:
        yield f"Cookie: {SESSION}={await standing_house.signed_in(browser)}\r\n"


PATHS = (
    "/page",
    "/",
    "/public/",
    "/public/x?y=1",
    "/public",
    "/publicity",
    "/open/x",
    "/public/../admin",
    "/public/%2e%2e/admin",
    "/public/..%2fadmin",
    "/public/..;/admin",
    "/public/.;x/admin",
    "/public/..%5cadmin",
    "/public\\..\\admin",
    "/public//../admin",
    "/public//x",
    "//evil.example/x",
    "/public/%252e%252e/admin",
    "/public/%zz",
    "/public/%00",
    "/public%2fx",
    "/%70ublic/x",
    "/PUBLIC/x",
    "/public/a%23/x",
    "/admin%23/public",
    "/x%3f/public/",
    "/a?/../b",
    "/a?b#c",
    "/public;x/a",
    "/oauth2/auth",
    "/oauth2/../public/",
    "/oauth2%2fauth",
    "/x/oauth2/auth",
    "/" + "a" * 8300,
    "https://app.example/public/",
    "http://evil.example/public/",
    "*",
    "",
)
METHODS = ("GET", "POST", "HEAD", "OPTIONS", "PROPFIND", "TRACE", "get", "G ET", "")
HOSTS = (
    "app.example",
    "APP.example",
    "app.example:443",
    "app.example:8443",
    "app.example.",
    "two.example",
    "evil.example",
    "a@app.example",
    "",
)
ROWS = [
    *(Asked(path=path) for path in PATHS),
    *(Asked(method=method) for method in METHODS),
    *(Asked(host=host) for host in HOSTS),
    *(Asked(*row) for row in random.Random(9110).sample(list(product(METHODS, HOSTS, PATHS)), 120)),  # noqa: S311 - the same rows every time
]


async def decided(house: House, said: Said) -> tuple[str, str | None]:
    """What became of a direct request: who was let in, who was to sign in, who was refused."""
    if house.app.requests:
        assert said.status in {200, 500}
        (headers,) = house.app.headers
        return "allowed", next(iter(values(headers, "X-Forwarded-User")), None)
    return ("sign in" if said.status in {401, 303} else "refused"), None


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("signed_in", [False, True])
@pytest.mark.parametrize("tell", [forwarded, original])
async def test_a_check_decides_as_a_direct_request_is_decided(
    standing_house: House, session: str, signed_in: bool, tell, warm: bool
) -> None:
    house, cookie = standing_house, session if signed_in else ""
    different, counted = [], {"allowed": 0, "sign in": 0, "refused": 0}
    for row in ROWS:
        if row.path.startswith("/oauth2/auth"):
            continue  # the gateway's own: no app is behind it, and no proxy asks about it
        house.app.requests.clear()
        house.app.headers.clear()
        said = await one(house, f"{row.method} {row.path} HTTP/1.1\r\nHost: {row.host}\r\nConnection: close\r\n{cookie}\r\n", warm=warm)
        direct = await decided(house, said)
        checked = await check(house, tell(row), cookie=cookie, warm=warm)
        told = {202: "allowed", 401: "sign in"}.get(checked.status, "refused")
        who = checked.header(b"X-Auth-Request-User")
        counted[told] += 1
        if row.path.startswith("http"):
            # As a target this may be of our own host (RFC 9112 section 3.2.2); no proxy tells one so.
            assert told == "refused"
        elif direct != (told, None if who is None else who.decode()):
            different.append((row, direct, told, checked.status))
    assert different == []
    assert all(counted[what] for what in (["allowed", "refused"] + ([] if signed_in else ["sign in"])))


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize(
    ("headers", "statuses"),
    [
        pytest.param("", {400}, id="FA-05 nothing told"),
        pytest.param(forwarded(Asked(path="/public/x")) + "X-Forwarded-Uri: /admin\r\n", {400}, id="FA-05 a header twice"),
        pytest.param(forwarded(Asked(path="/public/x")) + "x-forwarded-uri: /public/x\r\n", {400}, id="FA-05 twice in another case"),
        pytest.param(forwarded(Asked(path="/public/x")) + original(Asked(path="/admin")), {400}, id="FA-05 two sources disagree"),
        pytest.param(original(Asked(path="/public/x")) + forwarded(Asked(path="/admin")), {400}, id="FA-05 two sources, the other way"),
        pytest.param(
            forwarded(Asked(path="/public/x")) + original(Asked(path="/public/x", host="two.example")), {400}, id="FA-05 two hosts"
        ),
        pytest.param(
            original(Asked(path="/public/x")) + forwarded(Asked(path="/admin")) + "Connection: X-Forwarded-Uri, x_forwarded_method\r\n",
            {400},
            id="FA-05 one of two sources nominated away",
        ),
        pytest.param(forwarded(Asked(path="/admin")) + "Connection: X-Forwarded-Uri\r\n", {401}, id="FA-05 the source nominated away"),
        pytest.param(forwarded(Asked(path="/public/x")).replace("https", "ws, https"), {400}, id="FA-05 two schemes"),
        pytest.param("X-Original-Method: GET\r\nX-Original-URL: /public/x\r\n", {400}, id="FA-05 a URL without its origin"),
        pytest.param("X-Original-URI: /public/x\r\nX-Original-Method: GET\r\n", {400}, id="FA-05 a header that is none of ours"),
        pytest.param("X_Forwarded_Uri: /public/x\r\n" + forwarded(Asked(path="/admin")), {401}, id="FA-05 another spelling"),
        pytest.param("X-Forwarded-Prefix: /public\r\n" + forwarded(Asked(path="/admin")), {401}, id="FA-05 a prefix"),
        pytest.param(forwarded(Asked(method="GET, POST", path="/public/x")), {400}, id="FA-07 two methods"),
        pytest.param(forwarded(Asked(method="get", path="/public/x")), {400}, id="FA-07 small letters"),
        pytest.param(forwarded(Asked(method="", path="/public/x")), {400}, id="FA-07 no method"),
        pytest.param(forwarded(Asked(method="G\xc9T", path="/public/x")), {400}, id="FA-07 beyond ASCII"),
        pytest.param(forwarded(Asked(method="OPTIONS")), {401}, id="FA-07 a preflight opens nothing"),
        pytest.param(forwarded(Asked(host="evil.example", path="/public/x")), {403}, id="FA-08 a host of somebody else"),
        pytest.param(forwarded(Asked(host="app.example, evil.example", path="/public/x")), {400}, id="FA-08 two hosts"),
        pytest.param(forwarded(Asked(path="/public/x")).replace("https", "http"), {403}, id="FA-08 the other scheme"),
        pytest.param(forwarded(Asked(path="/public/../admin")), {403}, id="FA-19 dot segments"),
        pytest.param(forwarded(Asked(path="/public/a b")), {403}, id="FA-19 decoded, as $uri is"),
        pytest.param(forwarded(Asked(path="/public/" + "a" * 16_384)), {403, 414, 431}, id="FA-20 sixteen kilobytes"),
        pytest.param(forwarded(Asked(path="/public/" + "a" * 40_000)), {403, 414, 431}, id="FA-20 forty kilobytes"),
    ],
)
async def test_what_is_not_told_once_is_never_allowed(house: House, headers: str, statuses: set[int], warm: bool) -> None:
    assert (await check(house, headers, warm=warm)).status in statuses


@pytest.mark.parametrize(
    "line", [pytest.param(f"{method} /oauth2/auth HTTP/1.1", id=f"FA-13 {method}") for method in ("HEAD", "POST", "PROPFIND")]
)
async def test_the_method_of_the_check_decides_nothing(house: House, line: str) -> None:
    house.app.requests.clear()
    for path, status in (("/public/x", b" 202 "), ("/page", b" 401 ")):
        raw = f"{line}\r\nHost: app.example\r\nConnection: close\r\n{forwarded(Asked(path=path))}\r\n"
        assert status in (await until_closed(house.listener, raw.encode())).partition(b"\r\n")[0]


async def test_fa_01_nobody_gets_401_with_the_way_to_sign_in(house: House) -> None:
    """FA-01: 401 exactly, and a page load is told where to go."""
    said = await check(
        house, original(Asked(path="/page?a=b&c=%2f")) + "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"
    )
    location = said.header(b"Location")
    assert said.status == 401
    assert location is not None
    assert location.startswith(b"https://app.example/oauth2/start?rd=")
    assert dict(parse_qsl(urlsplit(location.decode()).query)) == {"rd": "/page?a=b&c=%2f"}
    assert (await check(house, original(Asked()))).header(b"Location") is None


@pytest.mark.parametrize(
    "length", [pytest.param("Content-Length: 1073741824", id="FA-02 length"), pytest.param("Transfer-Encoding: chunked", id="FA-02 chunks")]
)
async def test_a_body_that_never_comes_is_not_waited_for(house: House, length: str) -> None:
    assert (await check(house, original(Asked(path="/public/x")) + length + "\r\n", line="POST /oauth2/auth HTTP/1.1")).status == 202


@pytest.mark.parametrize(
    "path", ["/oauth2/auth/admin/x?y", "/oauth2/auth/public/x", "/oauth2/auth/", "/oauth2/auth%2fpublic", "/oauth2//auth", "/oauth2/AUTH"]
)
async def test_fa_04_the_path_of_the_check_is_never_decided_on(house: House, path: str) -> None:
    """FA-04: a proxy that puts the original path behind ours is refused, until it tells it in headers."""
    for line in (f"GET {path} HTTP/1.1", f"POST {path} HTTP/1.1"):
        assert (await check(house, forwarded(Asked(path="/public/x")), line=line)).status in {400, 404}


@pytest.mark.parametrize("scheme", ["https", "wss"])
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        pytest.param("Origin: https://app.example\r\n", 202, id="FA-14 our own page"),
        pytest.param("Origin: https://evil.example\r\n", 403, id="FA-14 another site"),
        pytest.param("Origin: null\r\n", 403, id="FA-14 nobody's page"),
        pytest.param("", 403, id="FA-14 no Origin"),
        pytest.param("Origin: https://app.example\r\nOrigin: https://evil.example\r\n", 403, id="FA-14 two"),
    ],
)
async def test_a_websocket_of_another_site_is_refused(standing_house: House, session: str, scheme: str, origin: str, status: int) -> None:
    told = forwarded(Asked(path="/socket")).replace("https", scheme)
    key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    assert (await check(standing_house, told + key + origin, cookie=session)).status == status
    assert (await check(standing_house, told + "Upgrade: websocket\r\nConnection: Upgrade\r\n" + origin, cookie=session)).status == status
    assert (await check(standing_house, told + key + origin)).status == 401


async def test_fa_08_a_session_of_one_host_is_none_of_another(standing_house: House, session: str) -> None:
    """FA-08, FA-17: each origin has sessions of its own, whatever cookie is presented."""
    assert (await check(standing_house, original(Asked()), cookie=session)).status == 202
    assert (await check(standing_house, original(Asked(host="two.example")), cookie=session)).status == 401


async def test_fa_16_without_the_store_nobody_is_let_in(tmp_path) -> None:
    """FA-16: 503, which every proxy takes for a refusal; public paths need no store."""
    async with hostile_house(tmp_path, **HOUSE, session={"outage_grace": "0s"}) as house, house.browser() as browser:
        cookie = f"Cookie: {SESSION}={await house.signed_in(browser)}\r\n"
        assert (await check(house, original(Asked()), cookie=cookie)).status == 202
        house.store.stop()
        async with asyncio.timeout(30):
            while not house.logged("tracking.down"):
                await asyncio.sleep(0.01)
        assert (await check(house, original(Asked()), cookie=cookie)).status == 503
        assert (await check(house, original(Asked(path="/public/x")), cookie=cookie)).status == 202


async def test_fa_05_a_peer_that_is_no_trusted_proxy_decides_nothing(tmp_path) -> None:
    """FA-05: the same headers from anybody else are refused, with a session or without, and the log names the key to set."""
    async with hostile_house(tmp_path, server={"trusted_proxies": ["192.0.2.0/24"]}) as house, house.browser() as browser:
        cookie = f"Cookie: {SESSION}={await house.signed_in(browser)}\r\n"
        for with_cookie in ("", cookie):
            for tell in (forwarded, original):
                said = await check(house, tell(Asked(path="/public/x")) + "X-Forwarded-For: 192.0.2.7\r\n", cookie=with_cookie)
                assert said.status == 400
        assert any("server.trusted_proxies" in line["detail"] for line in await house.hears("request.refused"))


async def test_fa_05_over_a_unix_socket_its_peers_may_be_trusted(tmp_path) -> None:
    """FA-05: who may connect to the socket is told by its permissions; nobody's address is."""
    for trusted, public, page in ((["unix"], 202, 401), ([], 400, 400)):
        socket = tmp_path / f"gateway-{len(trusted)}.sock"
        async with hostile_house(tmp_path / socket.stem, server={"listen": f"unix:{socket}", "trusted_proxies": trusted}) as house:
            for path, status in (("/public/x", public), ("/page", page)):
                raw = f"GET /oauth2/auth HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n{original(Asked(path=path))}\r\n"
                (said,) = answers(await until_closed_at(socket, raw.encode()))
                assert said.status == status
            assert house.app.requests == []
            raw = "GET /public/x HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\nX-Forwarded-For: 198.51.100.7\r\n\r\n"
            await until_closed_at(socket, raw.encode())
            assert values(house.app.headers[0], "X-Forwarded-For") == ["198.51.100.7" if trusted else "unknown"]


async def test_every_row_of_the_corpus_has_its_place() -> None:
    every_row_has_its_place(
        "FA",
        "01 02 04 05 07 08 10 11 13 14 16 17 19 20",
        globals(),
        {"FA-10": "asserted of every check above", "FA-11": "the same"},
    )
