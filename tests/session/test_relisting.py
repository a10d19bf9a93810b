"""Listing a session under the newest key, over every store: it is found by that key alone, and what ends meanwhile stays ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from gateway.errors import StoreUnavailable
from gateway.session.cookies import CookieNames
from gateway.session.index_names import OfEverybody, OfProviderSession, OfUser
from gateway.session.lifecycle import Lifetimes
from gateway.session.record import identity_from
from gateway.session.relisting import AT_ONCE, UNKNOWN, Relisting
from gateway.session.sealing import Keyring, Purpose
from gateway.session.search import Search
from gateway.session.sessions import Sessions
from gateway.session.store.memory import MemoryStore
from gateway.session.store.protocol import NewSession
from tests.session.conftest import ISSUER, Clock

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from gateway.session.found import Found
    from gateway.session.store.protocol import Shown
    from tests.session.conftest import FakeProvider, Shop

OLDEST, OLD, NEW = bytes(range(32)), bytes(range(1, 33)), bytes(range(2, 34))
LIFETIMES = Lifetimes(idle=1800.0, lifetime=43_200.0, login=600.0)
NAMES = CookieNames.for_origin("https://apps.example.org")
LISTINGS = (OfUser(ISSUER, "alice"), OfProviderSession(ISSUER, "s-1"), OfEverybody())
ANYBODY = Search()


def under(shop: Shop, *keys: bytes) -> Sessions:
    return Sessions(Keyring(keys), shop.store, LIFETIMES, clock=shop.clock)


async def begun(sessions: Sessions, provider: FakeProvider, *, address: str = "192.0.2.1") -> Found:
    signed_in = provider.signed_in(sid="s-1")
    _, found = await sessions.begin(signed_in, identity_from(signed_in.claims, frozenset()), NAMES, replaces=(), address=address)
    return found


async def tried(relisting: Relisting, found: Found) -> bool:
    """Ask, see the work through, and ask again."""
    work: list[Coroutine[object, object, None]] = []
    relisting.is_done(found, work.append)
    await asyncio.gather(*work)
    return relisting.is_done(found, lambda _: pytest.fail("it was looked at"))


async def seen(sessions: Sessions, found: Found) -> list[str]:
    """The addresses on the cards under which it is found, by each of its listings."""
    pages = [await sessions.index.page((listing,), ANYBODY, limit=10) for listing in LISTINGS]
    assert all(one.key == found.handle.key for page in pages for one in page.sessions)
    return [one.card.address for page in pages for one in page.sessions]


async def test_it_is_found_by_the_newest_key_alone_and_once_by_both(shop: Shop, provider: FakeProvider):
    found = await begun(under(shop, OLD), provider)
    assert await seen(under(shop, NEW), found) == []
    both = under(shop, NEW, OLD)
    assert await tried(both.relisting, found)
    for keys in ((NEW, OLD), (NEW,), (OLD, NEW)):
        assert await seen(under(shop, *keys), found) == ["192.0.2.1"] * len(LISTINGS), "and not twice"
    ended: list[str] = []
    await under(shop, NEW).index.end_all(LISTINGS[:1], ended)
    assert ended == [found.handle.key]
    assert await seen(both, found) == []


async def test_what_is_under_the_newest_key_is_left_alone(shop: Shop, provider: FakeProvider):
    found = await begun(under(shop, NEW), provider)
    before = shop.dump()
    assert await tried(under(shop, NEW, OLD).relisting, found)
    assert shop.dump() == before


async def test_a_card_that_no_key_opens_is_written_anew(shop: Shop, provider: FakeProvider):
    """The open session says whose it is, and nobody any more where it began."""
    found = await begun(under(shop, OLDEST), provider)
    assert await tried(under(shop, NEW, OLD).relisting, found)
    assert await seen(under(shop, NEW), found) == [UNKNOWN] * len(LISTINGS)


async def test_a_card_that_says_it_is_under_the_newest_key_and_is_not_counts_for_none(shop: Shop, provider: FakeProvider):
    found = await begun(under(shop, OLD), provider)
    claims = Keyring([NEW]).seal(Purpose.CARD, b"{}", bound_to="another").encode()
    assert await shop.store.relist(found.handle.key, card=claims, indexes=(), now=int(shop.clock.now * 1000), lifetime=600.0)
    assert await tried(under(shop, NEW, OLD).relisting, found)
    assert await seen(under(shop, NEW), found) == [UNKNOWN] * len(LISTINGS)


async def test_where_the_card_is_lost_no_cookie_comes(shop: Shop, provider: FakeProvider):
    """Its session is nobody's to find: it ends with the key that its cookie is under. That is looked at once."""
    found = await begun(Sessions(Keyring([OLD]), MemoryStore(clock=shop.clock), LIFETIMES, clock=shop.clock), provider)
    now = int(shop.clock.now * 1000)
    await shop.store.create(NewSession(found.handle.key, b"r", b"t", last_seen=now, lifetime=600.0, idle=600.0), replaces=())
    assert not await tried(under(shop, NEW, OLD).relisting, found)


class Between(MemoryStore):
    """A store in which something happens between what is shown and what is written."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.ends: str | None = None
        self.cut = False

    async def show(self, keys: Sequence[str]) -> list[Shown]:
        if self.cut:
            raise StoreUnavailable("cut off")
        shown = await super().show(keys)
        if self.ends is not None:
            await self.end(self.ends)
        return shown


async def test_an_end_in_between_is_not_undone(provider: FakeProvider, clock: Clock):
    store = Between(clock)
    sessions = Sessions(Keyring([NEW, OLD]), store, LIFETIMES, clock=clock)
    found = await begun(Sessions(Keyring([OLD]), store, LIFETIMES, clock=clock), provider)
    store.ends = found.handle.key
    assert not await tried(sessions.relisting, found)
    assert not any(found.handle.key in index for index in store._sessions.indexes.values())


async def test_an_outage_is_told_and_tried_again(provider: FakeProvider, clock: Clock):
    store = Between(clock)
    sessions = Sessions(Keyring([NEW, OLD]), store, LIFETIMES, clock=clock)
    found = await begun(Sessions(Keyring([OLD]), store, LIFETIMES, clock=clock), provider)
    store.cut = True
    work: list[Coroutine[object, object, None]] = []
    for _ in range(3):
        assert not sessions.relisting.is_done(found, work.append)
    assert len(work) == 1, "one at a time"
    with capture_logs() as logged:
        await work.pop()
    assert [line["event"] for line in logged] == ["session.not_relisted"]
    store.cut = False
    assert await tried(sessions.relisting, found)


async def test_not_more_than_so_many_at_once(provider: FakeProvider, clock: Clock):
    store = MemoryStore(clock=clock)
    old = Sessions(Keyring([OLD]), store, LIFETIMES, clock=clock)
    relisting = Relisting(Keyring([NEW, OLD]), store, clock=clock)
    some = [await begun(old, provider) for _ in range(AT_ONCE + 1)]
    work: list[Coroutine[object, object, None]] = []
    for found in some:
        assert not relisting.is_done(found, work.append)
    assert len(work) == AT_ONCE
    await asyncio.gather(*work)
    assert await tried(relisting, some[-1])


async def test_the_next_turn_has_it_listed_again(shop: Shop, provider: FakeProvider):
    found = await begun(under(shop, OLDEST), provider)
    keyring = Keyring([OLD, OLDEST])
    relisting = Relisting(keyring, shop.store, clock=shop.clock)
    assert await tried(relisting, found)
    keyring.replace([NEW, OLD])
    work: list[Coroutine[object, object, None]] = []
    assert not relisting.is_done(found, work.append), "what was known is of another key"
    await work.pop()
    assert await seen(under(shop, NEW), found) == ["192.0.2.1"] * len(LISTINGS)
