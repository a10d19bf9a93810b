"""The nginx recipe, tried in nginx with a decision point that says what it is told to say: what each side gets to see.

The whole sign-in through this recipe and the real gateway is a journey of its own; here stand the promises of the recipe alone.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from tests.support.nginx import Nginx, nginx_in_front
from tests.support.ports import free_port

pytestmark = pytest.mark.nginx

SPOOFED = {
    "X-Forwarded-User": "root",
    "X-Forwarded-Email": "root@evil.example",
    "X-Forwarded-Groups": "admins",
    "X-Forwarded-Preferred-Username": "root",
    "X-Forwarded-Access-Token": "t",
    "X_Forwarded_User": "root",
    "X.Forwarded.User": "root",
    "X-Auth-Request-User": "root",
    "X-Forwarded-Uri": "/public",
    "X-Forwarded-Method": "GET",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "gopher",
    "X-Original-URL": "https://evil.example/public",
    "X-Original-Method": "OPTIONS",
    "Forwarded": "for=1.2.3.4",
    "Connection": "close, X-Forwarded-User",
}


@dataclass
class Recorded:
    """What a server saw, newest last: (method, raw target, headers as (lower-case name, value), body)."""

    requests: list[tuple[str, str, list[tuple[str, str]], bytes]] = field(default_factory=list)

    def header(self, name: str) -> list[str]:
        return [value for known, value in self.requests[-1][2] if known == name]


@dataclass
class Decision:
    """The decision point's answer to every check."""

    status: int = 202
    headers: dict[str, str] = field(default_factory=lambda: {"X-Auth-Request-User": "alice", "X-Auth-Request-Groups": "staff,admins"})


@dataclass
class Stage:
    nginx: Nginx
    decision: Decision
    gateway: Recorded
    app: Recorded
    client: aiohttp.ClientSession


@contextlib.asynccontextmanager
async def serving(recorded: Recorded, answer):
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        body = b"" if request.headers.get("Upgrade") else await request.read()
        headers = [(name.decode().lower(), value.decode()) for name, value in request.raw_headers]
        recorded.requests.append((request.method, request.raw_path, headers, body))
        return await answer(request)

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.fixture
async def stage():
    decision, gateway, app = Decision(), Recorded(), Recorded()

    async def decide(request: web.BaseRequest) -> web.StreamResponse:
        if request.path != "/oauth2/auth":
            return web.Response(text="the gateway's page")
        return web.Response(status=decision.status, headers=decision.headers)

    async def serve(request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("Upgrade") == "websocket":
            socket_ = web.WebSocketResponse()
            await socket_.prepare(request)
            await socket_.send_str("hello")
            await socket_.close()
            return socket_
        return web.Response(text="the app's page")

    async with contextlib.AsyncExitStack() as stack:
        gateway_port = await stack.enter_async_context(serving(gateway, decide))
        app_port = await stack.enter_async_context(serving(app, serve))
        nginx = await stack.enter_async_context(nginx_in_front(gateway_port=gateway_port, app_port=app_port, public_port=free_port()))
        client = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        yield Stage(nginx, decision, gateway, app, client)


async def ask(stage: Stage, target: str = "/", method: str = "GET", **arguments) -> tuple[int, str | None]:
    url = URL(stage.nginx.origin + target, encoded=True)  # encoded: the raw target must not be tidied up
    async with stage.client.request(method, url, allow_redirects=False, **arguments) as response:
        await response.read()
        return response.status, response.headers.get("Location")


async def test_the_decision_is_asked_about_the_raw_request_and_about_nothing_the_client_says(stage):
    assert await ask(stage, "/deep/%7Elink?a=1&b=%2e%2e", method="POST", headers=SPOOFED, data=b"the body") == (200, None)
    method, target, _, body = stage.gateway.requests[-1]
    assert (method, target, body) == ("GET", "/oauth2/auth", b"")
    assert stage.gateway.header("x-original-url") == [f"{stage.nginx.origin}/deep/%7Elink?a=1&b=%2e%2e"]
    assert stage.gateway.header("x-original-method") == ["POST"]
    for name in ("x-forwarded-uri", "x-forwarded-method", "x-forwarded-host", "x-forwarded-proto", "forwarded"):
        assert stage.gateway.header(name) == []


async def test_the_app_gets_the_same_target_and_the_gateways_identity_once(stage):
    assert await ask(stage, "/deep/%7Elink?a=1&b=%2e%2e", method="POST", headers=SPOOFED, data=b"the body") == (200, None)
    method, target, headers, body = stage.app.requests[-1]
    assert (method, target, body) == ("POST", "/deep/%7Elink?a=1&b=%2e%2e", b"the body")
    assert stage.app.header("x-forwarded-user") == ["alice"]
    assert stage.app.header("x-forwarded-groups") == ["staff,admins"]
    assert stage.app.header("x-forwarded-host") == [stage.nginx.origin.removeprefix("http://")]
    assert stage.app.header("x-forwarded-proto") == ["http"]
    for name in SPOOFED:
        if name.lower() not in {"x-forwarded-user", "x-forwarded-groups", "x-forwarded-host", "x-forwarded-proto", "connection"}:
            assert stage.app.header(name.lower()) == [], name
    assert not [value for _, value in headers if "root" in value or "evil" in value]


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        pytest.param("gateway=sealed", [], id="alone"),
        pytest.param("__Host-gateway=sealed; theme=dark", ["theme=dark"], id="first"),
        pytest.param("theme=dark; __Host-gateway=sealed", ["theme=dark"], id="last"),
        pytest.param("a=1; __Host-gateway=sealed; b=2", ["a=1; b=2"], id="between"),
        pytest.param("my-gateway=theirs; gateway2=theirs", ["my-gateway=theirs; gateway2=theirs"], id="names that only look alike stay"),
        pytest.param("gateway-login-Ab_-9=sealed; a=1; gateway-login-x=sealed", ["a=1"], id="two logins in flight"),
        pytest.param(
            "; ".join(
                [f"__Host-gateway-login-{n}=sealed" for n in range(3)] + ["a=1", "__Host-gateway=s", "b=2", "__Host-gateway-login-z=s"]
            ),
            ["a=1; b=2"],
            id="a session and four logins in flight",
        ),
        pytest.param("; ".join([f"gateway-login-{n}=s" for n in range(5)] + ["gateway=s"]), [], id="as many as there can be"),
        pytest.param("my-gateway-login-x=theirs", ["my-gateway-login-x=theirs"], id="a login that only looks alike stays"),
    ],
)
async def test_the_gateways_cookies_stay_with_the_gateway(stage, sent, seen):
    assert await ask(stage, headers={"Cookie": sent}) == (200, None)
    assert stage.app.header("cookie") == seen
    assert stage.gateway.header("cookie") == [sent]


async def test_a_page_load_is_led_to_the_sign_in_with_its_whole_address(stage):
    stage.decision.status, stage.decision.headers = 401, {"Location": "/oauth2/start?rd=%2Fdeep%3Fa%3D1%26b%3D2"}
    assert await ask(stage, "/deep?a=1&b=2") == (303, "/oauth2/start?rd=%2Fdeep%3Fa%3D1%26b%3D2")
    assert stage.app.requests == []


async def test_anything_but_a_page_load_gets_the_401_itself(stage):
    stage.decision.status, stage.decision.headers = 401, {}
    assert await ask(stage, "/api", method="PUT", data=b"x") == (401, None)
    assert stage.app.requests == []


@pytest.mark.parametrize(
    ("decided", "shown"),
    [
        pytest.param(403, 403, id="not allowed"),
        pytest.param(400, 500, id="request refused"),
        pytest.param(302, 500, id="a redirect is no yes"),
        pytest.param(503, 500, id="store down"),
    ],
)
async def test_nothing_but_a_yes_reaches_the_app(stage, decided, shown):
    stage.decision.status = decided
    assert (await ask(stage))[0] == shown
    assert stage.app.requests == []


async def test_the_decision_point_is_not_there_from_outside(stage):
    assert (await ask(stage, "/oauth2/auth"))[0] == 404
    assert stage.gateway.requests == []


async def test_the_gateways_pages_are_reached_without_words_of_the_client_about_another_request(stage):
    assert await ask(stage, "/oauth2/start?rd=/x", headers=SPOOFED) == (200, None)
    assert stage.gateway.requests[-1][1] == "/oauth2/start?rd=/x"
    assert stage.gateway.header("host") == [stage.nginx.origin.removeprefix("http://")]
    for name in ("x-original-url", "x-original-method", "x-forwarded-uri", "x-forwarded-method", "forwarded"):
        assert stage.gateway.header(name) == []
    assert stage.app.requests == []


async def test_a_websocket_passes_after_the_decision(stage):
    async with stage.client.ws_connect(f"{stage.nginx.origin}/live") as socket_:
        assert await socket_.receive_str() == "hello"
    assert stage.gateway.header("x-original-url") == [f"{stage.nginx.origin}/live"]


async def test_nginx_has_nothing_to_say_about_the_recipe(stage):
    await ask(stage)
    lines = stage.nginx.error_log.read_text().splitlines()
    assert [line for line in lines if "[warn]" in line or "[emerg]" in line or "[error]" in line] == []
