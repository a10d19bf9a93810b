"""What a session holds: wanted claims alone, bounded, without controls; written and read back equal, or read as nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import IdTokenRefused
from gateway.identity import Identity
from gateway.oidc.strict_json import MAX_DEPTH
from gateway.oidc.token_response import Tokens
from gateway.session.record import MAX_CLAIMS, Session, identity_from, session_from_bytes, session_to_bytes
from gateway.session.token_record import tokens_from_bytes, tokens_to_bytes

if TYPE_CHECKING:
    from tests.session.conftest import FakeProvider

# Everything that JSON text can say: lone surrogates are not among it.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)
sessions = st.builds(
    Session,
    identity=st.builds(Identity, issuer=texts, subject=texts, claims=st.dictionaries(texts, json_values, max_size=5)),
    provider=texts,
    created=st.integers(0, 2**40),
    expires=st.integers(0, 2**40),
    auth_time=st.none() | st.integers(0, 2**40),
    sid=st.none() | texts,
)
tokens = st.builds(
    Tokens,
    access_token=texts,
    token_type=texts,
    expires_at=st.none() | st.floats(0, 2**40),
    refresh_token=st.none() | texts,
    id_token=texts,
    scope=st.none() | texts,
)


@given(sessions)
def test_a_session_comes_back_equal(session):
    assert session_from_bytes(session_to_bytes(session)) == session


@given(tokens)
def test_tokens_come_back_equal(tokens):
    assert tokens_from_bytes(tokens_to_bytes(tokens)) == tokens


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_other_bytes_are_nothing(data):
    assert session_from_bytes(data) is None
    assert tokens_from_bytes(data) is None


SESSION = session_to_bytes(Session(Identity("https://id.example.org", "alice", {"sub": "alice"}), "main", 1, 2, None, None))
TOKENS = tokens_to_bytes(Tokens("at", "Bearer", None, None, "it", None))


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[:-1], id="truncated"),
        pytest.param(lambda data: data + b"x", id="something after it"),
        pytest.param(lambda data: data.replace(b'"v":1', b'"v":2'), id="of another version"),
        pytest.param(lambda data: data.replace(b'"v":1', b'"v":1,"v":1'), id="a member twice"),
        pytest.param(lambda data: data.replace(b"null", b"[]", 1), id="a member of another type"),
        pytest.param(lambda data: data.replace(b"null", b"NaN", 1), id="NaN"),
        pytest.param(lambda _: b"[" * 100_000, id="nested without end"),
        pytest.param(lambda data: b"\xff" + data, id="not UTF-8"),
    ],
)
def test_damaged_bytes_are_nothing(damage):
    assert session_from_bytes(damage(SESSION)) is None
    assert tokens_from_bytes(damage(TOKENS)) is None


def test_only_wanted_claims_are_kept(provider: FakeProvider):
    claims = provider.verified(email="alice@example.org", groups=["a", "b"], picture="x" * 20_000)
    assert identity_from(claims, frozenset({"email", "groups", "phone"})) == Identity(
        issuer="https://id.example.org", subject="alice", claims={"sub": "alice", "email": "alice@example.org", "groups": ["a", "b"]}
    )


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("a\r\nX-Evil: 1", id="a line end"),
        pytest.param("a\x00", id="NUL"),
        pytest.param("\x1b[31m", id="escape"),
        pytest.param("a\x7f", id="DEL"),
        pytest.param("a\tb", id="a tab"),
        pytest.param(["fine", "a\nb"], id="within a list"),
        pytest.param({"a": {"b": "c\n"}}, id="within an object"),
        pytest.param({"a\n": 1}, id="in a member's name"),
        pytest.param("x" * MAX_CLAIMS, id="more than 8 KiB"),
        pytest.param(["x" * 100] * 100, id="many that are more than 8 KiB"),
    ],
)
def test_a_claim_that_cannot_be_passed_on_ends_the_login(provider: FakeProvider, value: Any):
    claims = provider.verified(kept=value)
    with pytest.raises(IdTokenRefused) as refused:
        identity_from(claims, frozenset({"kept"}))
    assert "Evil" not in refused.value.detail
    assert identity_from(claims, frozenset()).claims == {"sub": "alice"}, "an unwanted claim harms nobody"


def test_other_scripts_are_kept_as_they_are(provider: FakeProvider):
    assert identity_from(provider.verified(name="Zoë 王"), frozenset({"name"})).claims["name"] == "Zoë 王"


def test_the_deepest_claim_that_an_id_token_may_hold_comes_back(provider: FakeProvider):
    deepest: Any = "x"
    for _ in range(MAX_DEPTH - 1):  # the token's own members are the outermost level
        deepest = [deepest]
    identity = identity_from(provider.verified(deep=deepest), frozenset({"deep"}))
    session = Session(identity=identity, provider="main", created=0, expires=1, auth_time=None, sid=None)
    assert session_from_bytes(session_to_bytes(session)) == session
