"""RP-initiated logout and revocation: what is sent, and in which order."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

import pytest

from gateway.oidc.end_session import MAX_HINT_LENGTH, end_session_url
from gateway.oidc.retry_after import asked_wait
from gateway.oidc.revocation import LONGEST_WAIT, doomed_tokens, is_put_off, revocation_request
from gateway.oidc.token_response import Tokens
from tests.support.fake_provider import example_metadata, example_settings

WITH_END = example_metadata(end_session_endpoint="https://op.example/end?tenant=1", revocation_endpoint="https://op.example/revoke")
TOKENS = Tokens(access_token="at", token_type="Bearer", expires_at=None, refresh_token="rt", id_token="it", scope=None)


def end(**changes) -> str | None:
    values = {"id_token_hint": "hint", "post_logout_redirect_uri": "https://app.example/oauth2/signed_out", "state": "a b"}
    return end_session_url(changes.pop("metadata", WITH_END), example_settings(), **(values | changes))


def query(url: str | None) -> dict[str, str]:
    assert url is not None
    return dict(parse_qsl(urlsplit(url).query, strict_parsing=True))


def test_everything_that_the_provider_needs_is_there():
    assert query(end()) == {
        "tenant": "1",
        "client_id": "gateway",
        "id_token_hint": "hint",
        "post_logout_redirect_uri": "https://app.example/oauth2/signed_out",
        "state": "a b",
    }


def test_what_is_not_known_is_left_out():
    assert query(end(id_token_hint=None, state=None)).keys() == {"tenant", "client_id", "post_logout_redirect_uri"}


def test_a_hint_that_makes_the_url_too_long_is_left_out():
    assert "id_token_hint" not in query(end(id_token_hint="x" * (MAX_HINT_LENGTH + 1)))


def test_a_provider_without_the_endpoint():
    assert end(metadata=example_metadata()) is None
    assert [revocation_request(each, example_settings(), example_metadata()) for each in doomed_tokens(TOKENS)] == [None, None]


def test_the_refresh_token_is_revoked_first():
    first, second = (revocation_request(each, example_settings(), WITH_END) for each in doomed_tokens(TOKENS))
    assert first is not None
    assert second is not None
    assert dict(first.form) == {"token": "rt", "token_type_hint": "refresh_token"}
    assert dict(second.form) == {"token": "at", "token_type_hint": "access_token"}
    assert first.headers == second.headers != ()


def test_a_grant_without_a_refresh_token_has_one_token_to_revoke():
    assert [each.hint for each in doomed_tokens(replace(TOKENS, refresh_token=None))] == ["access_token"]
    assert "rt" not in repr(doomed_tokens(TOKENS)).replace("hint", "")


@pytest.mark.parametrize(
    ("token_endpoint", "revocation_endpoint", "in_form"),
    [
        pytest.param(["client_secret_basic"], ["client_secret_post"], True, id="a list of its own: post"),
        pytest.param(["client_secret_post"], ["client_secret_basic"], False, id="a list of its own: basic"),
        pytest.param(["client_secret_post"], None, True, id="no list of its own: that of the token endpoint"),
        pytest.param(None, None, False, id="no list at all"),
    ],
)
def test_a_revocation_is_authenticated_as_its_own_endpoint_wants_it(token_endpoint, revocation_endpoint, *, in_form: bool):
    metadata = example_metadata(
        revocation_endpoint="https://op.example/revoke",
        token_endpoint_auth_methods_supported=token_endpoint,
        revocation_endpoint_auth_methods_supported=revocation_endpoint,
    )
    request = revocation_request(doomed_tokens(TOKENS)[0], example_settings(), metadata)
    assert request is not None
    assert ("client_secret" in dict(request.form)) == in_form
    assert ("Authorization" in dict(request.headers)) != in_form


@pytest.mark.parametrize(
    ("status", "later"), [(200, False), (400, False), (401, False), (404, False), (429, True), (500, True), (503, True)]
)
def test_lo_22_an_answer_means_later_or_no(status: int, *, later: bool):
    assert is_put_off(status) == later


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("0", 0),
        ("7", 7),
        (" 7 ", 7),
        ("30", 30),
        ("31", LONGEST_WAIT),
        ("999999999", LONGEST_WAIT),
        ("1" * 5000, 0),
        ("-5", 0),
        ("1e3", 0),
        ("nan", 0),
        ("\u0663", 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
    ],
)
def test_what_a_provider_may_ask_to_wait(field: str | None, seconds: float):
    assert asked_wait(field, longest=LONGEST_WAIT) == seconds
