"""A gateway looks at its store beside the start: what would lose sessions is in the log, and a store that is down holds nothing up."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.support.fake_provider import FakeProvider
from tests.support.followers import PATIENCE
from tests.support.gateway_process import GatewayProcess, gateway
from tests.support.redis_servers import RedisServer, redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@asynccontextmanager
async def started(folder: Path, store: RedisServer) -> AsyncIterator[GatewayProcess]:
    async with (
        FakeProvider() as provider,
        gateway(
            folder,
            issuer=provider.issuer,
            client_id=provider.client_id,
            client_secret=provider.client_secret,
            store=store.url,
            upstream="http://127.0.0.1:1",
        ) as running,
    ):
        yield running


async def logged(running: GatewayProcess, *words: str) -> str:
    """The first line of the log with all of these words."""
    async with asyncio.timeout(PATIENCE):
        while True:
            for line in running.log.splitlines():
                if all(word in line for word in words):
                    return line
            await asyncio.sleep(0.02)


async def ready(running: GatewayProcess, wanted: int) -> None:
    async with aiohttp.ClientSession() as client, asyncio.timeout(PATIENCE):
        while True:
            async with client.get(f"{running.admin}/readyz") as answer:
                if answer.status == wanted:
                    return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_a_store_that_would_lose_sessions_is_warned_of(tmp_path: Path, policy: str) -> None:
    async with redis_server(extra=("--maxmemory", "100mb", "--maxmemory-policy", policy)) as store, started(tmp_path, store) as running:
        line = await logged(running, "store.warning", policy)
        assert "noeviction" in line
        await ready(running, 200)


async def test_a_store_that_is_well_is_told_of(tmp_path: Path) -> None:
    async with redis_server() as store, started(tmp_path, store) as running:
        await logged(running, "store.seen", f"127.0.0.1:{store.port}", "noeviction")
        assert "store.warning" not in running.log


async def test_a_store_that_is_down_holds_nothing_up(tmp_path: Path) -> None:
    async with redis_server() as store:
        store.stop()
        async with started(tmp_path, store) as running:
            await logged(running, "store.warning", "cannot be reached")
            await ready(running, 503)
            store.start()
            await ready(running, 200)
