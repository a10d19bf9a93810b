"""Two replicas over one store, told of changes late, in bursts or not at all: no end is forgotten, and nobody loses a session that lives.

The store is memory; what each replica is told goes through a queue that the machine empties when it likes, and a read waits in the middle
for as long as it likes. Time is the machine's.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule

from gateway.errors import StoreUnavailable
from gateway.session.lifecycle import Lifetimes
from gateway.session.sealing import Keyring
from gateway.session.sessions import Absent, Found, Sessions
from gateway.session.store.memory import MemoryStore
from tests.session.conftest import Clock, FakeProvider
from tests.session.test_sessions import KEY, NAMES, begin
from tests.support.late_news import Line

if TYPE_CHECKING:
    from collections.abc import Coroutine


LIFETIMES = Lifetimes(idle=100.0, lifetime=500.0, login=60.0)
GRACE = 30.0
MOST_PEOPLE = 3
"""Few, so that what happens happens to the same ones."""
PROVIDER = FakeProvider()


@dataclass(eq=False)
class Person:
    """One session as the world knows it; ``ended`` when, ``used`` when last."""

    cookies: list[bytes]
    key: str
    expires: float
    used: float
    handle: Any = field(repr=False)
    ended: float | None = None


class Replicas(RuleBasedStateMachine):
    people = Bundle("people")
    reads = Bundle("reads")
    which = st.integers(0, 1)

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.signed_in = 0
        self.ended_keys: set[str] = set()
        self.loop.run_until_complete(self._open())

    async def _open(self) -> None:
        store = MemoryStore(clock=self.clock)
        self.lines = [Line(store, self.clock) for _ in range(2)]
        self.replicas = [Sessions(Keyring([KEY]), line, LIFETIMES, clock=self.clock, monotonic=self.clock) for line in self.lines]
        for replica in self.replicas:
            replica.start()

    def teardown(self) -> None:
        async def close() -> None:
            for line in self.lines:
                line.cut = False
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            for replica in self.replicas:
                await replica.close()

        self.loop.run_until_complete(close())
        self.loop.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    @precondition(lambda self: self.signed_in < MOST_PEOPLE)
    @rule(target=people, which=which)
    def sign_in(self, which: int) -> Any:
        try:
            cookies, found = self.run(begin(self.replicas[which], PROVIDER))
        except StoreUnavailable:
            return multiple()
        self.signed_in += 1
        return Person(cookies, found.handle.key, found.session.expires, self.clock.now, found.handle)

    @precondition(lambda self: self.signed_in < MOST_PEOPLE)
    @rule(target=people, which=which, person=people)
    def sign_in_again(self, which: int, person: Person) -> Any:
        try:
            cookies, found = self.run(begin(self.replicas[which], PROVIDER, replaces=(person.key,)))
        except StoreUnavailable:
            return multiple()
        self._has_ended(person)
        self.signed_in += 1
        return Person(cookies, found.handle.key, found.session.expires, self.clock.now, found.handle)

    @rule(which=which, person=people)
    def sign_out(self, which: int, person: Person) -> None:
        try:
            self.run(self.replicas[which].end(person.handle))
        except StoreUnavailable:
            assert self.lines[which].cut
            assert self.replicas[which].cached(person.cookies, NAMES) is None, "dropped here all the same"
        else:
            self._has_ended(person)
            assert isinstance(self.run(self.replicas[which].find(person.cookies, NAMES)), Absent), "here at once"

    @rule(person=people)
    def delete(self, person: Person) -> None:
        self.run(self.lines[0].store.end(person.key))
        self._has_ended(person)

    @rule(which=which, person=people, waiting=st.booleans())
    def find(self, which: int, person: Person, waiting: bool) -> None:
        replica = self.replicas[which]
        if waiting and self._would_join(replica, person):
            return
        try:
            found = self.run(self._find(replica, person, which, waiting=waiting))
        except StoreUnavailable:
            assert self.lines[which].cut, "it could be asked"
            return
        if found is not None:
            self._judge(which, person, found)

    def _would_join(self, replica: Sessions, person: Person) -> bool:
        """Whether who asks now is answered with a read that the test holds up."""
        return replica._cache._reading.get(person.key) in replica._finding._reads._under_way

    async def _find(self, replica: Sessions, person: Person, which: int, *, waiting: bool) -> Found | Absent | None:
        try:
            return await replica.find(person.cookies, NAMES) if waiting else replica.cached(person.cookies, NAMES)
        finally:
            await self._note(replica, which)

    async def _note(self, replica: Sessions, which: int) -> None:
        if not self.lines[which].cut:
            while replica._notes._pending:
                if replica._notes._writer is not None:
                    replica._notes._writer.cancel()
                    await asyncio.wait({replica._notes._writer})
                await replica._notes._write_one()

    def _judge(self, which: int, person: Person, found: Found | Absent) -> None:
        line, now = self.lines[which], self.clock.now
        if isinstance(found, Found):
            assert now < person.expires
            assert now < person.used + LIFETIMES.idle
            if person.ended is not None:
                assert person.key in line.queue or None in line.queue or line.cut, "it was told"
                assert now < person.ended + GRACE, "longer than the grace after the end"
            person.used = now
        else:
            idle = now >= person.used + LIFETIMES.idle - LIFETIMES.idle / 10
            assert person.ended is not None or now >= person.expires or idle, "signed out who was not"

    @rule(target=reads, which=which, person=people)
    def begin_reading(self, which: int, person: Person) -> Any:
        line, replica = self.lines[which], self.replicas[which]
        if line.cut or line.gate is not None or replica.cached(person.cookies, NAMES) is not None or self._would_join(replica, person):
            return multiple()
        line.gate, line.reached = asyncio.Event(), asyncio.Event()
        return self.run(self._begin_reading(which, person))

    async def _begin_reading(self, which: int, person: Person) -> Any:
        line = self.lines[which]
        task = asyncio.ensure_future(self.replicas[which].find(person.cookies, NAMES))
        await line.reached.wait()
        gate, line.gate = line.gate, None
        return (which, person, task, gate)

    @rule(read=consumes(reads))
    def end_reading(self, read: Any) -> None:
        which, person, task, gate = read

        async def finish() -> None:
            gate.set()
            await task
            await self._note(self.replicas[which], which)

        self.run(finish())
        if isinstance(task.result(), Found):
            person.used = max(person.used, self.clock.now)

    @rule(which=which, most=st.sampled_from([1, 100]))
    def deliver(self, which: int, most: int) -> None:
        self.lines[which].deliver(most)

    @rule(which=which)
    def cut_or_mend(self, which: int) -> None:
        self.lines[which].cut_or_mend()

    @rule(seconds=st.sampled_from([0.5, 10.0, 29.0, 31.0, 89.0, 500.0]))
    def later(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def what_is_told_is_kept_by_nobody(self) -> None:
        for replica, line in zip(self.replicas, self.lines, strict=True):
            if not line.cut and not line.queue:
                for key in self.ended_keys:
                    assert key not in replica._cache._by_key

    def _has_ended(self, person: Person) -> None:
        if person.ended is None:
            person.ended = self.clock.now
        self.ended_keys.add(person.key)


TestReplicas = Replicas.TestCase
TestReplicas.settings = settings(deadline=None, stateful_step_count=50, max_examples=200)
