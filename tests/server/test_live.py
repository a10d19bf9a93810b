"""Who holds what, and what ends it: a sign-out at once, everything else at the next look; an outage of the store ends nobody."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import structlog

from gateway.errors import StoreUnavailable, TooManyOpen
from gateway.identity import Identity
from gateway.proxy.websocket_frames import GOING_AWAY, SESSION_ENDED, SILENT
from gateway.server import live as live_module
from gateway.server.live import ASKED_AT_ONCE, MOST_OF_A_SESSION, Live
from gateway.session.handle import Handle
from gateway.session.lifecycle import Lifetimes
from gateway.session.record import Session
from gateway.session.sealing import Keyring
from gateway.session.sessions import Found, Sessions
from gateway.session.store.memory import MemoryStore
from gateway.session.store.protocol import NewSession

if TYPE_CHECKING:
    from gateway.proxy.websocket_frames import Ending

IDLE, LIFETIME = 100.0, 1000.0


@dataclass
class Time:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(eq=False)
class Open:
    """Something open, as the register sees it."""

    endless: bool = True
    idle: float = math.inf
    heard: int = 0
    moved: int = 0
    endings: list[Ending] = field(default_factory=list)

    def end(self, ending: Ending) -> None:
        self.endings.append(ending)


class World:
    def __init__(self) -> None:
        self.time = Time()
        self.store = Store(clock=self.time)
        self.sessions = Sessions(
            Keyring([bytes(range(1, 33))]), self.store, Lifetimes(idle=IDLE, lifetime=LIFETIME, login=60.0), clock=self.time
        )
        self.live = Live(self.sessions, clock=self.time, monotonic=self.time)

    async def session(self, key: str) -> Found:
        now = self.time.now
        await self.store.create(
            NewSession(key=key, record=b"r", tokens=b"t", last_seen=int(now * 1000), lifetime=LIFETIME, idle=IDLE + 60), replaces=()
        )
        identity = Identity(issuer="https://id.example.org", subject=key, claims={})
        session = Session(identity=identity, provider="main", created=int(now), expires=int(now + LIFETIME), auth_time=None, sid=None)
        return Found(session=session, handle=Handle(key, bytes(32)), last_seen=now, idle_expires=now + IDLE)

    async def later(self, seconds: float) -> None:
        self.time.now += seconds
        await self.live.sweep()


class Store(MemoryStore):
    """A store that can be down, and counts what it is asked."""

    down = False

    def __init__(self, *, clock) -> None:
        super().__init__(clock=clock)
        self.asked: list[int] = []
        self.noted: list[int] = []

    async def missing(self, keys):
        if self.down:
            raise StoreUnavailable("down")
        self.asked.append(len(keys))
        return await super().missing(keys)

    async def touch(self, keys, *, last_seen, idle):
        self.noted.append(len(keys))
        await super().touch(keys, last_seen=last_seen, idle=idle)


@pytest.fixture
async def world():
    here = World()
    yield here
    await here.live.close()


async def test_ending_a_session_ends_all_that_it_holds_and_nothing_else(world):
    alice, bob = await world.session("alice"), await world.session("bob")
    of_alice, of_bob, of_nobody = [Open(), Open(endless=False)], Open(), Open()
    for held in of_alice:
        world.live.hold(alice, held)
    world.live.hold(bob, of_bob)
    world.live.hold(None, of_nobody)
    world.live.end("alice", why="sign_out")
    world.live.end("nobody of that name", why="sign_out")
    assert [held.endings for held in of_alice] == [[SESSION_ENDED], [SESSION_ENDED]]
    assert of_bob.endings == of_nobody.endings == []


async def test_what_is_over_is_forgotten(world):
    alice = await world.session("alice")
    one, other = Open(), Open()
    forget = world.live.hold(alice, one)
    world.live.hold(alice, other)
    assert len(world.live) == 2
    forget()
    forget()
    assert len(world.live) == 1
    world.live.end("alice", why="sign_out")
    assert (one.endings, other.endings) == ([], [SESSION_ENDED])


async def test_a_session_that_ended_elsewhere_ends_here_at_the_next_look(world):
    alice, bob = await world.session("alice"), await world.session("bob")
    of_alice, of_bob = Open(), Open()
    world.live.hold(alice, of_alice)
    world.live.hold(bob, of_bob)
    await world.later(0.5)
    assert of_alice.endings == []
    await world.store.end("alice")
    await world.later(0.5)
    assert of_alice.endings == [SESSION_ENDED]
    assert of_bob.endings == []


async def test_what_is_registered_after_its_session_ended_ends_too(world):
    alice = await world.session("alice")
    await world.store.end("alice")
    world.live.end("alice", why="sign_out")
    late = Open()
    world.live.hold(alice, late)
    await world.later(0.5)
    assert late.endings == [SESSION_ENDED]


async def test_the_absolute_end_comes_even_in_an_outage(world):
    alice = await world.session("alice")
    held = Open()
    world.live.hold(alice, held)
    world.store.down = True
    await world.later(LIFETIME - 1)
    assert held.endings == [], "an outage is no sign-out, and nobody can say whether the session stood idle"
    await world.later(1)
    assert held.endings == [SESSION_ENDED]


async def test_a_session_that_stood_idle_ends(world):
    alice = await world.session("alice")
    held = Open()
    world.live.hold(alice, held)
    await world.later(IDLE - 1)
    assert held.endings == []
    await world.later(1)
    assert held.endings == [SESSION_ENDED]


async def test_what_the_browser_sends_is_use_and_what_the_application_sends_is_not(world):
    alice, bob = await world.session("alice"), await world.session("bob")
    of_alice, of_bob = Open(), Open()
    world.live.hold(alice, of_alice)
    world.live.hold(bob, of_bob)
    for _ in range(3):
        of_alice.heard += 1
        of_bob.moved += 1
        await world.later(IDLE / 2)
    assert of_alice.endings == []
    assert of_bob.endings[0] == SESSION_ENDED
    assert (await world.store.read("alice")).last_seen == world.time.now * 1000


async def test_use_during_an_outage_is_noted_after_it(world):
    alice = await world.session("alice")
    held = Open()
    world.live.hold(alice, held)
    world.store.down = True
    held.heard += 1
    await world.later(IDLE / 2)
    world.store.down = False
    await world.later(0.5)
    await world.later(IDLE - 1)
    assert held.endings == []


async def test_use_on_another_replica_keeps_it_open(world):
    alice = await world.session("alice")
    held = Open()
    world.live.hold(alice, held)
    for _ in range(3):
        await world.later(IDLE / 2)
        await world.store.touch(["alice"], last_seen=int(world.time.now * 1000), idle=IDLE + 60)
    assert held.endings == []


async def test_silence_ends_a_tunnel_and_not_its_session(world):
    alice = await world.session("alice")
    silent, busy, download = Open(idle=10.0), Open(idle=10.0), Open(endless=False)
    public = Open(idle=10.0)
    for held in (silent, busy, download):
        world.live.hold(alice, held)
    world.live.hold(None, public)
    for _ in range(4):
        busy.moved += 1
        await world.later(3)
    assert silent.endings[0] == SILENT
    assert public.endings[0] == SILENT
    assert busy.endings == download.endings == []


async def test_a_stop_ends_what_would_never_end_by_itself(world):
    alice = await world.session("alice")
    tunnel, download, public = Open(), Open(endless=False), Open()
    world.live.hold(alice, tunnel)
    world.live.hold(alice, download)
    world.live.hold(None, public)
    world.live.end_all()
    assert tunnel.endings == public.endings == [GOING_AWAY]
    assert download.endings == []
    late = Open()
    world.live.hold(alice, late)
    world.live.hold(alice, download)
    await asyncio.sleep(0)
    assert (late.endings, download.endings) == ([GOING_AWAY], [])


async def test_a_session_cannot_hold_without_end(world):
    alice, bob = await world.session("alice"), await world.session("bob")
    for _ in range(MOST_OF_A_SESSION):
        world.live.hold(alice, Open())
    with pytest.raises(TooManyOpen):
        world.live.hold(alice, Open())
    world.live.hold(bob, Open())
    for _ in range(MOST_OF_A_SESSION + 1):
        world.live.hold(None, Open())


async def test_the_store_is_asked_once_a_session_and_look_in_bounded_trips(world):
    for number in range(ASKED_AT_ONCE + 1):
        found = await world.session(f"s{number}")
        world.live.hold(found, Open())
        world.live.hold(found, Open())
    await world.later(0.5)
    assert world.store.asked == [ASKED_AT_ONCE, 1]


async def test_use_of_many_sessions_is_noted_in_as_few_trips(world):
    """With a trip for each, a revocation would wait behind thousands of them."""
    held = [Open() for _ in range(ASKED_AT_ONCE + 2)]
    for number, one in enumerate(held):
        world.live.hold(await world.session(f"s{number}"), one)
    for one in held[1:]:
        one.heard += 1
    await world.later(IDLE / 2)
    assert world.store.noted == [ASKED_AT_ONCE - 1, 2]
    assert (await world.store.read("s1")).last_seen == (await world.store.read(f"s{len(held) - 1}")).last_seen == world.time.now * 1000
    await world.later(IDLE / 2)
    assert [bool(one.endings) for one in held] == [True] + [False] * (len(held) - 1)
    assert world.store.noted == [ASKED_AT_ONCE - 1, 2]


async def test_the_timer_runs_only_while_something_is_open(world, monkeypatch):
    monkeypatch.setattr(live_module, "EVERY", 0.001)
    alice = await world.session("alice")
    held = Open()
    forget = world.live.hold(alice, held)
    await world.store.end("alice")
    while not held.endings:
        await asyncio.sleep(0)
    forget()
    while world.live._timer is not None:
        await asyncio.sleep(0.001)


async def test_what_a_session_holds_open_has_ended_before_anything_is_said(world):
    """A log that fails keeps nobody signed in."""
    alice = await world.session("alice")
    held = Open()
    world.live.hold(alice, held)

    def failing(_logger: object, _method: str, _event: object) -> object:
        raise BrokenPipeError

    before = structlog.get_config()
    structlog.configure(processors=[failing])
    try:
        with pytest.raises(BrokenPipeError):
            world.live.end("alice", why="sign_out")
    finally:
        structlog.configure(**before)
    assert held.endings == [SESSION_ENDED]


@pytest.fixture
async def told(world):
    """The same world, in which the store tells every change."""
    world.sessions.start()
    return world


async def asked(world) -> None:
    """Let what was begun by a change come to its end."""
    while world.live._asking is not None and not world.live._asking.done():
        await asyncio.sleep(0)


async def test_a_session_that_ended_elsewhere_ends_here_as_soon_as_that_is_told(told):
    alice, bob = await told.session("alice"), await told.session("bob")
    of_alice, of_bob = Open(), Open()
    told.live.hold(alice, of_alice)
    told.live.hold(bob, of_bob)
    await told.later(0.5)
    await told.store.end("alice")
    await asked(told)
    assert of_alice.endings == [SESSION_ENDED]
    assert of_bob.endings == []


async def test_a_change_is_no_end(told):
    alice = await told.session("alice")
    held = Open()
    told.live.hold(alice, held)
    await told.session("alice")
    await asked(told)
    for follower in told.store._followers:
        follower.changed(None)
    await asked(told)
    assert held.endings == []


async def test_who_is_told_of_changes_asks_nothing_else(told):
    alice = await told.session("alice")
    held = Open()
    told.live.hold(alice, held)
    await told.later(0.5)
    assert told.store.asked == [1], "once, for what was told before it was held"
    for _ in range(10):
        held.heard += 1
        await told.later(0.5)
    assert told.store.asked == [1]
    await told.later(IDLE + 1)
    assert told.store.asked == [1, 1], "and when it seems to stand idle"
    assert held.endings == [SESSION_ENDED]


async def test_what_is_held_late_of_a_session_that_ended_ends_although_nobody_tells_of_it_again(told):
    alice = await told.session("alice")
    early, late = Open(), Open()
    told.live.hold(alice, early)
    await told.later(0.5)
    await told.store.end("alice")
    await asked(told)
    told.live.hold(alice, late)
    await told.later(0.5)
    assert late.endings == [SESSION_ENDED]


async def test_an_outage_while_a_change_is_looked_into_forgets_nothing(told):
    alice = await told.session("alice")
    held = Open()
    told.live.hold(alice, held)
    await told.later(0.5)
    told.store.down = True
    await told.store.end("alice")
    await asked(told)
    assert held.endings == []
    told.store.down = False
    await told.later(0.5)
    assert held.endings == [SESSION_ENDED]


async def test_whose_end_was_told_by_name_is_told_on_once_and_a_flush_names_nobody(told):
    found: list[str] = []
    told.live._found_dead = lambda handle: found.append(handle.key)
    alice, bob = await told.session("alice"), await told.session("bob")
    for each in (alice, bob):
        told.live.hold(each, Open())
    for follower in told.store._followers:
        follower.changed("bob")
    await told.live.sweep()
    await told.store.end("alice")
    await told.live.sweep()
    await told.live.sweep()
    assert found == ["alice"]
    told.store._sessions.clear()
    for follower in told.store._followers:
        follower.changed(None)
    await told.live.sweep()
    assert found == ["alice"]
