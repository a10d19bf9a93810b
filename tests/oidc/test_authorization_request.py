"""The request that the browser carries to the provider."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import ProviderFailed
from gateway.oidc.authorization_request import OUR_PARAMETERS, authorization_url, code_challenge
from tests.support.fake_provider import example_metadata, example_settings

VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"


def parameters(url: str) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(url).query, keep_blank_values=True, strict_parsing=True)


def url_for(**changes) -> str:
    registered = example_settings(**changes.pop("settings", {}))
    values = {"redirect_uri": "https://app.example/oauth2/callback", "state": "s", "nonce": "n", "code_verifier": VERIFIER}
    return authorization_url(example_metadata(**changes.pop("metadata", {})), registered, **(values | changes))


def test_rfc_7636_appendix_b():
    assert code_challenge(VERIFIER) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


@pytest.mark.parametrize(
    "verifier",
    [
        pytest.param("a" * 42, id="ST-16 42 characters"),
        pytest.param("a" * 129, id="ST-16 129 characters"),
        pytest.param("a" * 42 + "+", id="ST-16 wrong character"),
        pytest.param("a" * 43 + "\n", id="ST-16 line end"),
        pytest.param("é" * 43, id="ST-16 not ASCII"),
    ],
)
def test_what_is_no_verifier_makes_no_challenge(verifier: str):
    with pytest.raises(ValueError, match="code_verifier"):
        code_challenge(verifier)


def test_everything_that_binds_the_answer_is_there_once():
    assert dict(parameters(url_for())) == {
        "response_type": "code",
        "client_id": "gateway",
        "redirect_uri": "https://app.example/oauth2/callback",
        "scope": "openid profile email",
        "state": "s",
        "nonce": "n",
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        "code_challenge_method": "S256",
    }


def test_openid_is_asked_for_even_where_the_operator_left_it_out():
    assert dict(parameters(url_for(settings={"scopes": ("email",)})))["scope"] == "openid email"


def test_the_query_of_the_endpoint_is_retained():
    url = url_for(metadata={"authorization_endpoint": "https://op.example/authorize?tenant=a%20b"})
    assert url.startswith("https://op.example/authorize?tenant=a%20b&")


@pytest.mark.parametrize("query", ["state=evil", "a=b&client%5Fid=x", "nonce="])
def test_an_endpoint_that_sets_a_parameter_of_ours_is_refused(query: str):
    with pytest.raises(ProviderFailed):
        url_for(metadata={"authorization_endpoint": f"https://op.example/authorize?{query}"})


@given(st.dictionaries(st.sampled_from([*sorted(OUR_PARAMETERS), "prompt", "acr_values", "é&="]), st.text(st.characters(codec="utf-8"))))
@settings(deadline=None)
def test_no_extra_parameter_replaces_or_doubles_one_of_ours(extra: dict[str, str]):
    plain, sent = dict(parameters(url_for())), parameters(url_for(settings={"authorization_params": extra}))
    assert len({name for name, _ in sent}) == len(sent)
    assert plain.items() <= dict(sent).items()
    assert dict(sent).keys() - plain.keys() == extra.keys() - OUR_PARAMETERS


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
@settings(deadline=None)
def test_any_value_arrives_as_it_was_and_the_url_is_plain_ascii(state: str, nonce: str):
    url = url_for(state=state, nonce=nonce)
    assert url.isascii()
    assert url.isprintable()
    assert " " not in url
    assert dict(parameters(url)) | {} == dict(parameters(url_for())) | {"state": state, "nonce": nonce}
