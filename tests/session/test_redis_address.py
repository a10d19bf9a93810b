"""The store's URL: what is taken, what is refused, and that no text ever holds its password."""

from __future__ import annotations

import pytest

from gateway.oidc.registration import Secret
from gateway.session.store.memory import MemoryStore
from gateway.session.store.opening import open_store
from gateway.session.store.redis import RedisStore
from gateway.session.store.redis_address import parse_redis_address

HIDDEN = "hunter2"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        pytest.param("redis://redis:6379/0", "redis://redis:6379/0", id="plain"),
        pytest.param("redis://redis", "redis://redis:6379/0", id="port and database by default"),
        pytest.param("redis://redis:6379/", "redis://redis:6379/0", id="an empty path"),
        pytest.param(f"redis://:{HIDDEN}@redis:7000/3", "redis://redis:7000/3", id="a password"),
        pytest.param(f"rediss://app:{HIDDEN}@redis/3?ssl_ca_certs=/etc/ca.pem", "rediss://redis:6379/3", id="TLS with an authority"),
        pytest.param("redis://[::1]:6379/1", "redis://[::1]:6379/1", id="IPv6"),
        pytest.param(f"unix://:{HIDDEN}@/run/redis.sock?db=2", "unix:///run/redis.sock?db=2", id="a socket"),
        pytest.param("redis://redis?db=4", "redis://redis:6379/4", id="the database as an option"),
    ],
)
def test_urls_that_are_taken(url: str, place: str):
    address = parse_redis_address(url)
    assert address.place == place
    assert HIDDEN not in repr(address)
    address.connection_pool()


@pytest.mark.parametrize(
    "url",
    [
        pytest.param(f"http://:{HIDDEN}@redis", id="another scheme"),
        pytest.param(f"{HIDDEN}", id="no URL"),
        pytest.param(f"redis://:{HIDDEN}/x@redis:6379/0", id="an unescaped slash in the password"),
        pytest.param(f"redis://:{HIDDEN}#x@redis:6379/0", id="an unescaped # in the password"),
        pytest.param(f"redis://redis:6379/0#{HIDDEN}", id="a fragment"),
        pytest.param(f"redis://:{HIDDEN}@redis:x/0", id="a port that is no number"),
        pytest.param(f"redis://:{HIDDEN}@[redis/0", id="half a bracket"),
        pytest.param(f"redis://:{HIDDEN}@/0", id="no host"),
        pytest.param(f"redis://:{HIDDEN}@redis/main", id="a database that is no number"),
        pytest.param(f"redis://:{HIDDEN}@redis/1?db=2", id="two databases"),
        pytest.param(f"redis://:{HIDDEN}@redis/0?decode_responses=true", id="an option that changes the answers"),
        pytest.param(f"redis://:{HIDDEN}@redis/0?max_connections=100000", id="an option that lifts the bound"),
        pytest.param(f"rediss://:{HIDDEN}@redis/0?ssl_cert_reqs=none", id="an option that trusts anybody"),
        pytest.param(f"redis://redis/0?password={HIDDEN}", id="a password as an option"),
        pytest.param(f"redis://:{HIDDEN}@redis?db=1&db=2", id="an option twice"),
        pytest.param(f"unix://:{HIDDEN}@redis.sock", id="a socket without a whole path"),
        pytest.param(f"redis+sentinel://:{HIDDEN}@redis", id="Sentinel, not yet"),
        pytest.param(f"redis+cluster://:{HIDDEN}@redis", id="Cluster, not yet"),
    ],
)
def test_urls_that_are_refused_without_being_quoted(url: str):
    with pytest.raises(ValueError, match=r"store|Sentinel") as refused:
        open_store(Secret(url))
    assert HIDDEN not in f"{refused.value!r}{refused.value.__cause__!r}"
    assert refused.value.__cause__ is None


def test_open_store():
    assert isinstance(open_store("memory"), MemoryStore)
    assert isinstance(open_store(Secret("memory")), MemoryStore)
    assert isinstance(open_store(Secret("redis://127.0.0.1")), RedisStore)
