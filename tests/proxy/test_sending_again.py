"""UP-02, UP-13, UP-16, UP-25: kept connections that the upstream gives up, answers that come late or early, callers that leave."""

from __future__ import annotations

import asyncio
import random

import pytest

from gateway.proxy.upstream import PoolLimits
from tests.support.raw_upstream import PATIENCE

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET = b"GET /p HTTP/1.1\r\nHost: a\r\n\r\n"


def once_then(*, dead, how="close"):
    """The first ``dead`` connections answer one request and give up as they receive a second; later ones answer."""
    count = 0

    async def script(connection):
        nonlocal count
        count += 1
        mine = count
        await connection.body(await connection.head())
        await connection.send(OK)
        while True:
            await connection.body(await connection.head())
            if mine <= dead:
                if how == "reset":
                    connection.reset()
                return
            await connection.send(OK)

    return script


async def answer_of(client):
    head = await client.head()
    await client.read(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
    return head.split(b" ")[1]


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(GET, b"200", id="GET"),
        pytest.param(b"DELETE /p HTTP/1.1\r\nHost: a\r\n\r\n", b"200", id="DELETE"),
        pytest.param(b"OPTIONS /p HTTP/1.1\r\nHost: a\r\n\r\n", b"200", id="OPTIONS"),
        pytest.param(b"PUT /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", b"200", id="PUT whose body is there"),
        pytest.param(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", b"502", id="POST"),
        pytest.param(b"PATCH /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", b"502", id="PATCH"),
        pytest.param(b"QUERY /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", b"502", id="QUERY"),
    ],
)
async def test_a_request_on_a_connection_that_was_given_up_is_sent_once_more_if_it_may_be(world, request_, status, how):
    gateway, upstream = await world(once_then(dead=1, how=how))
    client = await gateway.client()
    await client.send(GET)
    assert await answer_of(client) == b"200"
    await client.send(request_)
    assert await answer_of(client) == status
    assert len(upstream.connections) == (2 if status == b"200" else 1)
    assert upstream.received.count(request_.split(b"\r\n")[0]) == (
        2 if request_ != GET and status == b"200" else 3 if request_ == GET else 1
    )


async def test_a_body_on_its_way_is_not_sent_again(world):
    gateway, upstream = await world(once_then(dead=1))
    client = await gateway.client()
    await client.send(GET)
    assert await answer_of(client) == b"200"
    await client.send(b"PUT /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nh")
    await upstream.seen(b"PUT /p")
    await client.send(b"i")
    assert await answer_of(client) == b"502"
    assert len(upstream.connections) == 1


async def test_it_is_sent_again_once_and_on_a_new_connection(world):
    async def script(connection):
        await connection.head()
        if len(upstream.connections) == 1:
            await connection.send(OK)
            await connection.head()

    gateway, upstream = await world(script)
    client = await gateway.client()
    await client.send(GET)
    assert await answer_of(client) == b"200"
    await client.send(GET)
    assert await answer_of(client) == b"502"
    assert upstream.received.count(b"GET /p") == 3


async def test_a_first_use_is_not_repeated(world):
    async def script(connection):
        await connection.head()

    gateway, upstream = await world(script)
    assert (await gateway.ask(GET)).startswith(b"HTTP/1.1 502")
    assert len(upstream.connections) == 1


async def test_an_answer_that_had_begun_is_not_asked_for_again(world):
    async def script(connection):
        await connection.head()
        await connection.send(OK)
        await connection.head()
        await connection.send(b"HTTP/1.1 2")

    gateway, upstream = await world(script)
    client = await gateway.client()
    await client.send(GET)
    assert await answer_of(client) == b"200"
    await client.send(GET)
    assert await answer_of(client) == b"502"
    assert len(upstream.connections) == 1


async def test_up_13_a_second_answer_on_an_idle_connection_reaches_nobody(world):
    late = asyncio.Event()

    async def script(connection):
        await connection.head()
        if len(upstream.connections) == 1:
            await connection.send(OK)
            await late.wait()
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        else:
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
        await connection.rest()

    gateway, upstream = await world(script)
    client = await gateway.client()
    await client.send(GET)
    assert await answer_of(client) == b"200"
    late.set()
    await upstream.dropped()
    await client.send(GET)
    await client.head()
    assert await client.read(4) == b"good"


async def test_up_16_an_early_answer_is_relayed_and_its_connection_not_used_again(world):
    async def script(connection):
        await connection.head()
        await connection.send(OK)
        await connection.rest()

    gateway, upstream = await world(script)
    client = await gateway.client()
    await client.send(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegin")
    assert await answer_of(client) == b"200"
    await upstream.dropped()
    assert gateway.upstream.pools[0].connections == 0


async def test_up_16_a_caller_who_leaves_as_the_exchange_ends_takes_no_place_along(world, monkeypatch):
    """The end waits for what sends the body; a caller who leaves in that very moment has the end itself cancelled."""
    wait, left = asyncio.wait, []

    async def leaving(tasks, **options):
        if not left:
            left.append(asyncio.current_task())
            left[0].cancel()
        return await wait(tasks, **options)

    async def script(connection):
        await connection.head()
        await connection.send(OK)
        await connection.rest()

    gateway, upstream = await world(script)
    client = await gateway.client()
    monkeypatch.setattr(asyncio, "wait", leaving)
    await client.send(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegin")
    assert await answer_of(client) == b"200"
    async with asyncio.timeout(PATIENCE):
        while not left or not left[0].done():
            await asyncio.sleep(0)
    assert gateway.upstream.pools[0].connections == 0
    await upstream.dropped()


async def test_up_25_connections_that_end_at_any_moment_break_no_request(world):
    chance = random.Random(25)  # noqa: S311 - a test's own dice

    async def script(connection):
        for _ in range(chance.randrange(1, 6)):
            await connection.head()
            await connection.send(OK)
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)

    gateway, upstream = await world(script)

    async def caller():
        client = await gateway.client()
        statuses = []
        for _ in range(125):
            await client.send(GET)
            statuses.append(await answer_of(client))
        return statuses

    told = await asyncio.gather(*(caller() for _ in range(16)))
    assert [status for statuses in told for status in statuses] == [b"200"] * 2000
    assert len(upstream.connections) > 300


async def test_a_thousand_callers_that_leave_take_nothing_with_them(world):
    async def script(connection):
        head = await connection.head()
        if b"GET /p " in head:
            await connection.send(OK)
        await connection.rest()

    gateway, upstream = await world(script, limits=PoolLimits(connections=16, waiting=100))
    (pool,) = gateway.upstream.pools

    async def until(condition):
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0)

    for turn in range(20):
        clients = [await gateway.client() for _ in range(50)]
        for client in clients:
            await client.send(b"GET /never/%d HTTP/1.1\r\nHost: a\r\n\r\n" % turn)
        await until(lambda: pool.load == 50)
        assert pool.connections == 16
        for client in clients:
            client.leave()
        await until(lambda: not pool.load and not pool.connections)
    assert len(upstream.connections) >= 16
    good = await gateway.client()
    await good.send(GET)
    assert await answer_of(good) == b"200"
    assert (pool.connections, pool.idle) == (1, 1)


async def test_a_queue_that_is_full_is_503(world):
    release = asyncio.Event()

    async def script(connection):
        await connection.head()
        await release.wait()
        await connection.send(OK)

    gateway, upstream = await world(script, limits=PoolLimits(connections=1, waiting=0))
    first = await gateway.client()
    await first.send(GET)
    await upstream.seen(b"GET /p")
    assert (await gateway.ask(GET)).startswith(b"HTTP/1.1 503 ")
    (failure,) = gateway.failures
    assert (failure.code, failure.retry_after) == ("upstream_busy", 1)
    release.set()
    assert await answer_of(first) == b"200"
