"""Replicas that share one store and one provider, whose time is a test's: what refreshes are tried on."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from gateway.oidc.provider import Provider
from gateway.session.cookies import CookieNames
from gateway.session.lifecycle import Lifetimes
from gateway.session.record import identity_from
from gateway.session.refresh_rules import RefreshRules
from gateway.session.sealing import Keyring
from gateway.session.sessions import Found, Renewing, Sessions
from gateway.session.store.memory import MemoryStore
from gateway.session.store.opening import open_store
from tests.support.fake_provider import FakeProvider, sign_in_at

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gateway.session.found import Absent
    from gateway.session.handle import Handle
    from tests.session.conftest import Shop

NAMES = CookieNames.for_origin("https://apps.example.org")
LIFETIMES = Lifetimes(idle=7200, lifetime=36000, login=600)
KEY = bytes(range(32))
WANTED = frozenset({"sub", "email", "groups", "preferred_username"})
LIVES = 600
"""Seconds that access tokens live: they are due after 480."""
DUE = 480


@dataclass
class Beside:
    """Work that runs beside the requests, and can be waited for, or killed."""

    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def settled(self) -> None:
        while self.tasks:
            await asyncio.wait(set(self.tasks))

    async def killed(self) -> None:
        """End all of it as SIGKILL would: nothing is tidied up in the store, since the lock is not given back."""
        for task in self.tasks:
            task.cancel()
        await self.settled()


@dataclass
class Replica:
    """One gateway's sessions, with a back channel of its own."""

    sessions: Sessions
    provider: Provider
    beside: Beside

    async def use(self, cookie: str, **how: Any) -> Found | Absent:
        """What a request does: the process's own copy, else the store."""
        lines = [f"{NAMES.session}={cookie}".encode()]
        cached = self.sessions.cached(lines, NAMES) if not how else None
        return cached or await self.sessions.find(lines, NAMES, **how)

    async def alive(self, cookie: str, **how: Any) -> Found:
        found = await self.use(cookie, **how)
        assert isinstance(found, Found), found
        return found

    async def tokens(self, handle: Handle):
        return await self.sessions.tokens(handle)


class RefreshHouse:
    """``shop`` holds the store and the clock; replicas are made by ``replica``."""

    def __init__(self, shop: Shop, **knobs: Any) -> None:
        self.shop, self.clock = shop, shop.clock
        self.op = FakeProvider(clock=shop.clock, **({"expires_in": LIVES} | knobs))
        self.replicas: list[Replica] = []
        self.total_timeout = 20.0
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.op)
        return self

    async def __aexit__(self, *_: object) -> None:
        for each in self.replicas:
            await each.beside.killed()
            await each.provider.close()
            if each.sessions is not self.replicas[0].sessions:
                await each.sessions.close()
        await self._stack.aclose()

    def replica(self, *, follow: bool = False, **ruled: Any) -> Replica:
        """One more gateway. With ``follow`` it keeps copies of sessions and is told of changes."""
        first = not self.replicas
        store = self.shop.store if first or isinstance(self.shop.store, MemoryStore) else open_store(self.shop.server.url)
        provider, beside = Provider(self.op.settings(total_timeout=self.total_timeout), clock=self.clock, monotonic=self.clock), Beside()
        sessions = Sessions(
            Keyring([KEY]),
            store,
            LIFETIMES,
            clock=self.clock,
            monotonic=self.clock,
            renewing=Renewing(provider, RefreshRules(**ruled), wanted=WANTED, spawn=beside.start),
        )
        if follow:
            sessions.start()
        self.replicas.append(Replica(sessions, provider, beside))
        return self.replicas[-1]

    async def sign_in(self, user: str = "alice", *, replaces: tuple[str, ...] = ()) -> tuple[str, Found]:
        """A login at the first replica; the cookie's value and the session."""
        self.op.login_as = user
        signed_in = await sign_in_at(self.replicas[0].provider, self.op)
        return await self.replicas[0].sessions.begin(signed_in, identity_from(signed_in.claims, WANTED), NAMES, replaces=replaces)

    def later(self, seconds: float) -> None:
        self.shop.later(seconds)

    async def settled(self) -> None:
        for each in self.replicas:
            await each.beside.settled()


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)
