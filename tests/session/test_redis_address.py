"""The store's URL: what is taken, what is refused, and that no text ever holds its password."""

from __future__ import annotations

import pytest

from gateway.oidc.registration import Secret
from gateway.session.store.memory import MemoryStore
from gateway.session.store.opening import open_store
from gateway.session.store.redis import RedisStore
from gateway.session.store.redis_address import parse_redis_address
from gateway.session.store.redis_connections import connection_pool
from gateway.session.store.redis_options import RedisOptions
from gateway.session.store.redis_servers import open_servers

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
        pytest.param(
            f"redis+sentinel://app:{HIDDEN}@one,two:7000,[::1]/main/3?sentinel_username=s&sentinel_password={HIDDEN}",
            "redis+sentinel://one:26379,two:7000,[::1]:26379/main/3",
            id="Sentinel",
        ),
        pytest.param(f"rediss+sentinel://one/{'m' * 128}", f"rediss+sentinel://one:26379/{'m' * 128}/0", id="Sentinel with TLS"),
        pytest.param(f"redis+cluster://app:{HIDDEN}@one,two:7000", "redis+cluster://one:6379,two:7000", id="a cluster"),
        pytest.param("rediss+cluster://one/0?ssl_ca_certs=/etc/ca.pem", "rediss+cluster://one:6379", id="a cluster with TLS"),
    ],
)
def test_urls_that_are_taken(url: str, place: str):
    address = parse_redis_address(url)
    assert address.place == place
    assert HIDDEN not in repr(address)
    assert HIDDEN not in repr(open_servers(address))
    connection_pool(address, host=("redis", 6379))


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
        pytest.param(f"redis://:{HIDDEN}@redis,other/0", id="two servers that do not belong together"),
        pytest.param(f"redis+sentinel://:{HIDDEN}@redis", id="Sentinel without a service"),
        pytest.param(f"redis+sentinel://:{HIDDEN}@redis/a b/0", id="Sentinel with a service that is no name"),
        pytest.param(f"redis+sentinel://:{HIDDEN}@redis/main/0/1", id="Sentinel with more than a database"),
        pytest.param(f"redis+sentinel://:{HIDDEN}@one,,two/main", id="an empty host"),
        pytest.param(f"redis+sentinel://:{HIDDEN}@one,one:26379/main", id="a host twice"),
        pytest.param(f"redis+sentinel://:{HIDDEN}@one/main?sentinel_password=", id="an empty option"),
        pytest.param(f"redis+sentinel://:{HIDDEN}@one/main?ssl_ca_certs=/etc/ca.pem", id="TLS where there is none"),
        pytest.param(f"redis+cluster://:{HIDDEN}@redis/1", id="a cluster with another database"),
        pytest.param(f"redis+cluster://:{HIDDEN}@redis?db=0", id="a cluster with an option"),
        pytest.param(f"redis+cluster://:{HIDDEN}@{','.join(f'h{number}' for number in range(33))}", id="more hosts than anybody has"),
        pytest.param(f"rediss://:{HIDDEN}@redis?ssl_certfile=/etc/a.pem", id="a certificate without its key"),
    ],
)
def test_urls_that_are_refused_without_being_quoted(url: str):
    with pytest.raises(ValueError, match=r"store|Sentinel|cluster") as refused:
        open_store(Secret(url))
    assert HIDDEN not in f"{refused.value!r}{refused.value.__cause__!r}"
    assert refused.value.__cause__ is None


def test_open_store():
    assert isinstance(open_store("memory"), MemoryStore)
    assert isinstance(open_store(Secret("memory")), MemoryStore)
    assert isinstance(open_store(Secret("redis://127.0.0.1")), RedisStore)


def test_who_the_gateway_is_to_servers_and_to_sentinels():
    url = "redis+sentinel://us%40er:p%2Fw%3A@one/main?sentinel_username=watch&sentinel_password=w%23w"
    address = parse_redis_address(url)
    assert (address.login.username, address.login.password) == ("us@er", "p/w:")
    assert (address.sentinel_login.username, address.sentinel_login.password) == ("watch", "w#w")
    assert not parse_redis_address("redis+sentinel://:secret@one/main").sentinel_login, "theirs is never guessed from the servers'"


def test_files_for_tls_come_from_the_url_or_from_the_options_and_not_from_both():
    url = "rediss://one?ssl_ca_certs=/etc/ca.pem"
    options = parse_redis_address(url, RedisOptions(certificate="/etc/a.pem", key="/etc/a.key")).options
    assert (options.ca_file, options.certificate, options.key) == ("/etc/ca.pem", "/etc/a.pem", "/etc/a.key")
    with pytest.raises(ValueError, match="ca_file"):
        parse_redis_address(url, RedisOptions(ca_file="/etc/other.pem"))
