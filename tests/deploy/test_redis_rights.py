"""The rights in ``deploy/redis``: exactly what is sent, and enough to be told of changes, wherever the servers are."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError

from gateway.session.store.inspection import inspect, trials
from gateway.session.store.opening import open_store
from gateway.session.store.protocol import NewSession
from gateway.session.store.redis import COMMANDS
from gateway.session.store.redis_address import parse_redis_address
from tests.support.followers import Heard, until
from tests.support.redis_cluster import redis_cluster
from tests.support.redis_rights import IN_URL, PASSWORD, USER, allowed, rights
from tests.support.redis_sentinel import redis_sentinel
from tests.support.redis_servers import redis_server, server_binaries, server_id

if TYPE_CHECKING:
    from pathlib import Path

NEW = NewSession(key="k" * 43, record=b"record", tokens=b"tokens", last_seen=1_700_000_000_123, lifetime=3600.0, idle=600.0)
TO_FOLLOW = {"role", "client|tracking"}
TO_FIND_THE_WAY = {"asking", "cluster|slots", "cluster|info"}

every_server = pytest.mark.parametrize("binary", [pytest.param(one, id=server_id(one)) for one in server_binaries()])


def test_exactly_what_is_sent_is_allowed():
    assert allowed("users.acl") == COMMANDS | TO_FOLLOW
    assert allowed("users-cluster.acl") == COMMANDS | TO_FOLLOW | TO_FIND_THE_WAY
    assert allowed("users-sentinel.acl") == {"sentinel|master"}


def test_exactly_what_is_sent_is_tried():
    assert trials("gateway:").keys() == COMMANDS


async def works(url: str) -> None:
    """Everything is allowed, changes are told, and nothing is left of the look."""
    seen = await inspect(parse_redis_address(url))
    assert (seen.warnings, seen.faults) == ([], [])
    store, heard = open_store(url), Heard()
    store.follow(heard)
    await heard.until_followed()
    people = [replace(NEW, key=letter * 43) for letter in "abcdefgh"]
    for person in people:
        await store.create(person, replaces=())
    await until(lambda: {person.key for person in people} <= set(heard.news))
    heard.news.clear()
    for person in people:
        await store.end(person.key)
    await until(lambda: {person.key for person in people} <= set(heard.news))
    await store.close()


@every_server
async def test_one_server(binary: Path):
    async with redis_server(binary, acl=rights("users.acl")) as server:
        await works(server.url.replace("://", f"://{IN_URL}"))
        assert server.command("DBSIZE") == b":0\r\n"
        with Redis(port=server.port, username=USER, password=PASSWORD) as client:
            for refused in (
                ("GET", "gateway:x"),
                ("SET", "other", "1"),
                ("FLUSHALL",),
                ("CONFIG", "GET", "*"),
                ("KEYS", "*"),
                ("PUBLISH", "a", "b"),
            ):
                with pytest.raises(NoPermissionError):
                    client.execute_command(*refused)


@every_server
async def test_sentinel_and_cluster(binary: Path):
    async with AsyncExitStack() as stack:
        house = await stack.enter_async_context(redis_sentinel(binary, acls=(rights("users.acl"), rights("users-sentinel.acl"))))
        login = f"?sentinel_username={USER}&sentinel_password={quote(PASSWORD)}"
        await works(house.url.replace("://", f"://{IN_URL}") + login)
        cluster = await stack.enter_async_context(redis_cluster(binary, acl=rights("users-cluster.acl")))
        await works(cluster.url.replace("://", f"://{IN_URL}"))


@every_server
async def test_a_server_does_not_start_with_the_file_as_it_is(binary: Path):
    with pytest.raises(AssertionError, match=r"does not start"):
        async with redis_server(binary, acl=rights("users.acl").replace("#", "#REPLACE-")):
            pass
