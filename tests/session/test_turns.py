"""Turns: never more at one time, those that somebody waits for first, the others one after the other; who gives up takes nothing along."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.session.turns import Turns

NEVER = 3600.0
"""A pace in which no second one begins while a test runs."""


@dataclass
class Queue:
    """Those who take turns; each keeps its turn until it is told to go."""

    turns: Turns
    begun: list[str] = field(default_factory=list)
    going: dict[str, asyncio.Event] = field(default_factory=dict)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def come(self, *keys: str, awaited: bool = False) -> None:
        for key in keys:
            self.going[key] = asyncio.Event()
            self.tasks[key] = asyncio.create_task(self._take(key, awaited=awaited))
        await self.settled()

    async def go(self, key: str) -> None:
        self.going[key].set()
        await self.settled()

    async def give_up(self, key: str) -> None:
        self.tasks[key].cancel()
        await self.settled()

    async def settled(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def _take(self, key: str, *, awaited: bool) -> None:
        async with self.turns.turn(key, awaited=awaited):
            self.begun.append(key)
            await self.going[key].wait()


async def test_no_more_than_so_many_at_one_time():
    queue = Queue(Turns(2, pace=0))
    await queue.come("a", "b", "c", awaited=True)
    assert queue.begun == ["a", "b"]
    await queue.go("b")
    assert queue.begun == ["a", "b", "c"]


async def test_what_nobody_waits_for_begins_one_after_the_other():
    queue = Queue(Turns(2, pace=NEVER))
    await queue.come("a", "b")
    assert queue.begun == ["a"]
    await queue.go("a")
    assert queue.begun == ["a"], "a place is free, and it is not time yet"


async def test_what_somebody_waits_for_begins_at_once():
    queue = Queue(Turns(3, pace=NEVER))
    await queue.come("a", "b", "c")
    await queue.come("d", awaited=True)
    assert queue.begun == ["a", "d"]
    queue.turns.hurry("c")
    await queue.settled()
    assert queue.begun == ["a", "d", "c"]
    queue.turns.hurry("a")
    queue.turns.hurry("unknown")
    await queue.settled()
    assert queue.begun == ["a", "d", "c"]


async def test_what_somebody_waits_for_is_next_when_a_place_is_free():
    queue = Queue(Turns(1, pace=0))
    await queue.come("a", "b", "c")
    await queue.come("d", "e", awaited=True)
    for key in ("a", "d", "e", "b"):
        await queue.go(key)
    async with asyncio.timeout(10):
        while len(queue.begun) < 5:
            await asyncio.sleep(0)
    assert queue.begun == ["a", "d", "e", "b", "c"]


async def test_all_have_their_turn():
    queue = Queue(Turns(3, pace=0.001))
    await queue.come(*"abcdefgh")
    for going in queue.going.values():
        going.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*queue.tasks.values())
    assert queue.begun == list("abcdefgh")


@pytest.mark.parametrize("awaited", [pytest.param(True, id="somebody waits"), pytest.param(False, id="nobody waits")])
async def test_who_gives_up_leaves_the_place_to_others(awaited: bool):
    queue = Queue(Turns(1, pace=0))
    await queue.come("a", "b", "c", awaited=awaited)
    await queue.give_up("b")
    await queue.give_up("a")
    async with asyncio.timeout(10):
        while queue.begun != ["a", "c"]:
            await asyncio.sleep(0)


@pytest.mark.parametrize("later", range(4))
async def test_who_gives_up_at_the_moment_of_its_turn_gives_it_back(later: int):
    queue = Queue(Turns(1, pace=0))
    await queue.come("a", "b", "c", awaited=True)
    queue.going["a"].set()
    for _ in range(later):
        await asyncio.sleep(0)
    await queue.give_up("b")
    assert queue.begun[-1] == "c"


STEPS = st.lists(st.tuples(st.sampled_from(["come", "come awaited", "hurry", "go", "give up"]), st.integers(0, 7)), max_size=40)


@given(steps=STEPS, most=st.integers(1, 3))
async def test_whatever_happens_the_bound_is_kept_and_no_place_is_lost(steps: list[tuple[str, int]], most: int):
    queue = Queue(Turns(most, pace=0))
    for number, (step, which) in enumerate(steps):
        known = list(queue.tasks)
        key = known[which % len(known)] if known else None
        if step.startswith("come"):
            await queue.come(str(number), awaited=step == "come awaited")
        elif key is not None and step == "hurry":
            queue.turns.hurry(key)
        elif key is not None and step == "go":
            queue.going[key].set()
        elif key is not None:
            queue.tasks[key].cancel()
        in_turn = sum(not queue.tasks[each].done() for each in queue.begun)
        assert in_turn <= most
    for going in queue.going.values():
        going.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*queue.tasks.values(), return_exceptions=True)
    await queue.come(*(f"last {number}" for number in range(most)), awaited=True)
    assert queue.begun[-most:] == [f"last {number}" for number in range(most)]
    for number in range(most):
        await queue.go(f"last {number}")


async def test_at_a_stop_all_of_them_begin_as_places_become_free():
    queue = Queue(Turns(2, pace=NEVER))
    await queue.come("a", "b", "c")
    queue.turns.hurry_all()
    await queue.settled()
    assert queue.begun == ["a", "b"]
    await queue.go("a")
    assert queue.begun == ["a", "b", "c"]
