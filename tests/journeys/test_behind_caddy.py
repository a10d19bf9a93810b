"""Caddy in front with ``forward_auth`` and the gateway as the decision point, on the recipe that ``deploy/caddy`` documents.

Only the lines below the marks "change" are replaced, so that the file people copy is the file that was tried.
"""

from __future__ import annotations

import json
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio

from tests.support.gateway_process import gateway
from tests.support.mirror_app import mirror_app, values
from tests.support.mock_provider import mock_provider
from tests.support.ports import free_port
from tests.support.programs import CADDY_OPTIONS, caddy, running
from tests.support.raw_caller import answers, until_closed
from tests.support.redis_servers import redis_server
from tests.support.user_agent import FETCH, NAVIGATION, UserAgent, forms

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.gateway_process import GatewayProcess
    from tests.support.mirror_app import MirrorApp
    from tests.support.mock_provider import MockProvider

pytestmark = pytest.mark.asyncio(loop_scope="module")

RECIPE = Path(__file__).parents[2] / "deploy" / "caddy" / "Caddyfile"
SPOOFED = {
    "X-Forwarded-User": "root",
    "X-Forwarded-Email": "root",
    "X-Forwarded-Groups": "root",
    "X-Forwarded-Preferred-Username": "root",
    "X-Forwarded-Access-Token": "root",
    "X_Forwarded_User": "root",
    "x_forwarded_groups": "root",
    "X.Forwarded.User": "root",
    "X-Auth-Request-User": "root",
    "X-Auth-Request-Groups": "root",
    "X-Forwarded-Uri": "/public/root",
    "X-Forwarded-Method": "OPTIONS",
    "X-Forwarded-Host": "root.example",
    "X-Forwarded-Proto": "root",
    "X-Forwarded-For": "203.0.113.9",
    "X-Original-URL": "http://root/public/",
    "X-Original-Method": "OPTIONS",
    "Forwarded": "for=root",
    "Connection": "close, X-Forwarded-User, X-Forwarded-Groups, X-Forwarded-Uri, Cookie",
}


def rendered(*, gateway_port: int, app_port: int, origin: str) -> str:
    """The recipe with this test's addresses: each line below a mark, and no other."""
    recipe = RECIPE.read_text()
    assert recipe.count("# change:") == 4
    for line, replacement, count in (
        ("\napps.example.org {\n", f"\n{origin} {{\n", 1),
        (" 127.0.0.1:8080 {\n", f" 127.0.0.1:{gateway_port} {{\n", 2),
        (" 127.0.0.1:3000\n", f" 127.0.0.1:{app_port}\n", 1),
    ):
        assert recipe.count(line) == count, f"the recipe has the line {line!r} {recipe.count(line)} times"
        recipe = recipe.replace(line, replacement)
    return f"{{{CADDY_OPTIONS}}}\n{recipe}"


class Front:
    def __init__(self, origin: str, running_gateway: GatewayProcess, provider: MockProvider, app: MirrorApp) -> None:
        self.origin, self.gateway, self.provider, self.app = origin, running_gateway, provider, app


@asynccontextmanager
async def behind_caddy(folder: Path) -> AsyncIterator[Front]:
    gateway_port, public_port = free_port(), free_port()
    origin = f"http://127.0.0.1:{public_port}"
    with mock_provider() as provider:
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(redis_server())
            app = await stack.enter_async_context(mirror_app())
            recipe = rendered(gateway_port=gateway_port, app_port=urlsplit(app.url).port or 0, origin=origin)
            await stack.enter_async_context(running(caddy(folder, recipe, public_port)))
            started = await stack.enter_async_context(
                gateway(
                    folder,
                    issuer=provider.issuer,
                    client_id=provider.client_id,
                    client_secret=provider.client_secret,
                    store=store.url,
                    upstream=None,
                    port=gateway_port,
                    server={"public_url": origin, "trusted_proxies": ["127.0.0.1/32"]},
                    routes=[
                        {"path": "/public/", "access": "public"},
                        {"path": "/open/", "access": "optional"},
                        {"path": "/", "access": "signed_in"},
                    ],
                )
            )
            yield Front(origin, started, provider, app)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def standing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Front]:
    async with behind_caddy(tmp_path_factory.mktemp("caddy")) as front:
        yield front


@pytest_asyncio.fixture(loop_scope="module")
async def front(standing: Front) -> Front:
    standing.app.requests.clear()
    return standing


@pytest_asyncio.fixture(loop_scope="module")
async def browser(front: Front) -> AsyncIterator[UserAgent]:
    async with UserAgent(front.origin) as agent:
        yield agent


async def test_the_whole_login_through_caddy_ends_at_the_deep_link_with_the_identity(front: Front, browser: UserAgent) -> None:
    answer = await front.provider.sign_in(browser, front.origin + "/reports/2026?month=11&q=a%2Fb", "alice")

    assert (answer.status, answer.url) == (200, front.origin + "/reports/2026?month=11&q=a%2Fb")
    headers = json.loads(answer.body)["headers"]
    assert json.loads(answer.body)["target"] == "/reports/2026?month=11&q=a%2Fb"
    assert values(headers, "X-Forwarded-User") == ["alice"]
    assert values(headers, "X-Forwarded-Email") == ["alice@example.org"]
    assert values(headers, "X-Forwarded-Groups") == ["staff,admins"]
    assert values(headers, "X-Forwarded-Preferred-Username") == ["alice"]
    assert values(headers, "Host") == [urlsplit(front.origin).netloc]


async def test_spoofed_identity_is_gone_at_the_app(front: Front, browser: UserAgent) -> None:
    for user in (None, "bob"):
        if user is not None:
            await front.provider.sign_in(browser, front.origin + "/", user)
        for path in ("/public/page", "/open/page", *(["/private"] if user else [])):
            answer = await browser.ask(front.origin + path, headers=NAVIGATION | SPOOFED)
            assert answer.status == 200, answer.text
            headers = json.loads(answer.body)["headers"]
            assert "root" not in json.dumps([value for name, value in headers])
            assert "203.0.113.9" not in json.dumps(headers)
            assert values(headers, "X-Forwarded-User") == ([user] if user and path != "/public/page" else [])
            assert values(headers, "X-Forwarded-Groups") == []


async def test_without_a_session_no_request_reaches_the_app(front: Front, browser: UserAgent) -> None:
    navigation = await browser.ask(front.origin + "/private?a=1&b=2")
    fetch = await browser.ask(front.origin + "/private", headers=FETCH)
    upload = await browser.ask(front.origin + "/private", method="PUT", headers=FETCH, data=b"x" * 100_000)
    spoofed = await browser.ask(front.origin + "/private", headers=FETCH | SPOOFED)

    assert (navigation.status, navigation.location) == (303, front.origin + "/oauth2/start?rd=/private%3Fa%3D1%26b%3D2")
    assert [answer.status for answer in (fetch, upload, spoofed)] == [401, 401, 401]
    assert json.loads(fetch.body)["error"] == "login_required"
    assert front.app.requests == []
    assert (await browser.ask(front.origin + "/public/page")).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/public/../private",
        "/public/%2e%2e/private",
        "/public/..%2fprivate",
        "/public/..;/private",
        "/public;x/../private",
        "/public%2f..%2fprivate",
        "//public/../private",
        "/public/./../private",
        "/public/..%5cprivate",
        "/public/%252e%252e/../private",
        "/oauth2/../private",
        "/oauth2/%2e%2e/private",
        "/private/../oauth2/userinfo/../../private",
        "/OAUTH2/../private",
        "/oauth2/auth",
        "/oauth2/auth?x",
        "/OAUTH2/auth",
        "/oauth2/%61uth",
        "/public/../oauth2/auth",
        "http://127.0.0.1/private",
    ],
)
async def test_a_path_that_caddy_reads_otherwise_is_never_let_through(front: Front, browser: UserAgent, path: str) -> None:
    """Sent as it stands, by nobody and with a session: refused, asked to sign in, or not found; never 2xx, and never at the app."""
    await front.provider.sign_in(browser, front.origin + "/", "alice")
    front.app.requests.clear()
    session = next(f"gateway={cookie.value}" for cookie in browser.cookies if cookie.key == "gateway")
    netloc = urlsplit(front.origin).netloc

    for cookie in ("", f"Cookie: {session}\r\n"):
        claimed = "X-Forwarded-Uri: /public/x\r\nX-Forwarded-Method: GET\r\n"
        request = f"GET {path} HTTP/1.1\r\nHost: {netloc}\r\n{cookie}{claimed}Connection: close\r\n\r\n"
        (said,) = answers(await until_closed(front.origin, request.encode()))
        assert 300 <= said.status < 500, (said.status, cookie)
    assert front.app.requests == []


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        pytest.param("{}", [], id="alone"),
        pytest.param("{}; theme=dark", ["theme=dark"], id="first"),
        pytest.param("theme=dark; {}", ["theme=dark"], id="last"),
        pytest.param("a=1; {}; b=2", ["a=1; b=2"], id="between"),
        pytest.param(
            "my-gateway=theirs; {}; gateway2=theirs", ["my-gateway=theirs; gateway2=theirs"], id="names that only look alike stay"
        ),
        pytest.param(
            "gateway-login-Ab_-9=s; a=1; __Host-gateway-login-x=s; {}; b=2; gateway-login-=c", ["a=1; b=2; gateway-login-=c"], id="logins"
        ),
    ],
)
async def test_the_gateways_cookies_stay_with_the_gateway(front: Front, browser: UserAgent, sent: str, seen: list[str]) -> None:
    await front.provider.sign_in(browser, front.origin + "/", "alice")
    session = next(f"gateway={cookie.value}" for cookie in browser.cookies if cookie.key == "gateway")
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client,
        client.get(front.origin + "/private", headers=FETCH | {"Cookie": sent.format(session)}) as answer,
    ):
        assert answer.status == 200
        headers = (await answer.json())["headers"]

    assert values(headers, "Cookie") == seen
    assert values(headers, "X-Forwarded-User") == ["alice"]


async def test_bodies_pass_once_the_gateway_has_said_yes(front: Front, browser: UserAgent) -> None:
    await front.provider.sign_in(browser, front.origin + "/", "alice")
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = await browser.ask(front.origin + "/form", method=method, headers=FETCH, data=b"a=b" * 50_000)
        seen = json.loads(answer.body)
        assert (answer.status, seen["method"], len(seen["body"])) == (200, method, 150_000)


async def test_a_websocket_passes_after_the_decision_and_not_from_another_site(front: Front, browser: UserAgent) -> None:
    await front.provider.sign_in(browser, front.origin + "/", "alice")
    async with browser.websocket(front.origin + "/live", origin=front.origin, headers={"X-Forwarded-User": "root"}) as socket:
        headers = await socket.receive_json()
        assert values(headers, "X-Forwarded-User") == ["alice"]
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello"
    front.app.requests.clear()
    for origin, status in (("https://evil.example", 403),):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await browser.websocket(front.origin + "/live", origin=origin)
        assert refused.value.status == status
    browser.cookies.clear()
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await browser.websocket(front.origin + "/live", origin=front.origin)
    assert refused.value.status == 401
    assert front.app.requests == []


async def test_signing_out_through_caddy(front: Front, browser: UserAgent) -> None:
    await front.provider.sign_in(browser, front.origin + "/", "alice")
    (form,) = forms(await browser.open(front.origin + "/oauth2/sign_out"))
    same_site = {"Origin": front.origin, "Sec-Fetch-Site": "same-origin"}
    answer = await browser.ask(form.action, method="POST", data=form.fields, headers=NAVIGATION | same_site)

    assert answer.status == 303
    assert (await browser.ask(front.origin + "/private")).status == 303


async def test_without_the_gateway_nothing_reaches_the_app(tmp_path: Path) -> None:
    async with behind_caddy(tmp_path) as front, UserAgent(front.origin) as browser:
        await front.provider.sign_in(browser, front.origin + "/", "alice")
        front.app.requests.clear()
        await front.gateway.stop()
        for path in ("/private", "/public/page", "/open/page"):
            assert (await browser.ask(front.origin + path, headers=FETCH)).status == 502
        assert front.app.requests == []
