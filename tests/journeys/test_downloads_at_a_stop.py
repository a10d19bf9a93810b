"""A download that has begun before a stop arrives whole, however slowly it is read in the time that there is."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from tests.support.gateway_process import gateway
from tests.support.processes import until
from tests.support.raw_upstream import raw_upstream

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.raw_upstream import Connection

SIZE = 20_000_000


@pytest.mark.parametrize("chunked", [pytest.param(False, id="moved by the kernel"), pytest.param(True, id="in chunks")])
async def test_it_arrives_whole(tmp_path: Path, chunked: bool) -> None:
    body = random.Random(1).randbytes(SIZE)  # noqa: S311 - nobody is to guess it

    async def app(connection: Connection) -> None:
        await connection.head()
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % SIZE
        await connection.send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing)
        await connection.send(b"%x\r\n%b\r\n0\r\n\r\n" % (SIZE, body) if chunked else body)
        await connection.rest()

    async with (
        raw_upstream(app) as upstream,
        gateway(
            tmp_path,
            issuer="http://127.0.0.1:9/",
            client_id="g",
            client_secret="a client secret that is long",
            store="memory",
            upstream=upstream.url,
        ) as running,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(running.url.rpartition(":")[2]), limit=65536)
        writer.write(b"GET /public/x HTTP/1.1\r\nHost: %b\r\n\r\n" % running.url.removeprefix("http://").encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")

        running.process.terminate()
        await until(lambda: ".draining" in running.log)
        if chunked:
            received = b""
            while size := int(await reader.readuntil(b"\r\n"), 16):
                received += (await reader.readexactly(size + 2))[:-2]
            assert await reader.readexactly(2) == b"\r\n"
        else:
            received = await reader.readexactly(SIZE)
        assert received == body
        assert await reader.read() == b""
        assert await running.process.wait() == 0
        assert "drain.cut" not in running.log
        writer.close()
