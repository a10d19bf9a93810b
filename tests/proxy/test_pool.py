"""Connections are bounded, clean when they are handed out, and none is ever lost: invariants 13 and 14, UP-13 to UP-16."""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import asynccontextmanager

import pytest

from gateway.errors import UpstreamBusy, UpstreamFailed
from gateway.proxy.exchange import Sent
from gateway.proxy.headers import HeaderRules
from gateway.proxy.pool import Pool
from gateway.proxy.upstream import PoolLimits, Timeouts, parse_upstream
from tests.support.raw_upstream import PATIENCE, raw_upstream

RULES = HeaderRules(reserved=frozenset(), cookie_names=frozenset())
TIMEOUTS = Timeouts(connect=PATIENCE)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def answer_always(connection):
    while True:
        await connection.head()
        await connection.send(OK)


def answering_always(answer):
    async def script(connection):
        while True:
            await connection.head()
            await connection.send(answer)

    return script


@asynccontextmanager
async def pool_for(script, **limits):
    async with raw_upstream(script) as server:
        pool = Pool(parse_upstream(server.url), limits=PoolLimits(**limits))
        try:
            yield pool, server
        finally:
            await pool.close()


async def exchange(connection, name="x"):
    connection.begin(Sent("GET", b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % name.encode(), RULES))
    await connection.answer()
    taken = [connection.received()]
    connection.pour_into(lambda data: bool(taken.append(data)), broken=lambda: None)
    await connection.flowed()
    return b"".join(taken)


async def ask(pool, name="x"):
    connection = await pool.acquire(TIMEOUTS)
    try:
        return await exchange(connection, name)
    finally:
        pool.release(connection)


async def until(condition):
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


async def test_one_connection_serves_one_request_after_another():
    async with pool_for(answer_always) as (pool, server):
        assert [await ask(pool) for _ in range(20)] == [b"ok"] * 20
        assert len(server.connections) == 1
        assert (pool.connections, pool.idle, pool.load) == (1, 1, 0)


async def test_the_newest_is_used_first():
    async with pool_for(answer_always) as (pool, _):
        first, second = await pool.acquire(TIMEOUTS), await pool.acquire(TIMEOUTS)
        for connection in (first, second):
            await exchange(connection)
            pool.release(connection)
        assert await pool.acquire(TIMEOUTS) is second


@pytest.mark.parametrize(
    ("answer", "limits"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", {}, id="announced close"),
        pytest.param(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", {}, id="HTTP/1.0"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok!", {}, id="UP-14 surplus in the same segment"),
        pytest.param(OK + OK, {}, id="UP-14 a second answer in the same segment"),
        pytest.param(b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1, max=5\r\nContent-Length: 2\r\n\r\nok", {}, id="kept for a second alone"),
        pytest.param(OK, {"age": 0.0}, id="too old"),
        pytest.param(OK, {"idle": 0.0}, id="idle for too long"),
    ],
)
async def test_a_connection_that_may_not_be_used_again_is_not(answer, limits):
    async with pool_for(answering_always(answer), **limits) as (pool, server):
        assert [await ask(pool) for _ in range(3)] == [b"ok"] * 3
        assert len(server.connections) == 3
        assert pool.load == 0


async def test_a_late_answer_is_nobodys():
    """UP-13: also when it lies in the kernel and nobody has read it yet."""

    async def script(connection):
        await connection.head()
        await connection.send(OK)
        await connection.head()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")

    async with pool_for(script) as (pool, server):
        assert await ask(pool) == b"ok"
        # Written and not read: no turn of the loop lies between the late answer and the next exchange.
        os.write(server.connections[0].writer.get_extra_info("socket").fileno(), b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        assert pool.take() is None
        assert (pool.connections, pool.load) == (0, 0)


async def test_an_idle_connection_is_closed_in_time():
    async def script(connection):
        await connection.head()
        await connection.send(OK)
        await connection.rest()

    async with pool_for(script, idle=0.01) as (pool, server):
        assert await ask(pool) == b"ok"
        await server.dropped()
        await until(lambda: pool.connections == 0)


async def test_a_connection_that_the_upstream_closes_leaves_the_pool():
    async def script(connection):
        await connection.head()
        await connection.send(OK)

    async with pool_for(script) as (pool, server):
        assert await ask(pool) == b"ok"
        await server.dropped()
        await until(lambda: pool.connections == 0)


async def test_waiters_are_served_in_order_by_released_connections():
    async with pool_for(answer_always, connections=1) as (pool, server):
        held = await pool.acquire(TIMEOUTS)
        served = []

        async def one(number):
            await ask(pool)
            served.append(number)

        tasks = []
        for number in range(10):
            tasks.append(asyncio.create_task(one(number)))
            await asyncio.sleep(0)
        assert pool.load == 11
        await exchange(held)
        pool.release(held)
        await asyncio.gather(*tasks)
        assert served == list(range(10))
        assert len(server.connections) == 1


async def test_waiters_are_served_when_a_connection_is_dropped():
    async with pool_for(answer_always, connections=1) as (pool, server):
        held = await pool.acquire(TIMEOUTS)
        waiting = asyncio.create_task(ask(pool))
        await asyncio.sleep(0)
        pool.release(held)  # no exchange was made: it is not used again
        assert await waiting == b"ok"
        assert len(server.connections) == 2


async def test_a_tunnel_counts_no_longer():
    async with pool_for(answer_always, connections=1) as (pool, _):
        tunnel = await pool.acquire(TIMEOUTS)
        waiting = asyncio.create_task(ask(pool))
        await asyncio.sleep(0)
        pool.detach(tunnel)
        assert await waiting == b"ok"
        pool.release(tunnel)
        assert pool.connections == 1


async def test_a_full_queue_and_a_queue_that_does_not_move_are_busy():
    async with pool_for(answer_always, connections=1, waiting=1) as (pool, _):
        held = await pool.acquire(TIMEOUTS)
        waiting = asyncio.create_task(pool.acquire(Timeouts(connect=0.05)))
        await asyncio.sleep(0)
        with pytest.raises(UpstreamBusy):
            await pool.acquire(TIMEOUTS)
        with pytest.raises(UpstreamBusy):
            await waiting
        pool.release(held)
        assert (pool.connections, pool.load) == (0, 0)


async def test_a_waiter_that_is_cancelled_as_it_is_served_loses_nothing():
    async with pool_for(answer_always, connections=1) as (pool, _):
        held = await pool.acquire(TIMEOUTS)
        waiting = asyncio.create_task(pool.acquire(TIMEOUTS))
        await asyncio.sleep(0)
        await exchange(held)
        pool.release(held)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (pool.connections, pool.idle, pool.load) == (1, 1, 0)
        assert await ask(pool) == b"ok"


async def test_a_fresh_connection_is_had_although_all_others_rest():
    async with pool_for(answer_always, connections=1) as (pool, server):
        await ask(pool)
        fresh = await pool.acquire(TIMEOUTS, fresh=True)
        assert fresh.uses == 0
        assert len(server.connections) <= 2
        pool.release(fresh)
        assert pool.connections == 0


async def test_a_refused_connection_leaves_its_place():
    async with pool_for(answer_always, connections=1) as (pool, _):
        nobody = Pool(parse_upstream("http://127.0.0.1:1"), limits=PoolLimits(connections=1))
        for _ in range(3):
            with pytest.raises(UpstreamFailed):
                await nobody.acquire(TIMEOUTS)
        assert nobody.connections == 0
        assert await ask(pool) == b"ok"


def misbehaving(chance):
    """An upstream that answers each request with its own path, or fails at it in every way there is. (Its script, who is connected now)."""
    now_open = set()

    async def script(connection):
        now_open.add(connection)
        try:
            while await misbehave(connection, (await connection.head()).split(b" ")[1][1:]):
                pass
        finally:
            now_open.discard(connection)

    async def misbehave(connection, name):
        whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name)
        how = chance.choice(["nothing", "reset", "twice", "late", "short", "announced", "slow", "silent end", *["well"] * 5])
        if how == "reset":
            connection.reset()
        if how == "slow":
            await asyncio.sleep(0.002)
        sent = {"nothing": b"", "reset": b"", "twice": whole + whole, "short": whole[:-1]}
        sent["announced"] = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + name
        await connection.send(sent.get(how, whole))
        if how == "late":
            await asyncio.sleep(0)
            await connection.send(whole)
        return how in {"well", "slow", "twice", "late"}

    return script, now_open


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_nobody_gets_anothers_answer_and_no_place_is_lost(seed):
    """A model: callers that leave at any moment, an upstream that misbehaves in every way, and four promises."""
    chance = random.Random(seed)  # noqa: S311 - a test's own dice
    script, now_open = misbehaving(chance)
    outcomes = []

    async def caller(pool, name):
        try:
            async with asyncio.timeout(PATIENCE):
                outcomes.append(await ask(pool, name) == name.encode())
        except UpstreamFailed as failure:
            outcomes.append(failure.code)

    async with pool_for(script, connections=3, waiting=20) as (pool, _):
        tasks = []
        for number in range(400):
            tasks.append(asyncio.create_task(caller(pool, f"caller-{seed}-{number}-" + "x" * chance.randrange(2000))))
            assert pool.connections <= 3
            for _ in range(chance.randrange(8)):
                await asyncio.sleep(0)
            if chance.random() < 0.3:
                chance.choice(tasks).cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results} <= {type(None), asyncio.CancelledError}
        assert outcomes.count(True) > 50
        assert set(outcomes) <= {True, "upstream_failed", "upstream_busy"}
        await until(lambda: len(now_open) == pool.idle)
        assert pool.load == 0
        # Every place is there: as many as the limit are had at once, and one more is not.
        everything = [await pool.acquire(TIMEOUTS) for _ in range(3)]
        with pytest.raises(UpstreamBusy):
            await pool.acquire(Timeouts(connect=0.01))
        for connection in everything:
            pool.release(connection)
        assert pool.connections == 0
