"""Nobody can make the gateway hold what somebody else does not read."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gateway.proxy.connector import Upstream
from gateway.proxy.upstream import parse_upstream
from tests.support.raw_upstream import PATIENCE, raw_upstream

SIZE = 64_000_000
MOST = 2 * 1024 * 1024


class Watched(Upstream):
    """Counts what the gateway takes from the application."""

    taken = 0
    connection = None

    async def acquire(self, *, fresh=False):
        connection = self.connection = await super().acquire(fresh=fresh)
        pass_on = connection.data_received

        def count(data):
            self.taken += len(data)
            pass_on(data)

        connection.data_received = count
        connection._transport.set_protocol(connection)  # uvloop remembers the method, not the name
        return connection

    async def held(self):
        async with asyncio.timeout(PATIENCE):
            while self.connection is None or not self.connection.held:
                await asyncio.sleep(0)


async def small_client(gateway):
    """A connected socket with small kernel buffers, which nobody reads in the background."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    sock.settimeout(0)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", gateway.port))
    return sock


@pytest.mark.parametrize("framing", ["length", "chunks", "close"])
async def test_answer_that_nobody_reads_stops_the_upstream_early_and_arrives_whole_later(gateway_for, framing):
    heads = {"length": b"Content-Length: %d\r\n" % SIZE, "chunks": b"Transfer-Encoding: chunked\r\n", "close": b""}
    piece = b"x" * 64_000

    async def script(connection):
        await connection.head()
        await connection.send(b"HTTP/1.1 200 OK\r\n" + heads[framing] + b"\r\n")
        for _ in range(SIZE // len(piece)):
            await connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if framing == "chunks" else piece)
        if framing == "chunks":
            await connection.send(b"0\r\n\r\n")

    async with raw_upstream(script) as upstream, gateway_for(upstream.url, small_buffers=True) as gateway:
        watched = gateway.upstream = Watched.at(parse_upstream(upstream.url))
        loop = asyncio.get_running_loop()
        sock = await small_client(gateway)
        await loop.sock_sendall(sock, b"GET /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        await watched.held()
        assert 0 < watched.taken < MOST
        assert not upstream.connections[0].over.is_set()
        body = 0
        async with asyncio.timeout(3 * PATIENCE):
            while data := await loop.sock_recv(sock, 1 << 20):
                body += data.count(b"x")
        sock.close()
        assert body == SIZE


async def test_upload_that_the_upstream_does_not_read_stops_the_caller(gateway_for):
    read_on = asyncio.Event()
    got = 0

    async def script(connection):
        nonlocal got
        await connection.head()
        await read_on.wait()
        while got < SIZE:
            got += len(await connection.reader.read(1 << 20))
        await connection.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with raw_upstream(script) as upstream, gateway_for(upstream.url, small_buffers=True) as gateway:
        watched = gateway.upstream = Watched.at(parse_upstream(upstream.url))
        client = await gateway.client()
        client.writer.transport.set_write_buffer_limits(high=0)
        await client.send(b"PUT /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % SIZE)
        written = 0

        async def upload():
            nonlocal written
            while written < SIZE:
                await client.send(b"x" * 64_000)
                written += 64_000

        uploading = asyncio.create_task(upload())
        async with asyncio.timeout(PATIENCE):
            # A body of this length has somebody who feeds it to the connection.
            while watched.connection is None or watched.connection._feeder is None or not watched.connection._feeder.behind:
                await asyncio.sleep(0)
        assert not uploading.done()
        read_on.set()
        await uploading
        assert (await client.rest()).startswith(b"HTTP/1.1 204")
        assert got == SIZE
