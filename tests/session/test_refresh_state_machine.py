"""Logins, uses, refreshes, sign-outs, ends at the provider, failures and the clock, in any order: a model tells who may be signed in.

Two replicas with one store; the provider rotates refresh tokens and ends a grant when an old one comes. What the model cannot tell (whether
a replica still rests after a failure) it takes from what the provider was asked, and holds that to its rules.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from gateway.errors import RefreshUnavailable
from gateway.session.found import Absent
from gateway.session.refresh_rules import LONGEST_REST, Follows
from gateway.session.store.memory import MemoryStore
from tests.session.conftest import Clock, Shop
from tests.session.refresh_house import DUE, LIFETIMES, LIVES, RefreshHouse

if TYPE_CHECKING:
    from gateway.session.found import Found
    from gateway.session.handle import Handle

RESTS = 2 * LONGEST_REST
"""Seconds after a failure in which nobody has to try again."""


@dataclass
class Person:
    """One session as the model has it. ``over``: nobody may ever be let in by it again."""

    cookie: str
    handle: Handle
    user: str
    created: float
    used: float
    obtained: float
    ended_there: bool = False
    over: bool = False

    def has_expired(self, now: float) -> bool:
        return now >= int(self.created) + LIFETIMES.lifetime or now >= self.used + LIFETIMES.idle

    def may_have_expired(self, now: float) -> bool:
        return self.has_expired(now) or now >= self.used + LIFETIMES.idle * 0.9 - 1


class Refreshes(RuleBasedStateMachine):
    people: Bundle[Person] = Bundle("people")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.house = RefreshHouse(Shop(MemoryStore(clock=(clock := Clock())), clock))
        self.failing = False
        self.failed_at = -RESTS

    @property
    def now(self) -> float:
        return self.house.clock.now

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    @initialize(follows=st.sampled_from([Follows.NONE, Follows.REFRESH_TOKEN]), follow=st.booleans())
    def open(self, follows: Follows, follow: bool) -> None:
        self.follows = follows
        self.run(self._open(follows, follow=follow))

    async def _open(self, follows: Follows, *, follow: bool) -> None:
        await self.house.__aenter__()
        for _ in range(2):
            replica = self.house.replica(follow=follow, follows=follows)
            await replica.provider.metadata()

    def teardown(self) -> None:
        self.run(self.house.__aexit__())
        self.runner.close()

    @rule(target=people, user=st.sampled_from(["alice", "bob"]))
    def sign_in(self, user: str) -> Person:
        cookie, found = self.run(self.house.sign_in(user))
        return Person(cookie, found.handle, f"{user}-sub", self.now, self.now, self.now)

    @rule(person=people, replica=st.integers(0, 1), times=st.integers(1, 3))
    def use(self, person: Person, replica: int, times: int) -> None:
        asked = len(self.house.op.refresh_requests)
        try:
            answers = self.run(self._use(person, replica, times))
        except RefreshUnavailable:
            assert self.follows is Follows.REFRESH_TOKEN
            assert self.now >= person.obtained + LIVES, "it needs nothing that has run out"
            assert self.failing or self.now < self.failed_at + RESTS, "nothing fails"
            answers = []
        asked = len(self.house.op.refresh_requests) - asked
        self._judge(person, answers, asked)

    async def _use(self, person: Person, replica: int, times: int) -> list[Found | Absent]:
        one = self.house.replicas[replica]
        try:
            answers = await asyncio.gather(*(one.use(person.cookie) for _ in range(times)), return_exceptions=True)
            for answer in answers:
                if isinstance(answer, BaseException):
                    raise answer
            return answers
        finally:
            await self.house.settled()

    def _judge(self, person: Person, answers: list[Found | Absent], asked: int) -> None:
        now, due = self.now, self.now >= person.obtained + DUE
        alive = not person.over and not person.has_expired(now)
        assert asked <= 1
        assert asked == 0 or (due and alive), "asked of the provider without need"
        if person.over or person.has_expired(now):
            assert all(isinstance(answer, Absent) for answer in answers), "somebody was let in who must not be"
            return
        if alive and due and not asked and not person.may_have_expired(now):
            assert now < self.failed_at + RESTS, "due, and nobody asked"
        refused = asked and not self.failing and person.ended_there
        for answer in answers:
            if isinstance(answer, Absent):
                assert refused or person.may_have_expired(now), f"signed out: {answer.reason}"
                person.over = True
            else:
                assert answer.session.identity.subject == person.user
                person.used = now
        if refused:
            person.over = True
        elif asked and not self.failing:
            person.obtained = now
        elif asked:
            self.failed_at = now

    @rule(person=people)
    def sign_out(self, person: Person) -> None:
        tokens = self.run(self.house.replicas[0].sessions.end(person.handle))
        if tokens is not None:
            assert not person.over
        person.over = True

    @rule(person=people)
    def end_at_the_provider(self, person: Person) -> None:
        tokens = self.run(self.house.replicas[0].sessions.tokens(person.handle))
        if tokens is not None:
            self.house.op.families[tokens.refresh_token].ended = True
            person.ended_there = True

    @rule(fails=st.booleans())
    def the_provider_fails(self, fails: bool) -> None:
        self.failing = fails
        self.house.op.misbehaviour.refresh_status = 503 if fails else 200

    @rule(seconds=st.sampled_from([1, 60, 121, 250, DUE, LIVES, 3600, 7200]))
    def time_passes(self, seconds: int) -> None:
        self.house.later(seconds)

    @rule(person=people)
    def somebody_looks_at_the_time_left(self, person: Person) -> None:
        asked = len(self.house.op.refresh_requests)
        found = self.run(self.house.replicas[1].use(person.cookie, extend=False))
        assert len(self.house.op.refresh_requests) == asked
        if person.over:
            assert isinstance(found, Absent)

    @invariant()
    def no_refresh_token_is_shown_twice(self) -> None:
        assert self.house.op.reuses == 0


Refreshes.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
TestRefreshes = Refreshes.TestCase
