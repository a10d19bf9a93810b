"""Sessions over every store: who is found, who is not and why, and that neither cookie nor store opens anything alone."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from gateway.errors import HeadersRefused, IdTokenRefused, ProviderFailed, StoreUnavailable
from gateway.session.cookies import CookieNames
from gateway.session.handle import new_handle
from gateway.session.lifecycle import Lifetimes
from gateway.session.login import CLOCK_SKEW
from gateway.session.record import identity_from
from gateway.session.sealing import Keyring, Purpose, seal_with
from gateway.session.sessions import MAX_CANDIDATES, Absent, Found, Sessions
from gateway.session.store.opening import open_store
from gateway.session.store.protocol import MAX_VALUE, NewSession
from tests.session.conftest import STARTED

if TYPE_CHECKING:
    from tests.session.conftest import Clock, FakeProvider, Shop

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
LIFETIMES = Lifetimes(idle=1800.0, lifetime=43_200.0, login=600.0)
NAMES = CookieNames.for_origin("https://apps.example.org")
WANTED = frozenset({"email"})


def over(shop: Shop, *, keys: tuple[bytes, ...] = (KEY,)) -> Sessions:
    """Over memory with copies of opened sessions, over servers without: every promise here holds for both."""
    sessions = Sessions(Keyring(keys), shop.store, LIFETIMES, clock=shop.clock)
    if shop.server is None:
        sessions.start()
    return sessions


async def begin(sessions: Sessions, provider: FakeProvider, *, replaces: tuple[str, ...] = (), **claims) -> tuple[list[bytes], Found]:
    signed_in = provider.signed_in(**claims)
    cookie, found = await sessions.begin(signed_in, identity_from(signed_in.claims, WANTED), NAMES, replaces=replaces)
    return [f"{NAMES.session}={cookie}".encode()], found


async def test_a_session_is_found_by_its_cookie(shop: Shop, provider: FakeProvider):
    sessions = over(shop)
    cookies, begun = await begin(sessions, provider, email="alice@example.org", sid="sid-1", auth_time=int(STARTED) - 5)
    found = await sessions.find(cookies, NAMES)
    assert found == begun
    assert found.session.identity.claims == {"sub": "alice", "email": "alice@example.org"}
    assert (found.session.provider, found.session.sid, found.session.auth_time) == ("main", "sid-1", int(STARTED) - 5)
    assert (found.session.created, found.session.expires) == (STARTED, STARTED + 43_200)
    assert (found.last_seen, found.idle_expires) == (STARTED, STARTED + 1800)
    tokens = await sessions.tokens(found.handle)
    assert tokens is not None
    assert (tokens.access_token, tokens.refresh_token) == ("at-secret", "rt-secret")


async def test_an_ended_session_never_comes_back(shop: Shop, provider: FakeProvider):
    sessions = over(shop)
    cookies, begun = await begin(sessions, provider)
    tokens = await sessions.end(begun.handle)
    assert tokens is not None
    assert tokens.refresh_token == "rt-secret"
    assert await sessions.end(begun.handle) is None
    assert await sessions.tokens(begun.handle) is None
    assert await sessions.find(cookies, NAMES) == Absent("ended")
    assert shop.dump() == {}


async def test_every_login_has_a_new_id_and_ends_the_one_before(shop: Shop, provider: FakeProvider):
    sessions = over(shop)
    before, first = await begin(sessions, provider)
    after, second = await begin(sessions, provider, replaces=(sessions.replaced_by_next_login(first),))
    assert first.handle.key != second.handle.key
    assert first.handle.data_key != second.handle.data_key
    assert await sessions.find(before, NAMES) == Absent("ended")
    assert await sessions.find(after, NAMES) == second


@pytest.mark.parametrize(
    ("seconds", "outcome"),
    [
        pytest.param(0, None, id="at once"),
        pytest.param(1799.999, None, id="just before the idle edge"),
        pytest.param(1800, "idle", id="at the idle edge"),
        pytest.param(1801, "idle", id="while the store still keeps the note"),
        pytest.param(1900, "idle", id="when the store has dropped the note"),
        pytest.param(43_199, "idle", id="before the end"),
        pytest.param(43_200, "ended", id="at the end, when the store has dropped it"),
    ],
)
async def test_idle_and_absolute_edges(shop: Shop, provider: FakeProvider, seconds: float, outcome: str | None):
    sessions = over(shop)
    cookies, begun = await begin(sessions, provider)
    shop.later(seconds)
    found = await sessions.find(cookies, NAMES)
    if outcome is None:
        assert isinstance(found, Found)
        assert found.session == begun.session
    else:
        assert found == Absent(outcome)


async def test_use_keeps_a_session_until_its_lifetime_and_no_longer(shop: Shop, provider: FakeProvider):
    sessions = over(shop)
    cookies, _ = await begin(sessions, provider)
    for _ in range(28):  # 28 times 25 minutes: 11 h 40 min
        shop.later(1500)
        assert isinstance(await sessions.find(cookies, NAMES), Found)
        await sessions.notes_written()
    shop.later(1140)  # a minute for the test itself: what is in the store runs out by the store's own clock
    found = await sessions.find(cookies, NAMES)
    assert isinstance(found, Found)
    assert found.idle_expires == found.session.expires
    shop.later(60)
    assert await sessions.find(cookies, NAMES) == Absent("ended")


async def test_looking_is_no_use(shop: Shop, provider: FakeProvider):
    sessions, elsewhere = over(shop), over(shop)
    cookies, begun = await begin(sessions, provider)
    shop.later(1000)
    looked = await sessions.find(cookies, NAMES, extend=False)
    assert looked == begun
    assert isinstance(await elsewhere.find(cookies, NAMES), Found)
    await elsewhere.notes_written()
    shop.later(10)
    looked = await sessions.find(cookies, NAMES, extend=False)
    assert isinstance(looked, Found)
    assert looked.last_seen == STARTED + 1000, "use on another replica is seen at once"
    shop.later(1790)
    assert await sessions.find(cookies, NAMES, extend=False) == Absent("idle")


async def test_a_store_that_forgot_to_expire_extends_nothing(redis_shop: Shop, provider: FakeProvider):
    shop = redis_shop
    sessions = over(shop)
    cookies, _ = await begin(sessions, provider)
    assert shop.server is not None
    for key in shop.dump():
        shop.server.command("PERSIST", key)
    shop.clock.now += 1800
    assert await sessions.find(cookies, NAMES) == Absent("idle")
    shop.clock.now = STARTED + 43_200
    assert await sessions.find(cookies, NAMES) == Absent("expired")


async def test_a_note_from_the_future_counts_as_now(shop: Shop, provider: FakeProvider):
    sessions = over(shop)
    cookies, begun = await begin(sessions, provider)
    await shop.store.touch([begun.handle.key], last_seen=int((STARTED + 1e6) * 1000), idle=1e6)
    shop.later(10)
    found = await sessions.find(cookies, NAMES)
    assert isinstance(found, Found)
    assert found.last_seen == STARTED + 10


@pytest.mark.parametrize(("seconds", "noted"), [pytest.param(179, False, id="before a tenth"), pytest.param(180, True, id="at a tenth")])
async def test_use_is_noted_at_most_every_tenth_of_the_idle_time(shop: Shop, provider: FakeProvider, seconds: float, noted: bool):
    sessions = over(shop)
    cookies, begun = await begin(sessions, provider)
    shop.later(seconds)
    found = await sessions.find(cookies, NAMES)
    assert isinstance(found, Found)
    assert found.last_seen == (STARTED + seconds if noted else STARTED)
    await sessions.notes_written()
    assert (await shop.store.read(begun.handle.key)).last_seen == int(found.last_seen * 1000)


async def test_of_two_live_sessions_neither_is_taken(shop: Shop, provider: FakeProvider):
    sessions = over(shop)
    (one,), first = await begin(sessions, provider)
    (two,), second = await begin(sessions, provider, sub="mallory")
    for header in ([one + b"; " + two], [two + b"; " + one], [one, two], [two, one]):
        found = await sessions.find(header, NAMES)
        assert isinstance(found, Absent)
        assert found.reason == "ambiguous"
        assert sorted(handle.key for handle in found.handles) == sorted([first.handle.key, second.handle.key]), "so that all can be ended"
    assert await sessions.find([one + b"; " + one], NAMES) == first, "the same one twice is one"
    await sessions.end(first.handle)
    for header in ([one + b"; " + two], [two, one]):
        found = await sessions.find(header, NAMES)
        assert isinstance(found, Found)
        assert found.session.identity.subject == "mallory", "a dead one beside a live one"


async def test_the_good_one_is_found_among_planted_ones_in_any_order(shop: Shop, provider: FakeProvider):
    sessions = over(shop)
    (good,), begun = await begin(sessions, provider)
    bad = NAMES.session.encode() + b"="
    for header in (
        [bad + b"evil; " + good],
        [good + b"; " + bad + b"evil"],
        [bad, good],
        [b"; ".join([bad + b"%d" % n for n in range(MAX_CANDIDATES - 1)] + [good])],
        [good + b"; " + b"\xe2\x80\x80" + bad + b"evil"],
        [good + b"; " + NAMES.session.encode() + b" =evil"],
    ):
        assert await sessions.find(header, NAMES) == begun
    crowd = [bad + b"%d" % n for n in range(MAX_CANDIDATES)]
    for header in ([*crowd, good], [good, *crowd]):
        assert await sessions.find(header, NAMES) == Absent("ambiguous")


async def test_dead_ones_and_foreign_values_beside_a_live_one_hide_nothing(redis_shop: Shop, provider: FakeProvider):
    shop = redis_shop
    assert shop.server is not None
    sessions = over(shop)
    (idle,), _ = await begin(sessions, provider)
    shop.later(LIFETIMES.idle)
    lines, others = [idle], []
    for subject in ("hash", "junk", "ended", "alive"):
        (line,), begun = await begin(sessions, provider, sub=subject)
        lines.append(line)
        others.append(begun)
    foreign, junk, ended, alive = others
    for kind in "sti":
        shop.server.command("DEL", f"gateway:{kind}:{{{foreign.handle.key}}}")
        shop.server.command("HSET", f"gateway:{kind}:{{{foreign.handle.key}}}", "a", "b")
        shop.server.command("SET", f"gateway:{kind}:{{{junk.handle.key}}}", "junk")
    await sessions.end(ended.handle)
    with capture_logs():
        assert await sessions.find(lines, NAMES) == alive
        assert await sessions.find(lines[::-1], NAMES) == alive
        assert await sessions.find(lines[:-1], NAMES) == Absent("ended")


async def test_no_cookie_and_no_good_cookie(shop: Shop):
    sessions = over(shop)
    assert await sessions.find([], NAMES) == Absent("none")
    assert await sessions.find([b"other=1"], NAMES) == Absent("none")
    assert await sessions.find([b"__Host-gateway="], NAMES) == Absent("unreadable")
    with pytest.raises(HeadersRefused):
        await sessions.find([b"a=\x00"], NAMES)


async def test_a_cookie_of_another_origin_name_key_or_purpose_opens_nothing(shop: Shop, provider: FakeProvider):
    sessions = over(shop)
    (cookie,), begun = await begin(sessions, provider)
    value = cookie.partition(b"=")[2]
    unreadable = Absent("unreadable")
    assert await sessions.find([cookie], CookieNames.for_origin("https://other.example.org")) == unreadable
    http = CookieNames.for_origin("http://apps.example.org")
    assert await sessions.find([http.session.encode() + b"=" + value], http) == unreadable
    assert await over(shop, keys=(OTHER_KEY,)).find([cookie], NAMES) == unreadable
    plaintext = Keyring([KEY]).open(Purpose.SESSION_COOKIE, value, bound_to=NAMES.binding(NAMES.session))
    assert plaintext is not None
    for purpose in set(Purpose) - {Purpose.SESSION_COOKIE}:
        resealed = Keyring([KEY]).seal(purpose, plaintext, bound_to=NAMES.binding(NAMES.session))
        assert await sessions.find([f"{NAMES.session}={resealed}".encode()], NAMES) == unreadable
    assert await over(shop, keys=(OTHER_KEY, KEY)).find([cookie], NAMES) == begun, "rotation signs nobody out"


async def test_a_value_copied_to_the_key_of_another_session_does_not_open(redis_shop: Shop, provider: FakeProvider):
    shop = redis_shop
    assert shop.server is not None
    sessions = over(shop)
    _, alice = await begin(sessions, provider)
    cookies, mallory = await begin(sessions, provider, sub="mallory")
    for kind in "st":
        shop.server.command("COPY", f"gateway:{kind}:{{{alice.handle.key}}}", f"gateway:{kind}:{{{mallory.handle.key}}}", "REPLACE")
    with capture_logs() as logs:
        assert await sessions.find(cookies, NAMES) == Absent("ended")
        assert await sessions.tokens(mallory.handle) is None
    assert [entry["event"] for entry in logs] == ["session.damaged", "session.damaged"]
    shop.server.command("COPY", f"gateway:t:{{{alice.handle.key}}}", f"gateway:s:{{{alice.handle.key}}}", "REPLACE")
    assert await sessions.tokens(alice.handle) is not None
    with capture_logs():
        assert await sessions.find(cookies, NAMES) == Absent("ended")


async def test_a_dump_opens_nothing_and_knows_nobody(redis_shop: Shop, provider: FakeProvider):
    shop = redis_shop
    sessions = over(shop)
    (cookie,), begun = await begin(sessions, provider, email="alice@example.org")
    await sessions.claim_login("state-of-a-login")
    assert shop.server is not None
    dump = shop.dump()
    assert {key[:10] for key in dump} == {f"gateway:{kind}:".encode() for kind in "stilcx"}
    everything = b"\n".join(key + b"=" + value for key, value in dump.items())
    plaintext = Keyring([KEY]).open(Purpose.SESSION_COOKIE, cookie.partition(b"=")[2], bound_to=NAMES.binding(NAMES.session))
    assert plaintext is not None
    for secret in (
        b"alice",
        b"at-secret",
        b"rt-secret",
        b"eyJ",
        b"id.example.org",
        b"state-of-a-login",
        cookie,
        plaintext[:32],
        plaintext[32:],
    ):
        assert secret not in everything
    # Whoever holds the dump cannot make a cookie of what is in it.
    for stolen in dump.values():
        assert await sessions.find([NAMES.session.encode() + b"=" + stolen.hex().encode()], NAMES) == Absent("unreadable")
        if stolen.isascii() and stolen.isalnum():
            assert await sessions.find([NAMES.session.encode() + b"=" + stolen], NAMES) == Absent("unreadable")
    card = dump[b"gateway:c:{" + begun.handle.key.encode() + b"}"]
    assert await sessions.find([NAMES.session.encode() + b"=" + card], NAMES) == Absent("unreadable"), "a card is no cookie"
    assert plaintext[32:] == begun.handle.data_key
    assert begun.handle.data_key.hex() not in repr(begun)
    assert repr(begun.handle.data_key) not in repr(begun)


async def test_a_login_is_called_back_once(shop: Shop):
    sessions = over(shop)
    assert await sessions.claim_login("one") is True
    assert await sessions.claim_login("one") is False
    assert await over(shop).claim_login("one") is False, "on another replica neither"
    assert await sessions.claim_login("two") is True
    shop.later(600 + CLOCK_SKEW - 1)
    assert await sessions.claim_login("one") is False, "the claim outlives the login cookie"
    shop.later(1)
    assert await sessions.claim_login("one") is True, "and no longer"


async def test_a_session_is_a_few_kibibytes(shop: Shop, provider: FakeProvider):
    sessions = over(shop)
    cookies, _ = await begin(sessions, provider, email="alice@example.org")
    assert len(cookies[0]) < 200
    assert sum(len(key) + len(value) for key, value in shop.dump().items()) < 3000


async def test_tokens_too_large_for_a_session_leave_nothing(shop: Shop, provider: FakeProvider):
    sessions = over(shop)
    signed_in = provider.signed_in(access_token="x" * MAX_VALUE)
    with pytest.raises(ProviderFailed):
        await sessions.begin(signed_in, identity_from(signed_in.claims, WANTED), NAMES, replaces=())
    signed_in = provider.signed_in()
    too_large = identity_from(provider.verified(), WANTED)
    too_large = type(too_large)(issuer=too_large.issuer, subject="alice", claims={"sub": "x" * MAX_VALUE})
    with pytest.raises(IdTokenRefused):
        await sessions.begin(signed_in, too_large, NAMES, replaces=())
    assert shop.dump() == {}


async def test_the_store_is_asked_whether_it_is_ready_and_let_go(shop: Shop):
    sessions = over(shop)
    await sessions.ready()
    await sessions.close()


async def test_junk_costs_no_read(provider: FakeProvider, clock: Clock):
    # Nothing listens there: a read would be an outage.
    store = open_store("redis://127.0.0.1:1/0")
    sessions = Sessions(Keyring([KEY]), store, LIFETIMES, clock=clock)
    assert await sessions.find([b"__Host-gateway=evil"], NAMES) == Absent("unreadable")
    with pytest.raises(StoreUnavailable):
        await begin(sessions, provider)
    await store.close()


async def test_a_record_of_another_version_is_an_ended_session(shop: Shop):
    cookie, handle = new_handle(Keyring([KEY]), NAMES, secrets.token_bytes)
    record = seal_with(handle.data_key, Purpose.IDENTITY, b'{"v":99}', bound_to=handle.key)
    await shop.store.create(NewSession(handle.key, record, b"", int(STARTED * 1000), lifetime=60, idle=60), replaces=())
    with capture_logs() as logs:
        assert await over(shop).find([f"{NAMES.session}={cookie}".encode()], NAMES) == Absent("ended")
    assert [entry["log_level"] for entry in logs] == ["error"]
