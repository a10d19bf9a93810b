"""What is done about tokens of sessions that ended without their cookies: once, a few at a time, and nothing for what nobody named."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.errors import StoreUnavailable
from gateway.oidc.token_response import Tokens
from gateway.server.detached import Detached
from gateway.server.left_tokens import AT_ONCE, MOST_WAITING, LeftTokens
from gateway.session.handle import Handle
from tests.support.house import house
from tests.support.user_agent import FETCH, UserAgent

if TYPE_CHECKING:
    from collections.abc import Callable

TOKENS = Tokens(access_token="a", token_type="Bearer", expires_at=None, refresh_token="r", id_token="i", scope=None)


class Store:
    """The part of ``Sessions`` that is asked, and the provider: both count, and wait for ``gate``."""

    def __init__(self) -> None:
        self.dropped: list[Callable[[Handle], None]] = []
        self.asked: list[str] = []
        self.revoked = 0
        self.at_once = self.most_at_once = 0
        self.gate = asyncio.Event()
        self.down = False

    def on_dropped(self, dropped: Callable[[Handle], None]) -> None:
        self.dropped.append(dropped)

    async def take_left_tokens(self, handle: Handle) -> Tokens | None:
        self.asked.append(handle.key)
        if self.down:
            raise StoreUnavailable("down")
        return TOKENS if handle.key.startswith("left") else None

    async def revoke(self, tokens: Tokens) -> None:
        assert tokens is TOKENS
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.gate.wait()
        self.at_once -= 1
        self.revoked += 1


@pytest.fixture
def store() -> Store:
    return Store()


def drop(store: Store, *keys: str) -> None:
    for key in keys:
        store.dropped[0](Handle(key, bytes(32)))


async def test_many_ends_at_once_are_worked_off_a_few_at_a_time(store: Store) -> None:
    detached = Detached()
    LeftTokens(store, store, detached)  # type: ignore[arg-type]
    drop(store, *(f"left-{number}" for number in range(100)), "alive")
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(store.asked) == AT_ONCE
    store.gate.set()
    await detached.drain(10)
    assert (store.revoked, store.most_at_once) == (100, AT_ONCE)
    assert store.asked[-1] == "alive"
    drop(store, "left-again")
    await detached.drain(10)
    assert store.revoked == 101


async def test_an_outage_costs_one_question_each_and_nobody_a_warning(store: Store) -> None:
    store.down = True
    detached = Detached()
    LeftTokens(store, store, detached)  # type: ignore[arg-type]
    drop(store, "left-1", "left-2")
    await detached.drain(10)
    assert (store.asked, store.revoked) == (["left-1", "left-2"], 0)


async def test_what_waits_is_bounded(store: Store) -> None:
    left = LeftTokens(store, store, Detached())  # type: ignore[arg-type]
    drop(store, *(f"left-{number}" for number in range(MOST_WAITING + 10)))
    assert len(left._waiting) == MOST_WAITING
    left._waiting.clear()


async def test_a_flush_and_a_new_connection_ask_nothing() -> None:
    async with house() as home, UserAgent(home.url) as browser:
        await browser.open(home.url + "/")
        assert (await browser.ask(home.url + "/", headers=FETCH)).status == 200
        assert len(home.parts.sessions._cache) == 1
        cache = home.parts.sessions._cache
        cache.changed(None)
        cache.followed()
        assert home.parts.left_tokens._waiting == type(home.parts.left_tokens._waiting)()
        assert (await browser.ask(home.url + "/", headers=FETCH)).status == 200
        (key,) = cache._by_key
        cache.changed(key)
        assert len(home.parts.left_tokens._waiting) == 1
        await home.parts.detached.drain(5)
        assert home.provider.revoked == []
        assert (await browser.ask(home.url + "/", headers=FETCH)).status == 200, "it was a change, not an end"
