"""Whatever is met as known, aiohttp's parser and our rules read in the very same way, and as one request without a body."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestPayloadError
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.target import canonical_target
from gateway.errors import GatewayError
from gateway.proxy import known_heads
from gateway.proxy.headers import HeaderRules
from gateway.proxy.known_heads import LONGEST_HEAD, VARYING, KnownHeads
from gateway.proxy.request_headers import read_request_headers
from gateway.server.guard import HEADER_LINE_BYTES, HEADERS_MOST, TARGET_BYTES

if TYPE_CHECKING:
    from aiohttp.http_parser import RawRequestMessage

    from gateway.proxy.known_heads import Met

RULES = HeaderRules(
    reserved=frozenset({b"xforwardeduser", b"xteam"}),
    cookie_names=frozenset({b"__Host-gateway"}),
    cookie_prefixes=(b"__Host-gateway-login-",),
)
LOOP = asyncio.SelectorEventLoop()
"""For the streams that a parser makes; it never runs."""
LOOP.close()
NEXT = b"GET /next HTTP/1.1\r\nHost: next.example\r\n\r\n"


class Parser:
    """A parser as the listener's connections have one."""

    def __init__(self) -> None:
        self._parser = HttpRequestParser(
            BaseProtocol(LOOP),
            LOOP,
            2**16,
            max_line_size=TARGET_BYTES,
            max_field_size=HEADER_LINE_BYTES,
            max_headers=HEADERS_MOST,
            payload_exception=RequestPayloadError,
            auto_decompress=False,
        )

    def feed(self, data: bytes) -> list[tuple[RawRequestMessage, object]]:
        """The requests that begin in ``data``. Raises HttpProcessingError."""
        messages, _, _ = self._parser.feed_data(data)
        return list(messages)


def one_request(head: bytes) -> RawRequestMessage | None:
    """The one request without a body that ``head`` is to the parser, with nothing left over."""
    parser = Parser()
    try:
        requests = parser.feed(head)
        behind = parser.feed(NEXT)
    except HttpProcessingError:
        return None
    if len(requests) != 1 or len(behind) != 1:
        return None
    ((message, body),) = requests
    ((following, _),) = behind
    if body is not EMPTY_PAYLOAD or message.upgrade or message.chunked or message.should_close or message.version != HttpVersion11:
        return None
    alone = (following.method, following.path, list(following.raw_headers)) == ("GET", "/next", [(b"Host", b"next.example")])
    return message if alone else None


def remember(heads: KnownHeads, head: bytes, *, times: int = 2) -> bool:
    """Have it remembered as the server does: what was parsed, and read by our rules. Whether there was anything to remember."""
    message = one_request(head)
    if message is None:
        return False
    try:
        read = read_request_headers(message.raw_headers, RULES, method=message.method)
    except GatewayError:
        return False
    for _ in range(times):
        heads.remember(head, read, RULES)
    return True


def meant(head: bytes, met: Met) -> None:
    """``head`` was met: that is what the parser and our rules read."""
    message = one_request(head)
    assert message is not None, head
    read = read_request_headers(message.raw_headers, RULES, method=message.method)
    known = met.known
    assert (met.method, met.target) == (message.method, message.path)
    assert (known.host, known.authority, known.cookies) == (read.host, read.host.decode("latin-1"), read.cookies)
    assert known.told(met.values) == read.told
    assert known.passed(met.values) == b"".join(read.lines)
    assert read.length is None
    assert not any((read.chunked, read.expects_continue, read.upgrade, read.nominated))


HOST = b"Host: app.example"
COOKIE = b"Cookie: a=1; __Host-gateway=abc; b=2"
PLAIN = b"GET /page HTTP/1.1\r\n" + HOST + b"\r\n" + COOKIE + b"\r\nAccept: */*\r\n\r\n"
REFERRED = b"GET /page HTTP/1.1\r\n" + HOST + b"\r\nReferer: https://app.example/\r\n" + COOKIE + b"\r\n\r\n"
TOLD = b"X-Original-Method: GET\r\nX-Original-URL: https://app.example/page\r\n"
ASKED = b"GET /oauth2/auth HTTP/1.1\r\n" + HOST + b"\r\n" + TOLD + COOKIE + b"\r\n\r\n"
FORWARDED = (
    b"GET /oauth2/auth HTTP/1.1\r\n"
    + HOST
    + b"\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: app.example\r\nX-Forwarded-Uri: /page\r\n\r\n"
)


def with_lines(*lines: bytes) -> bytes:
    return b"GET /page HTTP/1.1\r\n" + b"\r\n".join((HOST, *lines)) + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("first", "then"),
    [
        pytest.param(PLAIN, PLAIN, id="the same again"),
        pytest.param(PLAIN, PLAIN.replace(b"/page", b"/other?a=b&c=%2f"), id="another target"),
        pytest.param(PLAIN, PLAIN.replace(b"GET", b"HEAD"), id="another method that has no body"),
        pytest.param(PLAIN.replace(b"GET", b"HEAD"), PLAIN, id="and the other way"),
        pytest.param(REFERRED, REFERRED.replace(b"https://app.example/", b"https://other.example/x?y"), id="another Referer"),
        pytest.param(ASKED, ASKED.replace(b"app.example/page", b"app.example/admin"), id="another X-Original-URL"),
        pytest.param(FORWARDED, FORWARDED.replace(b"Uri: /page", b"Uri: /admin"), id="another X-Forwarded-Uri"),
        pytest.param(with_lines(), with_lines(), id="Host alone"),
        pytest.param(with_lines(b"X: "), with_lines(b"X: "), id="an empty value"),
        pytest.param(with_lines(b"X:y"), with_lines(b"X:y"), id="no space behind a colon"),
        pytest.param(with_lines(b"X: \xe9\xff"), with_lines(b"X: \xe9\xff"), id="bytes beyond ASCII where nothing may differ"),
        pytest.param(with_lines(b"X: y "), with_lines(b"X: y "), id="a space behind a value that may not differ"),
        pytest.param(with_lines(b"Referer: a", b"Referer: b"), with_lines(b"Referer: c", b"Referer: d"), id="Referer twice"),
        pytest.param(
            with_lines(b"Referer: a", b"Referer: a"), with_lines(b"Referer: a", b"Referer: b"), id="the same Referer twice at first"
        ),
        pytest.param(with_lines(b"Referer:a", b"Referer: b"), with_lines(b"Referer:a", b"Referer: c"), id="one of two without a space"),
        pytest.param(with_lines(b"Referer: a b"), with_lines(b"Referer: c"), id="words"),
        pytest.param(with_lines(b"Referer: a"), with_lines(b"Referer: b c"), id="words of which there was one"),
        pytest.param(with_lines(b"Referer: 100%b"), with_lines(b"Referer: %s%d"), id="percent signs in what differs"),
        pytest.param(with_lines(b"X: 100%b", b"Referer: a"), with_lines(b"X: 100%b", b"Referer: b"), id="percent signs beside it"),
        pytest.param(with_lines(b"Referer: \xe9"), with_lines(b"Referer: \xe9"), id="a Referer beyond ASCII, the same again"),
        pytest.param(with_lines(b"Referer: a "), with_lines(b"Referer: a "), id="a Referer with a space behind, the same again"),
        pytest.param(with_lines(b"Referer: "), with_lines(b"Referer: "), id="an empty Referer, the same again"),
        pytest.param(
            with_lines(b"X-Forwarded-For: 192.0.2.1", b"X-Real-IP: 192.0.2.1", b'If-None-Match: "a"', b"range: bytes=0-1"),
            with_lines(b"X-Forwarded-For: 192.0.2.1, 192.0.2.2", b"X-Real-IP: x", b'If-None-Match: W/"b"', b"range: bytes=2-"),
            id="what is told, what is dropped and what passes",
        ),
        pytest.param(with_lines(b"Referer: a", b"referer: a"), with_lines(b"Referer: c", b"referer: b"), id="Referer in two cases"),
        pytest.param(with_lines(b"Connection: keep-alive"), with_lines(b"Connection: keep-alive"), id="keep-alive"),
    ],
)
def test_a_head_that_came_before_is_met(first: bytes, then: bytes) -> None:
    heads = KnownHeads()
    assert remember(heads, first)
    met = heads.meet(then)
    assert met is not None
    meant(then, met)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        pytest.param(PLAIN, PLAIN.replace(b"GET /", b"GET  /"), id="two spaces before the target"),
        pytest.param(PLAIN, PLAIN.replace(b" HTTP", b"  HTTP"), id="two spaces behind the target"),
        pytest.param(PLAIN, PLAIN.replace(b"GET /", b"GET\t/"), id="a tab before the target"),
        pytest.param(PLAIN, PLAIN.replace(b" HTTP", b"\tHTTP"), id="a tab behind the target"),
        pytest.param(PLAIN, PLAIN.replace(b"/page", b"/pa ge"), id="a space in the target"),
        pytest.param(PLAIN, PLAIN.replace(b"/page", b"/p\nX: y"), id="a line break in the target"),
        pytest.param(PLAIN, PLAIN.replace(b"/page", b"/p HTTP/1.1\r\nX: y\r\n\r\nGET /page"), id="a whole request in the target"),
        pytest.param(PLAIN, PLAIN.replace(b"/page", b"/p HTTP/1.1\nX: y\n\nGET /page"), id="the same with bare LF"),
        pytest.param(PLAIN, PLAIN.replace(b"/page", b"/p\r"), id="a bare CR in the target"),
        pytest.param(PLAIN, PLAIN.replace(b"/page", b"/p\0"), id="NUL in the target"),
        pytest.param(PLAIN, PLAIN.replace(b"/page", b"/p\x85"), id="a byte beyond ASCII in the target"),
        pytest.param(PLAIN, PLAIN.replace(b"/page", b"/p\x7f"), id="DEL in the target"),
        pytest.param(PLAIN, PLAIN.replace(b"GET", b"get"), id="the method in small letters"),
        pytest.param(PLAIN, PLAIN.replace(b"GET", b"POST"), id="another method"),
        pytest.param(PLAIN, PLAIN.replace(b"GET", b"\r\nGET"), id="an empty line in front"),
        pytest.param(PLAIN, PLAIN.replace(b"1.1", b"1.0"), id="HTTP/1.0"),
        pytest.param(PLAIN, PLAIN.replace(b"1.1", b"2.0"), id="HTTP/2.0"),
        pytest.param(PLAIN, PLAIN.replace(b"HTTP/1.1\r\n", b"http/1.1\r\n"), id="the version in small letters"),
        pytest.param(PLAIN, PLAIN.replace(b" HTTP/1.1", b""), id="HTTP/0.9"),
        pytest.param(PLAIN, PLAIN.replace(b"HTTP/1.1", b"HTTP/1.1 "), id="a space behind the version"),
        pytest.param(PLAIN, PLAIN.replace(b"/page", b"http://app.example/page"), id="an absolute target"),
        pytest.param(PLAIN, PLAIN.replace(b"/page", b"*"), id="an asterisk"),
        pytest.param(PLAIN, PLAIN.replace(b"/page", b""), id="no target"),
        pytest.param(PLAIN, PLAIN + NEXT, id="another request behind it"),
        pytest.param(PLAIN, PLAIN + b"\r\n", id="an empty line behind it"),
        pytest.param(PLAIN, PLAIN + b"x", id="a byte behind it"),
        pytest.param(PLAIN, PLAIN[:-1], id="a byte is missing"),
        pytest.param(PLAIN, PLAIN[:-2] + b"\r\r\n", id="a CR more"),
        pytest.param(PLAIN, PLAIN.replace(b"\r\n", b"\n"), id="LF alone"),
        pytest.param(PLAIN, PLAIN.replace(b"abc", b"abd"), id="another session"),
        pytest.param(PLAIN, PLAIN.replace(b"app", b"two"), id="another Host"),
        pytest.param(PLAIN, PLAIN.replace(b"Accept:", b"accept:"), id="a name in another case"),
        pytest.param(PLAIN, PLAIN.replace(b"*/*", b"*/* "), id="a space behind a value"),
        pytest.param(PLAIN, PLAIN.replace(b"*/*", b"*/*\r\nX-Forwarded-User: admin"), id="a line more"),
        pytest.param(PLAIN, PLAIN.replace(b"*/*", b"*/*\r\nContent-Length: 3"), id="a length more"),
        pytest.param(PLAIN, PLAIN.replace(b"*/*", b"*/*\r\nReferer: x"), id="a Referer more"),
        pytest.param(REFERRED, REFERRED.replace(b"Referer: https://app.example/\r\n", b""), id="a Referer less"),
        pytest.param(REFERRED, REFERRED.replace(b"Referer: ", b"Referer:  "), id="two spaces before the Referer"),
        pytest.param(REFERRED, REFERRED.replace(b"Referer: ", b"Referer:\t"), id="a tab before the Referer"),
        pytest.param(REFERRED, REFERRED.replace(b"Referer: ", b"Referer:"), id="nothing before the Referer"),
        pytest.param(REFERRED, REFERRED.replace(b"Referer: ", b"Referer : "), id="a space before the colon"),
        pytest.param(REFERRED, REFERRED.replace(b"https://app.example/\r\n", b"\r\n"), id="an empty Referer"),
        pytest.param(REFERRED, REFERRED.replace(b"app.example/\r\n", b"app.example/ \r\n"), id="a space behind the Referer"),
        pytest.param(REFERRED, REFERRED.replace(b"app.example/\r\n", b"app.example/  x\r\n"), id="two spaces in the Referer"),
        pytest.param(REFERRED, REFERRED.replace(b"app.example/\r\n", b"app.example/\r\n x\r\n"), id="a folded line"),
        pytest.param(REFERRED, REFERRED.replace(b"app.example/\r\n", b"app.example/\nX: y\r\n"), id="LF in the Referer"),
        pytest.param(REFERRED, REFERRED.replace(b"app.example/\r\n", b"app.example/\rX: y\r\n"), id="CR in the Referer"),
        pytest.param(REFERRED, REFERRED.replace(b"app.example/\r\n", b"app.example/\0\r\n"), id="NUL in the Referer"),
        pytest.param(REFERRED, REFERRED.replace(b"app.example/\r\n", b"app.example/\xe9\r\n"), id="a byte beyond ASCII in the Referer"),
        pytest.param(REFERRED, REFERRED.replace(b"app.example/\r\n", b"x\r\nReferer: y\r\n"), id="a second Referer"),
        pytest.param(ASKED, ASKED.replace(b"X-Original-URL", b"x-original-url"), id="X-Original-URL in another case"),
        pytest.param(ASKED, ASKED.replace(b"X-Original-URL", b"X_Original_URL"), id="X-Original-URL with underscores"),
        pytest.param(ASKED, ASKED.replace(b"X-Original-Method: GET", b"X-Original-Method: POST"), id="another X-Original-Method"),
        pytest.param(with_lines(b"Referer: a", b"referer: b"), with_lines(b"referer: a", b"Referer: b"), id="two spellings change places"),
        pytest.param(with_lines(b"Referer: a", b"X: b"), with_lines(b"X: b", b"Referer: a"), id="two lines change places"),
        pytest.param(with_lines(b"X-Forwarded-For: a"), with_lines(b"X-Forwarded-For: a", b"X-Forwarded-For: b"), id="another hop's line"),
    ],
)
def test_what_is_not_that_head_is_for_the_parser(first: bytes, then: bytes) -> None:
    heads = KnownHeads()
    assert remember(heads, first)
    assert heads.meet(first) is not None
    assert heads.meet(then) is None


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(with_lines(b"Content-Length: 0"), id="a body of no bytes"),
        pytest.param(with_lines(b"Upgrade: websocket"), id="an upgrade that Connection does not name"),
        pytest.param(with_lines(b"Expect: 100-continue"), id="a caller who waits for a 100"),
        pytest.param(with_lines(b"Connection: X-Team", b"X-Team: a"), id="a header that Connection nominates"),
        pytest.param(with_lines(b"Connection: keep-alive, Accept"), id="a nomination beside keep-alive"),
        pytest.param(with_lines(b"Sec-WebSocket-Key: x"), id="what is left of a WebSocket's handshake"),
        pytest.param(with_lines(b"sec-websocket-version: 13"), id="and in small letters"),
        pytest.param(with_lines(b"Referer:a", b"Referer: a"), id="one Referer in two spellings of its line, of which one may differ"),
        pytest.param(with_lines(b"X-Forwarded-For:a", b"X-Forwarded-For: a"), id="one hop in two spellings of its line"),
        pytest.param(with_lines(b"X-Forwarded-For: a ", b"X-Forwarded-For: a"), id="one hop with a space behind, and without"),
        pytest.param(b"GET  /page HTTP/1.1\r\nHost: app.example\r\n\r\n", id="two spaces"),
        pytest.param(b"\r\nGET /page HTTP/1.1\r\nHost: app.example\r\n\r\n", id="an empty line in front"),
        pytest.param(b"GET http://app.example/page HTTP/1.1\r\nHost: app.example\r\n\r\n", id="an absolute target"),
        pytest.param(b"OPTIONS /page HTTP/1.1\r\nHost: app.example\r\n\r\n", id="another method"),
    ],
)
def test_what_asks_for_more_or_can_be_taken_apart_in_two_ways_is_not_kept(head: bytes) -> None:
    heads = KnownHeads()
    assert remember(heads, head)
    assert heads.meet(head) is None


def test_a_head_that_ends_its_connection_is_parsed_each_time() -> None:
    assert one_request(with_lines(b"Connection: close")) is None


def test_what_is_configured_as_ours_differs_and_does_not_pass() -> None:
    heads, rules = KnownHeads(), HeaderRules(reserved=frozenset({b"referer"}), cookie_names=frozenset())
    message = one_request(REFERRED)
    assert message is not None
    read = read_request_headers(message.raw_headers, rules)
    for _ in range(2):
        heads.remember(REFERRED, read, rules)
    met = heads.meet(REFERRED.replace(b"https://app.example/", b"https://other.example/"))
    assert met is not None
    assert met.known.passed(met.values) == b"".join(read.lines)
    assert b"Referer" not in met.known.passed(met.values)


def test_a_head_is_known_when_it_came_twice() -> None:
    heads = KnownHeads()
    remember(heads, PLAIN, times=1)
    assert heads.meet(PLAIN) is None
    remember(heads, PLAIN.replace(b"/page", b"/other"), times=1)
    assert heads.meet(PLAIN) is not None


def test_heads_that_came_once_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_heads, "MOST_MET_ONCE", 3)
    heads = KnownHeads()
    for number in range(10):
        remember(heads, with_lines(b"X: %d" % number), times=1)
        assert len(heads._met_once) <= 3


def padded(size: int) -> bytes:
    """A head of exactly so many bytes."""
    short = with_lines(b"X: ")
    return with_lines(b"X: " + b"y" * (size - len(short)))


def test_a_head_is_known_up_to_its_longest() -> None:
    heads = KnownHeads()
    for size, known in ((LONGEST_HEAD, True), (LONGEST_HEAD + 1, False)):
        head = padded(size)
        assert remember(heads, head)
        assert (heads.meet(head) is not None) is known


def test_a_known_head_with_a_longer_target_is_for_the_parser() -> None:
    heads = KnownHeads()
    head = padded(LONGEST_HEAD)
    assert remember(heads, head)
    assert heads.meet(head.replace(b"/page", b"/pages")) is None


def test_heads_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_heads, "MOST_HEADS", 3)
    heads = KnownHeads()
    rows = [with_lines(b"X: %d" % number) for number in range(4)]
    for head in rows[:3]:
        remember(heads, head)
    assert all(heads.meet(head) for head in rows[:3])
    remember(heads, rows[3])
    assert [heads.meet(head) is not None for head in rows] == [False, False, False, True]


def test_heads_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_heads, "MOST_OCTETS", 3 * 1000)
    heads = KnownHeads()
    rows = [padded(1000).replace(b"X: y", b"X: %d" % number) for number in range(4)]
    for head in rows:
        remember(heads, head)
    assert [heads.meet(head) is not None for head in rows] == [False, False, False, True]


def test_a_head_that_is_remembered_again_takes_no_more_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_heads, "MOST_HEADS", 2)
    monkeypatch.setattr(known_heads, "MOST_OCTETS", 2 * 1000)
    heads = KnownHeads()
    rows = [padded(1000), padded(1000).replace(b"yy", b"zz")]
    for head in (*rows, rows[0], rows[0]):
        remember(heads, head)
    assert all(heads.meet(head) for head in rows)


# properties

NAMES = st.sampled_from(
    (
        *(b"Referer", b"referer", b"X-Original-URL", b"X-Original-Url", b"X-Forwarded-Uri", b"X-Forwarded-For", b"X-Original-Method"),
        *(b"Cookie", b"cookie", b"Accept", b"Via", b"X-Team", b"X-Forwarded-User", b"Authorization", b"Connection", b"Max-Forwards", b"TE"),
        *(b"Range", b"x-real-ip", b"If-None-Match", b"X-Forwarded-For", b"Referer"),
        *(b"Content-Length", b"Transfer-Encoding", b"Upgrade", b"Expect", b"Sec-WebSocket-Key", b"Host", b"X"),
    )
)
VISIBLE = st.binary(min_size=1, max_size=12).map(lambda raw: bytes(0x21 + byte % 0x5E for byte in raw))
VALUES = st.one_of(
    VISIBLE,
    st.sampled_from((b"", b"a", b"a", b"a b", b" a", b"a ", b"\ta", b"0", b"3", b"chunked", b"close", b"websocket", b"\xe9")),
    st.sampled_from((b"a=1; __Host-gateway=x", b"__Host-gateway=y", b"1.1 other", b"GET", b"100-continue", b"X", b"https://app.example/")),
)
TARGETS = st.one_of(
    VISIBLE.map(lambda path: b"/" + path),
    st.sampled_from((b"/", b"/page", b"/a?b#c", b"//x", b"/../x", b"/%2e", b"*", b"http://app.example/", b"/a b", b"/a\nb", b"/\xe9")),
)
FORMS = st.sampled_from((*(b"%b: %b",) * 4, b"%b:%b", b"%b: %b ", b"%b:\t%b"))
LINES = st.builds(lambda form, pair: form % pair, FORMS, st.tuples(NAMES, VALUES))
HEADS = st.builds(
    lambda method, target, before, lines: b"%b %b HTTP/1.1\r\n%b\r\n\r\n" % (method, target, b"\r\n".join((*before, HOST, *lines))),
    st.sampled_from((b"GET", b"HEAD")),
    TARGETS,
    st.lists(LINES, max_size=1),
    st.lists(LINES, max_size=5),
)
BROKEN = st.sampled_from((b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\r\n ", b"\0", b" ", b"\t", b":", b"\x80", b"\xff", b"\x7f", b"\r\nX: y"))
PLACES = st.integers(min_value=0, max_value=2**16)


def inserted(head: bytes, at: int, what: bytes) -> bytes:
    at %= len(head) + 1
    return head[:at] + what + head[at:]


def deleted(head: bytes, at: int, count: int) -> bytes:
    at %= len(head)
    return head[:at] + head[at + count :]


def swapped(head: bytes, at: int, other: int) -> bytes:
    moved = bytearray(head)
    at, other = at % len(head), other % len(head)
    moved[at], moved[other] = moved[other], moved[at]
    return bytes(moved)


def retargeted(head: bytes, target: bytes) -> bytes:
    line, end, rest = head.partition(b"\r\n")
    return b" ".join((line.partition(b" ")[0], target, b"HTTP/1.1")) + end + rest


def revalued(head: bytes, name: bytes, value: bytes) -> bytes:
    before, found, behind = head.partition(b"\r\n" + name + b": ")
    return before + found + value + b"\r\n" + behind.partition(b"\r\n")[2] if found else head


CHANGES = st.one_of(
    st.tuples(st.just(retargeted), st.tuples(TARGETS)),
    st.tuples(st.just(revalued), st.tuples(NAMES, VALUES)),
    st.tuples(st.just(inserted), st.tuples(PLACES, st.one_of(BROKEN, st.binary(max_size=3), LINES.map(lambda line: line + b"\r\n")))),
    st.tuples(st.just(deleted), st.tuples(PLACES, st.integers(1, 12))),
    st.tuples(st.just(swapped), st.tuples(PLACES, PLACES)),
    st.tuples(st.just(lambda head, more: head + more), st.tuples(st.one_of(HEADS, BROKEN, st.binary(max_size=3)))),
    st.tuples(st.just(lambda head, _: head.replace(b"GET", b"HEAD", 1)), st.just((b"",))),
)


@given(st.lists(HEADS, min_size=1, max_size=4), st.lists(CHANGES, max_size=4), st.integers(0, 3))
def test_whatever_is_met_is_read_so_by_the_parser(known: list[bytes], changes, which: int) -> None:
    heads = KnownHeads()
    for head in known:
        remember(heads, head)
    then = known[which % len(known)]
    for change, arguments in changes:
        then = change(then, *arguments) or then
    met = heads.meet(then)
    if met is not None:
        meant(then, met)


WORDS = st.lists(VISIBLE, min_size=1, max_size=3).map(b" ".join)


@given(st.lists(st.tuples(st.sampled_from(VARYING), st.booleans(), WORDS, WORDS), min_size=1, max_size=4), TARGETS)
def test_what_may_differ_is_met_however_it_differs(varying: list[tuple[str, bool, bytes, bytes]], target: bytes) -> None:
    names = [(name.lower() if small else name).encode() for name, small, _, _ in varying]
    first = with_lines(*(b"%b: %b" % (name, before) for name, (_, _, before, _) in zip(names, varying, strict=True)))
    then = with_lines(*(b"%b: %b" % (name, after) for name, (_, _, _, after) in zip(names, varying, strict=True)))
    heads = KnownHeads()
    assert remember(heads, first)
    try:
        canonical_target(target.decode("latin-1"))
    except GatewayError:
        target = b"/"
    met = heads.meet(retargeted(then, target))
    assert met is not None
    meant(retargeted(then, target), met)


FEW = st.lists(st.tuples(st.sampled_from((b"Referer", b"X-Forwarded-For")), FORMS, st.sampled_from((b"a", b"b"))), min_size=1, max_size=4)


@given(FEW, st.lists(st.sampled_from((b"a", b"b", b"c d")), min_size=4, max_size=4))
def test_of_lines_that_are_nearly_the_same_the_right_one_differs(few: list[tuple[bytes, bytes, bytes]], values: list[bytes]) -> None:
    heads = KnownHeads()
    assert remember(heads, with_lines(*(form % (name, value) for name, form, value in few)))
    changed = [(name, form, after if form == b"%b: %b" else before) for (name, form, before), after in zip(few, values, strict=False)]
    then = with_lines(*(form % (name, value) for name, form, value in changed))
    met = heads.meet(then)
    if met is not None:
        meant(then, met)
