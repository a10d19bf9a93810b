"""Renewing grants over every store: beside the requests, once for all replicas, and whatever fails signs nobody out."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import RefreshUnavailable
from gateway.oidc.id_token import Before
from gateway.session import refreshing
from gateway.session.found import Absent
from gateway.session.refresh_rules import Follows
from gateway.session.renewal import LOCK_LIFETIME
from gateway.session.sealed_values import open_session, seal_session, seal_tokens
from gateway.session.sessions import Found
from tests.session.refresh_house import DUE, LIVES, RefreshHouse, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.session.conftest import Shop


@pytest.fixture
async def house(shop: Shop) -> AsyncIterator[RefreshHouse]:
    async with RefreshHouse(shop) as running:
        yield running


FAILURES = [
    pytest.param({"refresh_status": 500}, id="500"),
    pytest.param({"refresh_status": 503, "refresh_retry_after": "1"}, id="503, with a wait that is shorter than ours"),
    pytest.param({"refresh_status": 429}, id="429"),
    pytest.param({"refresh_status": 401, "refresh_error": "invalid_client"}, id="invalid_client"),
    pytest.param({"refresh_status": 400, "refresh_error": "invalid_scope"}, id="another error"),
    pytest.param({"refresh_hangs": True}, id="hangs"),
    pytest.param({"token_raw": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"}, id="nonsense"),
]


async def test_a_grant_that_is_not_due_costs_nothing(house: RefreshHouse):
    one = house.replica()
    cookie, _ = await house.sign_in()
    house.later(DUE - 1)
    await one.alive(cookie)
    assert one.beside.tasks == set()
    assert house.op.refresh_requests == []


async def test_a_grant_that_is_due_is_renewed_beside_the_request(house: RefreshHouse):
    one = house.replica()
    cookie, begun = await house.sign_in()
    before = await one.tokens(begun.handle)
    house.later(DUE)
    found = await one.alive(cookie)
    assert found.session == begun.session, "answered with what there was"
    assert house.op.refresh_requests == []
    await house.settled()
    assert house.op.refreshes == 1
    after = await one.tokens(begun.handle)
    assert {before.access_token, before.refresh_token} & {after.access_token, after.refresh_token} == set()
    renewed = await one.alive(cookie)
    assert renewed.session.grant.obtained == house.clock.now
    assert renewed.session.expires == begun.session.expires, "its own end stays"
    assert await house.shop.store.lock(begun.handle.key, owner=b"o", lifetime=1) is None, "and the lock is free"
    await house.settled()
    assert house.op.refreshes == 1


async def test_a_session_is_renewed_again_and_again(house: RefreshHouse):
    one = house.replica()
    cookie, begun = await house.sign_in()
    for round_ in range(1, 6):
        house.later(DUE)
        await one.alive(cookie)
        await house.settled()
        assert (house.op.refreshes, house.op.reuses) == (round_, 0)
    assert (await one.alive(cookie)).session.identity == begun.session.identity


@pytest.mark.parametrize("follow", [pytest.param(True, id="told of changes"), pytest.param(False, id="told of none")])
async def test_many_requests_at_many_replicas_cause_one_refresh(house: RefreshHouse, follow: bool):
    replicas = [house.replica(follow=follow) for _ in range(3)]
    cookie, _ = await house.sign_in()
    house.later(DUE)
    answers = await asyncio.gather(*(each.use(cookie) for _ in range(40) for each in replicas))
    assert all(isinstance(answer, Found) for answer in answers)
    await house.settled()
    for each in replicas:
        await each.alive(cookie)
    await house.settled()
    assert (len(house.op.refresh_requests), house.op.refreshes) == (1, 1)


async def test_asking_for_the_time_left_renews_nothing(house: RefreshHouse):
    one = house.replica(follows=Follows.REFRESH_TOKEN)
    cookie, _ = await house.sign_in()
    house.later(LIVES)
    await one.alive(cookie, extend=False)
    assert one.beside.tasks == set()
    await one.alive(cookie, renewed=False)
    await house.settled()
    assert house.op.refreshes == 1, "a use that need not wait has it renewed all the same"


async def test_no_refresh_token_is_no_storm(house: RefreshHouse):
    house.op.misbehaviour.refresh_token_missing = True
    one = house.replica()
    cookie, _ = await house.sign_in()
    for _ in range(5):
        house.later(DUE)
        await one.alive(cookie)
    assert house.op.refresh_requests == []


@pytest.mark.parametrize("knobs", FAILURES)
async def test_a_failure_keeps_the_session_and_rests_at_all_replicas(house: RefreshHouse, knobs: dict[str, Any]):
    house.total_timeout = 2.0
    one, other = house.replica(), house.replica()
    cookie, begun = await house.sign_in()
    right = {name: getattr(house.op.misbehaviour, name) for name in knobs}
    await asyncio.gather(one.provider.metadata(), other.provider.metadata())
    for name, value in knobs.items():
        setattr(house.op.misbehaviour, name, value)
    house.later(DUE)
    asked = len(house.op.token_requests)
    await one.alive(cookie)
    await house.settled()
    assert len(house.op.token_requests) == asked + 1
    for _ in range(3):
        for each in (one, other):
            await each.alive(cookie)
            await house.settled()
    assert len(house.op.token_requests) == asked + 1, "nobody asks again so soon, here or elsewhere"
    for name, value in right.items():
        setattr(house.op.misbehaviour, name, value)
    house.later(5)
    await other.alive(cookie)
    await house.settled()
    assert house.op.refreshes == 1
    assert (await one.alive(cookie)).session.identity == begun.session.identity


async def test_a_provider_that_asks_for_time_gets_it(house: RefreshHouse):
    one, other = house.replica(), house.replica()
    cookie, _ = await house.sign_in()
    house.op.misbehaviour.refresh_status, house.op.misbehaviour.refresh_retry_after = 429, "60"
    house.later(DUE)
    await one.alive(cookie)
    await house.settled()
    house.later(59)
    for each in (one, other):
        await each.alive(cookie)
        await house.settled()
    assert len(house.op.refresh_requests) == 1


async def test_many_sessions_do_not_hammer_a_provider_that_fails(house: RefreshHouse):
    one = house.replica()
    people = [await house.sign_in() for _ in range(40)]
    house.op.misbehaviour.refresh_status = 503
    house.later(DUE)
    for _ in range(3):
        await asyncio.gather(*(one.alive(cookie) for cookie, _ in people))
        await house.settled()
    assert len(house.op.refresh_requests) <= 24, "those that were under way together, and nobody after them"
    asked = len(house.op.refresh_requests)
    house.later(3)
    await asyncio.gather(*(one.alive(cookie) for cookie, _ in people))
    await house.settled()
    assert len(house.op.refresh_requests) == asked + 1, "one finds out for all"
    house.op.misbehaviour.refresh_status = 200
    for _ in range(12):
        house.later(10)
        await asyncio.gather(*(one.alive(cookie) for cookie, _ in people))
        await house.settled()
    assert house.op.refreshes == len(people)


async def test_a_refusal_ends_the_session_after_one_request(house: RefreshHouse):
    one, other = house.replica(), house.replica()
    cookie, begun = await house.sign_in()
    house.op.end_grants()
    house.later(DUE)
    await one.alive(cookie)
    await house.settled()
    for each in (one, other):
        assert await each.use(cookie) == Absent("ended")
        assert await each.tokens(begun.handle) is None
    await house.settled()
    assert len(house.op.refresh_requests) == 1


async def test_a_refusal_is_nothing_where_newer_tokens_are_there(house: RefreshHouse):
    """RF-05: another replica refreshed between this one's look and its grant, which its lock did not keep from it."""
    one = house.replica()
    cookie, begun = await house.sign_in()
    store, key = house.shop.store, begun.handle.key
    held = house.op.misbehaviour.refresh_held = asyncio.Event()
    house.later(DUE)
    await one.alive(cookie)
    await until(lambda: house.op.refresh_requests)
    house.op.misbehaviour.refresh_held = None
    other = house.replica()
    fence = await store.tokens(key)
    newer = await other.provider.refresh(await other.tokens(begun.handle), Before(house.op.issuer, "alice-sub", None, None, None))
    record = seal_session(begun.handle, replace(begun.session, grant=replace(begun.session.grant, obtained=house.clock.now)))
    assert await store.replace(key, record=record, tokens=seal_tokens(begun.handle, newer.tokens), fence=fence)
    held.set()
    await house.settled()
    assert len(house.op.refresh_requests) == 2
    assert await one.tokens(begun.handle) == newer.tokens
    await one.alive(cookie)


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"sub": "bob-sub"}, id="another person"),
        pytest.param({"aud": "other"}, id="another client"),
        pytest.param({"nonce": "other"}, id="another login"),
        pytest.param({"auth_time": 5}, id="another time"),
    ],
)
async def test_a_session_never_changes_hands(house: RefreshHouse, claims: dict[str, Any]):
    one = house.replica()
    cookie, _ = await house.sign_in()
    house.op.misbehaviour.refresh_id_token_claims = claims
    house.later(DUE)
    await one.alive(cookie)
    await house.settled()
    assert await one.use(cookie) == Absent("ended")
    granted = house.op.tokens_issued[-1]
    await until(lambda: len(house.op.revoked) == 2)
    assert house.op.revoked == [granted["refresh_token"], granted["access_token"]]


async def test_claims_follow(house: RefreshHouse):
    one = house.replica()
    cookie, _ = await house.sign_in()
    house.op.users["alice"]["groups"] = ["staff"]
    house.later(DUE)
    await one.alive(cookie)
    await house.settled()
    assert (await one.alive(cookie)).session.identity.claims["groups"] == ["staff"]


async def test_claims_that_cannot_be_kept_are_not_taken(house: RefreshHouse):
    one = house.replica()
    cookie, begun = await house.sign_in()
    house.op.users["alice"]["email"] = "a\r\nb"
    house.later(DUE)
    await one.alive(cookie)
    await house.settled()
    assert house.op.refreshes == 1
    assert (await one.alive(cookie)).session.identity == begun.session.identity


async def test_what_ended_meanwhile_stays_ended_and_its_new_tokens_are_revoked(house: RefreshHouse):
    """RF-10"""
    one, other = house.replica(), house.replica()
    cookie, begun = await house.sign_in()
    gate = house.op.misbehaviour.refresh_gate = asyncio.Event()
    house.later(DUE)
    await one.alive(cookie)
    await until(lambda: house.op.refreshes)
    assert await other.sessions.end(begun.handle) is not None
    gate.set()
    await house.settled()
    assert await one.use(cookie) == Absent("ended")
    granted = house.op.tokens_issued[-1]
    assert house.op.revoked == [granted["refresh_token"], granted["access_token"]]


async def test_another_login_meanwhile_is_not_mixed_with_it(house: RefreshHouse):
    """RF-17"""
    one = house.replica()
    cookie, begun = await house.sign_in()
    gate = house.op.misbehaviour.refresh_gate = asyncio.Event()
    house.later(DUE)
    await one.alive(cookie)
    await until(lambda: house.op.refreshes)
    theirs, _ = await house.sign_in("bob", replaces=(begun.handle.key,))
    gate.set()
    await house.settled()
    assert await one.use(cookie) == Absent("ended")
    assert (await one.alive(theirs)).session.identity.subject == "bob-sub"


@pytest.mark.parametrize("forgives", [pytest.param(True, id="provider forgives"), pytest.param(False, id="provider ends the grant")])
async def test_after_a_crash_the_old_token_is_tried_once(house: RefreshHouse, forgives: bool):
    """RF-04: the holder is killed between the grant and its write."""
    one, other = house.replica(), house.replica()
    cookie, _ = await house.sign_in()
    house.op.misbehaviour.refresh_grace = 60 if forgives else 0
    house.op.misbehaviour.refresh_gate = asyncio.Event()
    house.later(DUE)
    await one.alive(cookie)
    await until(lambda: house.op.refreshes)
    await one.beside.killed()
    house.op.misbehaviour.refresh_gate = None
    await other.alive(cookie)
    await house.settled()
    assert house.op.reuses == 0, "its lock still stands"
    house.later(LOCK_LIFETIME)
    await other.alive(cookie)
    await house.settled()
    assert house.op.reuses == 1
    assert isinstance(await other.use(cookie), Found if forgives else Absent)
    await house.settled()
    assert house.op.reuses == 1, "once"


async def test_a_lock_that_outlives_its_holder_keeps_nobody(house: RefreshHouse):
    one = house.replica()
    cookie, begun = await house.sign_in()
    await house.shop.store.lock(begun.handle.key, owner=b"somebody who was killed", lifetime=LOCK_LIFETIME)
    house.later(DUE)
    await one.alive(cookie)
    await house.settled()
    assert house.op.refreshes == 1


async def test_a_session_of_an_earlier_version_lives_on(house: RefreshHouse):
    """No facts of its grant were written: they are looked up once, and then it is renewed like any other."""
    one = house.replica()
    cookie, begun = await house.sign_in()
    store, key = house.shop.store, begun.handle.key
    fence = await store.tokens(key)
    old = seal_session(begun.handle, replace(begun.session, grant=None))
    assert await store.replace(key, record=old, tokens=fence, fence=fence)
    assert (await one.alive(cookie)).session.grant is None
    await house.settled()
    facts = (await one.alive(cookie)).session.grant
    assert (facts.access_expires, facts.refreshable, facts.nonce) == (begun.session.grant.access_expires, True, "nonce-1")
    assert house.op.refresh_requests == []
    house.later(DUE)
    await one.alive(cookie)
    await house.settled()
    assert house.op.refreshes == 1


async def test_a_session_that_follows_waits_for_its_refresh(house: RefreshHouse):
    one, other = house.replica(follows=Follows.REFRESH_TOKEN), house.replica(follows=Follows.REFRESH_TOKEN)
    cookie, _ = await house.sign_in()
    house.later(LIVES)
    answers = await asyncio.gather(*(each.use(cookie) for _ in range(20) for each in (one, other)))
    assert {answer.session.grant.obtained for answer in answers if isinstance(answer, Found)} == {house.clock.now}
    assert len(answers) == 40
    assert house.op.refreshes == 1


async def test_who_waits_gets_503_and_nobody_is_signed_out(house: RefreshHouse):
    one = house.replica(follows=Follows.REFRESH_TOKEN)
    cookie, _ = await house.sign_in()
    house.op.misbehaviour.refresh_status = 503
    house.later(LIVES)
    for _ in range(3):
        with pytest.raises(RefreshUnavailable) as raised:
            await one.use(cookie)
        assert raised.value.retry_after >= 1
        await one.alive(cookie, renewed=False)
    assert len(house.op.refresh_requests) == 1
    house.op.misbehaviour.refresh_status = 200
    house.later(5)
    await one.alive(cookie)
    assert house.op.refreshes == 1


async def test_who_waits_and_is_refused_is_signed_out(house: RefreshHouse):
    one = house.replica(follows=Follows.REFRESH_TOKEN)
    cookie, _ = await house.sign_in()
    house.op.end_grants()
    house.later(LIVES)
    assert await one.use(cookie) == Absent("ended")


@pytest.mark.parametrize(
    ("follows", "knobs", "lives"),
    [
        pytest.param(Follows.NONE, {"refresh_token_missing": True}, True, id="none: on"),
        pytest.param(Follows.REFRESH_TOKEN, {"refresh_token_missing": True}, False, id="refresh_token: over"),
        pytest.param(Follows.ID_TOKEN, {"refresh_token_missing": True}, False, id="id_token: over"),
        pytest.param(Follows.ID_TOKEN, {"refresh_id_token_missing": True}, False, id="id_token, and no new one comes: over"),
        pytest.param(Follows.REFRESH_TOKEN, {"refresh_id_token_missing": True}, True, id="refresh_token, and no new id_token comes: on"),
        pytest.param(Follows.ID_TOKEN, {}, True, id="id_token, and a new one comes: on"),
    ],
)
async def test_the_end_of_the_tokens(house: RefreshHouse, follows: Follows, knobs: dict[str, Any], lives: bool):
    for name, value in knobs.items():
        setattr(house.op.misbehaviour, name, value)
    one = house.replica(follows=follows)
    cookie, _ = await house.sign_in()
    house.later(LIVES)
    assert await one.use(cookie) == Absent("expired") if not lives else isinstance(await one.use(cookie), Found)
    assert house.op.refreshes <= 1


async def test_who_waits_at_another_replica_is_woken_by_the_store(house: RefreshHouse):
    one = house.replica(follow=True)
    other = house.replica(follow=True, follows=Follows.REFRESH_TOKEN)
    await until(lambda: one.sessions.told_of_changes and other.sessions.told_of_changes)
    cookie, _ = await house.sign_in()
    gate = house.op.misbehaviour.refresh_gate = asyncio.Event()
    house.later(LIVES)
    await one.alive(cookie)
    await until(lambda: house.op.refreshes)
    waiting = asyncio.ensure_future(other.use(cookie))
    await until(lambda: other.beside.tasks)
    await asyncio.sleep(0.1)
    assert not waiting.done()
    gate.set()
    async with asyncio.timeout(LOCK_LIFETIME / 2):  # far before the lock would have ended
        found = await waiting
    assert isinstance(found, Found)
    assert found.session.grant.obtained == house.clock.now
    assert house.op.refreshes == 1


async def test_tokens_are_kept_beside_the_session_and_follow_it(house: RefreshHouse):
    one, other = house.replica(follow=True), house.replica(follow=True)
    await until(lambda: one.sessions.told_of_changes and other.sessions.told_of_changes)
    cookie, begun = await house.sign_in()
    await one.alive(cookie)
    first = await one.tokens(begun.handle)
    if one.sessions.watches(begun.handle):
        assert await one.tokens(begun.handle) is await one.tokens(begun.handle)
    house.later(DUE)
    await other.alive(cookie)
    await house.settled()
    async with asyncio.timeout(20):
        while (second := await one.tokens(begun.handle)) == first:
            await asyncio.sleep(0.005)
    assert second is not None
    await other.sessions.end(begun.handle)
    async with asyncio.timeout(20):
        while await one.tokens(begun.handle) is not None:
            await asyncio.sleep(0.005)


async def test_a_stop_begins_nothing_and_finishes_what_has_begun(house: RefreshHouse):
    one = house.replica()
    cookie, begun = await house.sign_in()
    gate = house.op.misbehaviour.refresh_gate = asyncio.Event()
    house.later(DUE)
    await one.alive(cookie)
    await until(lambda: house.op.refreshes)
    one.sessions._refresher.close()
    gate.set()
    await house.settled()
    record = (await house.shop.store.read(begun.handle.key)).record
    assert open_session(begun.handle, record).grant.obtained == house.clock.now
    house.later(DUE)
    await one.alive(cookie)
    assert one.beside.tasks == set()


async def test_those_that_nobody_waits_for_leave_room_for_one_that_somebody_does(house: RefreshHouse, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(refreshing, "MOST_AHEAD", 2)
    monkeypatch.setattr(refreshing, "MOST_RUNNING", 3)
    one = house.replica(follows=Follows.REFRESH_TOKEN)
    cookies = [(await house.sign_in())[0] for _ in range(4)]
    gate = house.op.misbehaviour.refresh_gate = asyncio.Event()
    house.later(DUE)
    for cookie in cookies:
        await one.alive(cookie)
    assert len(one.beside.tasks) == 2
    house.later(LIVES - DUE + 1)
    waiting = asyncio.ensure_future(one.alive(cookies[3]))
    await until(lambda: len(one.beside.tasks) == 3)
    gate.set()
    await waiting


async def test_a_stop_lets_those_go_that_have_not_begun(house: RefreshHouse, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(refreshing, "PACE", 3600.0)
    one = house.replica()
    cookies = [(await house.sign_in())[0] for _ in range(3)]
    house.later(DUE)
    for cookie in cookies:
        await one.alive(cookie)
    await until(lambda: house.op.refreshes)
    one.sessions.stop_renewing()
    await house.settled()
    assert house.op.refreshes == 1


async def test_an_old_copy_of_a_session_causes_no_work(house: RefreshHouse):
    """Whoever holds a tunnel open says again and again that a grant is due which was renewed long ago."""
    one = house.replica()
    cookie, begun = await house.sign_in()
    house.later(DUE)
    await one.alive(cookie)
    await house.settled()
    for _ in range(10):
        one.sessions.renew_if_due(begun)
    assert one.beside.tasks == set()
    house.later(DUE)
    one.sessions.renew_if_due(begun)
    await house.settled()
    assert house.op.refreshes == 2, "and has it renewed when it is due again"


async def test_a_session_whose_tokens_are_damaged_ends_when_they_are_due(house: RefreshHouse):
    """RD-08: nothing could renew it any more, and who waits for a token would wait for ever."""
    one = house.replica()
    cookie, begun = await house.sign_in()
    store, key = house.shop.store, begun.handle.key
    record, fence = (await store.read(key)).record, await store.tokens(key)
    assert await store.replace(key, record=record, tokens=b"not what was sealed", fence=fence)
    house.later(DUE)
    await one.alive(cookie)
    await house.settled()
    assert await one.use(cookie) == Absent("ended")
    assert house.op.refresh_requests == []


async def test_a_session_of_a_provider_that_is_no_longer_configured_ends_when_it_is_due(house: RefreshHouse):
    one = house.replica()
    cookie, _ = await house.sign_in()
    one.provider.settings = replace(one.provider.settings, id="another")
    house.later(DUE)
    await one.alive(cookie)
    await house.settled()
    assert await one.use(cookie) == Absent("ended")
    assert house.op.refresh_requests == []
