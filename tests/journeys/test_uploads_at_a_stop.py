"""An upload that was let in before a stop arrives whole, and nothing that comes behind it arrives in its place."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.gateway_process import gateway
from tests.support.processes import until
from tests.support.raw_upstream import raw_upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.gateway_process import GatewayProcess
    from tests.support.raw_upstream import Connection

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BEHIND = b"GET /public/next HTTP/1.1\r\nHost: app\r\nCookie: another=secret\r\n\r\n"


def pieces(size: int) -> list[bytes]:
    """``size`` bytes of which no two places look alike, in ten pieces."""
    body = b"".join(b"%07d;" % number for number in range(size // 8))
    return [body[start : start + size // 10] for start in range(0, size, size // 10)]


@asynccontextmanager
async def taking_uploads(folder: Path) -> AsyncIterator[tuple[GatewayProcess, list[bytes], list[bytes]]]:
    """A gateway before an app that keeps the heads and whole bodies that it gets."""
    heads: list[bytes] = []
    bodies: list[bytes] = []

    async def app(connection: Connection) -> None:
        while True:
            try:
                heads.append(await connection.head())
            except asyncio.IncompleteReadError:
                return
            bodies.append(await connection.body(heads[-1]))
            await connection.send(ANSWER)

    async with (
        raw_upstream(app) as upstream,
        gateway(
            folder,
            issuer="http://127.0.0.1:9/",
            client_id="g",
            client_secret="a client secret that is long",
            store="memory",
            upstream=upstream.url,
        ) as running,
    ):
        yield running, heads, bodies


@pytest.mark.parametrize("size", [pytest.param(4000, id="short"), pytest.param(40_000, id="read"), pytest.param(400_000, id="passed on")])
@pytest.mark.parametrize("chunked", [pytest.param(False, id="of known length"), pytest.param(True, id="in chunks")])
async def test_it_arrives_whole_and_nothing_behind_it(tmp_path: Path, size: int, chunked: bool) -> None:
    async with taking_uploads(tmp_path) as (running, heads, bodies):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(running.url.rpartition(":")[2]))
        first, *others = pieces(size)
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
        host = running.url.removeprefix("http://").encode()
        send = (lambda piece: b"%x\r\n%b\r\n" % (len(piece), piece)) if chunked else bytes
        writer.write(b"PUT /public/x HTTP/1.1\r\nHost: %b\r\n%b\r\n\r\n%b" % (host, framing, send(first)))
        await until(lambda: bool(heads))

        running.process.terminate()
        await until(lambda: ".draining" in running.log)
        for piece in others:
            writer.write(send(piece))
            await writer.drain()
        writer.write((b"0\r\n\r\n" if chunked else b"") + BEHIND)

        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nConnection: close\r\n" in answer
        assert bodies == [first + b"".join(others)]
        assert await running.process.wait() == 0
        assert len(heads) == 1
        assert "drain.cut" not in running.log
        writer.close()
