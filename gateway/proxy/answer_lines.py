"""What each header line of an answer says to the gateway, and whether it passes to the caller; judged once, by llhttp, and remembered.

Answers the hostile cases UP-07 to UP-11 and IH-28, RFC 9110 section 7.6.1 and RFC 9112 section 5: hop-by-hop headers, identity headers and
cookies of the gateway's names do not pass; Location, WWW-Authenticate and everything else that speaks to the caller does. Lines come again
with every answer of an application, and mean the same each time, so a line is judged when it is first met and its bytes are looked up
after that (bounded). A line that was never met has its whole head read by llhttp. What several lines mean together (two lengths, a length
beside a coding) is for who reads them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

import httptools

from gateway.errors import UpstreamFailed
from gateway.proxy.framing import content_length
from gateway.proxy.headers import fold
from gateway.proxy.own_cookies import sets_own

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.proxy.headers import HeaderRules

MEMO_LINES = 2048
MEMO_LINE_LENGTH = 256

_NOT_BY_THE_LETTER = "the answer's head is not HTTP/1.1 by the letter"
_DROPPED = frozenset(
    {
        b"te", b"trailer", b"upgrade", b"http2-settings",
        b"proxy-connection", b"proxy-authenticate", b"proxy-authorization", b"proxy-authentication-info",
    }
)  # fmt: skip
_PLAIN_CONNECTION = frozenset({b"", b"keep-alive", b"upgrade"})
_TIMEOUT = re.compile(rb"\btimeout=([0-9]{1,6})(?![0-9])", re.IGNORECASE)


class Said(Enum):
    """What a line says that does not pass."""

    NOTHING = "it is dropped"
    CHUNKED = "the body is chunked"
    CLOSES = "the connection ends with this answer"
    NOMINATES = "other headers are hop-by-hop too"
    CLOSES_AND_NOMINATES = "both"


@dataclass(frozen=True, slots=True)
class Kept:
    """For how many seconds the upstream keeps the connection."""

    seconds: int


class Date(bytes):
    """The line of a Date, which passes."""

    __slots__ = ()


Line: TypeAlias = bytes | Date | int | Said | Kept
"""A line as it passes, line end included; what Content-Length says; or what else is said."""


class _Reported:
    """What llhttp reports of one head."""

    __slots__ = ("complete", "headers")

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value.strip(b"\t ")))

    def on_headers_complete(self) -> None:
        self.complete = True


def judge(raw: bytes, lines: Sequence[bytes], rules: HeaderRules) -> list[Line]:
    """What each of ``lines`` says, in order. ``raw`` is the whole head that they make up, with the empty line.

    Raises UpstreamFailed when llhttp does not read exactly these lines in it, each a header, or when one of them is none for us.
    """
    reported = _Reported()
    try:
        httptools.HttpResponseParser(reported).feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # whether a 101 was asked for is the caller's to know
    except httptools.HttpParserError:
        raise UpstreamFailed(_NOT_BY_THE_LETTER) from None
    if not reported.complete or len(reported.headers) != len(lines):
        raise UpstreamFailed(_NOT_BY_THE_LETTER)
    judged = []
    for line, (name, value) in zip(lines, reported.headers, strict=True):
        if not line.startswith(name + b":"):
            raise UpstreamFailed(_NOT_BY_THE_LETTER)
        said = _said(name, value, rules)
        judged.append(said)
        # Cookies are secrets, and never the same twice.
        if len(line) <= MEMO_LINE_LENGTH and name.lower() != b"set-cookie":
            if len(rules.answer_lines) >= MEMO_LINES:
                rules.answer_lines.clear()
            rules.answer_lines[line] = said
    return judged


def _said(name: bytes, value: bytes, rules: HeaderRules) -> Line:  # noqa: PLR0911 - one return a name
    lower = name.lower()
    match lower:
        case b"content-length":
            length = content_length(value)
            if length is None:
                raise UpstreamFailed("the answer's Content-Length is not a number")
            return length
        case b"transfer-encoding":
            if value.lower() != b"chunked":
                raise UpstreamFailed("the answer has a Transfer-Encoding other than chunked")
            return Said.CHUNKED
        case b"connection":
            return _connection(value)
        case b"keep-alive":
            told = _TIMEOUT.search(value)
            return Said.NOTHING if told is None else Kept(int(told[1]))
        case b"date":
            return Date(b"%b: %b\r\n" % (name, value))
        case b"set-cookie":
            return Said.NOTHING if sets_own(value, rules) else b"%b: %b\r\n" % (name, value)
    return Said.NOTHING if lower in _DROPPED or fold(lower) in rules.reserved else b"%b: %b\r\n" % (name, value)


def _connection(value: bytes) -> Said:
    options = {option.strip(b" \t") for option in value.lower().split(b",")}
    closes = b"close" in options
    if options - _PLAIN_CONNECTION - {b"close"}:
        return Said.CLOSES_AND_NOMINATES if closes else Said.NOMINATES
    return Said.CLOSES if closes else Said.NOTHING
