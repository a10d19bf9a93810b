"""SL-02 by the hundred: one address whose bodies never end may not hold every connection to the app.

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
from tests.support.mirror_app import mirror_app
from tests.support.raw_caller import PATIENCE, answers, until_closed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from typing import Any

    from tests.support.gateway_process import GatewayProcess

CONNECTIONS = 8
SHARE = CONNECTIONS // 4
ATTACKER = "127.0.0.2"


@asynccontextmanager
async def small_pool(folder: Path, **server: Any) -> AsyncIterator[GatewayProcess]:
    async with mirror_app() as app:
        route = {"path": "/public/", "upstream": app.url, "access": "public", "pool": {"connections": CONNECTIONS}}
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
            yield running


def head(running: GatewayProcess, method: str, *lines: str) -> bytes:
    host = running.url.removeprefix("http://")
    return "\r\n".join([f"{method} /public/x HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode()


async def attack(stack: ExitStack, running: GatewayProcess, request: bytes, *, source: str = ATTACKER) -> list[int]:
    """Five times as many bodies that never end as the pool has connections: those that were turned away, by status."""
    parts = urlsplit(running.url)
    slow = []
    for _ in range(CONNECTIONS * 5):
        one = stack.enter_context(socket.create_connection((parts.hostname, parts.port), source_address=(source, 0)))
        one.sendall(request)
        one.settimeout(0)
        slow.append(one)
    said: dict[socket.socket, int] = {}
    async with asyncio.timeout(PATIENCE):
        while len(said) < len(slow) - SHARE:
            await asyncio.sleep(0.02)
            for one in slow:
                try:
                    received = one.recv(65536, socket.MSG_PEEK)
                except BlockingIOError:
                    continue
                if not received.startswith(b"HTTP/1.1 100 "):
                    said[one] = int(received.split(b" ")[1])
    return list(said.values())


@pytest.mark.parametrize(
    ("framing", "begun"),
    [
        pytest.param(["Content-Length: 100000"], b"x", id="SL-02 bodies of known length"),
        pytest.param(["Transfer-Encoding: chunked"], b"1\r\nx\r\n", id="SL-02 bodies in chunks"),
        pytest.param(["Content-Length: 100000", "Expect: 100-continue"], b"", id="SL-02 bodies that were asked for"),
    ],
)
async def test_one_address_with_slow_bodies_leaves_connections_to_others(tmp_path: Path, framing: list[str], begun: bytes) -> None:
    async with small_pool(tmp_path) as running:
        with ExitStack() as stack:
            turned_away = await attack(stack, running, head(running, "POST", *framing) + begun)
            assert turned_away == [503] * (CONNECTIONS * 5 - SHARE)
            get = head(running, "GET", "Connection: close")
            upload = head(running, "POST", "Content-Length: 3", "Connection: close")
            for pieces in ([get], [upload + b"abc"], [upload, b"a", b"bc"]):
                (said,) = answers(await until_closed(running.url, *pieces))
                assert said.status == 200
        # They have gone, and are welcome again.
        async with asyncio.timeout(PATIENCE):
            while b" 200 " not in await until_closed_from(ATTACKER, running, upload + b"abc"):
                await asyncio.sleep(0.02)


async def test_clients_of_a_trusted_proxy_are_told_apart(tmp_path: Path) -> None:
    """SL-02: by what it says of them."""
    async with small_pool(tmp_path, trusted_proxies=["127.0.0.2/32"]) as running:
        with ExitStack() as stack:
            slow = head(running, "POST", "Content-Length: 100000", "X-Forwarded-For: 198.51.100.7")
            assert await attack(stack, running, slow) == [503] * (CONNECTIONS * 5 - SHARE)
            for client, status in (("198.51.100.8", b" 200 "), ("198.51.100.7", b" 503 ")):
                upload = head(running, "POST", "Content-Length: 3", "Connection: close", f"X-Forwarded-For: {client}")
                assert status in (await until_closed_from(ATTACKER, running, upload, b"abc"))[:20]


async def until_closed_from(source: str, running: GatewayProcess, *pieces: bytes) -> bytes:
    parts = urlsplit(running.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, local_addr=(source, 0))
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.05)
        return await reader.read()
    finally:
        writer.close()
