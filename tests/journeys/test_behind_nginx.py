"""nginx in front with ``auth_request`` and the gateway as the decision point, on the recipe that ``deploy/nginx`` documents."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.support.gateway_process import gateway
from tests.support.mirror_app import mirror_app, values
from tests.support.mock_provider import mock_provider
from tests.support.nginx import nginx_in_front
from tests.support.ports import free_port
from tests.support.redis_servers import redis_server
from tests.support.user_agent import FETCH, NAVIGATION, UserAgent, forms

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.gateway_process import GatewayProcess
    from tests.support.mirror_app import MirrorApp
    from tests.support.mock_provider import MockProvider

pytestmark = pytest.mark.nginx


class Front:
    def __init__(self, origin: str, running: GatewayProcess, provider: MockProvider, app: MirrorApp) -> None:
        self.origin, self.gateway, self.provider, self.app = origin, running, provider, app


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    gateway_port, public_port = free_port(), free_port()
    with mock_provider() as provider:
        async with (
            redis_server() as store,
            mirror_app() as app,
            nginx_in_front(gateway_port=gateway_port, app_port=urlsplit(app.url).port or 0, public_port=public_port) as nginx,
            gateway(
                tmp_path,
                issuer=provider.issuer,
                client_id=provider.client_id,
                client_secret=provider.client_secret,
                store=store.url,
                upstream=None,
                port=gateway_port,
                server={"public_url": nginx.origin, "trusted_proxies": ["127.0.0.1/32"]},
                routes=[
                    {"path": "/public/", "access": "public"},
                    {"path": "/open/", "access": "optional"},
                    {"path": "/", "access": "signed_in"},
                ],
            ) as running,
        ):
            yield Front(nginx.origin, running, provider, app)


@pytest.fixture
async def browser(front: Front) -> AsyncIterator[UserAgent]:
    async with UserAgent(front.origin) as agent:
        yield agent


async def test_the_whole_login_through_nginx_ends_at_the_deep_link_with_the_identity(front: Front, browser: UserAgent) -> None:
    answer = await front.provider.sign_in(browser, front.origin + "/reports/2026?month=11&q=a%2Fb", "alice")

    assert (answer.status, answer.url) == (200, front.origin + "/reports/2026?month=11&q=a%2Fb")
    seen = json.loads(answer.body)
    assert values(seen["headers"], "X-Forwarded-User") == ["alice"]
    assert values(seen["headers"], "X-Forwarded-Email") == ["alice@example.org"]
    assert values(seen["headers"], "X-Forwarded-Groups") == ["staff,admins"]


async def test_spoofed_identity_is_gone_at_the_app(front: Front, browser: UserAgent) -> None:
    spoofed = {
        "X-Forwarded-User": "root",
        "X-Forwarded-Email": "root",
        "X-Forwarded-Groups": "root",
        "X-Forwarded-Preferred-Username": "root",
        "X-Auth-Request-User": "root",
        "X-Forwarded-Uri": "/public/root",
        "X-Forwarded-Method": "GET",
        "X-Original-URL": "http://root/public/",
    }
    await front.provider.sign_in(browser, front.origin + "/", "bob")

    for path in ("/private", "/public/page", "/open/page"):
        answer = await browser.ask(front.origin + path, headers=NAVIGATION | spoofed)
        assert answer.status == 200, answer.text
        headers = json.loads(answer.body)["headers"]
        for name in ("X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Preferred-Username"):
            assert "root" not in values(headers, name)
        assert values(headers, "X-Forwarded-Groups") == []
        assert [value for value in values(headers, "X-Forwarded-User") if value] == ([] if path == "/public/page" else ["bob"])


async def test_without_a_session_no_request_reaches_the_app(front: Front, browser: UserAgent) -> None:
    navigation = await browser.ask(front.origin + "/private")
    fetch = await browser.ask(front.origin + "/private", headers=FETCH)
    spoofed = await browser.ask(front.origin + "/private", headers=FETCH | {"X-Original-URL": front.origin + "/public/x"})

    assert (navigation.status, navigation.location) == (303, front.origin + "/oauth2/start?rd=/private")
    assert fetch.status == 401
    assert spoofed.status == 401
    assert front.app.requests == []
    assert (await browser.ask(front.origin + "/public/page")).status == 200


@pytest.mark.parametrize("path", ["/public/../private", "/public/%2e%2e/private", "/public/..%2fprivate", "/public;x/../private"])
async def test_a_path_that_nginx_reads_otherwise_is_never_let_through(front: Front, browser: UserAgent, path: str) -> None:
    answer = await browser.ask(front.origin + path, headers=FETCH)

    assert answer.status >= 400
    assert front.app.requests == []


async def test_signing_out_through_nginx(front: Front, browser: UserAgent) -> None:
    await front.provider.sign_in(browser, front.origin + "/", "alice")
    (form,) = forms(await browser.open(front.origin + "/oauth2/sign_out"))

    answer = await browser.ask(
        form.action,
        method="POST",
        data=form.fields,
        headers=NAVIGATION | {"Origin": front.origin, "Sec-Fetch-Site": "same-origin"},
    )

    assert answer.status == 303
    assert (await browser.ask(front.origin + "/private")).status == 303


async def test_the_decision_endpoint_refuses_whoever_asks_past_nginx(front: Front, browser: UserAgent) -> None:
    """Straight to the gateway, from an address that is trusted, with a family that is incomplete, doubled or of another host."""
    asked = front.gateway.url + "/oauth2/auth"
    await front.provider.sign_in(browser, front.origin + "/", "alice")

    for headers, status in (
        ({}, 400),
        ({"X-Original-URL": front.origin + "/"}, 400),
        ({"X-Original-URL": "http://other.example/", "X-Original-Method": "GET"}, 403),
        ({"X-Original-URL": front.origin + "/public/../private", "X-Original-Method": "GET"}, 403),
        ({"X-Original-URL": front.origin + "/private", "X-Original-Method": "GET"}, 202),
    ):
        answer = await browser.ask(asked, headers=headers)
        assert (answer.status, headers) == (status, headers)
