"""RP-initiated logout and revocation: what is sent, and in which order."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from gateway.oidc.end_session import MAX_HINT_LENGTH, end_session_url
from gateway.oidc.revocation import revocation_requests
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
    assert revocation_requests(TOKENS, example_settings(), example_metadata()) == ()


def test_the_refresh_token_is_revoked_first():
    first, second = revocation_requests(TOKENS, example_settings(), WITH_END)
    assert dict(first.form) == {"token": "rt", "token_type_hint": "refresh_token"}
    assert dict(second.form) == {"token": "at", "token_type_hint": "access_token"}
    assert first.headers == second.headers != ()
