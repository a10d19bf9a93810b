"""SL-04 by the hundred: one address that reads long answers slowly, or not at all, may not hold every connection to the app.

What is asserted is who is served while they go on, never how long anything takes.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.support.gateway_process import gateway
from tests.support.raw_caller import PATIENCE, until_closed
from tests.support.streaming_app import streaming_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path
    from typing import Any

    from tests.support.gateway_process import GatewayProcess
    from tests.support.streaming_app import StreamingApp

CONNECTIONS = 8
SHARE = CONNECTIONS // 4
HALF = CONNECTIONS // 2
MOST = HALF + SHARE
"""What one address may have: while half is free nothing counts, then it has its share."""
ATTACKER, OTHER = "127.0.0.2", "127.0.0.3"
LONG = [
    pytest.param("flood", id="SL-04 a long answer of known length"),
    pytest.param("flood?chunks", id="SL-04 a long answer in chunks"),
    pytest.param("events", id="SL-04 an event stream"),
]


@asynccontextmanager
async def small_pool(folder: Path, **server: Any) -> AsyncIterator[tuple[GatewayProcess, StreamingApp]]:
    async with streaming_app() as app:
        route = {
            "path": "/public/",
            "upstream": app.url,
            "access": "public",
            "strip_prefix": True,
            "pool": {"connections": CONNECTIONS},
            "timeouts": {"connect": "1s"},
        }
        async with gateway(
            folder,
            issuer="http://127.0.0.1:9",
            client_id="gateway",
            client_secret="a client secret that is long",
            store="memory",
            upstream=app.url,
            routes=[route],
            server=server,
        ) as running:
            yield running, app


def get(running: GatewayProcess, path: str, *lines: str) -> bytes:
    host = running.url.removeprefix("http://")
    return "\r\n".join([f"GET /public/{path} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode()


def ask(stack: ExitStack, running: GatewayProcess, request: bytes, *, source: str) -> socket.socket:
    """Ask, and never read."""
    parts = urlsplit(running.url)
    one = stack.enter_context(socket.socket())
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.bind((source, 0))
    one.connect((parts.hostname, parts.port))
    one.sendall(request)
    one.settimeout(0)
    return one


async def told(callers: Sequence[socket.socket]) -> list[int]:
    """Wait for each one's answer to begin: their statuses."""
    said: dict[socket.socket, int] = {}
    async with asyncio.timeout(PATIENCE):
        while len(said) < len(callers):
            await asyncio.sleep(0.02)
            for one in callers:
                try:
                    received = one.recv(12, socket.MSG_PEEK)
                except BlockingIOError:
                    continue
                said[one] = int(received.split(b" ")[1])
    return [said[one] for one in callers]


async def status(running: GatewayProcess, path: str, *lines: str, source: str) -> int:
    with ExitStack() as stack:
        (said,) = await told([ask(stack, running, get(running, path, *lines), source=source)])
        return said


@pytest.mark.parametrize("path", LONG)
async def test_one_address_that_reads_slowly_leaves_connections_to_others(tmp_path: Path, path: str) -> None:
    """All of them at once: none of them is known to be slow when it begins."""
    async with small_pool(tmp_path) as (running, app):
        with ExitStack() as stack:
            said = await told([ask(stack, running, get(running, path), source=ATTACKER) for _ in range(CONNECTIONS * 5)])
            assert (said.count(200), said.count(503)) == (MOST, len(said) - MOST)
            assert b" 200 " in await until_closed(running.url, get(running, "home", "Connection: close"))
            others = [ask(stack, running, get(running, path), source=OTHER) for _ in range(SHARE)]
            assert await told(others) == [200] * SHARE
        # They have gone, and are welcome again.
        async with asyncio.timeout(PATIENCE):
            while any(app.open.values()):
                await asyncio.sleep(0.02)
        assert await status(running, path, source=ATTACKER) == 200


@pytest.mark.parametrize("path", LONG)
async def test_nobody_is_refused_while_there_is_plenty_of_room(tmp_path: Path, path: str) -> None:
    async with small_pool(tmp_path) as (running, _):
        with ExitStack() as stack:
            for expected in [200] * MOST + [503, 503]:
                assert await told([ask(stack, running, get(running, path), source=ATTACKER)]) == [expected]
            others = [ask(stack, running, get(running, path), source=OTHER) for _ in range(SHARE)]
            assert await told(others) == [200] * SHARE


async def test_readers_behind_a_trusted_proxy_are_told_apart(tmp_path: Path) -> None:
    """By what it says of them; and where it says nothing, it stands for many and has no share."""
    async with small_pool(tmp_path, trusted_proxies=["127.0.0.2/32"]) as (running, _):
        with ExitStack() as stack:
            for expected in [200] * MOST + [503]:
                asked = get(running, "flood", "X-Forwarded-For: 198.51.100.7")
                assert await told([ask(stack, running, asked, source=ATTACKER)]) == [expected]
            assert await status(running, "flood", "X-Forwarded-For: 198.51.100.8", source=ATTACKER) == 200
            assert await status(running, "flood", source=ATTACKER) == 200


async def test_what_is_refused_is_said_and_never_reaches_the_app(tmp_path: Path) -> None:
    async with small_pool(tmp_path) as (running, app):
        with ExitStack() as stack:
            assert await told([ask(stack, running, get(running, "flood"), source="127.0.0.1") for _ in range(MOST)]) == [200] * MOST
            answer = await until_closed(running.url, get(running, "flood", "Connection: close", "Accept: application/json"))
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nRetry-After: 1" in head
            assert b"upstream_busy" in body
            assert app.asked["/flood"] == MOST


async def test_who_reads_as_fast_as_it_comes_is_never_refused_however_many_they_are(tmp_path: Path) -> None:
    """Many people behind one address wait for each other, for moments."""
    async with small_pool(tmp_path) as (running, _):
        parts = urlsplit(running.url)

        async def one() -> list[bytes]:
            said = []
            for _ in range(10):
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
                writer.write(get(running, "in_pieces", "Connection: close"))
                said.append((await reader.read())[9:12])
                writer.close()
            return said

        async with asyncio.timeout(PATIENCE):
            assert await asyncio.gather(*(one() for _ in range(CONNECTIONS * 3))) == [[b"200"] * 10] * (CONNECTIONS * 3)
