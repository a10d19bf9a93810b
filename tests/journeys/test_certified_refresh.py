"""Refreshes against Node's certified ``oidc-provider``, which rotates refresh tokens and ends the grant when an old one comes.

Two gateways before one Redis, tokens that live for three seconds, and requests at both all the time: were one refresh token shown twice,
the sign-in would be over.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from tests.support.certified_provider import certified_provider, sign_in
from tests.support.gateway_process import gateway, new_key_file
from tests.support.mirror_app import mirror_app, values
from tests.support.ports import free_port
from tests.support.redis_servers import redis_server
from tests.support.user_agent import FETCH, UserAgent

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.certified

PATIENCE = 60.0


async def test_a_session_outlives_its_tokens_many_times_over(tmp_path: Path) -> None:
    ports = free_port(), free_port()
    origin = f"http://127.0.0.1:{ports[0]}"
    key = new_key_file(tmp_path)
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(certified_provider(redirect_uris=[origin + "/oauth2/callback"], access_token_seconds=3))
        store = await stack.enter_async_context(redis_server())
        app = await stack.enter_async_context(mirror_app())
        gateways = []
        for index, port in enumerate(ports):
            (tmp_path / str(index)).mkdir()
            running = gateway(
                tmp_path / str(index),
                issuer=provider.issuer,
                client_id=provider.client_id,
                client_secret=provider.client_secret,
                store=store.url,
                upstream=app.url,
                port=port,
                key_files=[key],
                server={"public_url": origin},
                provider={"clock_skew": "0s"},
                routes=[
                    {
                        "path": "/",
                        "upstream": app.url,
                        "identity": {"X-Forwarded-User": "sub", "X-Forwarded-Email": "email", "X-Forwarded-Access-Token": "token:access"},
                    }
                ],
            )
            gateways.append(await stack.enter_async_context(running))
        browser = await stack.enter_async_context(UserAgent(*(one.url for one in gateways)))
        started = await browser.ask(origin + "/")
        assert started.location is not None
        assert (await browser.open(await sign_in(browser.client, started.location, "alice"))).status == 200
        cookies = "; ".join(f"{cookie.key}={cookie.value}" for cookie in browser.cookies)
        headers = FETCH | {"Host": origin.removeprefix("http://"), "Cookie": cookies}

        seen: set[str] = set()
        async with asyncio.timeout(PATIENCE):
            while len(seen) < 6:
                answers = await asyncio.gather(*(browser.ask(one.url + "/", headers=headers) for _ in range(10) for one in gateways))
                for answer in answers:
                    assert answer.status == 200, answer.text
                    sent = json.loads(answer.body)["headers"]
                    assert (values(sent, "X-Forwarded-User"), values(sent, "X-Forwarded-Email")) == (["alice"], ["alice@example.org"])
                    seen.update(values(sent, "X-Forwarded-Access-Token"))
                await asyncio.sleep(0.05)
        refreshed = sum(one.log.count("session.refreshed") for one in gateways)
        assert refreshed in (len(seen) - 1, len(seen)), "each refresh gave one token"
        assert not any("session.ended" in one.log or "refresh.failed" in one.log for one in gateways)
