"""A caller that is cancelled while its answer is on the way never leaves that answer to the next one (RD-13)."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gateway.session.store.protocol import NewSession, Stored
from gateway.session.store.redis import RedisStore
from gateway.session.store.redis_address import parse_redis_address
from gateway.session.store.redis_options import RedisOptions
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ALICE = NewSession(key="a" * 43, record=b"alice", tokens=b"tokens of alice", last_seen=1, lifetime=3600.0, idle=600.0)
BOB = replace(ALICE, key="b" * 43, record=b"bob", tokens=b"tokens of bob", last_seen=2)
CANCELS = 200


@dataclass
class SlowProxy:
    """Passes bytes on in both directions, each answer after ``turns`` turns of the loop, or not before ``let_go``."""

    backend_port: int
    turns: int = 5
    flowing: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        backend_reader, backend_writer = await asyncio.open_connection("127.0.0.1", self.backend_port)

        async def questions() -> None:
            while data := await reader.read(65536):
                self.asked.set()
                backend_writer.write(data)
            backend_writer.close()

        async def answers() -> None:
            while data := await backend_reader.read(65536):
                await self.flowing.wait()
                for _ in range(self.turns):
                    await asyncio.sleep(0)
                writer.write(data)
            writer.close()

        await asyncio.gather(questions(), answers(), return_exceptions=True)


@asynccontextmanager
async def slow_redis(max_connections: int) -> AsyncIterator[tuple[SlowProxy, RedisStore]]:
    async with redis_server() as server:
        proxy = SlowProxy(server.port)
        proxy.flowing.set()
        listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
        proxy.port = listener.sockets[0].getsockname()[1]
        store = RedisStore(parse_redis_address(f"redis://127.0.0.1:{proxy.port}/0", RedisOptions(connections=max_connections)))
        try:
            for new in (ALICE, BOB):
                await store.create(new, replaces=())
            yield proxy, store
        finally:
            proxy.flowing.set()
            await store.close()
            listener.close()
            await listener.wait_closed()


async def given_up(task: asyncio.Task[object]) -> bool:
    """Cancel a task; whether it had not finished before."""
    task.cancel()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    return isinstance(outcome, asyncio.CancelledError)


async def test_cancelled_at_every_moment_of_an_exchange():
    async with slow_redis(max_connections=1) as (_, store):
        cancelled = 0
        for turn in range(CANCELS):
            task = asyncio.ensure_future(store.read(ALICE.key) if turn % 2 else store.tokens(ALICE.key))
            for _ in range(turn % 40):
                await asyncio.sleep(0)
            cancelled += await given_up(task)
            assert await store.read(BOB.key) == Stored(BOB.record, BOB.last_seen)
            assert await store.tokens(BOB.key) == BOB.tokens
        assert cancelled > CANCELS // 4
        assert len(store._servers._pool._in_use_connections) == 0


async def test_cancelled_while_the_answer_is_held_back():
    async with slow_redis(max_connections=1) as (proxy, store):
        for _ in range(CANCELS):
            proxy.flowing.clear()
            proxy.asked.clear()
            task = asyncio.ensure_future(store.read(ALICE.key))
            await proxy.asked.wait()
            assert await given_up(task)
            following = asyncio.ensure_future(store.read(BOB.key))
            await asyncio.sleep(0)
            proxy.flowing.set()
            assert await following == Stored(BOB.record, BOB.last_seen)


async def test_a_crowd_half_of_which_leaves():
    async with slow_redis(max_connections=2) as (_, store):
        for turn in range(20):
            people = [ALICE, BOB] * 10
            tasks = [asyncio.ensure_future(store.read(person.key)) for person in people]
            for _ in range(turn * 2):
                await asyncio.sleep(0)
            for task in tasks[::3]:
                task.cancel()
            for person, answer in zip(people, await asyncio.gather(*tasks, return_exceptions=True), strict=True):
                assert isinstance(answer, asyncio.CancelledError) or answer == Stored(person.record, person.last_seen)
        pool = store._servers._pool
        assert len(pool._available_connections) <= 2
        assert await asyncio.gather(*(store.read(BOB.key) for _ in range(20))) == [Stored(BOB.record, BOB.last_seen)] * 20


async def test_a_sign_out_that_began_is_finished_though_the_caller_left():
    async with slow_redis(max_connections=1) as (proxy, store):
        proxy.flowing.clear()
        proxy.asked.clear()
        task = asyncio.ensure_future(store.end(ALICE.key))
        await proxy.asked.wait()
        assert await given_up(task)
        proxy.flowing.set()
        await store._exchange.ended()
        assert await store.read(ALICE.key) == Stored(None, None)
        assert await store.tokens(ALICE.key) is None


async def test_closing_waits_for_what_is_under_way():
    async with slow_redis(max_connections=1) as (proxy, store):
        proxy.flowing.clear()
        proxy.asked.clear()
        task = asyncio.ensure_future(store.read(ALICE.key))
        await proxy.asked.wait()
        closing = asyncio.ensure_future(store.close())
        await asyncio.sleep(0)
        proxy.flowing.set()
        await closing
        assert await task == Stored(ALICE.record, ALICE.last_seen)
