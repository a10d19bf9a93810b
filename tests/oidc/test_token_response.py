"""What a token endpoint answered, read strictly."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.errors import CodeRefused, GatewayError, ProviderFailed, ProviderUnavailable
from gateway.oidc.token_response import MAX_LIFETIME, Tokens, read_token_response
from tests.support.fake_provider import REMOVED, merged

NOW = 1000.0
VALID = {"access_token": "at", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "rt", "id_token": "a.b.c", "scope": "openid"}


def read(changes: dict[str, Any] | None = None, status: int = 200) -> Tokens:
    return read_token_response(status, merged(VALID, changes or {}), now=NOW, provider="main")


def test_a_valid_one_is_read():
    assert read() == Tokens(access_token="at", token_type="Bearer", expires_at=4600.0, refresh_token="rt", id_token="a.b.c", scope="openid")


@pytest.mark.parametrize(
    ("value", "expires_at"),
    [
        pytest.param(REMOVED, None, id="TK-10 missing"),
        pytest.param(0, NOW, id="TK-10 zero"),
        pytest.param(-5, NOW, id="TK-10 negative"),
        pytest.param("3600", NOW + 3600, id="TK-10 numeric string"),
        pytest.param(3600.5, NOW + 3600.5, id="TK-10 fraction"),
        pytest.param(10**18, NOW + MAX_LIFETIME, id="TK-10 without end"),
        pytest.param(1e18, NOW + MAX_LIFETIME, id="TK-10 without end, float"),
        pytest.param(None, None, id="TK-10 null"),
        pytest.param("abc", None, id="TK-10 no number"),
        pytest.param("\u0663", None, id="TK-10 another script's digit"),
        pytest.param("9" * 5000, None, id="TK-10 digits without end"),
        pytest.param(True, None, id="TK-10 boolean"),
        pytest.param([3600], None, id="TK-10 list"),
    ],
)
def test_a_lifetime_is_bounded_or_unknown(value: Any, expires_at: float | None):
    assert read({"expires_in": value}).expires_at == expires_at


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"access_token": REMOVED}, id="TK-11 missing"),
        pytest.param({"access_token": ""}, id="TK-11 empty"),
        pytest.param({"access_token": 7}, id="TK-11 number"),
        pytest.param({"access_token": "a\r\nX: y"}, id="TK-11 line end"),
        pytest.param({"access_token": "a\n"}, id="TK-11 line end behind"),
        pytest.param({"access_token": "\u00e9"}, id="TK-11 not ASCII"),
        pytest.param({"access_token": "a" * 100_000}, id="TK-11 100 KB"),
        pytest.param({"refresh_token": "a\0"}, id="refresh token with NUL"),
        pytest.param({"refresh_token": {"a": 1}}, id="refresh token object"),
        pytest.param({"id_token": REMOVED}, id="TK-13 no id_token"),
        pytest.param({"id_token": ""}, id="TK-13 empty id_token"),
        pytest.param({"id_token": None}, id="TK-13 null id_token"),
        pytest.param({"token_type": REMOVED}, id="no token_type"),
        pytest.param({"token_type": "DPoP"}, id="token_type not understood"),
        pytest.param({"token_type": ["Bearer"]}, id="token_type list"),
        pytest.param({"scope": ["openid"]}, id="TK-14 scope list"),
        pytest.param({"scope": "a\nb"}, id="TK-14 scope with a line end"),
        pytest.param({"error": "invalid_grant"}, id="200 with an error"),
        pytest.param({"error": None}, id="200 with a null error"),
    ],
)
def test_what_is_no_whole_success_is_refused(changes: dict[str, Any]):
    with pytest.raises(ProviderFailed):
        read(changes)


@pytest.mark.parametrize("token_type", ["bearer", "BEARER"])
def test_the_token_type_ignores_case(token_type: str):
    assert read({"token_type": token_type}).token_type == "Bearer"


@pytest.mark.parametrize("changes", [{"refresh_token": REMOVED}, {"refresh_token": None}, {"refresh_token": ""}])
def test_a_refresh_token_is_optional(changes: dict[str, Any]):
    assert read(changes).refresh_token is None


@pytest.mark.parametrize("scope", ["openid", "openid email admin", "weird:scope/x", ""])
def test_tk_14_the_granted_scope_is_kept(scope: str):
    assert read({"scope": scope}).scope == scope


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_code_that_is_not_accepted(status: int):
    with pytest.raises(CodeRefused):
        read_token_response(status, {"error": "invalid_grant"}, now=NOW, provider="main")


@pytest.mark.parametrize(
    ("status", "document", "kind", "says"),
    [
        pytest.param(401, {"error": "invalid_client"}, ProviderFailed, "client_secret", id="invalid_client names the keys to check"),
        pytest.param(400, {"error": "invalid_client"}, ProviderFailed, "client_auth", id="invalid_client with 400"),
        pytest.param(400, {"error": "unauthorized_client"}, ProviderFailed, "unauthorized_client", id="other error"),
        pytest.param(400, {"error": "<script>SECRET"}, ProviderFailed, "no error code", id="error that is no code"),
        pytest.param(400, {"error": {"SECRET": 1}}, ProviderFailed, "no error code", id="error object"),
        pytest.param(404, None, ProviderFailed, "404", id="not JSON"),
        pytest.param(200, None, ProviderFailed, "JSON", id="200 not JSON"),
        pytest.param(201, VALID, ProviderFailed, "201", id="tokens in a 201"),
        pytest.param(400, VALID, ProviderFailed, "400", id="tokens in a 400"),
        pytest.param(500, VALID, ProviderUnavailable, "500", id="TK-04 tokens in a 500"),
        pytest.param(502, None, ProviderUnavailable, "502", id="TK-04 502"),
        pytest.param(503, None, ProviderUnavailable, "503", id="TK-04 503"),
        pytest.param(429, None, ProviderUnavailable, "429", id="TK-04 429"),
    ],
)
def test_refusals(status: int, document: Any, kind: type[GatewayError], says: str):
    with pytest.raises(kind, match=says) as refused:
        read_token_response(status, document, now=NOW, provider="main")
    assert type(refused.value) is kind
    assert "SECRET" not in refused.value.detail


def test_tokens_do_not_print_themselves():
    assert "at" not in repr(read({"access_token": "SECRET-at", "refresh_token": "SECRET", "id_token": "SECRET"})).replace("expires_at", "")
