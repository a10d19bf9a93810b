"""IH-22 to IH-29: what an app and a browser learn of the way between them comes from the gateway, at a real gateway, on every route."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.support.hostile_house import SESSION, every_row_has_its_place, hostile_house
from tests.support.mirror_app import values
from tests.support.raw_caller import again_and_again, answers, until_closed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.hostile_house import House
    from tests.support.raw_caller import Said

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLOSE = "Host: app.example\r\nConnection: close\r\n"


async def one(house: House, raw: str) -> Said:
    (said,) = answers(await until_closed(house.listener, raw.encode("latin-1")))
    return said


async def seen(house: House, path: str, headers: str, *, warm: bool = False) -> list[tuple[str, str]]:
    """The headers that the app received of a request with ``headers``; ``warm``: when the same came often enough to be known."""
    if warm:
        said = await again_and_again(house.listener, f"GET {path} HTTP/1.1\r\nHost: app.example\r\n{headers}\r\n".encode("latin-1"))
    else:
        said = await one(house, f"GET {path} HTTP/1.1\r\n{CLOSE}{headers}\r\n")
    assert said.status == 200, said
    return json.loads(said.body)["headers"]


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


OURS = [
    ("X-Forwarded-For", "127.0.0.1"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "app.example"),
    ("X-Forwarded-Port", "443"),
    ("Forwarded", "for=127.0.0.1;host=app.example;proto=https"),
]


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("signed_in", [False, True])
@pytest.mark.parametrize(
    "spoofed",
    [
        pytest.param("", id="IH-29 nothing spoofed"),
        pytest.param("X-Forwarded-For: 127.0.0.2\r\n", id="IH-22 a client"),
        pytest.param("X-Forwarded-For: 10.0.0.1, 127.0.0.2\r\nX-Forwarded-For: 10.0.0.2\r\n", id="IH-22 a chain"),
        pytest.param("X-Real-IP: 10.0.0.1\r\nForwarded: for=10.0.0.1;host=evil;proto=http\r\n", id="IH-22 other names"),
        pytest.param("X-Original-URL: /public/x\r\nX-Rewrite-URL: /public/x\r\nX-Forwarded-Uri: /public/x\r\n", id="IH-25 another path"),
        pytest.param("X-Forwarded-Prefix: /..\r\nX-Original-Method: GET\r\n", id="IH-25 a prefix and a method"),
        pytest.param("X-Forwarded-Host: evil\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: 1\r\n", id="IH-29 another host"),
        pytest.param("x_forwarded_for: 10.0.0.1\r\nX.Forwarded.Host: evil\r\nFORWARDED: for=x\r\n", id="IH-25 other spellings"),
        pytest.param("Connection: X-Forwarded-For, Forwarded, X-Forwarded-Host\r\n", id="IH-29 nominated away"),
    ],
)
async def test_what_an_app_learns_of_the_way_is_ours_once(
    standing_house: House, session: str, spoofed: str, signed_in: bool, warm: bool
) -> None:
    headers = await seen(standing_house, "/page" if signed_in else "/public/page", spoofed + (session if signed_in else ""), warm=warm)

    told = [
        (name, value)
        for name, value in headers
        if name.lower().replace("_", "-").replace(".", "-").startswith(("x-forwarded-", "forwarded"))
    ]
    identity = {"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username"}
    assert [line for line in told if line[0] not in identity] == OURS
    assert values(headers, "Host") == ["app.example"]
    for name in ("X-Real-IP", "X-Original-URL", "X-Rewrite-URL", "X-Original-Method"):
        assert values(headers, name) == []
    assert values(headers, "Via") == ["1.1 gateway"]


async def test_ih_29_another_host_reaches_nobody(house: House) -> None:
    """IH-29: a Host of somebody else, or of the inside."""
    for host in ("up-internal", "127.0.0.1", "evil.example"):
        assert (await one(house, f"GET /public/x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).status == 421
    assert house.app.requests == []


async def test_ih_23_behind_trusted_proxies_the_right_most_untrusted_hop_is_the_client(tmp_path) -> None:
    """IH-23: and only it."""
    async with hostile_house(tmp_path, server={"trusted_proxies": ["127.0.0.1/32", "10.0.0.0/8"]}) as house:
        for told, client in (
            ("X-Forwarded-For: 127.0.0.1, 198.51.100.7\r\n", "198.51.100.7"),
            ("X-Forwarded-For: 198.51.100.7, 10.0.0.9\r\n", "198.51.100.7"),
            ("X-Forwarded-For: 198.51.100.8\r\nX-Forwarded-For: 2001:db8::7, 10.0.0.9\r\n", "2001:db8::7"),
            ("X-Forwarded-For: 198.51.100.7, unknown\r\n", "127.0.0.1"),
            ("Forwarded: for=198.51.100.7\r\n", "127.0.0.1"),
        ):
            headers = await seen(house, "/public/x", told + "X-Forwarded-Host: evil\r\nX-Forwarded-Proto: http\r\n")
            assert values(headers, "X-Forwarded-For") == [client]
            node = f'"[{client}]"' if ":" in client else client
            assert values(headers, "Forwarded") == [f"for={node};host=app.example;proto=https"]
            assert values(headers, "X-Forwarded-Host") == ["app.example"]


async def test_ih_23_the_client_that_a_balancer_names_is_the_peer(tmp_path) -> None:
    """IH-23: with the PROXY protocol, what the client itself says in headers counts for nothing."""
    async with hostile_house(tmp_path, server={"trusted_proxies": ["127.0.0.1/32"], "proxy_protocol": True}) as house:
        line = "PROXY TCP4 198.51.100.7 192.0.2.1 4711 443\r\n"
        request = f"GET /public/x HTTP/1.1\r\n{CLOSE}X-Forwarded-For: 10.0.0.1\r\n\r\n"
        said = await one(house, line + request)
        assert values(json.loads(said.body)["headers"], "X-Forwarded-For") == ["198.51.100.7"]
        assert await until_closed(house.listener, request.encode()) == b""
        told = "X-Original-Method: GET\r\nX-Original-URL: https://app.example/public/x\r\n"
        assert (await one(house, f"{line}GET /oauth2/auth HTTP/1.1\r\n{CLOSE}{told}\r\n")).status == 400
        own = "PROXY TCP4 127.0.0.1 192.0.2.1 4711 443\r\n"
        assert (await one(house, f"{own}GET /oauth2/auth HTTP/1.1\r\n{CLOSE}{told}\r\n")).status == 202
        said = await one(house, own + request)
        assert values(json.loads(said.body)["headers"], "X-Forwarded-For") == ["10.0.0.1"]


async def test_ih_23_who_is_not_named_speaks_for_nobody(tmp_path) -> None:
    """IH-23: a balancer's header that names no client: what follows is the client's own word, whoever the balancer is."""
    async with hostile_house(tmp_path, server={"trusted_proxies": ["127.0.0.1/32"], "proxy_protocol": True}) as house:
        told = "X-Original-Method: GET\r\nX-Original-URL: https://app.example/public/x\r\n"
        for line in ("PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"):
            said = await one(house, f"{line}GET /public/x HTTP/1.1\r\n{CLOSE}X-Forwarded-For: 198.51.100.7\r\n\r\n")
            headers = json.loads(said.body)["headers"]
            assert values(headers, "X-Forwarded-For") == ["127.0.0.1"]
            assert values(headers, "Forwarded") == ["for=127.0.0.1;host=app.example;proto=https"]
            assert (await one(house, f"{line}GET /oauth2/auth HTTP/1.1\r\n{CLOSE}{told}\r\n")).status == 400


async def test_ih_26_our_cookie_stays_here_and_the_others_go_on(standing_house: House, session: str) -> None:
    """IH-26: byte for byte, and no Cookie line where nothing is left."""
    own = session.removeprefix("Cookie: ").removesuffix("\r\n")
    headers = await seen(standing_house, "/page", f'Cookie: a="x; {own}; app=1; __Host-gateway-login-x=y; b=2;  c\r\n')
    assert not any("__Host-gateway" in value for value in values(headers, "Cookie"))
    assert values(await seen(standing_house, "/page", session), "Cookie") == []
    assert values(await seen(standing_house, "/page", f"Cookie: app=1; {own}; b=2\r\n"), "Cookie") == ["app=1; b=2"]


async def test_pn_29_authority_form_and_asterisk_form_reach_nobody(house: House) -> None:
    """IH-29: neither is a path."""
    for line in ("GET app.example:80 HTTP/1.1", "OPTIONS * HTTP/1.1", "CONNECT app.example:443 HTTP/1.1"):
        assert (await one(house, f"{line}\r\n{CLOSE}\r\n")).status in {400, 405}
    assert house.app.requests == []


async def test_every_row_has_its_place() -> None:
    every_row_has_its_place(
        "IH", "22 23 25 26 28 29", globals(), {"IH-28": "tests/proxy/test_forwarding.py and test_own_cookies.py: the way back"}
    )
