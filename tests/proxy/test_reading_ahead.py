"""How much of an answer is read before anybody takes it: a fast application must not fill our memory before the relay has its turn."""

from __future__ import annotations

import asyncio

from gateway.proxy.connection import UpstreamConnection
from gateway.proxy.exchange import Sent
from gateway.proxy.headers import HeaderRules
from gateway.proxy.upstream import Timeouts

RULES = HeaderRules(reserved=frozenset(), cookie_names=frozenset())
BODY = 32 * 1024 * 1024
ONE_READ = 256 * 1024
"""What an event loop reads at once, at the most."""


async def test_little_is_read_before_somebody_takes_it_and_all_of_it_then() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BODY)
        for _ in range(BODY // 65536):
            writer.write(b"x" * 65536)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    loop = asyncio.get_running_loop()
    connection = UpstreamConnection(loop, Timeouts())
    await loop.create_connection(lambda: connection, "127.0.0.1", server.sockets[0].getsockname()[1])
    connection.begin(Sent("GET", b"GET / HTTP/1.1\r\n\r\n", RULES))
    await connection.answer()
    while not connection.held:
        await asyncio.sleep(0.01)
    ahead = connection.received()
    assert len(ahead) <= 64 * 1024 + ONE_READ

    taken = [len(ahead)]

    def take(data: bytes) -> bool:
        taken.append(len(data))
        return False

    connection.pour_into(take, broken=lambda: None)
    connection.flow(behind=False)

    assert await connection.flowed()
    assert sum(taken) == BODY
    assert connection.reusable
    connection.close()
    server.close()
