"""Reads that overtake the end of a session on this very replica, while it is told nothing: none of them brings the session back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.session.sealing import Keyring
from gateway.session.sessions import Absent, Found, Sessions
from gateway.session.store.memory import MemoryStore
from tests.session.test_sessions import KEY, LIFETIMES, NAMES, OTHER_KEY, begin
from tests.support.late_news import Line

if TYPE_CHECKING:
    from tests.session.conftest import Clock, FakeProvider


class World:
    def __init__(self, clock: Clock) -> None:
        self.line = Line(MemoryStore(clock=clock), clock)
        self.keyring = Keyring([KEY])
        self.sessions = Sessions(self.keyring, self.line, LIFETIMES, clock=clock, monotonic=clock)
        self.sessions.start()

    async def held_up(self, work) -> tuple[asyncio.Task, asyncio.Event]:
        """Begin this, and return when it waits for the store; the event lets it go."""
        self.line.gate, self.line.reached = asyncio.Event(), asyncio.Event()
        task = asyncio.ensure_future(work)
        await self.line.reached.wait()
        gate, self.line.gate = self.line.gate, None
        return task, gate


@pytest.fixture
async def world(clock: Clock):
    here = World(clock)
    yield here
    await here.sessions.close()


@pytest.mark.parametrize("how", ["sign-out", "another login"])
@pytest.mark.parametrize("read_begins", ["before the end", "while the store is told"])
async def test_a_read_that_overtakes_the_end_brings_nothing_back(world: World, provider: FakeProvider, how: str, read_begins: str):
    cookies, begun = await begin(world.sessions, provider)

    def end():
        return world.sessions.end(begun.handle) if how == "sign-out" else begin(world.sessions, provider, replaces=(begun.handle.key,))

    if read_begins == "before the end":
        reading, read_goes = await world.held_up(world.sessions.find(cookies, NAMES))
        await end()
        read_goes.set()
    else:
        assert isinstance(await world.sessions.find(cookies, NAMES), Found)
        ending, end_goes = await world.held_up(end())
        assert world.sessions.cached(cookies, NAMES) is None, "gone before the store is told"
        reading = asyncio.ensure_future(world.sessions.find(cookies, NAMES))
        await reading
        end_goes.set()
        await ending
    assert await reading == begun, "the store had it when it was asked"
    assert world.sessions.cached(cookies, NAMES) is None
    assert await world.sessions.find(cookies, NAMES) == Absent("ended")


async def test_a_read_under_a_key_that_goes_meanwhile_is_not_kept(world: World, provider: FakeProvider):
    cookies, begun = await begin(world.sessions, provider)
    reading, read_goes = await world.held_up(world.sessions.find(cookies, NAMES))
    world.keyring.replace([OTHER_KEY])
    read_goes.set()
    assert await reading == begun
    assert world.sessions.cached(cookies, NAMES) is None
    assert await world.sessions.find(cookies, NAMES) == Absent("unreadable")


async def test_a_read_that_is_given_up_leaves_nothing_behind(world: World, provider: FakeProvider):
    cookies, _ = await begin(world.sessions, provider)
    reading, goes = await world.held_up(world.sessions.find(cookies, NAMES))
    reading.cancel()
    await asyncio.wait({reading})
    assert not world.sessions._cache._reading
    goes.set()


async def test_many_reads_at_once_keep_one_copy(world: World, provider: FakeProvider):
    cookies, begun = await begin(world.sessions, provider)
    first, goes = await world.held_up(world.sessions.find(cookies, NAMES))
    others = [asyncio.ensure_future(world.sessions.find(cookies, NAMES)) for _ in range(4)]
    await asyncio.sleep(0)
    goes.set()
    assert await asyncio.gather(first, *others) == [begun] * 5
    assert world.sessions.cached(cookies, NAMES) == begun
    assert not world.sessions._cache._reading


async def test_a_session_that_is_known_is_found_without_a_task_or_a_wait(world: World, provider: FakeProvider):
    cookies, begun = await begin(world.sessions, provider)
    assert await world.sessions.find(cookies, NAMES) == begun
    tasks = asyncio.all_tasks()
    world.line.cut = True
    for _ in range(1000):
        assert world.sessions.cached(cookies, NAMES) == begun
    with pytest.raises(StopIteration) as ended_at_once:
        world.sessions.find(cookies, NAMES).send(None)
    assert ended_at_once.value.value == begun
    assert asyncio.all_tasks() == tasks


async def test_what_was_rendered_lasts_as_long_as_the_copy(world: World, provider: FakeProvider, clock: Clock):
    cookies, begun = await begin(world.sessions, provider)
    found = await world.sessions.find(cookies, NAMES)
    assert isinstance(found, Found)
    found.rendered[0] = b"X-Forwarded-User: alice\r\n"
    clock.now += LIFETIMES.idle / 10
    world.line.follower.answered(clock.now)
    used = world.sessions.cached(cookies, NAMES)
    assert used is not None
    assert used.last_seen == clock.now
    assert used.rendered is found.rendered, "use changes no identity"
    world.line.follower.changed(begun.handle.key)
    again = await world.sessions.find(cookies, NAMES)
    assert isinstance(again, Found)
    assert again.rendered == {}
