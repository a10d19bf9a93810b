"""What a session holds open ends with it: by a sign-out, by the hand of an operator, by expiry; what others hold open stays.

A gateway process, a real Redis, a provider and an app that this repository does not contain. Nothing here measures how long it takes.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
import pytest
import redis.asyncio as redis

from tests.support.gateway_process import gateway
from tests.support.mock_provider import mock_provider
from tests.support.redis_servers import redis_server
from tests.support.streaming_app import streaming_app
from tests.support.user_agent import FETCH, NAVIGATION, UserAgent, forms

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.gateway_process import GatewayProcess
    from tests.support.mock_provider import MockProvider
    from tests.support.redis_servers import RedisServer
    from tests.support.streaming_app import StreamingApp

PATIENCE = 30.0
"""Seconds after which something that should have ended counts as open for ever."""


@dataclass
class House:
    """All the parts of one journey."""

    gateway: GatewayProcess
    provider: MockProvider
    store: RedisServer
    app: StreamingApp

    async def delete(self, pattern: str) -> None:
        """Delete keys in Redis, as an operator or another replica would."""
        client = redis.Redis.from_url(self.store.url)
        try:
            keys = await client.keys(pattern)
            assert keys
            await client.delete(*keys)
        finally:
            await client.aclose()


@asynccontextmanager
async def running_house(folder: Path, **changes: object) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        provider = stack.enter_context(mock_provider())
        store = await stack.enter_async_context(redis_server())
        app = await stack.enter_async_context(streaming_app())
        running = await stack.enter_async_context(
            gateway(
                folder,
                issuer=provider.issuer,
                client_id=provider.client_id,
                client_secret=provider.client_secret,
                store=store.url,
                upstream=app.url,
                **changes,
            )
        )
        yield House(running, provider, store, app)


@dataclass
class Person:
    """Somebody signed in, and what they hold open. What they never opened is None."""

    house: House
    browser: UserAgent
    socket: aiohttp.ClientWebSocketResponse
    events: aiohttp.ClientResponse
    download: aiohttp.ClientResponse
    upload: asyncio.Task[None] | None

    async def sign_out(self) -> None:
        page = await self.browser.open(self.house.gateway.url + "/oauth2/sign_out")
        (form,) = forms(page)
        answer = await self.browser.ask(form.action, method="POST", headers=NAVIGATION | {"Sec-Fetch-Site": "same-origin"}, data={})
        assert answer.status == 303

    async def everything_ends(self, code: int) -> None:
        """Wait until all of it is closed from the other side: the WebSocket with ``code``, the rest visibly broken off."""
        async with asyncio.timeout(PATIENCE):
            message = await self.socket.receive()
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, code)
            for answer in (self.events, self.download):
                with pytest.raises(aiohttp.ClientError):
                    await answer.read()
            if self.upload is not None:
                with pytest.raises((aiohttp.ClientError, ConnectionError)):
                    await self.upload

    async def everything_goes_on(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.socket.send_str("still there?")
            assert await self.socket.receive_str() == "still there?"
            for answer in (self.events, self.download):
                await answer.content.readany()  # what had come before
                assert await answer.content.readany()
        assert self.upload is None or not self.upload.done()


@asynccontextmanager
async def signed_in(house: House, name: str, *, uploads: bool = True) -> AsyncIterator[Person]:
    """A person with a WebSocket, an event stream, a download and an upload open."""
    url = house.gateway.url
    async with UserAgent(url) as browser:
        await house.provider.sign_in(browser, url + "/", name)
        async with (
            browser.websocket(url + "/socket", headers={"Origin": url}) as socket,
            browser.client.get(url + "/events", headers=FETCH) as events,
            browser.client.get(url + "/download", headers=FETCH) as download,
        ):
            assert await events.content.readexactly(12) == b"data: tick\n\n"
            assert await download.content.readexactly(1024) == bytes(1024)
            upload = asyncio.create_task(send_for_ever(browser, url + "/upload")) if uploads else None
            async with asyncio.timeout(PATIENCE):
                while uploads and not house.app.open.get("/upload"):
                    await asyncio.sleep(0.05)
            try:
                yield Person(house, browser, socket, events, download, upload)
            finally:
                if upload is not None:
                    upload.cancel()
                    await asyncio.wait({upload})


async def send_for_ever(browser: UserAgent, url: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1024)
            await asyncio.sleep(0.2)

    async with browser.client.put(url, headers=FETCH, data=pieces()) as answer:
        await answer.read()


async def test_a_sign_out_ends_what_that_person_holds_open_and_nothing_else(tmp_path: Path) -> None:
    async with running_house(tmp_path) as house, signed_in(house, "alice") as alice, signed_in(house, "bob") as bob:
        await alice.sign_out()
        await alice.everything_ends(1008)
        await bob.everything_goes_on()
        async with asyncio.timeout(PATIENCE):
            while house.app.open != {"/socket": 1, "/events": 1, "/download": 1, "/upload": 1}:
                await asyncio.sleep(0.05)


async def test_a_session_that_ended_elsewhere_ends_here(tmp_path: Path) -> None:
    async with running_house(tmp_path) as house, signed_in(house, "alice") as alice:
        await house.delete("gateway:s:*")
        await alice.everything_ends(1008)


async def test_a_session_that_nobody_uses_holds_nothing(tmp_path: Path) -> None:
    async with running_house(tmp_path, session={"idle": "6s"}) as house, signed_in(house, "alice", uploads=False) as alice:
        await alice.everything_ends(1008)


async def test_a_session_whose_lifetime_is_over_holds_nothing(tmp_path: Path) -> None:
    async with running_house(tmp_path, session={"idle": "6s", "lifetime": "6s"}) as house, signed_in(house, "alice") as alice:
        await alice.everything_ends(1008)


async def test_an_outage_of_the_store_ends_nothing(tmp_path: Path) -> None:
    async with running_house(tmp_path) as house, signed_in(house, "alice") as alice:
        house.store.kill()
        async with asyncio.timeout(PATIENCE):
            while "live.store_unavailable" not in house.gateway.log:
                await asyncio.sleep(0.05)
        await alice.everything_goes_on()


async def test_a_stop_waits_for_nothing_that_would_never_end(tmp_path: Path) -> None:
    async with running_house(tmp_path, server={"shutdown_grace": "300s"}) as house, signed_in(house, "alice", uploads=False) as alice:
        alice.download.close()
        stopping = asyncio.create_task(house.gateway.stop())
        async with asyncio.timeout(PATIENCE):
            message = await alice.socket.receive()
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
            with pytest.raises(aiohttp.ClientError):
                await alice.events.read()
            assert await stopping == 0
