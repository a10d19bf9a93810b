"""The rules for the headers of a request, one by one: what aiohttp's parser lets through and the gateway does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ExpectationRefused, HeadersRefused, HeadersTooLarge, RequestRefused
from gateway.proxy.headers import HeaderRules
from gateway.proxy.request_headers import COOKIE_BYTES, HEADER_BYTES, read_request_headers

HOST = (b"Host", b"app.example")
RULES = HeaderRules(reserved=frozenset({b"xteam"}), cookie_names=frozenset({b"gateway"}))


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
        pytest.param([HOST, (b"Cookie", b";" * 5000)], HeadersTooLarge, id="CK-11 in number"),
        pytest.param([HOST, (b"Cookie", b"a=b;" * 800), (b"cookie", b"a=b;" * 800)], HeadersTooLarge, id="CK-11 in number, on two lines"),
        pytest.param([HOST, (b"Connection", b"transfer-encoding"), (b"Transfer-Encoding", b"chunked")], HeadersRefused, id="nominated"),
        pytest.param([HOST, (b"X", b"y" * (HEADER_BYTES // 2)), (b"Y", b"y" * (HEADER_BYTES // 2))], HeadersTooLarge, id="SM-73"),
    ],
)
def test_a_head_with_two_readings_or_too_much_is_refused(headers, failure):
    with pytest.raises(failure):
        read_request_headers(headers, RULES)


def test_chunks_are_no_part_of_http_1_0():
    with pytest.raises(HeadersRefused):
        read_request_headers([HOST, (b"Transfer-Encoding", b"chunked")], RULES, http10=True)


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
    head = read_request_headers([(b"Cookie", b"a=1"), HOST, *more, (b"cookie", b"b=2")], RULES)
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
        head = read_request_headers(lines, RULES, http10=http10)
    except RequestRefused:
        return
    names = [name.lower() for name, _ in lines]
    assert [value for name, value in lines if name.lower() == b"host"] == [head.host]
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
    assert head.cookies == tuple(value for name, value in lines if name.lower() == b"cookie")


@pytest.mark.parametrize("nominates", [b"x-forwarded-uri", b"X_Forwarded_Uri, x-forwarded-for", b"close, X-Forwarded-Uri"])
def test_what_a_proxy_told_cannot_be_nominated_away(nominates):
    told = [(b"X-Forwarded-Uri", b"/x"), (b"X-Forwarded-For", b"203.0.113.9"), (b"X-Original-URL", b"https://a/public")]
    read = read_request_headers([HOST, (b"Connection", nominates), *told], RULES)
    assert read.told == told
    assert read.lines == []
