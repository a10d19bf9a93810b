"""A request as the gateway reads it, before anybody is believed: one Host, one canonical target, the raw Cookie lines.

Answers RFC 9112 section 3.2 (exactly one valid Host) and what aiohttp's own parser lets through: other HTTP versions, odd transfer
codings, and cookies that ``request.cookies`` trims or misses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.access.target import canonical_target
from gateway.errors import ExpectationRefused, HeadersRefused, HeadersTooLarge, MethodRefused, VersionRefused

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.access.target import Target

REFUSED_METHODS = frozenset({"CONNECT", "TRACE"})
"""CONNECT would make us a tunnel, TRACE would reflect cookies and identity headers (RFC 9110 sections 9.3.6 and 9.3.8)."""


COOKIE_BYTES = 32 * 1024
"""All Cookie lines together: four times what browsers keep for one site's usual needs, little enough to look through (CK-11)."""


class Asked:
    """What was asked for: ``target`` canonical, ``host`` the one Host line as sent, ``cookies`` the raw Cookie lines in order."""

    __slots__ = ("cookies", "host", "target")

    def __init__(self, *, target: Target, host: str, cookies: tuple[bytes, ...]) -> None:
        self.target = target
        self.host = host
        self.cookies = cookies


def read_request(  # noqa: C901 - one pass over the headers, a branch a name
    request: web.BaseRequest,
) -> Asked:
    """Read a request once, or refuse it.

    Raises:
        MethodRefused: CONNECT and TRACE.
        HeadersRefused: no Host or more than one, a transfer coding other than ``chunked`` alone.
        HeadersTooLarge: more cookies than ``COOKIE_BYTES``.
        ExpectationRefused: an Expect other than 100-continue.
        VersionRefused: an HTTP version that is neither 1.0 nor 1.1.
        TargetRefused: a request-target that is not canonical.
    """
    if request.version not in ((1, 1), (1, 0)):
        raise VersionRefused("HTTP version other than 1.0 and 1.1")
    if request.method in REFUSED_METHODS:
        raise MethodRefused(f"method {request.method}", allow=("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
    host: bytes | None = None
    cookies: tuple[bytes, ...] = ()
    cookie_bytes = 0
    for name, value in request.raw_headers:
        size = len(name)
        if size == 4 and name.lower() == b"host":  # noqa: PLR2004 - the length of the name beside it
            if host is not None:
                raise HeadersRefused("more than one Host line")
            host = value
        elif size == 6 and name.lower() == b"cookie":  # noqa: PLR2004 - the same
            cookies += (value,)
            cookie_bytes += len(value)
        elif size == 6 and name.lower() == b"expect" and value.lower() != b"100-continue":  # noqa: PLR2004 - the same
            raise ExpectationRefused("Expect other than 100-continue")
        elif size == 17 and name.lower() == b"transfer-encoding":  # noqa: PLR2004 - the same
            _check_transfer_encoding(request)
    if cookie_bytes > COOKIE_BYTES:
        raise HeadersTooLarge("Cookie lines")
    if host is None:
        raise HeadersRefused("no Host line")
    return Asked(target=canonical_target(request.raw_path), host=host.decode("latin-1"), cookies=cookies)


def _check_transfer_encoding(request: web.BaseRequest) -> None:
    """RFC 9112 section 6.1: what is not exactly one ``chunked``, or stands beside a Content-Length, has two readings."""
    codings = request.headers.getall("Transfer-Encoding")
    if len(codings) != 1 or codings[0].strip(" \t").lower() != "chunked":
        raise HeadersRefused("Transfer-Encoding other than chunked, once")
    if "Content-Length" in request.headers or request.version == (1, 0):
        raise HeadersRefused("Transfer-Encoding beside Content-Length or in HTTP/1.0")
