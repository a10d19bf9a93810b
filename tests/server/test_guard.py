"""The rules for a head, one by one: what aiohttp's parser lets through and the guard does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.target import canonical_target
from gateway.errors import (
    ExpectationRefused,
    HeadersRefused,
    HeadersTooLarge,
    MethodRefused,
    RequestRefused,
    TargetRefused,
    VersionRefused,
)
from gateway.server.guard import COOKIE_BYTES, HEADER_BYTES, check_request_line, origin_form, read_head

HOST = (b"Host", b"app.example")


@pytest.mark.parametrize("version", [(1, 1), (1, 0)])
def test_two_versions_are_spoken(version):
    check_request_line("GET", version)


@pytest.mark.parametrize("version", [(0, 9), (2, 0), (1, 2), (3, 0)])
def test_no_other_version_is(version):
    with pytest.raises(VersionRefused):
        check_request_line("GET", version)


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
def test_methods_that_are_never_served_say_which_are(method):
    with pytest.raises(MethodRefused) as refused:
        check_request_line(method, (1, 1))
    assert "GET" in refused.value.allow


@pytest.mark.parametrize(
    ("headers", "failure"),
    [
        pytest.param([], HeadersRefused, id="SM-50 no Host"),
        pytest.param([HOST, HOST], HeadersRefused, id="SM-50 two Hosts"),
        pytest.param([HOST, (b"hOST", b"app.example")], HeadersRefused, id="SM-50 two Hosts in two spellings"),
        pytest.param([HOST, (b"Transfer-Encoding", b"identity, chunked")], HeadersRefused, id="SM-05"),
        pytest.param([HOST, (b"Transfer-Encoding", b",chunked")], HeadersRefused, id="SM-08"),
        pytest.param([HOST, (b"Transfer-Encoding", b"")], HeadersRefused, id="SM-11"),
        pytest.param([HOST, (b"Transfer-Encoding", b"\xa0chunked")], HeadersRefused, id="SM-14 a no-break space is no space"),
        pytest.param([HOST, (b"Transfer-Encoding", b"chunked"), (b"transfer-encoding", b"chunked")], HeadersRefused, id="SM-13"),
        pytest.param([HOST, (b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"3")], HeadersRefused, id="SM-02"),
        pytest.param([HOST, (b"Content-Length", b"3"), (b"Transfer-Encoding", b"chunked")], HeadersRefused, id="SM-01"),
        pytest.param([HOST, (b"Content-Length", b"3"), (b"Content-Length", b"3")], HeadersRefused, id="SM-22"),
        pytest.param([HOST, (b"Content-Length", b"3, 3")], HeadersRefused, id="SM-22 in one line"),
        pytest.param([HOST, (b"Content-Length", b"")], HeadersRefused, id="SM-25"),
        pytest.param([HOST, (b"Content-Length", b"+3")], HeadersRefused, id="SM-25 a sign"),
        pytest.param([HOST, (b"Content-Length", "\u0663".encode())], HeadersRefused, id="SM-25 a digit of another script"),
        pytest.param([HOST, (b"Expect", b"200-ok")], ExpectationRefused, id="SM-68"),
        pytest.param([HOST, (b"Cookie", b"a" * COOKIE_BYTES), (b"Cookie", b"b")], HeadersTooLarge, id="CK-11"),
        pytest.param([HOST, (b"X", b"y" * (HEADER_BYTES // 2)), (b"Y", b"y" * (HEADER_BYTES // 2))], HeadersTooLarge, id="SM-73"),
    ],
)
def test_a_head_with_two_readings_or_too_much_is_refused(headers, failure):
    with pytest.raises(failure):
        read_head(headers, http10=False)


def test_chunks_are_no_part_of_http_1_0():
    with pytest.raises(HeadersRefused):
        read_head([HOST, (b"Transfer-Encoding", b"chunked")], http10=True)


@pytest.mark.parametrize(
    "more",
    [
        pytest.param([], id="no body"),
        pytest.param([(b"Content-Length", b"003")], id="SM-26"),
        pytest.param([(b"Transfer-Encoding", b"\tChUnKeD ")], id="SM-14, SM-20"),
        pytest.param([(b"Expect", b"100-Continue")], id="SM-67"),
        pytest.param([(b"Hosts", b"x"), (b"Content-Lengths", b"x"), (b"X-Host", b"evil")], id="names that only look alike"),
    ],
)
def test_what_has_one_reading_passes(more):
    head = read_head([(b"Cookie", b"a=1"), HOST, *more, (b"cookie", b"b=2")], http10=False)
    assert (head.host, head.cookies) == (b"app.example", (b"a=1", b"b=2"))


headers = st.lists(
    st.tuples(
        st.sampled_from([b"Host", b"host", b"Content-Length", b"Transfer-Encoding", b"transfer-encoding", b"Cookie", b"X"]),
        st.sampled_from([b"app.example", b"3", b"03", b"chunked", b"identity", b"", b"a=b"]) | st.binary(max_size=12),
    ),
    max_size=8,
)


@given(headers, st.booleans())
def test_an_accepted_head_has_one_host_and_at_most_one_framing(lines, http10):
    try:
        head = read_head(lines, http10=http10)
    except RequestRefused:
        return
    names = [name.lower() for name, _ in lines]
    assert [value for name, value in lines if name.lower() == b"host"] == [head.host]
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
    assert head.cookies == tuple(value for name, value in lines if name.lower() == b"cookie")


@pytest.mark.parametrize(
    ("target", "path"),
    [
        pytest.param("/a?b", "/a?b", id="origin-form"),
        pytest.param("http://app.example/a?b", "/a?b", id="absolute-form"),
        pytest.param("HTTPS://APP.EXAMPLE/a", "/a", id="in capitals"),
        pytest.param("http://app.example", "/", id="without a path"),
        pytest.param("http://app.example?b", "/?b", id="with a query alone"),
        pytest.param("http://app.example//evil.example/x", "//evil.example/x", id="OR-86 two slashes, which the canonicaliser refuses"),
    ],
)
def test_a_target_of_our_own_host_becomes_its_path(target, path):
    assert origin_form(target, "app.example") == path


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("http://evil.example/x", id="PN-28 another host"),
        pytest.param("https://evil/admin", id="PN-28 another host, https"),
        pytest.param("ftp://app.example/x", id="PN-28 another scheme"),
        pytest.param("http://a@app.example/x", id="PN-28 a user"),
        pytest.param("http://app.example:80/x", id="a port that Host has not"),
        pytest.param("http://app.example.evil.example/x", id="a longer host"),
        pytest.param("http:///x", id="no host"),
        pytest.param("http:/app.example/x", id="one slash"),
        pytest.param("http://app.example\\@evil.example/x", id="a backslash"),
        pytest.param("app.example:80", id="PN-29 authority-form"),
        pytest.param("*", id="asterisk-form"),
        pytest.param("", id="nothing"),
    ],
)
def test_other_absolute_targets_are_refused(target):
    with pytest.raises(TargetRefused):
        origin_form(target, "app.example")


@given(st.text(alphabet="htps:/app.exml@?#\\%2e\t \u2025", max_size=40))
def test_an_absolute_target_has_no_other_readings_than_a_direct_one(text):
    try:
        through = canonical_target(origin_form("http://app.example/" + text, "app.example"))
    except TargetRefused:
        with pytest.raises(TargetRefused):
            canonical_target("/" + text)
    else:
        assert through == canonical_target("/" + text)
