"""Connections that close at the worst moment are an outage of the store, whichever loop runs: never an unknown fault."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Never

import pytest
import uvloop
from redis.exceptions import ConnectionError as Disconnected

from gateway.session.store.redis_address import parse_redis_address
from gateway.session.store.redis_connections import connection_pool
from gateway.session.store.tracking import Tracking
from tests.support.followers import Heard, until
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio.connection import AbstractConnection


async def exchange(connection: AbstractConnection) -> None:
    await connection.send_packed_command([b"*1\r\n$4\r\nPING\r\n"])
    await connection.read_response()


@pytest.mark.parametrize("run", [pytest.param(asyncio.run, id="asyncio"), pytest.param(uvloop.run, id="uvloop")])
async def test_a_connection_that_closes_before_it_is_written_to(run: Callable[..., None]):
    async with redis_server() as server:

        async def closed() -> None:
            connection = connection_pool(parse_redis_address(server.url)).make_connection()
            await connection.connect()
            connection._writer.transport.abort()
            with pytest.raises(Disconnected):
                await exchange(connection)
            await connection.disconnect()

        with ThreadPoolExecutor(1) as aside:
            await asyncio.get_running_loop().run_in_executor(aside, lambda: run(closed()))


@pytest.mark.parametrize("turns", range(6))
@pytest.mark.parametrize("run", [pytest.param(asyncio.run, id="asyncio"), pytest.param(uvloop.run, id="uvloop")])
async def test_a_cancellation_while_a_command_is_sent_is_never_lost(run: Callable[..., None], turns: int):
    """Whichever turn of the loop it comes in: what has been sent in vain leaves no answer for the next one either."""
    async with redis_server() as server:

        async def cancelled() -> None:
            connection = connection_pool(parse_redis_address(server.url)).make_connection()
            await connection.connect()
            sending = asyncio.ensure_future(connection.send_command("PING"))
            for _ in range(turns):
                await asyncio.sleep(0)
            was_underway = sending.cancel()
            await asyncio.wait({sending})
            assert sending.cancelled() == was_underway
            assert connection.is_connected == (turns == 0 or not was_underway)
            await connection.disconnect()

        with ThreadPoolExecutor(1) as aside:
            await asyncio.get_running_loop().run_in_executor(aside, lambda: run(cancelled()))


async def test_a_fault_that_nobody_knows_is_no_refusal_of_the_servers():
    """A refusal would drop every copy, and whoever is signed in with it."""

    def unheard_of() -> Never:
        raise RuntimeError("unable to perform operation; the handler is closed")

    heard = Heard(is_followed=True)
    tracking = Tracking(unheard_of, heard, prefix="gateway:s:", place="here")
    await until(lambda: heard.news)
    await tracking.close()
    assert heard.news == ["lost"]
