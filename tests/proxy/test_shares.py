"""How many connections one caller may hold by being slow, counted over every route to them."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import UpstreamBusy
from gateway.proxy.pool import Pool
from gateway.proxy.shares import ExchangeShares, UploadShares
from gateway.proxy.upstream import PoolLimits, Timeouts, parse_upstream
from tests.support.raw_upstream import raw_upstream

NEVER = 3600.0
"""Seconds: longer than a test."""


def pool(connections: int) -> Pool:
    return Pool(parse_upstream("http://127.0.0.1:9"), limits=PoolLimits(connections=connections))


@pytest.mark.parametrize(
    ("pools", "most"),
    [
        pytest.param([512], 128, id="a quarter"),
        pytest.param([1], 1, id="one at the least"),
        pytest.param([7], 1, id="no part of one"),
        pytest.param([8, 8], 4, id="of all addresses together"),
    ],
)
def test_one_caller_has_a_share(pools: list[int], most: int) -> None:
    shares = UploadShares([pool(connections) for connections in pools])
    ends = [shares.begin("mallory") for _ in range(most)]
    with pytest.raises(UpstreamBusy):
        shares.begin("mallory")
    shares.begin("alice")
    ends[0]()
    ends[0]()
    shares.begin("mallory")
    with pytest.raises(UpstreamBusy):
        shares.begin("mallory")


def test_routes_that_share_connections_share_the_count() -> None:
    shared, other = pool(8), pool(8)
    one, both = UploadShares([shared]), UploadShares([shared, other])
    ends = [one.begin("mallory"), one.begin("mallory")]
    with pytest.raises(UpstreamBusy):
        one.begin("mallory")
    ends += [both.begin("mallory"), both.begin("mallory")]
    with pytest.raises(UpstreamBusy):
        both.begin("mallory")
    for end in ends:
        end()
    assert shared.uploads == other.uploads == {}


@pytest.mark.parametrize(
    ("in_use", "scarce"),
    [
        pytest.param([3], False, id="more than half is free"),
        pytest.param([4], True, id="half is free"),
        pytest.param([8], True, id="none is free"),
        pytest.param([7, 0], False, id="more than half is free of all addresses together"),
        pytest.param([8, 0], True, id="half is free of all addresses together"),
    ],
)
async def test_exchanges_count_while_connections_are_scarce(in_use: list[int], *, scarce: bool) -> None:
    async def silent(connection):
        await connection.rest()

    async with raw_upstream(silent) as upstream:
        pools = [Pool(parse_upstream(upstream.url), limits=PoolLimits(connections=8)) for _ in in_use]
        used = [(pool, await pool.acquire(Timeouts())) for pool, number in zip(pools, in_use, strict=True) for _ in range(number)]
        assert ExchangeShares(pools).are_scarce is scarce
        for pool, connection in used:
            pool.release(connection)
        for pool in pools:
            await pool.close()


async def test_beyond_its_share_a_caller_waits_for_its_own_and_for_nobody_elses() -> None:
    shared = pool(8)
    shares, other_route = ExchangeShares([shared]), ExchangeShares([shared])
    ends = [await shares.begin("many", seconds=NEVER), await other_route.begin("many", seconds=NEVER)]
    waiting = [asyncio.ensure_future(each.begin("many", seconds=NEVER)) for each in (shares, other_route)]
    one = await shares.begin("one", seconds=NEVER)
    one()
    await turns_of_the_loop()
    assert not any(each.done() for each in waiting)
    ends.pop(0)()
    await turns_of_the_loop()
    assert [each.done() for each in waiting] == [True, False], "in their order"
    waiting[0].result()()
    ends.pop(0)()
    (await waiting[1])()
    assert shared.callers == {}


async def test_who_waits_in_vain_is_refused_while_connections_are_scarce_and_let_in_when_they_are_not() -> None:
    shared = pool(1)
    shares = ExchangeShares([shared])
    end = await shares.begin("many", seconds=NEVER)
    assert not shares.are_scarce
    more = await shares.begin("many", seconds=0)
    more()
    shared._dialling = 1
    with pytest.raises(UpstreamBusy):
        await shares.begin("many", seconds=0)
    end()
    assert shared.callers == {}


@pytest.mark.parametrize(
    "given", [pytest.param(False, id="before it has its turn"), pytest.param(True, id="in the moment in which it has it")]
)
async def test_who_leaves_takes_no_turn_along(*, given: bool) -> None:
    shared = pool(4)
    shares = ExchangeShares([shared])
    end = await shares.begin("many", seconds=NEVER)
    leaving = asyncio.ensure_future(shares.begin("many", seconds=NEVER))
    staying = asyncio.ensure_future(shares.begin("many", seconds=NEVER))
    await turns_of_the_loop()
    if given:
        end()
        leaving.cancel()
    else:
        leaving.cancel()
        await turns_of_the_loop()
        end()
    (await staying)()
    assert leaving.cancelled()
    assert shared.callers == {}


def test_bodies_and_exchanges_are_counted_apart() -> None:
    shared = pool(4)
    UploadShares([shared]).begin("mallory")
    assert (shared.uploads, shared.callers) == ({"mallory": 1}, {})


async def turns_of_the_loop() -> None:
    for _ in range(5):
        await asyncio.sleep(0)
