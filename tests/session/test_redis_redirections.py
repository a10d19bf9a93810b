"""What a cluster's nodes say of a key, and what of it makes the store send a command again: only that it did not run."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.errors import StoreUnavailable
from gateway.session.store.opening import open_store
from gateway.session.store.redis_address import parse_redis_address
from gateway.session.store.redis_cluster import ClusterServers
from gateway.session.store.redis_topology import slot_of
from tests.support.scripted_node import ScriptedNode, resp, scripted_node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.scripted_node import Answer

NAME = "n" * 43
SLOT = slot_of(f"{{{NAME}}}")
OK = b"+OK\r\n"
WELL = "cluster_state:ok\r\ncluster_current_epoch:1\r\n"


@asynccontextmanager
async def cluster(answer: Callable[..., Answer], *, info: str = WELL) -> AsyncIterator[ScriptedNode]:
    """One node that serves every slot, as far as it says; ``answer`` is for everything else."""

    def spoken(*words: str) -> Answer:
        if words == ("CLUSTER", "SLOTS"):
            return resp([[0, 16383, ["127.0.0.1", node.port, "id"]]])
        return resp(info) if words == ("CLUSTER", "INFO") else answer(*words)

    async with scripted_node(spoken) as node:
        yield node


async def claimed(node: ScriptedNode) -> bool:
    store = open_store(f"redis+cluster://127.0.0.1:{node.port}")
    try:
        return await store.claim(NAME, lifetime=60.0)
    finally:
        await store.close()


async def test_a_command_without_an_answer_is_not_sent_again():
    async with cluster(lambda *_: None) as node:
        with pytest.raises(StoreUnavailable, match="ConnectionError"):
            await claimed(node)
        assert node.times("SET") == 1


async def test_a_command_that_an_error_answers_is_not_sent_again():
    async with cluster(lambda *_: b"-ERR no\r\n") as node:
        with pytest.raises(StoreUnavailable, match="ResponseError"):
            await claimed(node)
        assert node.times("SET") == 1


async def test_moved_leads_to_where_the_key_is():
    async with scripted_node(lambda *_: OK) as there, cluster(lambda *_: f"-MOVED {SLOT} 127.0.0.1:{there.port}\r\n".encode()) as here:
        assert await claimed(here)
        assert (here.times("SET"), there.times("SET")) == (1, 1)


async def test_moved_without_a_host_leads_to_the_host_that_said_so():
    async with scripted_node(lambda *_: OK) as there, cluster(lambda *_: f"-MOVED {SLOT} :{there.port}\r\n".encode()) as here:
        assert await claimed(here)
        assert there.times("SET") == 1


async def test_asking_and_the_command_it_is_for_go_together():
    async with scripted_node(lambda *_: OK) as there, cluster(lambda *_: f"-ASK {SLOT} 127.0.0.1:{there.port}\r\n".encode()) as here:
        assert await claimed(here)
        assert [(number, words[0]) for number, words in there.asked] == [(1, "ASKING"), (1, "SET")]


async def test_a_key_that_is_sent_about_for_ever_is_an_outage():
    async with cluster(lambda *_: f"-MOVED {SLOT} 127.0.0.1:{node.port}\r\n".encode()) as node:
        with pytest.raises(StoreUnavailable, match="MovedError"):
            await claimed(node)
        assert 2 < node.times("SET") < 20


async def test_a_command_that_is_put_off_is_sent_again_a_few_times():
    answers = [b"-TRYAGAIN later\r\n", b"-TRYAGAIN later\r\n", OK]
    async with cluster(lambda *_: answers.pop(0)) as node:
        assert await claimed(node)
    async with cluster(lambda *_: b"-TRYAGAIN later\r\n") as node:
        with pytest.raises(StoreUnavailable, match="TryAgainError"):
            await claimed(node)
        assert 2 < node.times("SET") < 20


@pytest.mark.parametrize(("how", "before"), [pytest.param("MOVED", [], id="moved"), pytest.param("ASK", ["ASKING"], id="ask")])
async def test_a_transaction_is_redirected_as_a_whole(how: str, before: list[str]):
    def answering(first: bytes, done: bytes) -> Callable[..., Answer]:
        return lambda *words: {"MULTI": OK, "ASKING": OK, "EXEC": done}.get(words[0], first)

    transaction = (("MULTI",), ("GETRANGE", f"{{{NAME}}}", 0, 1), ("DEL", f"{{{NAME}}}"), ("EXEC",), ("WAIT", 1, 1))
    async with scripted_node(answering(b"+QUEUED\r\n", resp([None, 0]))) as there:
        away = f"-{how} {SLOT} 127.0.0.1:{there.port}\r\n".encode()
        async with cluster(answering(away, b"-EXECABORT no\r\n")) as here:
            servers = ClusterServers(parse_redis_address(f"redis+cluster://127.0.0.1:{here.port}"))
            async with servers.pipeline() as pipe:
                for command in transaction:
                    pipe.execute_command(*command)
                answers = await pipe.execute(raise_on_error=False)
            assert answers[3] == [None, 0]
            assert [words[0] for _, words in there.asked] == [*before, "MULTI", "GETRANGE", "DEL", "EXEC", "WAIT"]
            await servers.close()


@pytest.mark.parametrize(
    ("slots", "info", "code"),
    [
        pytest.param([], "cluster_state:fail\r\n", "ClusterDown", id="it says that it is down"),
        pytest.param([], WELL, "ClusterDownError", id="nobody serves anything"),
        pytest.param([[0, 5, ["127.0.0.1", 1, "id"]]], WELL, "ClusterDownError", id="nobody serves this slot"),
        pytest.param("nonsense", WELL, "ClusterUnknown", id="nonsense"),
        pytest.param([[0, 16383]], WELL, "ClusterUnknown", id="a range without a node"),
        pytest.param([[0, 16383, ["?", 1, "id"]]], WELL, "ClusterUnknown", id="a node without an address"),
        pytest.param([[0, 16383, ["a", 1, "id"]], [5, 9, ["b", 1, "id"]]], WELL, "ClusterUnknown", id="two nodes for a slot"),
        pytest.param([[-1, 16383, ["a", 1, "id"]]], WELL, "ClusterUnknown", id="a slot that is none"),
        pytest.param([[0, 16383, ["a", "b", "id"]]], WELL, "ClusterUnknown", id="a port that is none"),
    ],
)
async def test_a_topology_that_leads_nowhere_is_an_outage(slots: object, info: str, code: str):
    def answer(*words: str) -> Answer:
        return resp(slots) if words == ("CLUSTER", "SLOTS") else resp(info) if words == ("CLUSTER", "INFO") else OK

    async with scripted_node(answer) as node:
        with pytest.raises(StoreUnavailable, match=f"{code}$"):
            await claimed(node)
        assert node.times("SET") == 0


async def test_a_server_that_is_no_cluster_is_an_outage():
    async with scripted_node(lambda *_: b"-ERR This instance has cluster support disabled\r\n") as node:
        with pytest.raises(StoreUnavailable, match="ClusterUnknown"):
            await claimed(node)


async def test_the_newest_topology_counts():
    async with scripted_node(lambda *_: OK) as there:

        def past(*words: str) -> Answer:
            if words == ("CLUSTER", "SLOTS"):
                return resp([[0, 16383, ["127.0.0.1", 1, "id"]]])
            return resp(WELL)

        def now(*words: str) -> Answer:
            if words == ("CLUSTER", "SLOTS"):
                return resp([[0, 16383, ["127.0.0.1", there.port, "id"]]])
            return resp(WELL.replace(":1", ":2"))

        async with scripted_node(past) as old, scripted_node(now) as new:
            for hosts in ((old, new), (new, old)):
                store = open_store("redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in hosts))
                assert await store.claim(NAME, lifetime=60.0)
                await store.close()


async def test_many_who_need_the_topology_ask_once():
    async with cluster(lambda *_: OK) as node:
        store = open_store(f"redis+cluster://127.0.0.1:{node.port}")
        assert all(await asyncio.gather(*(store.claim(NAME, lifetime=60.0) for _ in range(50))))
        assert node.times("CLUSTER") == 2
        await store.close()
