"""The whole login against Node's certified ``oidc-provider``: PKCE required, rotation on, its own login and consent pages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.certified_provider import certified_provider, sign_in, sign_out
from tests.support.gateway_process import gateway
from tests.support.mirror_app import mirror_app, values
from tests.support.ports import free_port
from tests.support.redis_servers import redis_server
from tests.support.user_agent import FETCH, NAVIGATION, UserAgent, forms

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.gateway_process import GatewayProcess

pytestmark = pytest.mark.certified


@pytest.fixture(params=["auto", "client_secret_basic"])
async def running(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[GatewayProcess]:
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    async with (
        certified_provider(
            redirect_uris=[origin + "/oauth2/callback"], post_logout_redirect_uris=[origin + "/oauth2/signed_out"]
        ) as provider,
        redis_server() as store,
        mirror_app() as app,
        gateway(
            tmp_path,
            issuer=provider.issuer,
            client_id=provider.client_id,
            client_secret=provider.client_secret,
            store=store.url,
            upstream=app.url,
            port=port,
            provider={"client_auth": request.param},
        ) as process,
    ):
        yield process


async def test_sign_in_with_consent_see_the_identity_and_sign_out_everywhere(running: GatewayProcess) -> None:
    async with UserAgent(running.url) as browser:
        started = await browser.ask(running.url + "/deep/link?x=1")
        assert started.location is not None
        assert "code_challenge_method=S256" in started.location
        callback = await sign_in(browser.client, started.location, "alice")
        assert callback.startswith(running.url + "/oauth2/callback?")

        answer = await browser.open(callback)

        assert answer.url == running.url + "/deep/link?x=1"
        headers = json.loads(answer.body)["headers"]
        assert values(headers, "X-Forwarded-User") == ["alice"]
        assert values(headers, "X-Forwarded-Email") == ["alice@example.org"]

        (form,) = forms(await browser.open(running.url + "/oauth2/sign_out"))
        ended = await browser.ask(
            form.action,
            method="POST",
            data=form.fields,
            headers=NAVIGATION | {"Origin": running.url, "Sec-Fetch-Site": "same-origin"},
        )
        assert ended.location is not None
        assert (await browser.ask(running.url + "/", headers=FETCH)).status == 401
        back = await sign_out(browser.client, ended.location)
        assert back.startswith(running.url + "/oauth2/signed_out")
        page = await browser.open(back)
        assert page.status == 200
        assert "signed out" in page.text.lower()


async def test_a_replayed_callback_spends_nothing_and_signs_nobody_else_in(running: GatewayProcess) -> None:
    async with UserAgent(running.url) as browser, UserAgent(running.url) as thief:
        started = await browser.ask(running.url + "/")
        assert started.location is not None
        callback = await sign_in(browser.client, started.location, "bob")
        stolen = await thief.ask(callback)
        assert stolen.status == 400
        assert stolen.all("Set-Cookie") == []

        assert (await browser.open(callback)).status == 200
        replayed = await browser.ask(callback)
        assert (replayed.status, replayed.header("Location")) == (303, "/")
