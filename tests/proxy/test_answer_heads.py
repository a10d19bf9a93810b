"""Response heads: what the strict reader accepts it reads as llhttp does; what the caller gets has no word that was not for the caller."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UpstreamFailed
from gateway.proxy.answer import _STATUS_LINES, AnswerHead, read_answer_head
from gateway.proxy.answer_headers import response_head
from gateway.proxy.chunked import ChunkedReader
from gateway.proxy.framing import LAST_CHUNK, Delimiter, chunk
from gateway.proxy.headers import HeaderRules

RULES = HeaderRules(reserved=frozenset({b"xforwardeduser"}), cookie_names=frozenset({b"__Host-gateway"}))
NOW = 784111777.0


class Llhttp:
    """What llhttp makes of the same bytes."""

    def __init__(self, raw):
        self.headers = []
        self.parser = httptools.HttpResponseParser(self)
        self.parser.feed_data(raw)

    def on_header(self, name, value):
        self.headers.append((name, value))


_token = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=8).map(str.encode)
_value = st.one_of(
    st.binary(max_size=12).map(lambda value: value.translate(None, bytes(range(9)) + bytes(range(10, 32)) + b"\x7f")),
    st.binary(max_size=12),
)
_raw = st.one_of(
    st.lists(st.tuples(_token, _value), max_size=6).map(
        lambda pairs: b"HTTP/1.1 200 OK\r\n" + b"".join(name + b": " + value + b"\r\n" for name, value in pairs) + b"\r\n"
    ),
    st.binary(max_size=40).map(lambda noise: b"HTTP/1.1 200 " + noise + b"\r\n\r\n"),
    st.lists(st.sampled_from([b"HTTP/1.1 ", b"200", b" OK", b"\r\n", b"\n", b"\r", b" ", b"X", b":", b"a", b"\t", b"\0"]), max_size=20).map(
        b"".join
    ),
)


@given(_raw)
def test_whatever_is_accepted_llhttp_reads_alike(raw):
    rules = HeaderRules(reserved=frozenset(), cookie_names=frozenset())
    try:
        head = read_answer_head(raw, rules)
    except UpstreamFailed:
        return
    other = Llhttp(raw)
    assert other.parser.get_status_code() == head.status
    assert [(name, value.strip(b" \t")) for name, value in other.headers] == head.headers


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.integers(1, 20))
def test_chunks_are_read_whole_however_they_are_cut(pieces, cut):
    raw = b"".join(chunk(piece) for piece in pieces) + LAST_CHUNK
    reader = ChunkedReader()
    body = b"".join(reader.feed(raw[start : start + cut]) for start in range(0, len(raw), cut))
    assert body == b"".join(pieces)
    assert reader.complete
    assert not reader.surplus


@pytest.mark.parametrize("after", [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", b"x", b"0\r\n\r\n"])
@pytest.mark.parametrize("together", [True, False], ids=["same bytes", "later bytes"])
def test_what_comes_after_the_last_chunk_is_surplus(after, together):
    reader = ChunkedReader()
    if together:
        assert reader.feed(b"2\r\nok\r\n0\r\n\r\n" + after) == b"ok"
    else:
        assert reader.feed(b"2\r\nok\r\n0\r\n\r\n") == b"ok"
        assert reader.feed(after) == b""
    assert reader.complete
    assert reader.surplus


def answer(*headers, rules=RULES):
    return read_answer_head(b"HTTP/1.1 200 OK\r\n" + b"".join(name + b": " + value + b"\r\n" for name, value in headers) + b"\r\n", rules)


def passed(*headers, **more):
    raw = response_head(answer(*headers, (b"Date", b"d")), framing=0, keep_alive=True, now=NOW, **more)
    return raw.removeprefix(b"HTTP/1.1 200 OK\r\n").removesuffix(b"Date: d\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    "dropped",
    [
        pytest.param([(b"X-Forwarded-User", b"admin"), (b"x_forwarded_user", b"admin")], id="IH-28 identity headers"),
        pytest.param([(b"Set-Cookie", b"__Host-gateway=evil; Path=/"), (b"set-cookie", b"__HOST-GATEWAY=x")], id="IH-28 own cookies"),
        pytest.param([(b"Connection", b"close, X-Hop"), (b"X-Hop", b"1"), (b"Keep-Alive", b"timeout=5")], id="hop-by-hop and nominated"),
        pytest.param([(b"Upgrade", b"h2c"), (b"Trailer", b"X"), (b"Proxy-Authenticate", b"Basic"), (b"TE", b"x")], id="more hop-by-hop"),
        pytest.param([(b"Transfer-Encoding", b"chunked")], id="framing by chunks"),
        pytest.param([(b"Content-Length", b"7")], id="framing by length"),
    ],
)
def test_nothing_of_it_reaches_the_caller(dropped):
    assert passed(*dropped) == b""


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param([(b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2; Path=/")], id="others' cookies, each its line"),
        pytest.param([(b"Location", b"http://up:8000/x"), (b"Clear-Site-Data", b'"cookies"')], id="IH-28, UP-19"),
        pytest.param([(b"Server", b"nginx"), (b"Via", b"1.1 x"), (b"Allow", b"GET")], id="what the application says of itself"),
    ],
)
def test_it_reaches_the_caller_untouched(kept):
    assert passed(*kept) == b"".join(name + b": " + value + b"\r\n" for name, value in kept)


def test_a_missing_date_is_added():
    raw = response_head(answer(), framing=0, keep_alive=True, now=NOW)
    assert b"\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n" in raw


@pytest.mark.parametrize(
    ("framing", "keep_alive", "tail"),
    [
        (5, True, b"Content-Length: 5\r\n\r\n"),
        (Delimiter.CHUNKS, False, b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"),
        (Delimiter.CLOSE, False, b"Date: d\r\nConnection: close\r\n\r\n"),
    ],
)
def test_framing_is_ours(framing, keep_alive, tail):
    raw = response_head(answer((b"Date", b"d")), framing=framing, keep_alive=keep_alive, now=NOW)
    assert raw.endswith(tail)


def test_a_line_break_that_slipped_through_is_never_sent():
    head = AnswerHead(200, b"OK", [])
    head.lines.append(b"X: a\r\nSet-Cookie: __Host-gateway=x\r\n")
    with pytest.raises(UpstreamFailed):
        response_head(head, framing=0, keep_alive=True, now=NOW)


def test_a_date_that_is_nominated_is_replaced():
    raw = response_head(answer((b"Connection", b"date"), (b"Date", b"d")), framing=0, keep_alive=True, now=NOW)
    assert raw.count(b"Date: ") == 1
    assert b"\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n" in raw


def test_what_is_remembered_of_answers_is_bounded():
    rules = HeaderRules(reserved=frozenset(), cookie_names=frozenset())
    before = sum(map(len, _STATUS_LINES))
    for number in range(3000):
        read_answer_head(
            b"HTTP/1.1 200 %d%b\r\nX-%d: %d\r\nY: %b%d\r\n\r\n" % (number, b"r" * 9000, number, number, b"y" * 300, number), rules
        )
    assert len(rules.answer_lines) <= 2048
    assert max(map(len, rules.answer_lines)) <= 256
    assert sum(map(len, _STATUS_LINES)) == before
