"""OR: whatever a return URL says, a browser that follows the result stays at our origin or goes to an allowed one."""

from __future__ import annotations

import ada_url
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.access.forwarded import original_request
from gateway.access.return_to import ReturnRules, return_target
from gateway.access.target import canonical_target
from gateway.errors import RequestRefused
from tests.access.open_redirects import KEPT, ORIGIN, PREFIX, REFUSED

RULES = ReturnRules(origin=ORIGIN, allowed=(), prefix=PREFIX)
WIDER_RULES = ReturnRules(
    origin=ORIGIN, allowed=("https://other.example", "http://plain.example:8080", "https://*.app.example"), prefix=PREFIX
)
CALLBACK = f"{ORIGIN}{PREFIX}/callback"


def origin_in_a_browser(location):
    """The origin that a browser at our callback goes to (the URL standard, as ada reads it)."""
    return ada_url.URL(location, base=CALLBACK).origin


def is_header_safe(value):
    return all("!" <= character <= "~" for character in value)


@pytest.mark.parametrize("raw", REFUSED)
def test_a_return_url_that_leads_elsewhere_becomes_home(raw):
    assert return_target(raw, RULES) == "/"


@pytest.mark.parametrize(("raw", "kept"), KEPT)
def test_a_return_url_of_ours_is_kept_as_it_is(raw, kept):
    assert return_target(raw, RULES) == kept
    assert origin_in_a_browser(kept) == ORIGIN
    assert is_header_safe(kept)


@pytest.mark.parametrize("raw", [case for case in REFUSED if case.values[0] is not None])
def test_a_hostile_request_target_leads_nowhere_else_after_the_login_it_asks_for(raw):
    for read in (_as_request_target, _as_forwarded_uri, _as_original_url):
        try:
            location = return_target(read(raw), RULES)
        except (RequestRefused, UnicodeEncodeError):
            continue
        assert origin_in_a_browser(location) == ORIGIN


def _as_request_target(raw):
    return canonical_target(raw).raw


def _as_forwarded_uri(raw):
    headers = [(b"X-Forwarded-Method", b"GET"), (b"X-Forwarded-Proto", b"https"), (b"X-Forwarded-Host", b"app.example")]
    return original_request([*headers, (b"X-Forwarded-Uri", raw.encode())], trusted=True).target.raw


def _as_original_url(raw):
    headers = [(b"X-Original-Method", b"GET"), (b"X-Original-URL", ORIGIN.encode() + raw.encode())]
    return original_request(headers, trusted=True).target.raw


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        pytest.param("https://other.example/x?y#z", "https://other.example/x?y#z", id="an allowed origin stays absolute"),
        pytest.param("https://OTHER.example:443/x", "https://other.example/x", id="an allowed origin in another spelling"),
        pytest.param("https://other.example", "https://other.example/", id="an allowed origin without a path"),
        pytest.param("http://plain.example:8080/x", "http://plain.example:8080/x", id="an allowed origin with a port"),
        pytest.param("https://sib.app.example/x", "https://sib.app.example/x", id="OR-92 one label below a wildcard"),
        pytest.param("https://app.example/x", "/x", id="our own origin under the wildcard's domain"),
    ],
)
def test_an_allowed_origin_is_kept(raw, kept):
    assert return_target(raw, WIDER_RULES) == kept


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param("https://other.example:8443/x", id="another port of an allowed host"),
        pytest.param("http://other.example/x", id="an allowed host over http"),
        pytest.param("https://plain.example/x", id="an allowed host without its port"),
        pytest.param("https://sub.other.example/x", id="below an allowed host"),
        pytest.param("https://a.b.app.example/x", id="two labels below a wildcard"),
        pytest.param("https://.app.example/x", id="no label below a wildcard"),
        pytest.param("https://-.app.example/x", id="a hyphen below a wildcard"),
        pytest.param("https://xn--a.app.example/x", id="a name below a wildcard that is no valid punycode"),
        pytest.param("http://sib.app.example/x", id="below a wildcard over http"),
        pytest.param("https://sib.app.example:8443/x", id="below a wildcard at another port"),
        pytest.param("https://sib.app.example./x", id="below a wildcard with a trailing dot"),
        pytest.param("https://evilapp.example/x", id="the wildcard's domain without its dot"),
        pytest.param("https://sib.app.example.evil.example/x", id="the wildcard's domain as a prefix"),
        pytest.param("https://evil.example\\.app.example/", id="OR-46 backslash ends the host"),
        pytest.param("https://evil.example%2f.app.example/", id="OR-47 encoded slash in the host"),
        pytest.param("https://evil.example?.app.example/", id="OR-52 question mark ends the host"),
        pytest.param("https://evil.example&.app.example/", id="OR-53 ampersand in the host"),
        pytest.param("https://sib.app.example//evil.example", id="a path of two slashes"),
        pytest.param("https://sib.app.example/a/../x", id="dot segments at an allowed origin"),
        pytest.param("https://sib.app.example/oauth2/sign_out", id="the gateway's endpoints at an allowed origin"),
        pytest.param("https://user:password@other.example/", id="user info at an allowed host"),
    ],
)
def test_what_only_resembles_an_allowed_origin_becomes_home(raw):
    assert return_target(raw, WIDER_RULES) == "/"


@pytest.mark.parametrize(
    "allowed",
    [
        pytest.param("https://*.example", id="a wildcard over a top-level domain"),
        pytest.param("https://*.0.0.1", id="a wildcard over an address"),
        pytest.param("https://*.*.app.example", id="two wildcards"),
        pytest.param("https://*app.example", id="a wildcard inside a label"),
        pytest.param("https://app.example/x", id="a path"),
        pytest.param("app.example", id="no scheme"),
        pytest.param("*", id="everything"),
        pytest.param("javascript://app.example", id="a scheme that runs"),
    ],
)
def test_rules_that_allow_what_is_no_origin_are_refused(allowed):
    with pytest.raises(ValueError, match=r"must|wildcard"):
        ReturnRules(origin=ORIGIN, allowed=(allowed,), prefix=PREFIX)


_PIECES = st.sampled_from(
    [
        *("/", "//", "\\", ".", "..", ":", "@", "?", "#", ";", "%2f", "%5c", "%2e", "%09", "%00", "%", "\t", "\n", "\r", " ", "\0", "\x01"),
        *(
            "https:",
            "http:",
            "https://",
            "javascript:",
            "data:",
            "app.example",
            "other.example",
            "sib.app.example",
            "evil.example",
            ".app.example",
        ),
        *(
            "oauth2",
            "sign_out",
            "a",
            "1",
            ":443",
            ":80",
            "user:pw@",
            "[::1]",
            "\u3002",
            "\uff0f",
            "\u00ad",
            "\u0130",
            "xn--",
            "0x7f.1",
            "\ud800",
        ),
    ]
)


@given(st.lists(_PIECES, max_size=12).map("".join) | st.text(max_size=40) | st.text(max_size=40).map("/".__add__))
@example("/\t/evil.example")
@example("https://xn--a.app.example/")
def test_a_browser_always_ends_at_our_origin_or_an_allowed_one(raw):
    for rules, origins in ((RULES, {ORIGIN}), (WIDER_RULES, {ORIGIN, "https://other.example", "http://plain.example:8080"})):
        location = return_target(raw, rules)
        assert is_header_safe(location)
        assert len(location) <= 2048
        url = ada_url.URL(location, base=CALLBACK)
        below_the_wildcard = rules is WIDER_RULES and url.protocol == "https:" and url.host.endswith(".app.example")
        assert url.origin in origins or below_the_wildcard
        assert not f"{url.pathname}/".startswith(f"{PREFIX}/")
        assert return_target(location, rules) == location
