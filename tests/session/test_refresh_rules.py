"""When a grant is renewed, who waits for it and when its end is the session's: tables, and what holds for every grant."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.oidc.provider import Refreshed
from gateway.oidc.token_response import Tokens
from gateway.session.grant import Grant, grant_after, grant_at_login, grant_from_json, grant_of_kept, grant_to_json
from gateway.session.record import Session, identity_from, session_after, session_from_bytes, session_to_bytes
from gateway.session.refresh_rules import (
    AHEAD_FRACTION,
    FIRST_REST,
    LEAST_AGE,
    LONGEST_AHEAD,
    LONGEST_REST,
    Follows,
    ProviderPause,
    RefreshRules,
    rest_after,
)
from gateway.session.stored_json import write_stored
from tests.session.conftest import STARTED
from tests.session.test_record import sessions

if TYPE_CHECKING:
    from tests.session.conftest import FakeProvider

NEVER = math.inf
PLAIN = Grant(obtained=0, access_expires=3600, refreshable=True, id_expires=300, id_issued=0, id_renewed=True, nonce="n")
times = st.none() | st.floats(0, 10**7)
grants = st.builds(
    Grant,
    obtained=st.floats(0, 10**7),
    access_expires=times,
    refreshable=st.booleans(),
    id_expires=times,
    id_issued=times,
    id_renewed=st.booleans(),
    nonce=st.none() | st.text(st.characters(codec="ascii"), max_size=43),
)
rules = st.builds(
    RefreshRules,
    follows=st.sampled_from(Follows),
    ahead=st.none() | st.floats(1, 3600),
    skew=st.floats(0, 300),
    sends_id_token=st.booleans(),
)


@pytest.mark.parametrize(
    ("ruled", "changes", "due_at"),
    [
        pytest.param({}, {}, 3300, id="five minutes before the end of an hour"),
        pytest.param({}, {"access_expires": 86400}, 86100, id="five minutes before the end of a day"),
        pytest.param({}, {"access_expires": 600}, 480, id="a fifth of ten minutes"),
        pytest.param({}, {"access_expires": 200}, 140, id="a fifth is less than the clocks may differ"),
        pytest.param({}, {"access_expires": 60}, 30, id="no more than half of a minute"),
        pytest.param({"skew": 0}, {"access_expires": 60}, 48, id="clocks that agree"),
        pytest.param({"ahead": 120}, {}, 3480, id="as configured"),
        pytest.param({"ahead": 3600}, {}, 1800, id="configured for longer than tokens live"),
        pytest.param({"ahead": 5, "skew": 60}, {}, 3540, id="configured for less than the clocks may differ"),
        pytest.param({}, {"access_expires": None}, NEVER, id="nobody said when it ends"),
        pytest.param({}, {"refreshable": False}, NEVER, id="no refresh token"),
        pytest.param({}, {"access_expires": 0}, LEAST_AGE, id="ended when it came: not at once again"),
        pytest.param({"sends_id_token": True}, {}, 240, id="an app gets the id_token, which ends sooner"),
        pytest.param({"follows": Follows.ID_TOKEN}, {}, 240, id="the session follows the id_token"),
        pytest.param({"follows": Follows.ID_TOKEN}, {"id_renewed": False}, 300, id="no new id_token came: once more, at its end"),
        pytest.param(
            {"follows": Follows.ID_TOKEN}, {"id_renewed": False, "obtained": 300}, 3300, id="nor after its end: it is not asked for again"
        ),
        pytest.param({"follows": Follows.REFRESH_TOKEN}, {}, 3300, id="the session follows the refresh token"),
    ],
)
def test_a_grant_is_due(ruled: dict[str, object], changes: dict[str, object], due_at: float):
    assert RefreshRules(**ruled).due_at(replace(PLAIN, **changes)) == due_at


@pytest.mark.parametrize(
    ("follows", "changes", "serves_until", "ends_at"),
    [
        pytest.param(Follows.NONE, {}, NEVER, NEVER, id="none: the session's own times"),
        pytest.param(Follows.NONE, {"refreshable": False}, NEVER, NEVER, id="none, and no refresh token"),
        pytest.param(Follows.REFRESH_TOKEN, {}, 3600, NEVER, id="refresh_token: waits from the access token's end"),
        pytest.param(Follows.REFRESH_TOKEN, {"refreshable": False}, NEVER, 3600, id="refresh_token, and none: ends"),
        pytest.param(Follows.REFRESH_TOKEN, {"access_expires": None}, NEVER, NEVER, id="refresh_token, and nobody said when"),
        pytest.param(Follows.ID_TOKEN, {}, 300, NEVER, id="id_token: waits from its end"),
        pytest.param(Follows.ID_TOKEN, {"refreshable": False}, NEVER, 300, id="id_token, and no way to another: ends"),
        pytest.param(Follows.ID_TOKEN, {"id_renewed": False}, 300, NEVER, id="id_token, not renewed ahead of its end: one more try"),
        pytest.param(Follows.ID_TOKEN, {"id_renewed": False, "obtained": 301}, NEVER, 300, id="id_token, not renewed after its end: ends"),
    ],
)
def test_a_session_follows(follows: Follows, changes: dict[str, object], serves_until: float, ends_at: float):
    ruled, grant = RefreshRules(follows=follows), replace(PLAIN, **changes)
    assert (ruled.serves_until(grant), ruled.ends_at(grant)) == (serves_until, ends_at)


def test_nothing_ends_or_waits_by_a_grant_that_is_not_known():
    for follows in Follows:
        ruled = RefreshRules(follows=follows, sends_id_token=True)
        assert (ruled.serves_until(None), ruled.tokens_until(None), ruled.ends_at(None)) == (NEVER, NEVER, NEVER)
        assert ruled.due_at(None) == -NEVER


@given(rules, grants)
def test_who_waits_finds_it_due(ruled: RefreshRules, grant: Grant):
    assert ruled.due_at(grant) <= ruled.tokens_until(grant)
    assert ruled.due_at(grant) <= ruled.serves_until(grant)


@given(rules, grants)
def test_no_grant_is_renewed_at_once_again(ruled: RefreshRules, grant: Grant):
    assert ruled.due_at(grant) >= grant.obtained + LEAST_AGE


@given(rules, grants)
def test_the_margin_covers_the_clocks_where_the_lifetime_allows(ruled: RefreshRules, grant: Grant):
    if grant.refreshable and grant.access_expires is not None and grant.access_expires >= grant.obtained + 2 * LEAST_AGE:
        margin = grant.access_expires - ruled.due_at(grant)
        lifetime = grant.access_expires - grant.obtained
        assert margin >= min(ruled.skew, lifetime / 2) - 1e-6
        if ruled.ahead is None and ruled.follows is not Follows.ID_TOKEN and not ruled.sends_id_token:
            assert margin <= max(ruled.skew, min(lifetime / AHEAD_FRACTION, LONGEST_AHEAD)) + 1e-6


@given(rules, grants)
def test_nobody_waits_for_what_cannot_come_and_nothing_ends_that_can(ruled: RefreshRules, grant: Grant):
    if ruled.ends_at(grant) < NEVER:
        assert ruled.serves_until(grant) == NEVER
    if not grant.refreshable:
        assert ruled.due_at(grant) == ruled.serves_until(grant) == ruled.tokens_until(grant) == NEVER


@given(rules, grants, st.floats(1, 10**6), st.floats(0, 10**4))
def test_no_storm_where_no_id_token_comes(ruled: RefreshRules, grant: Grant, lifetime: float, later: float):
    """However often it is renewed: after the id_token's end the access token alone says when it is due again."""
    grant = replace(grant, refreshable=True)
    tokens = Tokens("at", "Bearer", None, "rt", "it", None)
    for _ in range(4):
        now = max(ruled.due_at(grant), grant.obtained) if ruled.due_at(grant) < NEVER else grant.obtained + later
        grant = grant_after(Refreshed(replace(tokens, expires_at=now + lifetime), claims=None), grant, now=now)
    if grant.id_expires is None or grant.obtained >= grant.id_expires:
        assert ruled.due_at(grant) >= min(grant.obtained + lifetime / 2, grant.obtained + lifetime) - 1e-3 or lifetime < 2 * LEAST_AGE


@given(st.integers(1, 10**6), st.floats(0, 1), st.floats(0, 300))
def test_a_rest_is_bounded_and_keeps_to_what_was_asked(failures: int, chance: float, asked: float):
    seconds = rest_after(failures, chance=chance, asked=asked)
    assert seconds >= asked
    assert FIRST_REST / 2 <= seconds <= max(LONGEST_REST, asked * 1.1)


def test_rests_grow_and_are_not_the_same_for_all():
    assert [rest_after(count, chance=1.0) for count in (1, 2, 3, 7, 100)] == [2, 4, 8, 120, 120]
    assert rest_after(3, chance=0.0) == 4


def test_a_provider_that_fails_is_left_alone_then_asked_by_one_then_by_all():
    pause = ProviderPause()
    assert pause.left(0) == 0
    for _ in range(24):  # all at once, before it was known to fail
        pause.enter()
    for each in range(24):
        pause.leave(str(each), well=False, now=0, chance=1.0)
    assert pause.left(0) == FIRST_REST, "they count as one"
    assert pause.left(2) == 0
    pause.enter()
    assert pause.left(2) > 0, "one is asking"
    pause.leave("one", well=False, now=2, chance=1.0)
    assert pause.left(2) == 2 * FIRST_REST
    pause.enter()
    pause.leave("one", well=None, now=6, chance=1.0)
    assert pause.left(6) == 0, "it was not asked after all"
    pause.enter()
    pause.leave("one", well=True, now=6, chance=1.0)
    pause.enter()
    assert pause.left(6) == 0, "all may again"


def test_a_provider_is_left_alone_for_as_long_as_it_asks_when_it_fails_a_second_session():
    pause = ProviderPause()
    for now in (0, 10, 20):
        pause.enter()
        pause.leave("one", well=False, now=now, chance=1.0, asked=100)
        assert pause.left(now) == FIRST_REST, "it may have meant one user, however often"
    pause.enter()
    pause.leave("other", well=False, now=30, chance=0.0, asked=100)
    assert pause.left(129) == 1


def test_the_facts_of_a_login(provider: FakeProvider):
    signed_in = provider.signed_in()
    assert grant_at_login(signed_in.tokens, signed_in.claims, now=STARTED) == Grant(
        obtained=STARTED,
        access_expires=STARTED + 300,
        refreshable=True,
        id_expires=STARTED + 300,
        id_issued=STARTED,
        id_renewed=True,
        nonce="n",
    )


def test_the_facts_of_a_session_from_before_there_were_any(provider: FakeProvider):
    signed_in = provider.signed_in()
    assert grant_of_kept(signed_in.tokens, created=STARTED) == grant_at_login(signed_in.tokens, signed_in.claims, now=STARTED)


@pytest.mark.parametrize("id_token", [pytest.param(text, id=repr(text)) for text in ("", "x", "a.b.c", "a.W10.c", "a.e30.c", "..")])
def test_an_id_token_that_cannot_be_read_tells_nothing(provider: FakeProvider, id_token: str):
    grant = grant_of_kept(replace(provider.signed_in().tokens, id_token=id_token), created=STARTED)
    assert (grant.id_expires, grant.id_issued, grant.nonce) == (None, None, None)


@given(grants)
def test_facts_come_back_equal(grant: Grant):
    assert grant_from_json(grant_to_json(grant)) == grant


@given(sessions, grants)
def test_a_record_with_facts_is_one_to_a_reader_without_them(session, grant):
    """Replicas of two versions share one store while they are exchanged: nobody is signed out by it."""
    written = session_to_bytes(replace(session, grant=grant))
    assert session_from_bytes(written) == replace(session, grant=grant)
    members = json.loads(written)
    members["other"] = members.pop("grant")
    assert session_from_bytes(write_stored(members)) == session


def test_claims_follow_where_there_are_any(provider: FakeProvider):
    old = provider.verified(email="old@example.org", groups=["staff"])
    new = provider.verified(email="new@example.org")
    bare = provider.verified()
    wanted = frozenset({"sub", "email", "groups"})
    session = Session(identity_from(old, wanted), "main", created=0, expires=10, auth_time=None, sid=None)
    for claims, kept in ((new, {"sub": "alice", "email": "new@example.org"}), (bare, dict(session.identity.claims))):
        after = session_after(session, Refreshed(provider.signed_in().tokens, claims), PLAIN, wanted=wanted, now=5)
        assert dict(after.identity.claims) == kept
        assert after.grant is not None
        assert after.grant.obtained == 5
