"""IH-26, IH-28: the gateway's cookies stay between it and the browser; everybody else's stay byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.answer import read_answer_head
from gateway.proxy.answer_headers import response_head
from gateway.proxy.framing import Delimiter
from gateway.proxy.headers import HeaderRules
from gateway.proxy.own_cookies import is_own, sets_own, with_own, without_own

RULES = HeaderRules(
    reserved=frozenset(),
    cookie_names=frozenset({b"__Host-gateway", b"gateway-8080"}),
    cookie_prefixes=(b"__Host-gateway-login-", b"gateway-8080-login-"),
)


@pytest.mark.parametrize(
    ("sent", "left"),
    [
        pytest.param(b"app=1", b"app=1", id="none of ours"),
        pytest.param(b"__Host-gateway=x; app=1", b"app=1", id="ours first"),
        pytest.param(b"app=1; __Host-gateway=x", b"app=1", id="ours last"),
        pytest.param(b"a=1; __Host-gateway=x; b=2", b"a=1; b=2", id="ours between"),
        pytest.param(b"__Host-gateway=x", b"", id="ours alone"),
        pytest.param(b"__Host-gateway=x; __Host-gateway=y; ;", b"", id="ours twice and nothing else"),
        pytest.param(b"__host-GATEWAY=x; a=1", b"a=1", id="another case"),
        pytest.param(b" \t__Host-gateway \x0b=x; a=1", b"a=1", id="white space around the name"),
        pytest.param(b"\xc2\xa0__Host-gateway=x; \xe2\x80\x80gateway-8080=y; a=1", b"a=1", id="Unicode spaces around the name"),
        pytest.param(b"__Host-gateway; a=1", b"a=1", id="no equals sign"),
        pytest.param(b"=__Host-gateway=x; a=1", b"a=1", id="nameless with our name as value"),
        pytest.param(b"__Host-gateway-login-abc=x; a=1", b"a=1", id="a login in flight"),
        pytest.param(
            b"__Host-gatewayx=1; x__Host-gateway=2; gateway=3", b"__Host-gatewayx=1; x__Host-gateway=2; gateway=3", id="names near ours"
        ),
        pytest.param(b'a="q; b" ;c= d ;;  e', b'a="q; b" ;c= d ;;  e', id="odd cookies untouched"),
        pytest.param(b'a=1 ;  b="x"; gateway-8080=z;c=%20', b'a=1 ;  b="x";c=%20', id="odd cookies around ours"),
        pytest.param(b"a=__Host-gateway=x", b"a=__Host-gateway=x", id="our name in a value"),
    ],
)
def test_own_cookies_are_taken_out(sent, left):
    assert without_own(sent, RULES) == left


@pytest.mark.parametrize(
    ("line", "ours"),
    [
        (b"__Host-gateway=evil; Path=/", True),
        (b"__host-Gateway=evil", True),
        (b" gateway-8080 = ; Max-Age=0", True),
        (b"__Host-gateway-login-x=evil", True),
        (b"=__Host-gateway=evil", True),
        (b"__Host-session=x; Path=/", False),
        (b"a=__Host-gateway; Path=/", False),
        (b"a=b; __Host-gateway=x", False),
    ],
)
def test_set_cookie_of_our_names_is_known(line, ours):
    assert sets_own(line, RULES) is ours


@given(st.lists(st.one_of(st.sampled_from([b"__Host-gateway=x", b" gateway-8080=1", b"a=1", b" b=2"]), st.binary(max_size=8)), max_size=8))
def test_what_is_left_is_others_in_order_and_none_of_ours(pairs):
    sent = b";".join(pairs)
    left = without_own(sent, RULES)
    assert not any(is_own(pair, RULES) for pair in left.split(b";"))
    expected = [pair for pair in sent.split(b";") if not is_own(pair, RULES)]
    assert left.strip(b"; \t") == b";".join(expected).strip(b"; \t")


COOKIE = "__Host-gateway=new; Path=/"
PRIVATE = b"Cache-Control: private\r\n"


def heads(raw, cookie=lambda: COOKIE):
    """The head for the caller without a cookie of ours and with one, where there may be one."""
    answer = read_answer_head(raw, RULES)
    head = response_head(answer, framing=Delimiter.NOTHING, keep_alive=True, now=0.0)
    return head, with_own(head, answer, cookie)


@pytest.mark.parametrize(
    ("lines", "ours"),
    [
        pytest.param(b"", PRIVATE, id="nothing said"),
        pytest.param(b"Expires: Thu, 01 Dec 2044 16:00:00 GMT\r\n", PRIVATE, id="an end alone"),
        pytest.param(b"Cache-Control: no-store\r\n", b"", id="no-store"),
        pytest.param(b"cache-control: Private\r\n", b"", id="private"),
        pytest.param(b"Cache-Control: max-age=0,\tPRIVATE ,must-revalidate\r\n", b"", id="private among others"),
        pytest.param(b"Cache-Control: max-age=9\r\nCache-Control: private\r\n", b"", id="private in a second line"),
        pytest.param(b"Cache-Control: no-cache\r\n", PRIVATE, id="no-cache lets a shared cache keep it"),
        pytest.param(b"Cache-Control: max-age=600, must-revalidate\r\n", PRIVATE, id="an age for everybody"),
        pytest.param(b"Cache-Control:\r\n", PRIVATE, id="empty"),
        pytest.param(b"Cache-Control: x-private\r\n", PRIVATE, id="a directive near private"),
        pytest.param(b"Set-Cookie: a=1\r\nVary: Cookie\r\n", PRIVATE, id="a cookie of its own"),
    ],
)
def test_a_cookie_of_ours_goes_beside_an_answer_that_no_shared_cache_keeps(lines, ours):
    plain, told = heads(b"HTTP/1.1 200 OK\r\n" + lines + b"Content-Length: 0\r\n\r\n")
    assert told == plain[:-2] + b"Set-Cookie: " + COOKIE.encode() + b"\r\n" + ours + b"\r\n"


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        pytest.param(b"200", b"Cache-Control: public\r\n", id="public"),
        pytest.param(b"200", b"Cache-Control: public, no-store\r\n", id="public, whatever else it says"),
        pytest.param(b"200", b"Cache-Control: private\r\nCache-Control: PUBLIC\r\n", id="public in a second line"),
        pytest.param(b"200", b"Cache-Control: s-maxage=600\r\n", id="an age for shared caches"),
        pytest.param(b"200", b'Cache-Control: private="x-user"\r\n', id="private for some fields"),
        pytest.param(b"200", b'Cache-Control: no-cache="a,private,b"\r\n', id="private within quotes"),
        pytest.param(b"200", b"Cache-Control: private\r\nCDN-Cache-Control: max-age=600\r\n", id="RFC 9213, for all CDNs"),
        pytest.param(b"200", b"Vendor-CDN-Cache-Control: max-age=600\r\n", id="RFC 9213, for one"),
        pytest.param(b"200", b"Surrogate-Control: max-age=600\r\n", id="Surrogate-Control"),
        pytest.param(b"200", b"X-Accel-Expires: 600\r\n", id="X-Accel-Expires"),
        pytest.param(b"200", b"Cache-Control: private\r\nConnection: Cache-Control\r\n", id="private, but taken out on the way"),
        pytest.param(b"304", b"Cache-Control: private\r\n", id="304, laid over what was kept"),
        pytest.param(b"206", b"Cache-Control: private\r\n", id="a part"),
        pytest.param(b"103", b"Cache-Control: private\r\n", id="not the answer yet"),
    ],
)
def test_no_cookie_of_ours_goes_where_a_cache_could_keep_it_for_others(status, lines):
    asked = []
    plain, told = heads(b"HTTP/1.1 " + status + b" X\r\n" + lines + b"\r\n", lambda: asked.append(1))
    assert told == plain
    assert asked == []


def test_where_there_is_no_cookie_after_all_the_answer_is_as_it_was():
    plain, told = heads(b"HTTP/1.1 200 OK\r\n\r\n", lambda: None)
    assert told == plain
