"""How the gateway proves who it is at the token endpoint."""

from __future__ import annotations

import base64
from urllib.parse import unquote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import CallbackRefused, ProviderFailed
from gateway.oidc.callback import read_callback, validate_callback
from gateway.oidc.client_authentication import client_credentials, method_for
from gateway.oidc.registration import ClientAuth, Secret
from gateway.oidc.token_request import token_request
from tests.support.fake_provider import example_metadata, example_settings


def basic(client_id: str, secret: str) -> str:
    registered = example_settings(client_id=client_id, client_secret=Secret(secret), client_auth=ClientAuth.BASIC)
    credentials = client_credentials(registered, None)
    assert credentials.form == ()
    ((name, value),) = credentials.headers
    assert name == "Authorization"
    scheme, _, encoded = value.partition(" ")
    assert scheme == "Basic"
    return base64.b64decode(encoded, validate=True).decode("ascii")


@pytest.mark.parametrize(
    ("secret", "encoded"),
    [
        pytest.param(" %&+\u00a3\u20ac", "+%25%26%2B%C2%A3%E2%82%AC", id="RFC 6749 appendix B"),
        pytest.param("a:b", "a%3Ab", id="colon"),
        pytest.param("a/b=", "a%2Fb%3D", id="slash and equals"),
        pytest.param("7Fjfp0ZBr1KtDRbnfVdmIw", "7Fjfp0ZBr1KtDRbnfVdmIw", id="plain"),
    ],
)
def test_identifier_and_secret_are_form_encoded_before_base64(secret: str, encoded: str):
    assert basic("s6BhdRkqt3", secret) == f"s6BhdRkqt3:{encoded}"
    assert basic(secret, "x") == f"{encoded}:x"


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
@settings(deadline=None)
def test_a_provider_that_decodes_by_the_rfc_gets_what_was_registered(client_id: str, secret: str):
    name, _, password = basic(client_id, secret).partition(":")
    assert (unquote_plus(name), unquote_plus(password)) == (client_id, secret)


@pytest.mark.parametrize(
    ("supported", "configured", "method"),
    [
        pytest.param(None, ClientAuth.AUTO, ClientAuth.BASIC, id="silence means basic"),
        pytest.param(("client_secret_post", "client_secret_basic"), ClientAuth.AUTO, ClientAuth.BASIC, id="both"),
        pytest.param(("client_secret_post",), ClientAuth.AUTO, ClientAuth.POST, id="TK-25 post alone"),
        pytest.param(("client_secret_post",), ClientAuth.BASIC, ClientAuth.BASIC, id="the operator knows better"),
        pytest.param(None, ClientAuth.POST, ClientAuth.POST, id="the operator asks for post"),
    ],
)
def test_the_method_comes_from_the_operator_else_from_the_metadata(supported, configured, method):
    assert method_for(example_settings(client_auth=configured), supported) is method


def test_a_provider_that_takes_neither_is_refused_with_the_key_to_set():
    with pytest.raises(ProviderFailed, match="client_auth"):
        method_for(example_settings(), ("private_key_jwt",))


def request_by(method: ClientAuth):
    metadata = example_metadata()
    callback = validate_callback(read_callback("code=a%2Bb&state=s"), expected_state="s", metadata=metadata)
    return token_request(
        callback, example_settings(client_auth=method), metadata, redirect_uri="https://app.example/cb", code_verifier="v" * 43
    )


def test_one_method_a_request_and_never_in_the_url():
    posted, basic_ = request_by(ClientAuth.POST), request_by(ClientAuth.BASIC)
    assert posted.headers == ()
    assert dict(posted.form)["client_secret"] == "s3cret"
    assert "client_secret" not in dict(basic_.form)
    assert posted.url == basic_.url == "https://op.example/token_endpoint"
    assert dict(basic_.form) == {
        "grant_type": "authorization_code",
        "code": "a+b",
        "redirect_uri": "https://app.example/cb",
        "code_verifier": "v" * 43,
    }


def test_nothing_confidential_is_printed():
    assert "s3cret" not in repr(request_by(ClientAuth.POST)) + repr(example_settings()) + str(Secret("s3cret"))


def test_st_11_a_code_never_goes_to_another_issuer():
    other = example_settings(issuer="https://other.example")
    callback = validate_callback(read_callback("code=a&state=s"), expected_state="s", metadata=example_metadata())
    with pytest.raises(CallbackRefused):
        token_request(callback, other, example_metadata(other), redirect_uri="https://app.example/cb", code_verifier="v" * 43)


def test_secrets_are_equal_by_value():
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
