"""IH-26, IH-28: the gateway's cookies stay between it and the browser; everybody else's stay byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.headers import HeaderRules
from gateway.proxy.own_cookies import is_own, sets_own, without_own

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
