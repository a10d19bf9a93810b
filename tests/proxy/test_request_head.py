"""IH and the request side of SM: what of a caller's headers reaches an application."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import HeadersRefused, RequestRefused, TargetRefused
from gateway.proxy.framing import Delimiter
from gateway.proxy.headers import DENIED, DENIED_PREFIXES, HeaderRules, Treatment, fold
from gateway.proxy.request_head import our_headers, request_head
from gateway.proxy.request_headers import read_request_headers

RULES = HeaderRules(
    reserved=frozenset(fold(name) for name in (b"X-Forwarded-User", b"X-Forwarded-Groups", b"X-Team")),
    cookie_names=frozenset({b"__Host-gateway"}),
    cookie_prefixes=(b"__Host-gateway-login-",),
)
IDENTITY = ((b"X-Forwarded-User", b"bob"), (b"X-Team", b"blue"))
FORWARDED = ((b"X-Forwarded-For", b"192.0.2.7"), (b"X-Forwarded-Proto", b"https"))
HOST = (b"Host", b"apps.example.org")


def head(*headers, method="GET", target="/p", rules=RULES, identity=IDENTITY, http10=False, **more):
    read = read_request_headers([HOST, *headers], rules, method=method, http10=http10)
    ours = {"identity": our_headers(identity, rules), "forwarded": our_headers(FORWARDED, rules)}
    return request_head(method, target, read, **({"host": None} | ours | more), http10=http10)


def lines(raw):
    """The header lines of a head as (name, value) pairs; fails when it is not made of whole lines."""
    first, *rest = raw.split(b"\r\n")
    assert re.fullmatch(rb"[A-Z-]+ [!-~]+ HTTP/1\.1", first)
    assert rest[-2:] == [b"", b""]
    return [(name, value.removeprefix(b" ")) for name, _, value in (line.partition(b":") for line in rest[:-2])]


OURS = [HOST, (b"Via", b"1.1 gateway"), *FORWARDED, *IDENTITY, (b"Connection", b"close")]


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param([(b"X-Forwarded-User", b"admin")], id="IH-01 as written"),
        pytest.param([(b"x-forwarded-user", b"admin"), (b"X-FORWARDED-USER", b"admin")], id="IH-02 other case"),
        pytest.param([(b"X_Forwarded_User", b"admin")], id="IH-03 underscores"),
        pytest.param([(b"X.Forwarded.User", b"admin")], id="IH-04 dots"),
        pytest.param([(b"X-Forwarded-User", b"admin"), (b"X-Forwarded-User", b"root")], id="IH-05 twice"),
        pytest.param([(b"X-Forwarded_User", b"admin"), (b"XForwardedUser", b"admin")], id="mixed and bare"),
        pytest.param([(b"X-Forwarded-User*", b"UTF-8''admin"), (b"X-Forwarded-User!", b"x")], id="IH-32 other token characters"),
        pytest.param([(b"Connection", b"close, X-Forwarded-User, X-Forwarded-Groups")], id="IH-07 nominated"),
        pytest.param([(b"Connection", b"x_forwarded_user")], id="IH-08 nominated with underscores"),
        pytest.param([(b"Connection", b'"X-Forwarded-User"')], id="IH-08 nominated in quotes"),
        pytest.param([(b"Connection", b"close"), (b"Connection", b"X-Team")], id="IH-08 nominated on a second line"),
        pytest.param([(b"X-Forwarded-Groups", b"admins")], id="IH-17 a claim that is absent"),
        pytest.param([(b"Connection", b"via")], id="nominating Via"),
        pytest.param([(b"Cookie", b"__Host-gateway=secret")], id="IH-26 only the session cookie"),
        pytest.param([(b"X-Forwarded-For", b"127.0.0.1"), (b"Forwarded", b"for=127.0.0.1"), (b"X-Real-IP", b"::1")], id="IH-22"),
        pytest.param([(b"X-Original-URL", b"/a"), (b"X-Rewrite-URL", b"/a"), (b"X-Forwarded-Uri", b"/a")], id="IH-25 another target"),
        pytest.param([(b"X-Forwarded-Prefix", b"/.."), (b"X-Original-Method", b"GET")], id="IH-25 prefix and method"),
        pytest.param([(b"Proxy-Authorization", b"Basic x"), (b"HTTP2-Settings", b"AAMA"), (b"Te", b"trailers")], id="IH-31"),
        pytest.param(
            [(b"Keep-Alive", b"timeout=5"), (b"Trailer", b"X"), (b"Proxy-Connection", b"close"), (b"Proxy", b"x")], id="hop-by-hop"
        ),
        pytest.param([(b"Expect", b"100-continue")], id="Expect"),
        pytest.param([(b"Upgrade", b"h2c"), (b"Connection", b"Upgrade, HTTP2-Settings")], id="SM-64 h2c"),
        pytest.param([(b"Ho_st", b"evil"), (b"Host_", b"evil"), (b"Cookie_", b"a=b"), (b"Con_nection", b"x")], id="folded special names"),
        *(
            pytest.param([(name, b"admin")], id=f"IH-19 {name.decode()}")
            for name in (
                b"X-Auth-Request-User X-Remote-User Remote-User REMOTE_USER X-WEBAUTH-USER X-Authenticated-User OIDC_CLAIM_sub "
                b"X-Amzn-Oidc-Data X-Goog-Authenticated-User-Email Ssl-Client-S-Dn X-SSL-Client-Verify X-Client-Cert Client-Cert "
                b"Client-Cert-Chain X-Forwarded-Client-Cert X-Forwarded-Access-Token True-Client-IP X-MS-CLIENT-PRINCIPAL-NAME"
            ).split()
        ),
    ],
)
def test_nothing_of_it_reaches_the_application(sent):
    assert lines(head(*sent).raw) == OURS


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param([(b"Connection", b"Cookie")], id="IH-07 nominating Cookie"),
        pytest.param([(b"Connection", b"close, authorization")], id="IH-07 nominating Authorization"),
        pytest.param([(b"Connection", b"Host")], id="IH-07 nominating Host"),
        pytest.param([(b"Connection", b"content_length")], id="nominating Content-Length"),
        pytest.param([HOST], id="SM-50 Host twice"),
        pytest.param([(b"Content-Length", b"3"), (b"Content-Length", b"3")], id="SM-22 Content-Length twice"),
        pytest.param([(b"Authorization", b"a"), (b"authorization", b"b")], id="Authorization twice"),
        pytest.param([(b"Content-Length", b"+3")], id="signed Content-Length"),
        pytest.param([(b"Content-Length", b"")], id="SM-25 empty Content-Length"),
        pytest.param([(b"Content-Length", b"3, 3")], id="SM-22 list of lengths"),
        pytest.param([(b"Content-Length", b"\xb2")], id="a digit of another alphabet"),
        pytest.param([(b"Content-Length", b"3"), (b"Transfer-Encoding", b"chunked")], id="SM-01 both framings"),
        pytest.param([(b"Content-Length", b"3"), (b"Transfer-Encoding", b"")], id="SM-11 empty Transfer-Encoding"),
        pytest.param([(b"Transfer-Encoding", b"identity, chunked")], id="SM-05"),
        pytest.param([(b"Transfer-Encoding", b",chunked")], id="SM-08"),
        pytest.param([(b"Transfer-Encoding", b"xchunked")], id="SM-07"),
        pytest.param([(b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"chunked")], id="SM-13"),
        pytest.param([(b"Transfer_Encoding", b"chunked")], id="SM-17"),
        pytest.param([(b"Content_Length", b"3")], id="Content_Length"),
        pytest.param([(b"X Forwarded User", b"admin")], id="IH-04 spaces"),
        pytest.param([(b"X-Forwarded-User\xa0", b"admin")], id="IH-14 byte beyond ASCII"),
        pytest.param([(b"X-Forwarded-User\0", b"admin")], id="IH-14 NUL in the name"),
        pytest.param([(b"", b"admin")], id="empty name"),
        pytest.param([(b"X", b"a\r\nX-Forwarded-User: admin")], id="IH-13 line break in a value"),
        pytest.param([(b"X", b"a\nX-Forwarded-User: admin")], id="IH-13 line feed in a value"),
        pytest.param([(b"X", b"a\rX-Forwarded-User: admin")], id="IH-13 carriage return in a value"),
        pytest.param([(b"X", b"a\0b")], id="IH-13 NUL in a value"),
        pytest.param([(b"Via", b"1.1 gateway, 1.1 gateway, 1.0 gateway"), (b"Via", b"1.1 gateway (x)")], id="a loop"),
    ],
)
def test_ambiguity_is_refused(sent):
    with pytest.raises(HeadersRefused):
        head(*sent)


@pytest.mark.parametrize(
    "passes",
    [
        pytest.param([(b"accept", b"*/*"), (b"X-A", b"1"), (b"x-a", b"2")], id="same name twice, in order and as written"),
        pytest.param([(b"Upgrade-Insecure-Requests", b"1")], id="IH-31"),
        pytest.param([(b"Authorization", b"Basic YWRtaW46")], id="IH-20 Authorization that is not ours"),
        pytest.param([(b"X-HTTP-Method-Override", b"PUT")], id="method override: not ours to judge"),
        pytest.param([(b"Via", b"1.1 edge, 1.1 gateway")], id="others' Via"),
        pytest.param([(b"X-Latin", b"caf\xe9"), (b"X-Empty", b"")], id="odd values"),
        pytest.param([(b"If-None-Match", b'"x"'), (b"Range", b"bytes=0-1")], id="conditionals and ranges"),
    ],
)
def test_it_reaches_the_application_untouched(passes):
    assert lines(head(*passes).raw) == [HOST, *passes, *OURS[1:]]


def test_nominated_headers_of_the_callers_are_removed():
    raw = head((b"Connection", b"close, X-Hop"), (b"X-Hop", b"1"), (b"x_hop", b"2"), (b"X-Stay", b"3")).raw
    assert lines(raw) == [HOST, (b"X-Stay", b"3"), *OURS[1:]]


def test_authorization_that_the_gateway_sets_replaces_the_callers():
    rules = HeaderRules(reserved=frozenset({b"authorization"}), cookie_names=frozenset())
    raw = head((b"Authorization", b"Basic YWRtaW46"), rules=rules, identity=[(b"Authorization", b"Bearer t")]).raw
    assert [value for name, value in lines(raw) if name == b"Authorization"] == [b"Bearer t"]


def test_identity_that_a_caller_could_set_too_is_never_sent():
    with pytest.raises(HeadersRefused):
        head(identity=[(b"X-Unreserved", b"bob")])


def test_line_break_in_an_identity_value_is_never_sent():
    with pytest.raises(HeadersRefused):
        head(identity=[(b"X-Team", b"blue\r\nX-Forwarded-Groups: root")])


def test_host_is_the_one_given():
    assert lines(head(host=b"up-internal").raw)[0] == (b"Host", b"up-internal")


def test_no_host_at_all_is_refused():
    with pytest.raises(HeadersRefused):
        read_request_headers([], RULES)


@pytest.mark.parametrize("target", ["", "p", "/a b", "/a\r\nX: y", "/\0", "/é", "http://evil/"])
def test_target_that_breaks_the_request_line_is_refused(target):
    with pytest.raises(TargetRefused):
        head(target=target)


@pytest.mark.parametrize(
    ("sent", "framing", "line"),
    [
        pytest.param([], Delimiter.NOTHING, [], id="no body"),
        pytest.param([(b"Content-Length", b"0")], 0, [(b"Content-Length", b"0")], id="length 0"),
        pytest.param([(b"content-length", b"003 ")], 3, [(b"Content-Length", b"3")], id="SM-26 leading zeros"),
        pytest.param([(b"tRANSFER-eNCODING", b"ChUnKeD")], Delimiter.CHUNKS, [(b"Transfer-Encoding", b"chunked")], id="SM-20"),
        pytest.param([(b"Transfer-Encoding", b"\tchunked")], Delimiter.CHUNKS, [(b"Transfer-Encoding", b"chunked")], id="SM-14"),
    ],
)
def test_one_framing_made_by_us(sent, framing, line):
    made = head(*sent, method="POST")
    assert made.framing == framing
    assert [pair for pair in lines(made.raw) if fold(pair[0]) in {b"contentlength", b"transferencoding"}] == line


def test_chunks_from_http10_are_refused():
    with pytest.raises(HeadersRefused):
        head((b"Transfer-Encoding", b"chunked"), http10=True)


def test_http10_is_told_in_via_and_has_no_expectations():
    sent = (b"Expect", b"100-continue")
    assert (b"Via", b"1.0 gateway") in lines(head(sent, http10=True).raw)
    assert not read_request_headers([HOST, sent], RULES, http10=True).expects_continue


@pytest.mark.parametrize(("method", "left"), [("OPTIONS", b"2"), ("GET", b"3")])
def test_max_forwards_counts_down_for_options(method, left):
    assert (b"Max-Forwards", left) in lines(head((b"Max-Forwards", b"3"), method=method).raw)


def test_used_up_max_forwards_is_refused():
    with pytest.raises(HeadersRefused):
        head((b"Max-Forwards", b"0"), method="OPTIONS")


def test_websocket_is_asked_for_by_us():
    made = head((b"Upgrade", b"WebSocket"), (b"Connection", b"keep-alive, Upgrade"), (b"Sec-WebSocket-Key", b"k"), upgrade=b"websocket")
    assert lines(made.raw)[-2:] == [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
    assert (b"Sec-WebSocket-Key", b"k") in lines(made.raw)


def test_the_memo_stays_bounded_and_right():
    rules = HeaderRules(reserved=frozenset({b"xteam"}), cookie_names=frozenset())
    for number in range(5000):
        assert rules.treatment(b"X-%d" % number) is Treatment.PASS
        assert rules.treatment(b"X_Team") is Treatment.DROP
    assert len(rules.treatments) <= 2048


_SPICE = [
    b"X-Forwarded-User", b"x_forwarded_user", b"X.Team", b"X-TEAM", b"Connection", b"Cookie", b"cookie", b"Upgrade", b"TE", b"Via",
    b"Expect", b"Keep-Alive", b"Remote-User", b"X-Real-IP", b"Accept", b"X-A", b"x-a", b"Ho_st", b"Co-nnection",
]  # fmt: skip
_REFUSABLE = [b"Host", b"Authorization", b"Content-Length", b"Transfer-Encoding", b"Transfer_Encoding", b"X\0"]
_tame_names = st.one_of(st.sampled_from(_SPICE), st.text("xXtTeEaAmM-_.forwdu", min_size=1, max_size=12).map(str.encode))
_tame_values = st.one_of(
    st.sampled_from([b"close", b"X-Team, X-Forwarded-User", b"x_team, X-A", b"__Host-gateway=a; b=c", b"upgrade", b"", b"1.1 gateway"]),
    st.lists(st.sampled_from(_SPICE), max_size=3).map(b", ".join).filter(lambda value: b"ookie" not in value),
    st.text(max_size=8).map(lambda text: text.encode().translate(None, b"\r\n\0")),
)
_framing = st.sampled_from([[], [(b"Content-Length", b"3")], [(b"content-length", b"007")], [(b"Transfer-Encoding", b"Chunked")]])
_tame = st.tuples(_framing, st.lists(st.tuples(_tame_names, _tame_values), max_size=12)).flatmap(
    lambda two: st.permutations(two[0] + two[1])
)
_wild_names = st.one_of(_tame_names, st.sampled_from(_REFUSABLE), st.binary(max_size=6))
_wild_values = st.one_of(_tame_values, st.sampled_from([b"chunked", b"3", b"+3", b"a\r\nX-Team: red", b"Cookie"]), st.binary(max_size=12))
_headers = st.one_of(_tame, st.lists(st.tuples(_wild_names, _wild_values), max_size=12))


@given(_headers, st.booleans())
def test_for_any_headers_the_application_gets_ours_once_and_nothing_like_them(headers, websocket):
    try:
        made = head(*headers, method="POST", upgrade=b"websocket" if websocket else None)
    except RequestRefused:
        return
    got = lines(made.raw)
    ours = [*FORWARDED, *IDENTITY]
    assert [pair for pair in got if pair in ours] == ours
    theirs = [pair for pair in got if pair not in ours]
    for name, value in theirs:
        folded = fold(name)
        assert folded not in RULES.reserved | DENIED
        assert not folded.startswith(DENIED_PREFIXES)
        assert folded not in {b"te", b"trailer", b"keepalive", b"http2settings", b"expect"}
        assert b"__host-gateway" not in value.lower() or name.lower() != b"cookie"
    assert [name for name, _ in got if fold(name) == b"host"] == [b"Host"]
    framings = [pair for pair in got if fold(pair[0]) in {b"contentlength", b"transferencoding"}]
    match made.framing:
        case Delimiter.NOTHING:
            assert framings == []
        case Delimiter.CHUNKS:
            assert framings == [(b"Transfer-Encoding", b"chunked")]
        case length:
            assert framings == [(b"Content-Length", b"%d" % length)]
    hops = [pair for pair in got if fold(pair[0]) in {b"connection", b"upgrade"}]
    assert hops == ([(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")] if websocket else [(b"Connection", b"close")])
    # what is left of the caller's comes in the caller's order
    left = [name for name, _ in theirs if fold(name) not in {b"host", b"contentlength", b"transferencoding", b"connection", b"upgrade"}]
    order = iter([name for name, _ in headers] + [b"Via"])
    assert all(name in order for name in left)
