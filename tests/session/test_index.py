"""The index over every store: who is listed, how they are found, what ends them, and that nothing of them is left."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from gateway.errors import RequestRefused, StoreUnavailable
from gateway.session.cookies import CookieNames
from gateway.session.index import SETTLED, Page
from gateway.session.index_names import OfEverybody, OfProvider, OfProviderSession, OfUser, names_of
from gateway.session.lifecycle import Lifetimes
from gateway.session.record import identity_from
from gateway.session.sealing import Keyring
from gateway.session.search import Search
from gateway.session.sessions import Absent, Found, Sessions
from gateway.session.store.memory import MemoryStore
from gateway.session.store.protocol import Ended, NewSession, UnknownToReplicas
from tests.session.conftest import ISSUER, STARTED, Clock

if TYPE_CHECKING:
    from gateway.session.handle import Handle
    from gateway.session.index import Listed
    from gateway.session.store.protocol import SessionStore
    from tests.session.conftest import FakeProvider, Shop

KEY, OTHER_KEY, THIRD_KEY = bytes(range(32)), bytes(range(1, 33)), bytes(range(2, 34))
LIFETIMES = Lifetimes(idle=1800.0, lifetime=43_200.0, login=600.0)
NAMES = CookieNames.for_origin("https://apps.example.org")
WANTED = frozenset({"email", "preferred_username"})
EVERYBODY = (OfEverybody(),)
ANYBODY = Search()


def over(shop: Shop, *, keys: tuple[bytes, ...] = (KEY,)) -> Sessions:
    sessions = Sessions(Keyring(keys), shop.store, LIFETIMES, clock=shop.clock)
    if shop.server is None:
        sessions.start()
    return sessions


async def begin(
    sessions: Sessions, provider: FakeProvider, *, replaces: tuple[str, ...] = (), address: str = "192.0.2.1", **claims
) -> tuple[list[bytes], Found]:
    signed_in = provider.signed_in(**claims)
    cookie, found = await sessions.begin(signed_in, identity_from(signed_in.claims, WANTED), NAMES, replaces=replaces, address=address)
    return [f"{NAMES.session}={cookie}".encode()], found


async def listed(sessions: Sessions, *listings, search: Search = ANYBODY) -> dict[str, Listed]:
    page = await sessions.index.page(listings or EVERYBODY, search, limit=1000)
    assert page.cursor is None
    return {one.key: one for one in page.sessions}


def members(shop: Shop) -> int | None:
    """How many members all lists have together; None where nobody can look."""
    if shop.server is None:
        assert isinstance(shop.store, MemoryStore)
        return sum(len(index) for index in shop.store._sessions.indexes.values())
    return sum(len(value.split()) for key, value in shop.dump().items() if b":x:" in key)


async def test_a_session_is_listed_by_user_provider_and_the_providers_own_session(shop: Shop, provider: FakeProvider):
    sessions = over(shop)
    _, alice = await begin(sessions, provider, sub="alice", sid="sid-1", email="alice@example.org", auth_time=int(STARTED) - 7)
    _, bob = await begin(sessions, provider, sub="bob", preferred_username="bob", address="2001:db8::7")
    assert (await listed(sessions)).keys() == {alice.handle.key, bob.handle.key}
    assert (await listed(sessions, OfUser(ISSUER, "alice"))).keys() == {alice.handle.key}
    assert (await listed(sessions, OfProviderSession(ISSUER, "sid-1"))).keys() == {alice.handle.key}
    assert (await listed(sessions, OfProvider("main"))).keys() == {alice.handle.key, bob.handle.key}
    for nobody in (OfUser(ISSUER, "carol"), OfUser("https://other", "alice"), OfProviderSession(ISSUER, "alice"), OfProvider("other")):
        assert await listed(sessions, nobody) == {}
    shop.later(60)
    (one,) = (await listed(sessions, OfUser(ISSUER, "alice"))).values()
    card = one.card
    assert (card.provider, card.issuer, card.subject, card.sid) == ("main", ISSUER, "alice", "sid-1")
    assert (card.name, card.email, card.address) == (None, "alice@example.org", "192.0.2.1")
    assert (card.created, card.expires, card.auth_time) == (STARTED, STARTED + 43_200, STARTED - 7)
    assert (one.last_seen, one.idle_expires) == (STARTED, STARTED + 1800)
    assert await sessions.index.find(alice.handle.key) == one
    assert (await listed(sessions, search=Search(user="bob"))).keys() == {bob.handle.key}


async def test_what_is_listed_tells_when_it_was_last_used(shop: Shop, provider: FakeProvider):
    sessions = over(shop)
    cookies, begun = await begin(sessions, provider)
    shop.later(600)
    assert isinstance(await sessions.find(cookies, NAMES), Found)
    await sessions.notes_written()
    (one,) = (await listed(sessions)).values()
    assert (one.last_seen, one.idle_expires) == (STARTED + 600, STARTED + 2400)
    assert begun.last_seen == STARTED


@pytest.mark.parametrize("limit", [pytest.param(1, id="by one"), pytest.param(7, id="by seven"), pytest.param(1000, id="all at once")])
async def test_pages_leave_nobody_out_and_are_no_larger_than_asked_for(shop: Shop, provider: FakeProvider, limit: int):
    sessions = over(shop, keys=(KEY, OTHER_KEY))
    begun = {(await begin(sessions, provider, sub=f"user-{number}"))[1].handle.key for number in range(20)}
    seen: list[str] = []
    cursor = None
    while True:
        page = await sessions.index.page(EVERYBODY, Search(), cursor=cursor, limit=limit)
        assert len(page.sessions) <= limit
        seen += [one.key for one in page.sessions]
        cursor = page.cursor
        if cursor is None:
            break
        assert len(seen) <= len(begun)
    assert sorted(seen) == sorted(begun)


@pytest.mark.parametrize(
    "cursor",
    [
        pytest.param("", id="empty"),
        pytest.param("0", id="a number"),
        pytest.param("nobody-knows.0.", id="another list's"),
        pytest.param("{place}.x.", id="no number"),
        pytest.param("{place}.-1.", id="a negative number"),
        pytest.param("{place}.123456789012345678901.", id="a number that no store gives"),
        pytest.param("{place}.٣.", id="another alphabet's number"),
        pytest.param("{place}", id="half of one"),
    ],
)
async def test_a_cursor_that_was_never_given_out_is_refused(cursor: str):
    sessions = Sessions(Keyring([KEY]), MemoryStore(), LIFETIMES)
    place = names_of(Keyring([KEY]), OfProvider("main"))[0][:12]
    with pytest.raises(RequestRefused):
        await sessions.index.page([OfProvider("main")], Search(), cursor=cursor.replace("{place}", place), limit=10)


async def test_a_sign_out_leaves_nothing(shop: Shop, provider: FakeProvider):
    sessions = over(shop)
    _, begun = await begin(sessions, provider, sid="sid-1")
    assert members(shop) == 4
    assert await sessions.end(begun.handle) is not None
    assert members(shop) == 0
    assert shop.dump() == {}
    assert await listed(sessions) == {}


async def test_a_session_that_another_one_replaced_is_unlisted(shop: Shop, provider: FakeProvider):
    sessions = over(shop)
    before = [(await begin(sessions, provider, sid=f"sid-{number}"))[1].handle.key for number in range(2)]
    _, after = await begin(sessions, provider, sid="sid-3", replaces=(*before, "n" * 43))
    assert (await listed(sessions)).keys() == {after.handle.key}
    assert members(shop) == 4


async def test_ending_one_ends_it_here_and_leaves_its_tokens_to_whoever_can_open_them_once(shop: Shop, provider: FakeProvider):
    sessions = over(shop)
    cookies, alice = await begin(sessions, provider, sub="alice")
    others, bob = await begin(sessions, provider, sub="bob")
    assert isinstance(await sessions.find(cookies, NAMES), Found)
    dropped: list[Handle] = []
    sessions.on_dropped(dropped.append)
    assert await sessions.take_left_tokens(alice.handle) is None, "it lives"
    assert await sessions.index.end(alice.handle.key) is True
    assert set(dropped) <= {alice.handle}
    if shop.server is None:
        assert dropped == [alice.handle], "this process knew it"
    assert await sessions.find(cookies, NAMES) == Absent("ended")
    assert await sessions.index.find(alice.handle.key) is None
    assert isinstance(await sessions.find(others, NAMES), Found)
    assert await sessions.index.end(alice.handle.key) is False
    tokens = await sessions.take_left_tokens(alice.handle)
    assert tokens is not None
    assert tokens.refresh_token == "rt-secret"
    assert await sessions.take_left_tokens(alice.handle) is None
    await sessions.end(bob.handle)
    assert shop.dump() == {}


async def test_tokens_that_nobody_takes_are_gone_half_a_minute_later(shop: Shop, provider: FakeProvider):
    sessions = over(shop)
    _, begun = await begin(sessions, provider)
    await sessions.index.end(begun.handle.key)
    shop.later(29)
    if shop.server is not None:
        assert len(shop.dump()) == 1
    shop.clock.now += 2
    if shop.server is None:
        assert await sessions.take_left_tokens(begun.handle) is None


async def test_ending_a_users_sessions_spares_everybody_else(shop: Shop, provider: FakeProvider):
    sessions = over(shop)
    hers = {(await begin(sessions, provider, sub="alice"))[1].handle.key for _ in range(30)}
    _, bob = await begin(sessions, provider, sub="bob")
    ended: list[str] = []
    await sessions.index.end_all([OfUser(ISSUER, "alice")], ended)
    assert sorted(ended) == sorted(hers), "each of them once"
    assert (await listed(sessions)).keys() == {bob.handle.key}
    await sessions.index.end_all([OfUser(ISSUER, "alice")], ended)
    assert len(ended) == len(hers)


async def test_the_providers_session_ends_by_its_sid_alone(shop: Shop, provider: FakeProvider):
    """What a back-channel logout needs: issuer and sid, no cookie."""
    sessions = over(shop)
    cookies, one = await begin(sessions, provider, sub="alice", sid="at-work")
    _, other = await begin(sessions, provider, sub="alice", sid="at-home")
    ended: list[str] = []
    await sessions.index.end_all([OfProviderSession(ISSUER, "at-work")], ended)
    assert ended == [one.handle.key]
    assert await sessions.find(cookies, NAMES) == Absent("ended")
    assert (await listed(sessions)).keys() == {other.handle.key}


async def test_ending_all_ends_all_whatever_keys_they_began_under(shop: Shop, provider: FakeProvider):
    before = over(shop)
    _, old = await begin(before, provider, sub="alice", sid="s")
    after = over(shop, keys=(OTHER_KEY, KEY))
    _, new = await begin(after, provider, sub="alice", sid="s")
    for listing in (OfEverybody(), OfProvider("main"), OfUser(ISSUER, "alice"), OfProviderSession(ISSUER, "s")):
        assert (await listed(after, listing)).keys() == {old.handle.key, new.handle.key}
    ended: list[str] = []
    await after.index.end_all(EVERYBODY, ended)
    assert sorted(ended) == sorted([old.handle.key, new.handle.key])
    assert members(shop) == 0


async def test_a_card_that_no_key_opens_is_counted_and_can_still_be_ended(shop: Shop, provider: FakeProvider):
    sessions = over(shop)
    _, mine = await begin(sessions, provider)
    await shop.store.create(foreign(names_of(Keyring([KEY]), OfEverybody())[0]), replaces=())
    page = await sessions.index.page(EVERYBODY, ANYBODY, limit=10)
    assert ([one.key for one in page.sessions], page.unreadable) == ([mine.handle.key], 1)
    assert await sessions.index.find("f" * 43) is None
    ended: list[str] = []
    await sessions.index.end_all(EVERYBODY, ended)
    assert sorted(ended) == sorted([mine.handle.key, "f" * 43])
    assert members(shop) == 0


def foreign(index: str) -> NewSession:
    times = {"last_seen": int(STARTED * 1000), "lifetime": 1000, "idle": 1000}
    return NewSession(key="f" * 43, record=b"r", tokens=b"t", card=b"no card of ours", indexes=(index,), **times)


@pytest.mark.parametrize(
    "kinds", [pytest.param("stic", id="all of it"), pytest.param("s", id="its record"), pytest.param("i", id="when it was used")]
)
async def test_a_member_without_a_session_is_passed_over_and_goes_when_it_is_seen_again(
    redis_shop: Shop, provider: FakeProvider, kinds: str
):
    """An operator's DEL, or a crash in between."""
    shop = redis_shop
    sessions = over(shop)
    _, begun = await begin(sessions, provider, sid="sid-1")
    assert shop.server is not None
    for kind in kinds:
        shop.server.command("DEL", f"gateway:{kind}:{{{begun.handle.key}}}")
    assert await listed(sessions) == {}
    assert members(shop) == 4, "it may be one that is being written"
    shop.later(SETTLED)
    for listing in (OfEverybody(), OfProvider("main"), OfUser(ISSUER, "alice"), OfProviderSession(ISSUER, "sid-1")):
        assert await listed(sessions, listing) == {}
    assert members(shop) == 0


async def test_a_session_that_lost_its_card_is_counted_stays_listed_and_ends(redis_shop: Shop, provider: FakeProvider):
    """Looking at it, however often, leaves it there to be ended."""
    shop = redis_shop
    sessions = over(shop)
    cookies, begun = await begin(sessions, provider)
    assert shop.server is not None
    shop.server.command("DEL", f"gateway:c:{{{begun.handle.key}}}")
    user = [OfUser(ISSUER, "alice")]
    for _ in range(3):
        page = await sessions.index.page(user, ANYBODY, limit=10)
        assert (page.sessions, page.unreadable) == ((), 1)
        shop.later(SETTLED)
    ended: list[str] = []
    await sessions.index.end_all(user, ended)
    assert ended == [begun.handle.key]
    assert await sessions.find(cookies, NAMES) == Absent("ended")
    again, begun = await begin(sessions, provider)
    shop.server.command("DEL", f"gateway:c:{{{begun.handle.key}}}")
    assert await sessions.index.end(begun.handle.key) is True
    assert await sessions.index.end(begun.handle.key) is False
    assert await sessions.find(again, NAMES) == Absent("ended")


@pytest.mark.parametrize("keys", [pytest.param((OTHER_KEY,), id="another key alone"), pytest.param((KEY,), id="its key")])
async def test_all_is_all_whatever_is_configured_by_now(shop: Shop, provider: FakeProvider, keys: tuple[bytes, ...]):
    """The sign-in was by a provider of another id, under a key that may be gone."""
    before = over(shop)
    cookies, begun = await begin(before, provider)
    after = over(shop, keys=keys)
    assert await listed(after, OfProvider("renamed")) == {}
    page = await after.index.page(EVERYBODY, ANYBODY, limit=10)
    assert (len(page.sessions), page.unreadable) == ((1, 0) if keys == (KEY,) else (0, 1))
    ended: list[str] = []
    await after.index.end_all(EVERYBODY, ended)
    assert ended == [begun.handle.key]
    assert await over(shop).find(cookies, NAMES) == Absent("ended")
    assert await after.index.page(EVERYBODY, ANYBODY, limit=10) == Page((), None, 0)


async def test_a_list_that_is_none_is_an_outage_and_not_nobody(redis_shop: Shop, provider: FakeProvider):
    shop = redis_shop
    sessions = over(shop, keys=(OTHER_KEY, KEY))
    _, begun = await begin(sessions, provider)
    _, old = await begin(over(shop), provider)
    assert shop.server is not None
    shop.server.command("SET", f"gateway:x:{{{names_of(Keyring([OTHER_KEY]), OfUser(ISSUER, 'alice'))[0]}}}", "foreign")
    with pytest.raises(StoreUnavailable):
        await listed(sessions, OfUser(ISSUER, "alice"))
    ended: list[str] = []
    with pytest.raises(StoreUnavailable):
        await sessions.index.end_all([OfUser(ISSUER, "alice")], ended)
    assert ended == [old.handle.key], "the list under the older key is read all the same"
    await sessions.index.end_all(EVERYBODY, ended)
    assert ended == [old.handle.key, begun.handle.key]


async def test_who_stood_idle_is_listed_no_more(shop: Shop, provider: FakeProvider):
    sessions = over(shop)
    _, begun = await begin(sessions, provider)
    shop.later(1799)
    assert (await listed(sessions)).keys() == {begun.handle.key}
    shop.later(1)
    assert await listed(sessions) == {}
    assert await sessions.index.find(begun.handle.key) is None
    shop.later(100)
    assert await listed(sessions) == {}
    assert await sessions.index.end(begun.handle.key) in (True, False)
    assert members(shop) == 0
    assert {key[:10] for key in shop.dump()} <= {b"gateway:e:"}, "nothing but what was left of its tokens"


@dataclass
class Flaky:
    """A store that answers everything but what a test names."""

    store: SessionStore
    down: set[str] = field(default_factory=set)

    def __getattr__(self, name: str):
        if name in self.down:

            async def fails(*_: object, **__: object) -> None:
                raise StoreUnavailable("cut off")

            return fails
        return getattr(self.store, name)


async def test_an_outage_while_unlisting_undoes_no_end_and_no_login(provider: FakeProvider):
    clock = Clock()
    store = Flaky(MemoryStore(clock=clock), {"unlist"})
    sessions = Sessions(Keyring([KEY]), store, LIFETIMES, clock=clock)
    _, first = await begin(sessions, provider)
    with capture_logs() as logged:
        _, second = await begin(sessions, provider, replaces=(first.handle.key,))
        assert await sessions.end(second.handle) is not None
        assert await sessions.index.end(second.handle.key) is False
    assert [line["event"] for line in logged] == ["session.left_listed"] * 2
    assert await listed(sessions) == {}


@pytest.mark.parametrize("stuck", [pytest.param(1, id="one"), pytest.param(20, id="more than are ended at once")])
async def test_who_cannot_be_ended_keeps_nobody_else_signed_in(provider: FakeProvider, stuck: int):
    clock = Clock()
    store = Flaky(MemoryStore(clock=clock))
    sessions = Sessions(Keyring([KEY]), store, LIFETIMES, clock=clock)
    keys = [(await begin(sessions, provider, sub=f"user-{number}"))[1].handle.key for number in range(100)]
    late, lost = keys[: 40 : 40 // stuck], keys[40]
    end = store.store.end

    async def end_some(key: str, *, leave_tokens: float = 0.0) -> Ended:
        if key == lost:
            raise StoreUnavailable("cut off")
        left = await end(key, leave_tokens=leave_tokens)
        if key in late:
            raise UnknownToReplicas("no replica", ended=left.there)
        return left

    store.store.end = end_some
    ended: list[str] = []
    with pytest.raises(StoreUnavailable, match="cut off"):
        await sessions.index.end_all(EVERYBODY, ended)
    assert sorted(ended) == sorted({*keys} - {lost}), "those that no replica knows of have ended too, each once"
    late, lost = [lost], ""
    with pytest.raises(UnknownToReplicas):
        await sessions.index.end_all(EVERYBODY, ended)
    assert sorted(ended) == sorted(keys)
    await sessions.index.end_all(EVERYBODY, ended)
    assert len(ended) == len(keys)


async def test_an_outage_halfway_hides_nobody_who_was_ended(provider: FakeProvider):
    clock = Clock()
    store = Flaky(MemoryStore(clock=clock))
    sessions = Sessions(Keyring([KEY]), store, LIFETIMES, clock=clock)
    for number in range(40):
        await begin(sessions, provider, sub=f"user-{number}")
    ended: list[str] = []
    end = store.store.end

    async def end_some(key: str, *, leave_tokens: float = 0.0):
        if len(ended) >= 16:
            raise StoreUnavailable("cut off")
        return await end(key, leave_tokens=leave_tokens)

    store.store.end = end_some
    with pytest.raises(StoreUnavailable):
        await sessions.index.end_all(EVERYBODY, ended)
    assert len(ended) == 16
    assert len(await listed(sessions)) == 24
    for down in ("listed", "show"):
        store.down = {down}
        with pytest.raises(StoreUnavailable):
            await listed(sessions)


async def test_operators_wait_for_each_other_and_take_small_steps(provider: FakeProvider):
    """Cards are opened in the process that serves everybody: never those of many sessions in one go, nor for several listings in turn."""
    clock = Clock()
    store = Flaky(MemoryStore(clock=clock))
    sessions = Sessions(Keyring([KEY]), store, LIFETIMES, clock=clock)
    for number in range(200):
        await begin(sessions, provider, sub=f"user-{number}")
    show, now, most, steps = store.store.show, 0, 0, []

    async def watched(keys):
        nonlocal now, most
        now += 1
        most = max(most, now)
        steps.append(len(keys))
        await asyncio.sleep(0)
        now -= 1
        return await show(keys)

    store.store.show = watched
    pages = await asyncio.gather(*(sessions.index.page(EVERYBODY, ANYBODY, limit=1000) for _ in range(4)))
    assert [len(page.sessions) for page in pages] == [200] * 4
    assert (most, max(steps)) == (1, 64)
