"""Refreshing a grant: what is asked, what is believed of the answer, and that an id_token of somebody else ends it."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from gateway.errors import GrantRefused, IdTokenRefused, ProviderFailed, ProviderTimeout, ProviderUnavailable
from gateway.oidc.id_token import Before, RefreshedClaims, WrongTime, verify_refreshed_id_token
from gateway.oidc.jwks import read_jwks
from gateway.oidc.provider import Provider
from gateway.oidc.refresh_request import refresh_request
from gateway.oidc.registration import ClientAuth
from gateway.oidc.token_response import LONGEST_WAIT, MAX_LIFETIME, Tokens, read_refresh_response
from tests.support.fake_provider import (
    REMOVED,
    FakeProvider,
    example_metadata,
    example_settings,
    merged,
    sign,
    sign_in_at,
    signing_key,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOW = 1_700_000_000.0
BEFORE = Tokens(access_token="old-at", token_type="Bearer", expires_at=NOW, refresh_token="old-rt", id_token="old-it", scope="openid email")
ANSWER: dict[str, Any] = {"access_token": "new-at", "token_type": "bearer", "expires_in": 60}
SIGN_IN = Before(issuer="https://op.example", subject="alice", auth_time=int(NOW) - 600, nonce="n-1", issued=NOW - 600)
CLAIMS: dict[str, Any] = {"iss": "https://op.example", "sub": "alice", "aud": "gateway", "exp": int(NOW) + 300, "iat": int(NOW)}
KEY = signing_key("RS256")


def read(status: int = 200, retry_after: str | None = None, **members: Any) -> tuple[Tokens, str | None]:
    document = merged(ANSWER, members)
    return read_refresh_response(status, document, retry_after=retry_after, before=BEFORE, now=NOW, provider="main")


def test_the_request_has_the_refresh_token_and_asks_for_no_scope():
    request = refresh_request("rt", example_settings(client_auth=ClientAuth.POST), example_metadata())
    assert request.url == "https://op.example/token_endpoint"
    assert dict(request.form) == {"grant_type": "refresh_token", "refresh_token": "rt", "client_id": "gateway", "client_secret": "s3cret"}


def test_the_client_proves_itself_as_it_does_for_a_code():
    request = refresh_request("rt", example_settings(), example_metadata())
    assert dict(request.headers) == {"Authorization": "Basic " + base64.b64encode(b"gateway:s3cret").decode()}
    assert "client_id" not in dict(request.form)


def test_what_did_not_come_stays():
    assert read() == (replace(BEFORE, access_token="new-at", expires_at=NOW + 60), None)


def test_what_came_replaces():
    tokens, id_token = read(refresh_token="new-rt", scope="openid", id_token="new-it")
    assert tokens == replace(BEFORE, access_token="new-at", expires_at=NOW + 60, refresh_token="new-rt", scope="openid")
    assert id_token == "new-it", "and is not believed yet"


@pytest.mark.parametrize(
    ("expires_in", "expires_at"),
    [
        pytest.param(REMOVED, None, id="not said"),
        pytest.param("60", NOW + 60, id="as text"),
        pytest.param(-5, NOW, id="in the past"),
        pytest.param(10**9, NOW + MAX_LIFETIME, id="for ever"),
    ],
)
def test_a_lifetime_counts_from_when_it_was_asked_for(expires_in: Any, expires_at: float | None):
    assert read(expires_in=expires_in)[0].expires_at == expires_at


@pytest.mark.parametrize(
    ("status", "members", "failure"),
    [
        pytest.param(400, {"error": "invalid_grant"}, GrantRefused, id="invalid_grant"),
        pytest.param(401, {"error": "invalid_client"}, ProviderFailed, id="invalid_client"),
        pytest.param(400, {"error": "invalid_scope"}, ProviderFailed, id="another error"),
        pytest.param(400, {}, ProviderFailed, id="400 with tokens"),
        pytest.param(429, {"error": "invalid_grant"}, ProviderUnavailable, id="429, whatever it says"),
        pytest.param(503, {"error": "invalid_grant"}, ProviderUnavailable, id="503, whatever it says"),
        pytest.param(200, {"error": "invalid_grant"}, ProviderFailed, id="200 with an error"),
        pytest.param(200, {"access_token": REMOVED}, ProviderFailed, id="no access token"),
        pytest.param(200, {"access_token": "a b"}, ProviderFailed, id="an access token that splits a header"),
        pytest.param(200, {"refresh_token": "a\r\nb"}, ProviderFailed, id="a refresh token that splits a header"),
        pytest.param(200, {"token_type": "DPoP"}, ProviderFailed, id="another type"),
        pytest.param(200, {"id_token": 7}, ProviderFailed, id="an id_token that is no text"),
    ],
)
def test_what_is_no_success_is_none(status: int, members: dict[str, Any], failure: type[Exception]):
    with pytest.raises(failure) as raised:
        read(status, **members)
    assert type(raised.value) is failure


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        pytest.param(None, 0, id="none"),
        pytest.param("17", 17, id="seconds"),
        pytest.param("999999", LONGEST_WAIT, id="an age"),
        pytest.param("Wed, 21 Oct 2026 07:28:00 GMT", 0, id="a date"),
    ],
)
def test_a_provider_that_asks_to_be_left_alone_is_heard(field: str | None, seconds: float):
    with pytest.raises(ProviderUnavailable) as raised:
        read(429, field)
    assert raised.value.asked_wait == seconds


def verify(before: Before = SIGN_IN, **claims: Any) -> RefreshedClaims:
    keys = read_jwks({"keys": [KEY.as_dict(private=False)]}, provider="main")
    token = sign(merged(CLAIMS, claims), KEY, "RS256", {"kid": KEY.kid})
    return verify_refreshed_id_token(
        token, keys=keys, settings=example_settings(), metadata=example_metadata(), before=before, access_token="at", now=NOW
    )


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({}, id="plain"),
        pytest.param({"nonce": "n-1"}, id="the nonce of the login"),
        pytest.param({"auth_time": int(NOW) - 600}, id="the time of the login"),
        pytest.param({"azp": "gateway"}, id="azp"),
        pytest.param({"sid": "another"}, id="another sid: it is not bound to the first"),
        pytest.param({"iat": int(NOW) - 600}, id="as old as the one before"),
    ],
)
def test_an_id_token_of_the_same_sign_in_passes(claims: dict[str, Any]):
    verified = verify(**claims)
    assert (verified.issuer, verified.subject, verified.expires) == ("https://op.example", "alice", NOW + 300)


@pytest.mark.parametrize(
    ("claims", "word"),
    [
        pytest.param({"sub": "bob"}, "sub", id="another person"),
        pytest.param({"sub": REMOVED}, "sub", id="nobody"),
        pytest.param({"iss": "https://evil.example"}, "iss", id="another issuer"),
        pytest.param({"aud": "other"}, "aud", id="another client"),
        pytest.param({"aud": ["gateway", "other"]}, "aud", id="others beside us"),
        pytest.param({"azp": "other"}, "azp", id="another party"),
        pytest.param({"nonce": "n-2"}, "nonce", id="another nonce"),
        pytest.param({"nonce": 1}, "nonce", id="a nonce that is no text"),
        pytest.param({"auth_time": int(NOW) - 601}, "auth_time", id="an older login"),
        pytest.param({"auth_time": int(NOW)}, "auth_time", id="a newer login"),
        pytest.param({"auth_time": "then"}, "auth_time", id="a login of no time"),
        pytest.param({"at_hash": "x"}, "at_hash", id="of another access token"),
    ],
)
@pytest.mark.parametrize("more", [pytest.param({}, id="in time"), pytest.param({"exp": 1}, id="and expired")])
def test_an_id_token_of_anything_else_is_refused(claims: dict[str, Any], word: str, more: dict[str, Any]):
    with pytest.raises(IdTokenRefused, match=rf"\b{word}\b") as refused:
        verify(**more, **claims)
    assert type(refused.value) is IdTokenRefused, "a wrong time hides nothing else"


OUT_OF_TIME = [
    pytest.param({"iat": int(NOW) - 700}, "iat", id="older than the one before"),
    pytest.param({"iat": int(NOW) + 65, "exp": int(NOW) + 365}, "iat", id="from the future"),
    pytest.param({"nbf": int(NOW) + 65}, "nbf", id="not yet good"),
    pytest.param({"exp": int(NOW) - 65}, "exp", id="expired"),
    pytest.param({"exp": REMOVED}, "exp", id="without an end"),
    pytest.param({"iat": "now"}, "iat", id="of no time"),
]


@pytest.mark.parametrize(("claims", "word"), OUT_OF_TIME)
def test_an_id_token_that_is_out_of_time_alone_is_told_apart(claims: dict[str, Any], word: str):
    with pytest.raises(WrongTime, match=rf"\b{word}\b"):
        verify(**claims)


def test_another_issuer_of_ours_is_another_issuer():
    with pytest.raises(IdTokenRefused, match="iss"):
        verify(replace(SIGN_IN, issuer="https://op.example/other"))


def test_what_was_never_known_is_not_compared():
    before = Before(issuer="https://op.example", subject="alice", auth_time=None, nonce=None, issued=None)
    assert verify(before, auth_time=5, nonce="x", iat=5).issued == 5


def test_nothing_else_makes_refreshed_claims():
    with pytest.raises(TypeError, match="verify_refreshed_id_token"):
        RefreshedClaims(claims={}, issuer="i", subject="s", sid=None, expires=1.0, issued=1.0, witness=object())


@pytest.fixture
async def op() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as running:
        yield running


@pytest.fixture
async def provider(op: FakeProvider) -> AsyncIterator[Provider]:
    made = Provider(op.settings(total_timeout=1.0))
    yield made
    await made.close()


def before(op: FakeProvider) -> Before:
    return Before(issuer=op.issuer, subject="alice-sub", auth_time=None, nonce="nonce-1", issued=None)


async def test_a_grant_goes_on_by_new_tokens(op: FakeProvider, provider: Provider):
    first = (await sign_in_at(provider, op)).tokens
    second = await provider.refresh(first, before(op))
    assert second.claims is not None
    assert second.claims.claims["email"] == "alice@example.org"
    assert len({first.access_token, second.tokens.access_token}) == 2
    third = await provider.refresh(second.tokens, before(op))
    assert third.tokens.refresh_token not in (first.refresh_token, second.tokens.refresh_token)
    assert [asked.form["grant_type"] for asked in op.token_requests] == ["authorization_code", "refresh_token", "refresh_token"]
    assert "scope" not in op.refresh_requests[0].form


async def test_no_rotation_and_no_id_token_keep_those_there_were(op: FakeProvider, provider: Provider):
    op.misbehaviour.refresh_rotates, op.misbehaviour.refresh_id_token_missing = False, True
    first = (await sign_in_at(provider, op)).tokens
    second = await provider.refresh(first, before(op))
    assert (second.tokens.refresh_token, second.tokens.id_token, second.claims) == (first.refresh_token, first.id_token, None)


async def test_a_used_refresh_token_is_refused(op: FakeProvider, provider: Provider):
    first = (await sign_in_at(provider, op)).tokens
    await provider.refresh(first, before(op))
    with pytest.raises(GrantRefused):
        await provider.refresh(first, before(op))


async def test_tokens_that_came_with_somebody_elses_id_token_are_revoked(op: FakeProvider, provider: Provider):
    first = (await sign_in_at(provider, op)).tokens
    op.misbehaviour.refresh_id_token_claims = {"sub": "bob-sub"}
    with pytest.raises(IdTokenRefused):
        await provider.refresh(first, before(op))
    async with asyncio.timeout(10):
        while len(op.revoked) < 2:
            await asyncio.sleep(0.005)
    issued = op.tokens_issued[-1]
    assert issued["refresh_token"] != first.refresh_token
    assert op.revoked == [issued["refresh_token"], issued["access_token"]]


async def test_an_answer_that_nobody_waits_for_any_more_is_worth_waiting_for(op: FakeProvider):
    patient = Provider(op.settings(total_timeout=0.3, refresh_timeout=20.0))
    first = (await sign_in_at(patient, op)).tokens
    op.misbehaviour.refresh_answer_delay = 0.8
    assert (await patient.refresh(first, before(op))).tokens.refresh_token == op.tokens_issued[-1]["refresh_token"]
    assert len(op.refresh_requests) == 1
    await patient.close()


@pytest.mark.parametrize(("claims", "word"), OUT_OF_TIME)
async def test_a_wrong_clock_costs_no_grant(op: FakeProvider, claims: dict[str, Any], word: str):
    provider = Provider(op.settings(total_timeout=1.0), clock=lambda: NOW)
    op.set_clock(lambda: NOW)
    first = (await sign_in_at(provider, op)).tokens
    op.misbehaviour.refresh_id_token_claims = claims
    with capture_logs() as logged:
        second = await provider.refresh(first, replace(before(op), issued=NOW))
    await provider.close()
    assert (second.claims, second.tokens.id_token) == (None, first.id_token), "nothing is believed of it"
    assert second.tokens.refresh_token == op.tokens_issued[-1]["refresh_token"]
    assert op.revoked == []
    (told,) = (line for line in logged if line["event"] == "refresh.id_token_out_of_time")
    assert told["log_level"] == "error"
    assert word in told["reason"]


@pytest.mark.parametrize("kid", [pytest.param("key-2", id="a key that is new")])
async def test_a_new_key_is_fetched(op: FakeProvider, provider: Provider, kid: str):
    first = (await sign_in_at(provider, op)).tokens
    op.rotate_key(kid)
    assert (await provider.refresh(first, before(op))).claims is not None
    assert len(op.jwks_requests) == 2


@pytest.mark.parametrize(
    "late",
    [
        pytest.param({"jwks_status": 500}, id="they cannot be had"),
        pytest.param({"jwks_document": {"keys": [KEY.as_dict(private=False)]}}, id="those before are served"),
        pytest.param({"jwks_document": {"keys": []}}, id="none is served"),
    ],
)
async def test_keys_that_are_late_cost_no_grant(op: FakeProvider, provider: Provider, late: dict[str, Any]):
    """One after the other: it is not only the first whose keys are fetched in vain."""
    first = [(await sign_in_at(provider, op)).tokens for _ in range(4)]
    op.rotate_key("key-2")
    for name, value in late.items():
        setattr(op.misbehaviour, name, value)
    for tokens in first:
        second = await provider.refresh(tokens, before(op))
        assert (second.claims, second.tokens.id_token) == (None, tokens.id_token), "nothing is believed of it"
        assert second.tokens.refresh_token != tokens.refresh_token
    assert len(op.jwks_requests) == 2
    assert op.revoked == []


@pytest.mark.parametrize("claims", [pytest.param({"sub": "bob-sub"}, id="person"), pytest.param({"aud": "other"}, id="client")])
async def test_keys_that_are_late_hide_no_other_sign_in(op: FakeProvider, provider: Provider, claims: dict[str, Any]):
    first = (await sign_in_at(provider, op)).tokens
    op.rotate_key("key-2")
    op.misbehaviour.jwks_status = 500
    op.misbehaviour.refresh_id_token_claims = claims
    with pytest.raises(IdTokenRefused):
        await provider.refresh(first, before(op))
    issued = op.tokens_issued[-1]
    async with asyncio.timeout(10):
        while op.revoked != [issued["refresh_token"], issued["access_token"]]:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("knobs", "failure"),
    [
        pytest.param({"refresh_hangs": True}, ProviderTimeout, id="hangs"),
        pytest.param({"refresh_answer_lost": True}, ProviderTimeout, id="answer lost"),
        pytest.param({"refresh_status": 500}, ProviderUnavailable, id="500"),
        pytest.param({"refresh_status": 401, "refresh_error": "invalid_client"}, ProviderFailed, id="invalid_client"),
        pytest.param({"refresh_document": {"access_token": REMOVED}}, ProviderFailed, id="no access token"),
    ],
)
async def test_a_failure_is_no_refusal(op: FakeProvider, provider: Provider, knobs: dict[str, Any], failure: type[Exception]):
    first = (await sign_in_at(provider, op)).tokens
    for name, value in knobs.items():
        setattr(op.misbehaviour, name, value)
    with pytest.raises(failure) as raised:
        await provider.refresh(first, before(op))
    assert type(raised.value) is failure
    assert len(op.refresh_requests) == 1, "and nothing is sent twice"
