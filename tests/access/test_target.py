"""PN: a path is taken as it is written, or refused; nothing is repaired, and nothing can be resolved to another path behind us."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.access.target import canonical_target, is_own
from gateway.errors import TargetRefused


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param("/public/../admin", id="PN-01 dot segment"),
        pytest.param("/public/./admin", id="PN-01 single dot"),
        pytest.param("/public/..", id="PN-01 dot segment at the end"),
        pytest.param("/..", id="PN-01 nothing but a dot segment"),
        pytest.param("/public/%2e%2e/admin", id="PN-02 encoded dots"),
        pytest.param("/public/%2E%2E/admin", id="PN-02 encoded dots in capitals"),
        pytest.param("/public/.%2e/admin", id="PN-03 one dot encoded"),
        pytest.param("/public/..%2fadmin", id="PN-04 encoded slash after dots"),
        pytest.param("/public/%2e%2e%2fadmin", id="PN-04 all encoded"),
        pytest.param("/public%2f..%2fadmin", id="PN-04 encoded slashes around dots"),
        pytest.param("/public/..%5cadmin", id="PN-05 encoded backslash after dots"),
        pytest.param("/public%5c..%5cadmin", id="PN-05 encoded backslashes around dots"),
        pytest.param("/public/..\\admin", id="PN-05 raw backslash"),
        pytest.param("/public;/../admin", id="PN-07 parameter before dots"),
        pytest.param("/public/..;/admin", id="PN-07 parameter on dots"),
        pytest.param("/public/..;x=1/admin", id="PN-07 parameter with a value on dots"),
        pytest.param("/public/..%3bx/admin", id="PN-07 encoded parameter on dots"),
        pytest.param("/public/%2e%2e;/admin", id="PN-07 parameter on encoded dots"),
        pytest.param("/public//../admin", id="PN-08 two slashes before dots"),
        pytest.param("/public/.//../admin", id="PN-08 dot and two slashes"),
        pytest.param("/api/private#/status", id="PN-14 fragment"),
        pytest.param("/admin/%2e%2e/x.css", id="PN-17 encoded dots before a suffix"),
        pytest.param("/x/..%3fy", id="dots before an encoded question mark"),
        pytest.param("/x/..%23y", id="dots before an encoded hash"),
        pytest.param("/public/%u002e%u002e/admin", id="PN-22 escapes of another kind"),
        pytest.param("/public/%zz", id="PN-22 escape without hexadecimal digits"),
        pytest.param("/public/%", id="PN-22 lone percent sign"),
        pytest.param("/public/%2", id="PN-22 half an escape"),
        pytest.param("/pub\tlic", id="PN-25 TAB"),
        pytest.param("/public/ x", id="PN-25 space"),
        pytest.param("/a\0b", id="PN-25 NUL"),
        pytest.param("/a\r\nX: y", id="PN-25 CR LF"),
        pytest.param("/a\n", id="LF at the end"),
        pytest.param("/public/a\x7f", id="PN-26 DEL"),
        pytest.param("/public/a\x80", id="a byte beyond ASCII"),
        pytest.param("/public/\u00e9", id="a letter beyond ASCII"),
        pytest.param("http://app.example/public/../admin", id="PN-28 absolute with our host"),
        pytest.param("http://evil/admin", id="PN-28 absolute"),
        pytest.param("ftp://evil/x", id="PN-28 ftp"),
        pytest.param("http://a@evil/x", id="PN-28 user info"),
        pytest.param("evil:80", id="PN-29 authority form"),
        pytest.param("*", id="PN-29 asterisk form"),
        pytest.param("", id="PN-29 empty"),
        pytest.param("x", id="PN-29 relative"),
        pytest.param("?x", id="PN-29 query alone"),
        pytest.param("//evil.example/x", id="OR-86 two slashes in front"),
        pytest.param("//", id="OR-86 two slashes alone"),
        pytest.param("//evil.example?x", id="OR-86 two slashes and a query"),
        pytest.param("/x?#f", id="PN-40 fragment behind an empty query"),
        pytest.param("/x?a b", id="space in the query"),
        pytest.param("/x?a\tb", id="TAB in the query"),
        pytest.param("/x?\u00e9", id="a letter beyond ASCII in the query"),
        pytest.param('/x"y', id="double quote in the path"),
        pytest.param("/x<y", id="less-than in the path"),
        pytest.param("/x`y", id="backquote in the path"),
        pytest.param("/x{y}", id="braces in the path"),
        pytest.param("/a%00b", id="encoded NUL"),
        pytest.param("/public/..%00/admin", id="encoded NUL behind dots"),
        pytest.param("/public/..%20/admin", id="encoded space behind dots, which Windows drops"),
        pytest.param("/public/%20../admin", id="encoded space before dots"),
        pytest.param("/public/%c0%ae%c0%ae/admin", id="dots in overlong UTF-8"),
        pytest.param("/public/..%c0%af", id="slash in overlong UTF-8"),
        pytest.param("/public/%E0%80%AE", id="dot in three bytes"),
        pytest.param("/public/%f0%80%80%ae", id="dot in four bytes"),
        pytest.param("/x" + ";" * 65, id="more parameters than any honest path has"),
    ],
)
def test_a_target_that_two_servers_could_read_differently_is_refused(raw):
    with pytest.raises(TargetRefused):
        canonical_target(raw)


@pytest.mark.parametrize(
    ("raw", "path", "query"),
    [
        pytest.param("/", "/", None, id="root"),
        pytest.param("/a/b.css", "/a/b.css", None, id="plain"),
        pytest.param("/a//b", "/a//b", None, id="OR-85 two slashes inside"),
        pytest.param("/a/", "/a/", None, id="slash at the end"),
        pytest.param("/.well-known/x", "/.well-known/x", None, id="a name that begins with a dot"),
        pytest.param("/a/..b/...", "/a/..b/...", None, id="names that begin with two dots"),
        pytest.param("/healthz?x=1", "/healthz", "x=1", id="PN-20 query apart from the path"),
        pytest.param("/public/%252e%252e/admin", "/public/%252e%252e/admin", None, id="PN-23 encoded twice is left alone"),
        pytest.param("/@evil.example/x", "/@evil.example/x", None, id="PN-31 at sign"),
        pytest.param("/http://evil/", "/http://evil/", None, id="PN-31 a URL in the path"),
        pytest.param("/%2f/evil", "/%2f/evil", None, id="PN-31 encoded slash"),
        pytest.param("/a%2Fb%5cc", "/a%2Fb%5cc", None, id="PN-04 encoded slash and backslash keep their case"),
        pytest.param("/a;v=1/b", "/a;v=1/b", None, id="parameters"),
        pytest.param("/caf%C3%A9/%e9", "/caf%C3%A9/%e9", None, id="letters in UTF-8 and in Latin-1"),
        pytest.param("/a|b^c[d]'e", "/a|b^c[d]'e", None, id="what browsers leave raw"),
        pytest.param("/x?a=%2e%2e&b=a+b%2B&c=%zz&d=;&e", "/x", "a=%2e%2e&b=a+b%2B&c=%zz&d=;&e", id="PN-40 query byte for byte"),
        pytest.param("/x?", "/x", "", id="PN-40 empty query is kept"),
        pytest.param("/x?a?b", "/x", "a?b", id="question mark in the query"),
        pytest.param("/x?/../\\\"<>^`{|}'", "/x", "/../\\\"<>^`{|}'", id="what browsers leave raw in a query"),
    ],
)
def test_a_target_with_one_meaning_is_kept_byte_for_byte(raw, path, query):
    target = canonical_target(raw)
    assert (target.raw, target.path, target.query) == (raw, path, query)


def test_a_target_has_a_limit():
    assert canonical_target("/" + "a" * 8191 + "?" + "a" * 7000).raw
    with pytest.raises(TargetRefused, match="8193 characters"):
        canonical_target("/" + "a" * 8192)
    with pytest.raises(TargetRefused, match="16002 characters"):
        canonical_target("/?" + "a" * 16_000)


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        pytest.param("/x?code=secret code", "a character in the query that has to be percent-encoded (U+0020)", id="space"),
        pytest.param("/x\\y", "a character in the path that has to be percent-encoded (U+005C)", id="backslash"),
        pytest.param("/x%y", "a percent sign without two hexadecimal digits in the path", id="percent sign"),
        pytest.param("http://evil/", "a target that is not in origin-form", id="absolute"),
    ],
)
def test_the_log_learns_the_reason_and_not_the_target(raw, detail):
    with pytest.raises(TargetRefused) as refused:
        canonical_target(raw)
    assert refused.value.detail == detail


@pytest.mark.parametrize(
    ("raw", "own"),
    [
        pytest.param("/oauth2", True, id="the prefix"),
        pytest.param("/oauth2/callback?code=x", True, id="an endpoint"),
        pytest.param("/oauth2/a;b", True, id="a parameter below it"),
        pytest.param("/oauth2x", False, id="PN-35 a name that begins like it"),
        pytest.param("/OAUTH2/callback", False, id="another case"),
        pytest.param("/app/oauth2/", False, id="further down"),
        pytest.param("/", False, id="root"),
    ],
)
def test_our_own_endpoints_lie_below_the_prefix(raw, own):
    assert is_own(canonical_target(raw), "/oauth2") is own


@pytest.mark.parametrize("raw", ["/%6fauth2/auth", "/oauth2%2fauth", "/oauth2;x/auth", "/oauth2%3fx", "/oauth2%5cauth", "/;x/oauth2/auth"])
def test_what_only_another_reading_puts_below_the_prefix_is_refused(raw):
    with pytest.raises(TargetRefused):
        is_own(canonical_target(raw), "/oauth2")


_PIECES = st.sampled_from(
    [
        "/",
        "//",
        ".",
        "..",
        "%2e",
        "%2E",
        "%2f",
        "%5c",
        ";",
        "%3b",
        "%3f",
        "%23",
        "%25",
        "%20",
        "%00",
        "%c0%ae",
        "%zz",
        "a",
        "b.c",
        "?",
        "#",
        "\\",
        " ",
    ]
)
targets = st.lists(_PIECES, max_size=14).map("".join).map("/".__add__) | st.text(max_size=30).map("/".__add__)


@given(targets)
@example("/a/%2e%2e;x/b")
def test_an_accepted_target_is_printable_byte_exact_and_resolves_to_itself(raw):
    try:
        target = canonical_target(raw)
    except TargetRefused:
        return
    assert target.raw == raw
    assert target.raw == target.path + ("" if target.query is None else f"?{target.query}")
    assert all("!" <= character <= "~" for character in raw)
    assert not raw.startswith("//")
    # What any server behind us may make of the path, written down here once more: no step uncovers a dot segment.
    for text in (target.path, unquote_to_bytes(target.path).decode("latin-1")):
        for ending in (text, re.split(r"[?#]", text)[0]):
            for segment in re.split(r"[/\\]", ending):
                assert segment.split(";")[0].strip() not in {".", ".."}
