"""What a provider says about itself, and what of it is believed."""

from __future__ import annotations

import pytest

from gateway.errors import ProviderFailed
from gateway.oidc.metadata import discovery_url
from tests.support.fake_provider import REMOVED, example_metadata, example_settings


@pytest.mark.parametrize(
    ("issuer", "url"),
    [
        ("https://op.example", "https://op.example/.well-known/openid-configuration"),
        ("https://op.example/", "https://op.example/.well-known/openid-configuration"),
        ("https://op.example/realms/a", "https://op.example/realms/a/.well-known/openid-configuration"),
        ("https://op.example/realms/a/", "https://op.example/realms/a/.well-known/openid-configuration"),
    ],
)
def test_where_the_metadata_is(issuer: str, url: str):
    assert discovery_url(issuer) == url


@pytest.mark.parametrize(
    "issuer",
    ["https://op.example/", "https://OP.example", "https://op.example:443", "http://op.example", "https://op%2Eexample", None, 7, REMOVED],
)
def test_tk_26_an_issuer_that_differs_in_one_character_is_another(issuer):
    with pytest.raises(ProviderFailed, match="issuer"):
        example_metadata(issuer=issuer)


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri", "end_session_endpoint", "revocation_endpoint"])
@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://op.example/x", id="TK-26 http"),
        pytest.param("http://127.0.0.1/x", id="http on loopback for an https issuer"),
        pytest.param("/x", id="relative"),
        pytest.param("//op.example/x", id="without scheme"),
        pytest.param("https:///x", id="without host"),
        pytest.param("https://op.example/x#f", id="fragment"),
        pytest.param("https://user@op.example/x", id="user information"),
        pytest.param("https://op.example\\@evil.example/", id="backslash"),
        pytest.param("https://op.example/a b", id="space"),
        pytest.param("https://op.example/a\n", id="line end"),
        pytest.param("https://op.example:99999/", id="port out of range"),
        pytest.param("https://op.example:0/", id="port zero"),
        pytest.param("https://[:::]/x", id="three colons for an IPv6 address"),
        pytest.param("https://[1.2.3.4]/x", id="IPv4 in brackets"),
        pytest.param("https://[::1.2.3.4.5]/x", id="IPv6 with half an IPv4 address"),
        pytest.param("https://127.1/x", id="an IPv4 address for some resolvers"),
        pytest.param("https://0x7f000001/x", id="a hexadecimal IPv4 address"),
        pytest.param("https://op.example.256/x", id="a name that ends in a number"),
        pytest.param("https://op..example/x", id="an empty label"),
        pytest.param("https://./x", id="nothing but a dot"),
        pytest.param("https://" + "a" * 64 + ".example/x", id="a label too long for DNS"),
        pytest.param("javascript:alert(1)", id="script"),
        pytest.param("https://op.example/" + "a" * 4096, id="too long"),
        pytest.param(7, id="number"),
        pytest.param(["https://op.example/x"], id="list"),
    ],
)
def test_tk_26_an_endpoint_that_is_not_acceptable_is_refused_by_name(name: str, url):
    with pytest.raises(ProviderFailed, match=name):
        example_metadata(**{name: url})


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
def test_tk_26_a_required_endpoint_that_is_missing_is_refused_by_name(name: str):
    with pytest.raises(ProviderFailed, match=name):
        example_metadata(**{name: REMOVED})


@pytest.mark.parametrize(
    ("issuer", "insecure_http", "endpoint", "accepted"),
    [
        pytest.param("http://127.0.0.1:9000", False, "http://127.0.0.1:9000/token", True, id="loopback"),
        pytest.param("http://[::1]:9000", False, "http://[::1]:9000/token", True, id="loopback by IPv6"),
        pytest.param("http://localhost:9000", False, "http://localhost:9000/token", True, id="localhost"),
        pytest.param("http://127.0.0.1:9000", False, "http://[:::]:9000/token", False, id="no address, though it looks like one"),
        pytest.param("http://127.0.0.1:9000", False, "http://localhost.example/token", False, id="a name that only begins with it"),
        pytest.param("http://127.0.0.1:9000", False, "http://op.example/token", False, id="loopback issuer, endpoint elsewhere"),
        pytest.param("http://op:9000", True, "http://op:9000/token", True, id="allowed by the operator"),
        pytest.param("http://op:9000", False, "http://op:9000/token", False, id="not allowed"),
        pytest.param("http://op:9000", True, "https://op:9443/token", True, id="https is always fine"),
        pytest.param("https://op.example", True, "http://op.example/token", False, id="an https issuer has https endpoints"),
    ],
)
def test_plain_http_is_for_loopback_or_by_the_operators_word(issuer: str, endpoint: str, *, insecure_http: bool, accepted: bool):
    settings = example_settings(issuer=issuer, insecure_http=insecure_http)
    endpoints = dict.fromkeys(("authorization_endpoint", "token_endpoint", "jwks_uri"), endpoint)
    if accepted:
        assert example_metadata(settings, **endpoints).token_endpoint == endpoint
    else:
        with pytest.raises(ProviderFailed):
            example_metadata(settings, **endpoints)


@pytest.mark.parametrize(
    ("methods", "accepted"),
    [(["plain"], False), (["plain", "S256"], True), (["S512"], False), (REMOVED, True), (None, True), ("S256", False)],
)
def test_st_17_there_is_no_way_down_to_plain(methods, *, accepted: bool):
    if accepted:
        example_metadata(code_challenge_methods_supported=methods)
    else:
        with pytest.raises(ProviderFailed, match="code_challenge_methods_supported"):
            example_metadata(code_challenge_methods_supported=methods)


@pytest.mark.parametrize("value", ["true", 1, None])
def test_the_promise_of_iss_is_a_boolean(value):
    with pytest.raises(ProviderFailed):
        example_metadata(authorization_response_iss_parameter_supported=value)


def test_unknown_members_are_ignored():
    metadata = example_metadata(x5t={"a": []}, end_session_endpoint=None)
    assert metadata.end_session_endpoint is None
    assert metadata.iss_parameter_supported is False
