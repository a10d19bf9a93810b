"""The head of a request in one reading, or not at all: it stops what aiohttp's parser lets through and others read otherwise.

Answers request smuggling (SM), two Hosts, absolute targets that name another host than Host does, and heads larger than anybody needs.
aiohttp's parser comes first and is strict: it refuses bare CR and LF, NUL, obs-fold, spaces before the colon, sizes and lengths that are no
numbers. Its C build is the one that these rules stand on; without it nothing listens (``listener.check_parser``).

Not seen here, since the parser does not tell: two spaces within the request line, empty lines before it, ``RTSP/`` or ``ICE/`` in place of
``HTTP/``. Each has one reading, as HTTP of the same version, which is judged and written anew: no app sees how it came.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.access.target import LONGEST_TARGET
from gateway.errors import ExpectationRefused, HeadersRefused, HeadersTooLarge, MethodRefused, TargetRefused, VersionRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

REFUSED_METHODS = frozenset({"CONNECT", "TRACE"})
"""CONNECT would make us a tunnel, TRACE would reflect cookies and identity headers (RFC 9110 sections 9.3.6 and 9.3.8)."""
ALLOWED_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""What the refusal of a method names; others pass too, if the parser knows them."""

TARGET_BYTES = LONGEST_TARGET
HEADER_LINE_BYTES = 32 * 1024
"""Room for a Cookie header of several sites' cookies."""
HEADERS_MOST = 128
HEADER_BYTES = 64 * 1024
"""All names and values together."""
COOKIE_BYTES = 32 * 1024
"""All Cookie lines together: four times what browsers keep for one site's usual needs, little enough to look through (CK-11)."""

_VERSIONS = ((1, 1), (1, 0))
_ABSOLUTE = re.compile(r"(?:http|https)://(?P<authority>[^/?#]++)(?P<rest>.*+)", re.IGNORECASE | re.DOTALL)


@dataclass(slots=True)
class Head:
    """What a head's headers say to the gateway itself: the one Host as sent, the raw Cookie lines in order."""

    host: bytes
    cookies: tuple[bytes, ...]


def check_request_line(method: str, version: tuple[int, int]) -> None:
    """Refuse what is never served, whoever asks.

    Raises:
        VersionRefused: an HTTP version that is neither 1.0 nor 1.1.
        MethodRefused: CONNECT and TRACE.
    """
    if version not in _VERSIONS:
        raise VersionRefused("HTTP version other than 1.0 and 1.1")
    if method in REFUSED_METHODS:
        raise MethodRefused(f"method {method}", allow=ALLOWED_METHODS)


def read_head(headers: Sequence[tuple[bytes, bytes]], *, http10: bool) -> Head:  # noqa: C901 - one pass over the headers, a branch a name
    """Read the raw headers of a request once; names are compared without case.

    Raises:
        HeadersRefused: no Host or more than one, or a body that can be framed in two ways (RFC 9112 sections 3.2 and 6).
        HeadersTooLarge: more than ``HEADER_BYTES``, or more cookies than ``COOKIE_BYTES``.
        ExpectationRefused: an Expect other than 100-continue.
    """
    host: bytes | None = None
    cookies: tuple[bytes, ...] = ()
    total = 0
    length = coding = None
    for name, value in headers:
        size = len(name)
        total += size + len(value)
        # Names are told apart by their length first: most headers are none of these.
        if size == 4 and name.lower() == b"host":  # noqa: PLR2004 - the length of the name beside it, here and below
            if host is not None:
                raise HeadersRefused("more than one Host line")
            host = value
        elif size == 6:  # noqa: PLR2004
            lower = name.lower()
            if lower == b"cookie":
                cookies += (value,)
            elif lower == b"expect" and value.lower() != b"100-continue":
                raise ExpectationRefused("Expect other than 100-continue")
        elif size == 14 and name.lower() == b"content-length":  # noqa: PLR2004
            length = _content_length(value, length)
        elif size == 17 and name.lower() == b"transfer-encoding":  # noqa: PLR2004
            coding = _transfer_coding(value, coding)
    if coding is not None and (length is not None or http10):
        raise HeadersRefused("Transfer-Encoding beside Content-Length, or in HTTP/1.0")
    if total > HEADER_BYTES:
        raise HeadersTooLarge(f"headers of {total} bytes together, more than {HEADER_BYTES}")
    if len(cookies) > 0 and sum(map(len, cookies)) > COOKIE_BYTES:
        raise HeadersTooLarge("Cookie lines")
    if host is None:
        raise HeadersRefused("no Host line")
    return Head(host, cookies)


def origin_form(target: str, host: str) -> str:
    """The target as an origin server gets it: absolute-form loses its origin, which has to be the one that Host names.

    RFC 9112 section 3.2.2. Raises TargetRefused for an absolute target of another host, or in any other scheme than http and https.
    """
    if target.startswith("/"):
        return target
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise TargetRefused("a target in neither origin-form nor absolute-form")
    if absolute["authority"].lower() != host.lower():
        raise TargetRefused("an absolute target whose authority is not that of Host, character by character")
    rest = absolute["rest"]
    return rest if rest.startswith("/") else "/" + rest


def _content_length(value: bytes, earlier: bytes | None) -> bytes:
    if earlier is not None:
        raise HeadersRefused("more than one Content-Length")
    if not value.isdigit():
        raise HeadersRefused("a Content-Length that is no number")
    return value


def _transfer_coding(value: bytes, earlier: bytes | None) -> bytes:
    """RFC 9112 section 6.1: what is not exactly one ``chunked`` has two readings."""
    if earlier is not None or value.strip(b" \t").lower() != b"chunked":
        raise HeadersRefused("Transfer-Encoding other than chunked, once")
    return value
