"""Reads the head of an upstream's answer by the letter of RFC 9112, or not at all.

Answers the hostile cases UP-07 to UP-11: two readers of one sloppy head (an obs-fold, a bare LF, a space before a colon, two lengths)
may see two answers, so such a head is a failure of the upstream. llhttp (``httptools``) reads it, strictly; what it lets through and we do
not (another version, a status that is none, a transfer coding other than chunked) is refused beside it. Pure: bytes in, a value out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import httptools

from gateway.errors import UpstreamFailed
from gateway.proxy.framing import Delimiter, content_length

if TYPE_CHECKING:
    from gateway.proxy.framing import Framing

MAX_HEAD = 65536
"""Bytes of an answer's head, status line included."""
MAX_HEADERS = 200

# llhttp takes status codes that are none, and other versions: the status line is looked at first. It is strict about all the rest.
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-9][0-9]{2}(?: [\t\x20-\x7e\x80-\xff]*+)?\r\n")
_TOLD = frozenset({b"content-length", b"transfer-encoding", b"connection", b"keep-alive"})
_TOLD_LENGTHS = frozenset(map(len, _TOLD))
_TIMEOUT = re.compile(rb"\btimeout=([0-9]{1,6})(?![0-9])", re.IGNORECASE)
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_BEGINNING = b"HTTP/1."
_PLAIN_CONNECTION = frozenset({b"close", b"keep-alive"})


class AnswerHead(NamedTuple):
    """A response head as it was received; names and values are raw, values without the white space around them."""

    status: int
    reason: bytes
    http10: bool
    headers: list[tuple[bytes, bytes]]
    length: int | None
    """What Content-Length said."""
    chunked: bool
    connection: bool = True
    """Whether a Connection header may be among them that nominates others."""
    closes: bool = False
    """Whether Connection says that this is the last answer."""
    kept: int | None = None
    """Seconds for which the upstream keeps the connection, as far as Keep-Alive tells."""

    def framing(self, method: str) -> Framing:
        """Where the body of this answer to ``method`` ends (RFC 9112 section 6.3)."""
        if method == "HEAD" or self.status in (204, 304) or self.status < 200:  # noqa: PLR2004 - status codes
            return Delimiter.NOTHING
        if self.chunked:
            return Delimiter.CHUNKS
        return Delimiter.CLOSE if self.length is None else self.length


class _Collected:
    """What llhttp reports of one head."""

    __slots__ = ("complete", "headers", "reason")

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.reason = b""
        self.complete = False

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value.rstrip(b"\t ")))

    def on_headers_complete(self) -> None:
        self.complete = True


def read_answer_head(raw: bytes) -> AnswerHead:
    """Read ``raw``, which ends with the empty line. Raises UpstreamFailed when it is not a strict HTTP/1.x response head."""
    parser, collected = _parsed(raw)
    headers = collected.headers
    status, reason = parser.get_status_code(), collected.reason
    if len(headers) > MAX_HEADERS:
        raise UpstreamFailed(f"the answer has more than {MAX_HEADERS} headers")
    http10 = parser.get_http_version() == "1.0"
    told = [(name, value) for name, value in headers if len(name) in _TOLD_LENGTHS and name.lower() in _TOLD]
    if not told:
        return AnswerHead(status, reason, http10, headers, None, chunked=False, connection=False)
    length: int | None = None
    chunked = connection = closes = framed = False
    kept: int | None = None
    for name, value in told:
        lower = name.lower()
        if lower == b"connection":
            options = value.strip(b"\t ").lower()
            connection = connection or options not in _PLAIN_CONNECTION
            closes = closes or b"close" in options
        elif lower == b"keep-alive":
            seconds = _TIMEOUT.search(value)
            kept = kept if seconds is None else int(seconds[1])
        elif framed:
            raise UpstreamFailed("the answer frames its body twice")
        else:
            framed = True
            length, chunked = _told_framing(lower, value.strip(b"\t "), http10=http10)
    return AnswerHead(status, reason, http10, headers, length, chunked, connection, closes, kept)


def _parsed(raw: bytes) -> tuple[httptools.HttpResponseParser, _Collected]:
    """What llhttp says of a whole head, and what it found in it."""
    if not _STATUS_LINE.match(raw):
        raise UpstreamFailed("the answer's head is not HTTP/1.1 by the letter")
    collected = _Collected()
    parser = httptools.HttpResponseParser(collected)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # whether a 101 was asked for is the caller's to know
    except httptools.HttpParserError:
        raise UpstreamFailed("the answer's head is not HTTP/1.1 by the letter") from None
    if not collected.complete:
        raise UpstreamFailed("the answer's head is not HTTP/1.1 by the letter")
    return parser, collected


def check_beginning(received: bytes) -> None:
    """Fail as soon as an unfinished head cannot become one: it does not speak HTTP/1, breaks lines otherwise, or grows without end."""
    if not received.startswith(_BEGINNING[: len(received)]):
        raise UpstreamFailed("the answer does not begin with an HTTP/1 status line")
    if _BARE_LINE_FEED.search(received):
        raise UpstreamFailed("the answer's head has a bare line feed")
    if len(received) > MAX_HEAD:
        raise UpstreamFailed(f"the answer's head is longer than {MAX_HEAD} bytes")


def _told_framing(name: bytes, value: bytes, *, http10: bool) -> tuple[int | None, bool]:
    if name == b"content-length":
        length = content_length(value)
        if length is None:
            raise UpstreamFailed("the answer's Content-Length is not a number")
        return length, False
    if value.lower() != b"chunked" or http10:
        raise UpstreamFailed("the answer has a Transfer-Encoding other than chunked, or in HTTP/1.0")
    return None, True
