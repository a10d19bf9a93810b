"""How many connections one caller may hold by being slow, counted over every route to them."""

from __future__ import annotations

import pytest

from gateway.errors import UpstreamBusy
from gateway.proxy.pool import Pool
from gateway.proxy.shares import AnswerShares, UploadShares
from gateway.proxy.upstream import PoolLimits, Timeouts, parse_upstream
from tests.support.raw_upstream import raw_upstream


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
    ("in_use", "held", "refused"),
    [
        pytest.param([4], 4, False, id="half is free"),
        pytest.param([5], 1, False, id="scarce, and less than its share"),
        pytest.param([5], 2, True, id="scarce, and all of its share"),
        pytest.param([8], 5, True, id="more than its share, from when there was plenty"),
        pytest.param([8, 0], 4, False, id="half is free of all addresses together"),
        pytest.param([8, 1], 3, False, id="scarce at all addresses, and less than its share of them"),
        pytest.param([8, 1], 4, True, id="scarce at all addresses, and all of its share of them"),
    ],
)
async def test_one_reader_has_a_share_while_connections_are_scarce(in_use: list[int], held: int, *, refused: bool) -> None:
    async def silent(connection):
        await connection.rest()

    async with raw_upstream(silent) as upstream:
        pools = [Pool(parse_upstream(upstream.url), limits=PoolLimits(connections=8)) for _ in in_use]
        shares = AnswerShares(pools)
        ends = [shares.begin("mallory") for _ in range(held)]
        used = [(pool, await pool.acquire(Timeouts())) for pool, number in zip(pools, in_use, strict=True) for _ in range(number)]
        if refused:
            with pytest.raises(UpstreamBusy):
                shares.begin("mallory")
        else:
            shares.begin("mallory")()
        shares.begin("alice")()
        for end in ends:
            end()
            end()
        shares.begin("mallory")()
        assert [pool.answers for pool in pools] == [{} for _ in pools]
        for pool, connection in used:
            pool.release(connection)
        for pool in pools:
            await pool.close()


def test_bodies_and_answers_are_counted_apart() -> None:
    shared = pool(4)
    UploadShares([shared]).begin("mallory")
    AnswerShares([shared]).begin("mallory")
    assert (shared.uploads, shared.answers) == ({"mallory": 1}, {"mallory": 1})
