"""``gateway check --live`` as an operator runs it: what the gateway depends on, looked at as it is now, and nothing left of the look."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.config_files import ENVIRON, ISSUER, STORE, damaged
from tests.support.fake_provider import FakeProvider
from tests.support.redis_servers import RedisServer, redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SECRET = "hunter2"


@pytest.fixture
async def server() -> AsyncIterator[RedisServer]:
    async with redis_server(password=SECRET) as server:
        yield server


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as provider:
        yield provider


async def check(folder: Path, store: str, provider: FakeProvider) -> subprocess.CompletedProcess[str]:
    """Run it beside this loop, which serves the provider."""
    changes = {ISSUER: f"    issuer: {provider.issuer}\n", STORE: "  store: {env: STORE}\n"}
    (folder / "gateway.yaml").write_text(damaged(changes))
    command = [sys.executable, "-m", "gateway", "check", "--live", "-c", "gateway.yaml"]
    environ = os.environ | ENVIRON | {"STORE": store}
    ran = await asyncio.to_thread(subprocess.run, command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert SECRET not in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
    return ran


async def test_all_is_well(tmp_path: Path, server: RedisServer, provider: FakeProvider):
    ran = await check(tmp_path, server.url, provider)
    place = f"127.0.0.1:{server.port}"
    first, *found = ran.stdout.splitlines()
    assert (ran.returncode, ran.stderr, first) == (0, "", "The configuration is well.")
    assert [line for line in found if "provider" in line] == ["provider main: metadata and keys are there"]
    assert f"session store: {place}: every command that sessions take is allowed" in found
    assert server.command("DBSIZE") == b":0\r\n"


async def test_what_should_be_known_ends_with_0(tmp_path: Path, server: RedisServer, provider: FakeProvider):
    server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    ran = await check(tmp_path, server.url, provider)
    assert ran.returncode == 0
    assert ran.stderr.startswith("warning: session store: 127.0.0.1:")
    assert "noeviction" in ran.stderr


async def test_every_fault_is_told(tmp_path: Path, server: RedisServer, provider: FakeProvider):
    server.stop()
    provider.misbehaviour.jwks_status = 500
    ran = await check(tmp_path, server.url, provider)
    assert ran.returncode == 2
    assert sorted(line.partition(": ")[0] for line in ran.stderr.splitlines()) == ["provider main", "session store"]


async def test_memory_and_a_provider_that_is_another(tmp_path: Path, provider: FakeProvider):
    provider.misbehaviour.discovery_issuer = "https://other.example.org"
    ran = await check(tmp_path, "memory", provider)
    assert ran.returncode == 2
    assert ran.stdout.splitlines()[1:] == ["session store: memory, of one process; its sessions end with it"]
    assert ran.stderr.startswith("provider main: ")
