"""Cookies are read as bytes: every line, exact names, blanks that are SP and HTAB and no others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import HeadersRefused
from gateway.session.cookies import MAX_LINES, CookieNames, cookie_values, delete_cookie, set_cookie

S = b"__Host-gateway"
UNICODE_SPACES = [0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]


@pytest.mark.parametrize(
    ("lines", "values"),
    [
        pytest.param([b"__Host-gateway=good"], [b"good"], id="one"),
        pytest.param([], [], id="no Cookie header"),
        pytest.param([b""], [], id="an empty one"),
        pytest.param([b"a=1; __Host-gateway=good; b=2"], [b"good"], id="among others"),
        pytest.param([b"__Host-gateway=good; __Host-gateway=good2"], [b"good", b"good2"], id="two of the name, both told"),
        pytest.param([b"a=1", b"__Host-gateway=good"], [b"good"], id="in the second of two lines"),
        pytest.param([b"a=1", b"b=2", b"__Host-gateway=good"], [b"good"], id="in the third of three lines"),
        pytest.param([b"__Host-gateway=good; __Host-gateway =evil"], [b"good"], id="a blank after the name"),
        pytest.param([b"__Host-gateway=good; __Host-gateway\t=evil"], [b"good"], id="a tab after the name"),
        pytest.param([b"__Host-gateway=good; __Host-gateway"], [b"good"], id="the name without ="),
        pytest.param([b"__Host-gateway=good; =__Host-gateway=evil"], [b"good"], id="a nameless cookie"),
        pytest.param([b'__Host-gateway=good; "__Host-gateway"=evil'], [b"good"], id="a quoted name"),
        pytest.param([b"__Host-gateway=good; __host-gateway=evil; __HOST-GATEWAY=evil"], [b"good"], id="another case"),
        pytest.param([b'a="x; __Host-gateway=good'], [b"good"], id="an unclosed quote before"),
        pytest.param([b"a=1,__Host-gateway=evil; __Host-gateway=good"], [b"good"], id="a comma is no border"),
        pytest.param([rb'__Host-gateway="\144\145"'], [rb'"\144\145"'], id="quotes and octal are not decoded"),
        pytest.param([b"__Host-gateway=%41"], [b"%41"], id="percent is not decoded"),
        pytest.param([b"__Host-gateway=a=b"], [b"a=b"], id="= within the value"),
        pytest.param([b"__Host-gateway="], [b""], id="an empty value"),
        pytest.param([b"a=1;__Host-gateway=good;b=2"], [b"good"], id="no blank after the semicolon"),
        pytest.param([b"a=1; \t __Host-gateway=good \t;b=2"], [b"good"], id="more blanks around"),
        pytest.param([b"__Host-gateway-login-x=evil; x__Host-gateway=evil"], [], id="names that hold the name"),
        pytest.param([b";;;__Host-gateway=good;;"], [b"good"], id="empty pairs"),
    ],
)
def test_cookie_values(lines, values):
    assert cookie_values(lines, S) == values


@pytest.mark.parametrize("space", [pytest.param(chr(point).encode(), id=f"U+{point:04X}") for point in UNICODE_SPACES])
def test_a_name_with_unicode_space_is_another_name(space):
    assert cookie_values([b"__Host-gateway=good; " + space + S + b"=evil"], S) == [b"good"]
    assert cookie_values([b"__Host-gateway=good; " + S + space + b"=evil"], S) == [b"good"]
    assert cookie_values([b"__Host-gateway=good;" + space + S + b"=evil", space + S + b"=evil"], S) == [b"good"]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"a=\0; __Host-gateway=good", id="NUL"),
        pytest.param(b"a=\x01", id="a control"),
        pytest.param(b"a=\x7f", id="DEL"),
        pytest.param(b"a=1\r\nb=2", id="a line end"),
        pytest.param(b"a=\xff; __Host-gateway=good", id="a byte that is no UTF-8"),
        pytest.param(b"a=\xe2\x80", id="half a character"),
    ],
)
def test_lines_that_are_no_cookies_are_refused(line):
    with pytest.raises(HeadersRefused):
        cookie_values([line], S)


def test_cookies_are_read_up_to_their_bound_over_all_lines():
    half = MAX_LINES // 2
    assert cookie_values([b"a=".ljust(half, b"x"), (S + b"=").ljust(half, b"y")], S) == [b"y" * (half - len(S) - 1)]
    for lines in ([b"a=".ljust(MAX_LINES + 1, b"x")], [b"a=".ljust(half, b"x"), b"b=".ljust(half + 1, b"x")]):
        with pytest.raises(HeadersRefused):
            cookie_values(lines, S)


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_any_bytes_are_read_or_refused(lines):
    try:
        values = cookie_values(lines, S)
    except HeadersRefused:
        return
    assert all(b";" not in value for value in values)
    assert len(values) <= b";".join(lines).count(S + b"=")


@pytest.mark.parametrize(
    ("origin", "suffix", "session", "login_prefix", "secure"),
    [
        pytest.param("https://apps.example.org", "", "__Host-gateway", "__Host-gateway-login-", True, id="https"),
        pytest.param("http://127.0.0.1", "", "gateway", "gateway-login-", False, id="plain http"),
        pytest.param("http://127.0.0.1:8080", "-8080", "gateway-8080", "gateway-8080-login-", False, id="the demo, with its port"),
    ],
)
def test_names_for_an_origin(origin, suffix, session, login_prefix, secure):
    assert CookieNames.for_origin(origin, suffix=suffix) == CookieNames(
        session=session, login_prefix=login_prefix, secure=secure, origin=origin
    )


HTTPS = CookieNames.for_origin("https://apps.example.org")
HTTP = CookieNames.for_origin("http://127.0.0.1:8080", suffix="-8080")


def test_set_cookie_in_full():
    assert set_cookie("__Host-gateway", "abc", HTTPS, max_age=60) == (
        "__Host-gateway=abc; Secure; Path=/; HttpOnly; SameSite=Lax; Max-Age=60"
    )
    assert set_cookie("gateway-8080", "abc", HTTP, max_age=None) == "gateway-8080=abc; Path=/; HttpOnly; SameSite=Lax"


def test_delete_cookie_in_full():
    assert delete_cookie("__Host-gateway", HTTPS) == (
        "__Host-gateway=; Secure; Path=/; HttpOnly; SameSite=Lax; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("a", "x; Domain=example.org", id="an attribute in the value"),
        pytest.param("a", "x\r\nSet-Cookie: b=c", id="a line end in the value"),
        pytest.param("a=b", "x", id="= in the name"),
        pytest.param("", "x", id="no name"),
        pytest.param("a b", "x", id="a blank in the name"),
        pytest.param("a", 'x"', id="a quote"),
        pytest.param("a", "\u00e9", id="not ASCII"),
        pytest.param("a", "x" * 4096, id="more than a browser keeps"),
        pytest.param("a\n", "x", id="a line end after the name"),
        pytest.param("a", "x\n", id="a line end after the value"),
    ],
)
def test_what_is_no_cookie_is_never_set(name, value):
    with pytest.raises(ValueError, match="not a cookie"):
        set_cookie(name, value, HTTPS, max_age=None)
