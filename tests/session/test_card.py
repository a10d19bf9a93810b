"""A card alone tells nothing, belongs to one session, and is a card or none; names of lists tell nobody whom they are about."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import IdTokenRefused
from gateway.identity import Identity
from gateway.oidc import base64url
from gateway.session.card import LONGEST_NAME, Card, card_of, open_card, seal_card
from gateway.session.index_names import OfEverybody, OfProvider, OfProviderSession, OfUser, all_names, listings_of, names_of, newest_names
from gateway.session.record import Session
from gateway.session.sealing import Keyring, Purpose
from gateway.session.store.protocol import MAX_CARD, MAX_VALUE

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
HERE, THERE = "h" * 43, "t" * 43
CARD = Card(
    provider="main",
    issuer="https://id.example.org",
    subject="alice-4711",
    sid="sid-4711",
    name="alice",
    email="alice@example.org",
    address="192.0.2.1",
    created=1_700_000_000,
    expires=1_700_043_200,
    auth_time=1_699_999_990,
)


def session(**claims: object) -> Session:
    identity = Identity(issuer=CARD.issuer, subject=CARD.subject, claims={"sub": CARD.subject, **claims})
    return Session(identity=identity, provider="main", created=CARD.created, expires=CARD.expires, auth_time=CARD.auth_time, sid=CARD.sid)


def test_a_card_has_what_operators_need_and_no_claim_besides():
    told = session(preferred_username="alice", email="alice@example.org", groups=["secret-project"], name="Alice A.")
    assert card_of(told, address="192.0.2.1") == CARD
    assert card_of(session(name="Alice A."), address="192.0.2.1").name == "Alice A."


@pytest.mark.parametrize(
    "claim",
    [
        pytest.param(None, id="nothing"),
        pytest.param("", id="empty"),
        pytest.param(["a"], id="a list"),
        pytest.param({"a": 1}, id="an object"),
        pytest.param(7, id="a number"),
    ],
)
def test_a_name_that_is_no_text_is_none(claim):
    card = card_of(session(preferred_username=claim, email=claim), address="unknown")
    assert (card.name, card.email) == (None, None)


@given(
    st.text(max_size=64),
    st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=255),
    st.none() | st.text(min_size=1, max_size=255),
    st.none() | st.text(min_size=1, max_size=9000),
)
def test_whatever_a_provider_calls_somebody_makes_a_card_that_the_store_takes(provider, subject, sid, name):
    keyring = Keyring([KEY])
    known = session(preferred_username=name, email=name)
    try:
        sealed = seal_card(
            keyring,
            replace(card_of(known, address="192.0.2.1"), provider=provider, subject=subject, sid=sid),
            key=HERE,
        )
    except UnicodeEncodeError:
        return  # a lone surrogate: the record of the session was refused before
    assert len(sealed) <= MAX_CARD <= MAX_VALUE
    opened = open_card(keyring, sealed, key=HERE)
    assert opened is not None
    assert (opened.provider, opened.subject, opened.sid) == (provider, subject, sid)
    assert opened.name is None or opened.name == (name or "")[:LONGEST_NAME]


def test_names_go_before_what_sessions_are_found_by_and_a_card_that_is_still_too_long_is_refused():
    keyring = Keyring([KEY])
    long = replace(CARD, issuer="https://id.example.org/" + "x" * 2000, name="n" * 128, email="é" * 128, sid="\U0001f511" * 128)
    opened = open_card(keyring, seal_card(keyring, long, key=HERE), key=HERE)
    assert opened == replace(long, name=None, email=None)
    with pytest.raises(IdTokenRefused):
        seal_card(keyring, replace(long, issuer="https://id.example.org/" + "x" * 4000), key=HERE)


def test_a_card_alone_tells_nothing():
    sealed = seal_card(Keyring([KEY]), CARD, key=HERE)
    for telling in ("alice", "4711", "example", "192.0.2", "main", "1700000000"):
        assert telling.encode() not in sealed
        assert telling.encode() not in base64url.decode(sealed.decode())
    assert open_card(Keyring([OTHER_KEY]), sealed, key=HERE) is None
    assert open_card(Keyring([KEY]), sealed, key=THERE) is None, "a card that was moved to another session"
    assert open_card(Keyring([OTHER_KEY, KEY]), sealed, key=HERE) == CARD


@pytest.mark.parametrize(
    "plaintext",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{}", id="an empty object"),
        pytest.param(b'{"v":2}', id="another version"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"\xff", id="no text"),
    ],
)
def test_what_is_no_card_opens_as_none(plaintext):
    keyring = Keyring([KEY])
    assert open_card(keyring, keyring.seal(Purpose.CARD, plaintext, bound_to=HERE).encode(), key=HERE) is None
    assert open_card(keyring, keyring.seal(Purpose.TOKENS, b"{}", bound_to=HERE).encode(), key=HERE) is None
    assert open_card(keyring, plaintext, key=HERE) is None


def test_a_session_is_listed_under_the_newest_key_and_found_under_each():
    before, after = Keyring([KEY]), Keyring([OTHER_KEY, KEY])
    old = newest_names(before, CARD)
    assert len(set(old)) == 4
    assert set(old) & set(newest_names(after, CARD)) == {"everybody"}, "a list whose name no key makes"
    assert set(old) <= set(all_names(after, CARD))
    assert set(newest_names(after, CARD)) <= set(all_names(after, CARD))
    for listing, name in zip(listings_of(CARD), old, strict=True):
        assert name in names_of(after, listing)


def test_without_a_sid_there_are_three_lists():
    assert listings_of(replace(CARD, sid=None)) == (OfUser(CARD.issuer, CARD.subject), OfProvider("main"), OfEverybody())


def test_names_of_lists_are_apart_whatever_is_in_them():
    keyring = Keyring([KEY])
    listings = [OfUser("a", "bc"), OfUser("ab", "c"), OfUser("", "abc"), OfProviderSession("a", "bc"), OfProvider("abc"), OfProvider("")]
    names = [names_of(keyring, listing)[0] for listing in listings]
    assert len(set(names)) == len(listings)
    assert {len(name) for name in names} == {43}


def test_a_name_is_an_hmac_under_a_key_of_its_own_and_no_hash_that_anybody_can_try():
    name = names_of(Keyring([KEY]), OfProvider("main"))[0]
    about = b"".join((2).to_bytes(4, "big") if not part else len(part).to_bytes(4, "big") + part for part in (b"", b"provider", b"main"))
    naming = hmac.digest(KEY, b"gateway index names\x01", "sha256")
    assert name == base64url.encode(hmac.digest(naming, about, "sha256"))
    assert name not in {base64url.encode(hashlib.sha256(guess).digest()) for guess in (b"main", about, b"provider\0main")}
    assert name != base64url.encode(hmac.digest(KEY, about, "sha256"))
