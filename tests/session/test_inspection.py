"""What is said of a store before sessions depend on it: its servers, what would lose sessions, missing rights; never a password."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.session.store.inspection import Seen, inspect
from gateway.session.store.redis_address import parse_redis_address
from tests.support.redis_cluster import redis_cluster
from tests.support.redis_sentinel import redis_sentinel
from tests.support.redis_servers import RedisServer, redis_server, server_binaries, server_id
from tests.support.scripted_node import scripted_node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

every_server = pytest.mark.parametrize("binary", [pytest.param(one, id=server_id(one)) for one in server_binaries()])


@pytest.fixture
async def server() -> AsyncIterator[RedisServer]:
    async with redis_server() as server:
        yield server


async def look(url: str) -> Seen:
    seen = await inspect(parse_redis_address(url))
    assert "hunter2" not in repr(seen)
    return seen


@every_server
async def test_a_server_that_is_well(binary: Path):
    async with redis_server(binary, password="hunter2") as server:
        place = f"127.0.0.1:{server.port}"
        assert await look(server.url) == Seen(
            facts=[
                f"{place}: {server_id(binary)}, no TLS, replicas: 0, when full: noeviction",
                f"{place}: every command that sessions take is allowed",
            ]
        )
        server.password = "hunter2"
        assert server.command("DBSIZE") == b":0\r\n"


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random", "volatile-ttl", "volatile-lfu"])
async def test_a_server_that_would_lose_sessions(server: RedisServer, policy: str):
    server.command("CONFIG", "SET", "maxmemory-policy", policy)
    (unlimited,) = (await look(server.url)).warnings
    assert policy in unlimited
    assert "as soon as it has a maxmemory" in unlimited
    server.command("CONFIG", "SET", "maxmemory", "100mb")
    seen = await look(server.url)
    assert (len(seen.warnings), seen.faults) == (1, [])
    assert "as soon as" not in seen.warnings[0]


async def test_rights_that_are_missing_are_named(server: RedisServer):
    server.command("ACL", "SETUSER", "weak", "on", ">hunter2", "~gateway:*", "+@all", "-getrange", "-client", "-zadd")
    seen = await look(server.url.replace("//", "//weak:hunter2@"))
    assert seen.faults == [
        f"127.0.0.1:{server.port} does not let us send: client|tracking, getrange, zadd; see deploy/redis/users.acl",
    ]
    server.command("ACL", "SETUSER", "other", "on", ">hunter2", "~other:*", "+@all")
    (fault,) = (await look(server.url.replace("//", "//other:hunter2@"))).faults
    assert "does not let us use keys that begin with gateway:" in fault


async def test_what_cannot_be_seen_is_said(server: RedisServer):
    server.command("ACL", "SETUSER", "weak", "on", ">hunter2", "~gateway:*", "+@all", "-info")
    (warning,) = (await look(server.url.replace("//", "//weak:hunter2@"))).warnings
    assert "its version and what it does when it is full cannot be seen" in warning


@pytest.mark.parametrize(
    ("break_it", "fault"),
    [
        pytest.param(("REPLICAOF", "127.0.0.1", "1"), "is a replica, which takes no writes", id="a replica"),
        pytest.param(("CONFIG", "SET", "maxmemory", "1"), "OutOfMemoryError", id="full"),
    ],
)
async def test_a_server_that_takes_no_writes(server: RedisServer, break_it: tuple[str, ...], fault: str):
    server.command(*break_it)
    assert any(fault in each for each in (await look(server.url)).faults)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        pytest.param("redis://:hunter2@127.0.0.1:1", "ConnectionError", id="one"),
        pytest.param("redis+sentinel://:hunter2@127.0.0.1:1/main", "PrimaryUnknown", id="Sentinel"),
        pytest.param("redis+cluster://:hunter2@127.0.0.1:1", "ClusterUnknown", id="a cluster"),
    ],
)
async def test_servers_that_are_down(url: str, code: str):
    seen = await look(url)
    assert seen.facts == seen.warnings == []
    (fault,) = seen.faults
    assert fault.startswith("cannot be reached: ")
    assert code in fault


async def test_a_wrong_password(server: RedisServer):
    (fault,) = (await look(server.url.replace("//", "//nobody:hunter2@"))).faults
    assert "AuthenticationError" in fault


async def test_a_server_of_another_age():
    async with scripted_node(lambda *_: b"-ERR unknown command `HELLO`\r\n") as node:
        (fault,) = (await look(f"redis://127.0.0.1:{node.port}")).faults
        assert fault.endswith("ResponseError; it takes Redis 6.0 or later, or Valkey")


async def test_a_server_that_is_no_redis():
    async with scripted_node(lambda word, *_: b"%1\r\n$5\r\nproto\r\n:3\r\n" if word == "HELLO" else b"+OK\r\n") as node:
        (fault,) = (await look(f"redis://127.0.0.1:{node.port}")).faults
        assert fault.startswith("cannot be reached: ")


async def test_every_primary_is_looked_at():
    async with redis_cluster() as cluster:
        seen = await look(cluster.url)
        assert seen.faults == seen.warnings == []
        assert {fact.partition(": ")[0] for fact in seen.facts} == {f"127.0.0.1:{node.port}" for node in cluster.nodes}
    async with redis_sentinel() as house:
        seen = await look(house.url)
        assert seen.faults == seen.warnings == []
        assert f"127.0.0.1:{house.master.port}: " in seen.facts[0]
        assert "replicas: 1" in seen.facts[0]
