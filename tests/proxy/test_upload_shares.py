"""How many connections one caller may hold with bodies that are still coming, counted over every route to them."""

from __future__ import annotations

import pytest

from gateway.errors import UpstreamBusy
from gateway.proxy.pool import Pool
from gateway.proxy.upload_shares import UploadShares
from gateway.proxy.upstream import PoolLimits, parse_upstream


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
