"""FA, IH-25, IH-29: what proxies say counts when a trusted one says it once, completely and in one way."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.forwarded import forwarded_headers, original_request
from gateway.access.origins import Origin
from gateway.errors import ForwardAuthRefused, RequestRefused, TargetRefused

FORWARDED = {
    b"X-Forwarded-Method": b"POST",
    b"X-Forwarded-Proto": b"https",
    b"X-Forwarded-Host": b"apps.example.org",
    b"X-Forwarded-Uri": b"/admin/x?y=1",
}
ORIGINAL = {b"X-Original-Method": b"POST", b"X-Original-URL": b"https://apps.example.org/admin/x?y=1"}


def lines(headers, *more, without=(), **changes):
    changed = {**headers, **{f"X-{name.replace('_', '-')}".encode(): value for name, value in changes.items()}}
    return [(b"Host", b"gateway"), *((name, value) for name, value in changed.items() if name not in without), *more]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(lines(FORWARDED), id="X-Forwarded-*"),
        pytest.param(lines(ORIGINAL), id="X-Original-*"),
        pytest.param(lines({**FORWARDED, **ORIGINAL}), id="both families, equal"),
        pytest.param([(name.lower(), value) for name, value in lines(FORWARDED)], id="names in small letters"),
        pytest.param(lines(FORWARDED, Forwarded_Host=b"APPS.example.org"), id="the host has no case"),
        pytest.param(lines(FORWARDED, Forwarded_Proto=b"wss"), id="FA-14 Traefik's name for a WebSocket over TLS"),
        pytest.param(lines(FORWARDED, Original_Method=b"GET"), id="a family without its URL is not there"),
        pytest.param(lines(ORIGINAL, Forwarded_Proto=b"http", Forwarded_Host=b"lb"), id="nor one without its URI"),
        pytest.param(
            lines(FORWARDED, (b"X-Forwarded-For", b"1.1.1.1"), (b"X-Forwarded-For", b"2.2.2.2")), id="other headers are not asked"
        ),
    ],
)
def test_an_original_request_told_once_is_read(headers):
    request = original_request(headers, trusted=True)
    assert (request.method, request.scheme, request.authority, request.target.raw) == ("POST", "https", "apps.example.org", "/admin/x?y=1")


@pytest.mark.parametrize("headers", [lines(FORWARDED), lines(ORIGINAL), lines({})])
def test_fa_05_a_peer_that_is_not_trusted_tells_nothing(headers):
    with pytest.raises(ForwardAuthRefused, match=r"server\.trusted_proxies"):
        original_request(headers, trusted=False)


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        pytest.param(lines({}), "set one family", id="nothing at all"),
        pytest.param(lines(FORWARDED, without=[b"X-Forwarded-Uri"]), "set one family", id="all but the URI"),
        pytest.param(lines(ORIGINAL, without=[b"X-Original-URL"]), "set one family", id="all but the URL"),
        pytest.param(lines(FORWARDED, without=[b"X-Forwarded-Method"]), r"X-Forwarded-Method \$request_method", id="FA-07 method missing"),
        pytest.param(lines(FORWARDED, without=[b"X-Forwarded-Proto"]), r"X-Forwarded-Proto \$scheme", id="scheme missing"),
        pytest.param(lines(FORWARDED, without=[b"X-Forwarded-Host"]), r"X-Forwarded-Host \$http_host", id="host missing"),
        pytest.param(lines(ORIGINAL, without=[b"X-Original-Method"]), r"X-Original-Method \$request_method", id="original method missing"),
        pytest.param(lines(FORWARDED, Forwarded_Method=b"GET, POST"), "not one method", id="FA-07 two methods"),
        pytest.param(lines(FORWARDED, Forwarded_Method=b"GE T"), "not one method", id="FA-07 a space in the method"),
        pytest.param(lines(FORWARDED, Forwarded_Method=b"G\xc3\x89T"), "not ASCII", id="FA-07 a letter beyond ASCII in the method"),
        pytest.param(lines(FORWARDED, Forwarded_Method=b""), "not one method", id="FA-07 empty method"),
        pytest.param(lines(FORWARDED, Forwarded_Method=b"get"), "not one method", id="FA-07 small letters, which no direct request has"),
        pytest.param(lines(FORWARDED, Forwarded_Method=b"A" * 33), "not one method", id="FA-07 endless method"),
        pytest.param(lines(FORWARDED, Forwarded_Proto=b"https, http"), "http and https", id="two schemes"),
        pytest.param(lines(FORWARDED, Forwarded_Proto=b"ftp"), "http and https", id="another scheme"),
        pytest.param(lines(FORWARDED, Forwarded_Proto=b""), "http and https", id="empty scheme"),
        pytest.param(lines(FORWARDED, Forwarded_Host=b"apps.example.org, evil.example"), "one host", id="FA-08 two hosts"),
        pytest.param(lines(FORWARDED, Forwarded_Host=b"user@apps.example.org"), "one host", id="FA-08 user info in the host"),
        pytest.param(lines(FORWARDED, Forwarded_Host=b"apps.example.org/x"), "one host", id="FA-08 a path in the host"),
        pytest.param(lines(FORWARDED, Forwarded_Host=b""), "one host", id="FA-08 empty host"),
        pytest.param(lines(FORWARDED, (b"X-Forwarded-Uri", b"/public/")), "more than once", id="two URIs"),
        pytest.param(lines(FORWARDED, (b"x-forwarded-uri", b"/admin/x?y=1")), "more than once", id="two URIs of one value"),
        pytest.param(lines(FORWARDED, (b"X-Forwarded-Proto", b"https")), "more than once", id="two lines of the scheme"),
        pytest.param(lines(ORIGINAL, (b"X-Original-URL", b"https://apps.example.org/")), "more than once", id="two URLs"),
        pytest.param(lines(ORIGINAL, Original_URL=b"/admin"), "absolute URL", id="a URL without its origin"),
        pytest.param(lines(ORIGINAL, Original_URL=b"//apps.example.org/admin"), "absolute URL", id="a URL without its scheme"),
        pytest.param(lines(ORIGINAL, Original_URL=b"ftp://apps.example.org/"), "http and https", id="a URL of another scheme"),
        pytest.param(lines(ORIGINAL, Original_URL=b"https://u:p@apps.example.org/"), "one host", id="user info in the URL"),
        pytest.param(lines(ORIGINAL, Original_URL=b"https://evil.example\\@apps.example.org/"), "one host", id="a backslash in the URL"),
        pytest.param(lines({**FORWARDED, **ORIGINAL}, Original_URL=b"https://apps.example.org/public/"), "different", id="URIs differ"),
        pytest.param(lines({**FORWARDED, **ORIGINAL}, Original_Method=b"GET"), "different", id="methods differ"),
        pytest.param(lines({**FORWARDED, **ORIGINAL}, Forwarded_Host=b"other.example.org"), "different", id="hosts differ"),
        pytest.param(lines({**FORWARDED, **ORIGINAL}, Forwarded_Proto=b"http"), "different", id="schemes differ"),
        pytest.param(
            lines(FORWARDED, (b"X-Original-URL", b"https://apps.example.org/admin/x?y=1")),
            "X-Original-Method",
            id="a second family, incomplete",
        ),
    ],
)
def test_an_original_request_that_is_not_told_once_is_refused(headers, detail):
    with pytest.raises(ForwardAuthRefused, match=detail):
        original_request(headers, trusted=True)


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param(b"/public/../admin", id="dot segments, which oauth2-proxy took for a public path"),
        pytest.param(b"/public/%2e%2e/admin", id="encoded dot segments"),
        pytest.param(b"//evil.example/x", id="two slashes in front"),
        pytest.param(b"https://apps.example.org/admin", id="an absolute URI"),
        pytest.param(b"/x#y", id="a fragment"),
        pytest.param(b"/x y", id="a space"),
        pytest.param(b"admin", id="no slash in front"),
        pytest.param(b"", id="empty"),
        pytest.param(b"/" + b"a" * 16384, id="FA-20 sixteen kilobytes"),
    ],
)
def test_the_forwarded_target_is_read_like_that_of_a_direct_request(uri):
    with pytest.raises(TargetRefused):
        original_request(lines(FORWARDED, Forwarded_Uri=uri), trusted=True)
    with pytest.raises(RequestRefused):
        original_request(lines(ORIGINAL, Original_URL=b"https://apps.example.org" + uri), trusted=True)


@pytest.mark.parametrize("method", [b"PROPFIND", b"M-SEARCH", b"VERSION-CONTROL"])
def test_fa_07_extension_methods_are_methods(method):
    assert original_request(lines(FORWARDED, Forwarded_Method=method), trusted=True).method == method.decode()


@pytest.mark.parametrize(
    ("origin", "client", "prefix", "lines"),
    [
        pytest.param(
            Origin("https", "apps.example.org", 8443),
            "198.51.100.7",
            "",
            (
                (b"X-Forwarded-For", b"198.51.100.7"),
                (b"X-Forwarded-Proto", b"https"),
                (b"X-Forwarded-Host", b"apps.example.org:8443"),
                (b"X-Forwarded-Port", b"8443"),
                (b"Forwarded", b'for=198.51.100.7;host="apps.example.org:8443";proto=https'),
            ),
            id="IH-29 the public origin and one client",
        ),
        pytest.param(
            Origin("http", "[::1]", 80),
            "2001:db8::7",
            "/team",
            (
                (b"X-Forwarded-For", b"2001:db8::7"),
                (b"X-Forwarded-Proto", b"http"),
                (b"X-Forwarded-Host", b"[::1]"),
                (b"X-Forwarded-Port", b"80"),
                (b"Forwarded", b'for="[2001:db8::7]";host="[::1]";proto=http'),
                (b"X-Forwarded-Prefix", b"/team"),
            ),
            id="IPv6 in quotes, and the prefix that the app does not see",
        ),
        pytest.param(
            Origin("https", "apps.example.org", 443),
            "unknown",
            "",
            (
                (b"X-Forwarded-For", b"unknown"),
                (b"X-Forwarded-Proto", b"https"),
                (b"X-Forwarded-Host", b"apps.example.org"),
                (b"X-Forwarded-Port", b"443"),
                (b"Forwarded", b"for=unknown;host=apps.example.org;proto=https"),
            ),
            id="a client without an address",
        ),
    ],
)
def test_the_app_learns_of_the_way_here_twice_and_alike(origin, client, prefix, lines):
    assert forwarded_headers(origin, client, prefix) == lines


@given(st.ip_addresses())
def test_both_families_name_one_client(address):
    told = dict(forwarded_headers(Origin("https", "apps.example.org", 443), str(address)))
    node = told[b"Forwarded"].partition(b";")[0].removeprefix(b"for=").strip(b'"[]')
    assert ip_address(node.decode()) == ip_address(told[b"X-Forwarded-For"].decode()) == address
