"""The main job on real parts: a gateway process, a real Redis, a provider and an app that this repository does not contain."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import aiohttp
import pytest
import redis.asyncio as redis

from tests.support.gateway_process import gateway
from tests.support.mirror_app import mirror_app, values
from tests.support.mock_provider import mock_provider
from tests.support.redis_servers import redis_server
from tests.support.user_agent import FETCH, NAVIGATION, UserAgent, forms

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.gateway_process import GatewayProcess
    from tests.support.mirror_app import MirrorApp
    from tests.support.mock_provider import MockProvider
    from tests.support.redis_servers import RedisServer


class House:
    """All the parts of one journey."""

    def __init__(self, running: GatewayProcess, provider: MockProvider, store: RedisServer, app: MirrorApp) -> None:
        self.gateway, self.provider, self.store, self.app = running, provider, store, app

    async def keys(self) -> set[str]:
        client = redis.Redis.from_url(self.store.url)
        try:
            return {key.decode() for key in await client.keys("*")}
        finally:
            await client.aclose()


@pytest.fixture
async def house(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[House]:
    """A parameter is a change of the configuration's ``session``."""
    with mock_provider() as provider:
        async with (
            redis_server() as store,
            mirror_app() as app,
            gateway(
                tmp_path,
                issuer=provider.issuer,
                client_id=provider.client_id,
                client_secret=provider.client_secret,
                store=store.url,
                upstream=app.url,
                session=getattr(request, "param", {}),
            ) as running,
        ):
            yield House(running, provider, store, app)


@pytest.fixture
async def browser(house: House) -> AsyncIterator[UserAgent]:
    async with UserAgent(house.gateway.url) as agent:
        yield agent


async def test_a_deep_link_leads_through_the_provider_and_back_with_the_identity(house: House, browser: UserAgent) -> None:
    answer = await house.provider.sign_in(browser, house.gateway.url + "/reports/2026?month=11&q=a%2Fb", "alice")

    assert answer.status == 200
    assert answer.url == house.gateway.url + "/reports/2026?month=11&q=a%2Fb"
    seen = json.loads(answer.body)
    assert seen["target"] == "/reports/2026?month=11&q=a%2Fb"
    assert values(seen["headers"], "X-Forwarded-User") == ["alice"]
    assert values(seen["headers"], "X-Forwarded-Email") == ["alice@example.org"]
    assert values(seen["headers"], "X-Forwarded-Groups") == ["staff,admins"]
    assert values(seen["headers"], "X-Forwarded-Preferred-Username") == ["alice"]
    assert values(seen["headers"], "Cookie") == []
    assert values(seen["headers"], "X-Forwarded-Access-Token") == []
    assert values(seen["headers"], "Host") == [house.gateway.url.removeprefix("http://")]
    assert answer.header("X-App") == "mirror"


async def test_nothing_is_stored_or_forwarded_for_somebody_who_did_not_sign_in(house: House, browser: UserAgent) -> None:
    answer = await browser.ask(house.gateway.url + "/secret")

    assert answer.status == 303
    assert answer.location is not None
    assert answer.location.startswith(house.provider.issuer)
    assert answer.header("Cache-Control") == "no-store"
    assert answer.header("Referrer-Policy") == "no-referrer"
    assert house.app.requests == []
    assert await house.keys() == set()


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        pytest.param("GET", FETCH, id="fetch"),
        pytest.param("GET", {"Accept": "application/json"}, id="API caller"),
        pytest.param("GET", {"Accept": "text/html", "X-Requested-With": "XMLHttpRequest"}, id="XHR of an old browser"),
        pytest.param("GET", FETCH | {"Accept": "text/event-stream"}, id="event stream"),
        pytest.param("POST", NAVIGATION, id="form post"),
        pytest.param("PUT", {"Accept": "*/*"}, id="put"),
    ],
)
async def test_what_is_no_navigation_gets_401_and_no_login_cookie(
    house: House, browser: UserAgent, method: str, headers: dict[str, str]
) -> None:
    answer = await browser.ask(house.gateway.url + "/api/things", method=method, headers=headers)

    assert answer.status == 401
    assert answer.header("Content-Type") == "application/json"
    assert json.loads(answer.body)["login_url"] == house.gateway.url + "/oauth2/start"
    assert answer.all("Set-Cookie") == []
    assert answer.location is None
    assert house.app.requests == []


async def test_bodies_of_every_method_reach_the_app_and_its_answer_comes_back(house: House, browser: UserAgent) -> None:
    await house.provider.sign_in(browser, house.gateway.url + "/", "bob")
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        answer = await browser.ask(house.gateway.url + "/echo", method=method, data=b"x" * 300_000, headers=FETCH)
        seen = json.loads(answer.body)
        assert (seen["method"], len(seen["body"])) == (method, 300_000)
        assert values(seen["headers"], "X-Forwarded-User") == ["bob"]
        assert values(seen["headers"], "X-Forwarded-Groups") == []


async def test_a_spoofed_identity_never_reaches_the_app(house: House, browser: UserAgent) -> None:
    spoofed = {"X-Forwarded-User": "root", "x_forwarded_user": "root", "X-Forwarded-Groups": "root", "X-Auth-Request-User": "root"}
    await house.provider.sign_in(browser, house.gateway.url + "/", "bob")

    for path in ("/", "/public/page", "/open/page"):
        answer = await browser.ask(house.gateway.url + path, headers=NAVIGATION | spoofed)
        headers = json.loads(answer.body)["headers"]
        assert "root" not in json.dumps(headers)
        assert values(headers, "X-Forwarded-User") == ([] if path.startswith("/public/") else ["bob"])


async def test_a_websocket_passes_with_the_identity_for_our_own_origin_alone(house: House, browser: UserAgent) -> None:
    await house.provider.sign_in(browser, house.gateway.url + "/", "alice")
    url = house.gateway.url + "/socket"

    async with browser.websocket(url, headers={"Origin": house.gateway.url}) as socket:
        headers = json.loads(await socket.receive_str())
        assert values(headers, "X-Forwarded-User") == ["alice"]
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello"
    reached = len(house.app.requests)
    for origin in ("https://evil.example", "null", house.gateway.url + ".evil.example"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await browser.websocket(url, headers={"Origin": origin})
        assert refused.value.status == 403
    assert len(house.app.requests) == reached


async def test_a_websocket_without_a_session_is_refused_with_401(house: House, browser: UserAgent) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await browser.websocket(house.gateway.url + "/socket", headers={"Origin": house.gateway.url})

    assert refused.value.status == 401
    assert house.app.requests == []


async def test_userinfo_tells_who_and_until_when_and_no_token(house: House, browser: UserAgent) -> None:
    url = house.gateway.url + "/oauth2/userinfo"
    assert (await browser.ask(url, headers=FETCH)).status == 401
    await house.provider.sign_in(browser, house.gateway.url + "/", "alice")

    answer = await browser.ask(url, headers=FETCH)

    told = json.loads(answer.body)
    assert (told["user"], told["email"], told["groups"]) == ("alice", "alice@example.org", ["staff", "admins"])
    assert told["session"]["created"] < told["session"]["idle_expires"] <= told["session"]["expires"]
    assert set(told) == {"issuer", "user", "email", "groups", "preferred_username", "session"}
    assert answer.header("Cache-Control") == "no-store"


async def test_signing_out_ends_the_session_here_and_at_the_provider(house: House, browser: UserAgent) -> None:
    await house.provider.sign_in(browser, house.gateway.url + "/", "alice")
    kept = {cookie.key: cookie.value for cookie in browser.cookies}
    assert len(await house.keys()) > 0

    page = await browser.open(house.gateway.url + "/oauth2/sign_out")
    (form,) = forms(page)
    answer = await browser.ask(
        form.action,
        method="POST",
        data=form.fields,
        headers=NAVIGATION | {"Origin": house.gateway.url, "Sec-Fetch-Site": "same-origin"},
    )

    assert answer.status == 303
    assert answer.location is not None
    assert answer.location.startswith(house.provider.issuer + "/")
    assert "id_token_hint=" in answer.location
    assert not [key for key in await house.keys() if ":s:" in key or ":t:" in key or ":i:" in key]
    async with UserAgent(house.gateway.url) as thief:
        stolen = "; ".join(f"{name}={value}" for name, value in kept.items())
        assert (await thief.ask(house.gateway.url + "/", headers=FETCH | {"Cookie": stolen})).status == 401
    assert (await browser.ask(house.gateway.url + "/", headers=FETCH)).status == 401


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, id="cross-site form"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, id="sibling origin"),
        pytest.param({"Origin": "https://evil.example"}, id="old browser, other origin"),
        pytest.param({"Origin": "null"}, id="old browser, null origin"),
        pytest.param({}, id="no word of where it comes from"),
    ],
)
async def test_another_site_signs_nobody_out(house: House, browser: UserAgent, headers: dict[str, str]) -> None:
    await house.provider.sign_in(browser, house.gateway.url + "/", "alice")

    answer = await browser.ask(house.gateway.url + "/oauth2/sign_out", method="POST", headers={"Accept": "text/html"} | headers)

    assert answer.status == 403
    assert answer.all("Set-Cookie") == []
    assert (await browser.ask(house.gateway.url + "/", headers=FETCH)).status == 200


async def test_readiness_names_what_is_missing(house: House) -> None:
    async with UserAgent() as probe:
        ready = await probe.ask(house.gateway.admin + "/readyz", headers={})
        assert ready.status == 200
        house.store.kill()
        gone = await probe.ask(house.gateway.admin + "/readyz", headers={})
        alive = await probe.ask(house.gateway.admin + "/livez", headers={})

    assert (gone.status, json.loads(gone.body)["missing"]) == (503, ["session store"])
    assert alive.status == 200


@pytest.mark.parametrize("house", [pytest.param({"outage_grace": "0s"}, id="without grace")], indirect=True)
async def test_a_store_outage_is_503_with_the_cookie_kept_and_no_login(house: House, browser: UserAgent) -> None:
    await house.provider.sign_in(browser, house.gateway.url + "/", "alice")
    reached = len(house.app.requests)
    house.store.kill()
    async with asyncio.timeout(30):
        while "tracking.down" not in house.gateway.log:
            await asyncio.sleep(0.01)

    for headers in (NAVIGATION, FETCH):
        answer = await browser.ask(house.gateway.url + "/", headers=headers)
        assert answer.status == 503
        assert answer.header("Retry-After") is not None
        assert answer.all("Set-Cookie") == []
        assert answer.location is None
    assert len(house.app.requests) == reached
    assert (await browser.ask(house.gateway.url + "/public/page")).status == 200


async def test_stopping_drains_and_ends_with_0(house: House) -> None:
    assert await house.gateway.stop() == 0
    assert "gateway.draining" in house.gateway.log
