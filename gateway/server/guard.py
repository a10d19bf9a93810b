"""The request line in one reading, or not at all: it stops what aiohttp's parser lets through and others read otherwise.

Answers request smuggling (SM) and absolute targets that name another host than Host does. The headers are read by
``proxy.request_headers``; both stand on aiohttp's C parser.

Not seen here, since the parser does not tell: two spaces within the request line, empty lines before it, ``RTSP/`` or ``ICE/`` in place of
``HTTP/``. Each has one reading, as HTTP of the same version, which is judged and written anew: no app sees how it came.
"""

from __future__ import annotations

import re

from gateway.access.target import LONGEST_TARGET
from gateway.errors import MethodRefused, TargetRefused, VersionRefused

REFUSED_METHODS = frozenset({"CONNECT", "TRACE"})
"""CONNECT would make us a tunnel, TRACE would reflect cookies and identity headers (RFC 9110 sections 9.3.6 and 9.3.8)."""
ALLOWED_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""What the refusal of a method names; others pass too, if the parser knows them."""

TARGET_BYTES = LONGEST_TARGET
HEADER_LINE_BYTES = 32 * 1024
"""Room for a Cookie header of several sites' cookies."""
HEADERS_MOST = 128

_VERSIONS = ((1, 1), (1, 0))
_ABSOLUTE = re.compile(r"(?:http|https)://(?P<authority>[^/?#]++)(?P<rest>.*+)", re.IGNORECASE | re.DOTALL)


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
