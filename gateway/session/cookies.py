"""Cookies as bytes: names compared exactly, every Cookie line read, nothing trimmed that a browser would not trim.

Answers RFC 6265bis sections 4.1.3, 4.2 and 5.6, and CK-07 to CK-17. A parser that trims Unicode space from names lets a sibling subdomain
plant a ``__Host-`` cookie (CK-13), one that reads the first Cookie line alone loses sessions behind HTTP/2 (CK-08), and one that honours
quotes lets one cookie swallow the next (CK-16). So: lines are cut at ``;``, blanks are SP and HTAB, names and values are what is left.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.errors import HeadersRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_COOKIE: Final = 4096
"""Octets of name and value together that a browser keeps (RFC 6265bis section 5.6)."""

MAX_LINES: Final = 64 * 1024
"""Octets of all Cookie lines of one request: a browser's jar for one host is a fraction of it, and more is work for nobody."""

_BLANKS: Final = b" \t"
_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_VALUE: Final = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class CookieNames:
    """The names of our cookies for one origin ("https://apps.example.org"), and whether they are ``Secure``."""

    session: str
    login_prefix: str
    secure: bool
    origin: str

    @classmethod
    def for_origin(cls, origin: str, *, suffix: str = "") -> CookieNames:
        """``__Host-`` names on https (RFC 6265bis section 4.1.3.2), plain ones on http; ``suffix`` keeps apart what shares a host."""
        secure = origin.startswith("https://")
        session = ("__Host-gateway" if secure else "gateway") + suffix
        return cls(session=session, login_prefix=f"{session}-login-", secure=secure, origin=origin)

    def binding(self, name: str) -> tuple[str, ...]:
        """What a cookie is sealed to: its name and its origin (CK-02)."""
        return (name, self.origin)


def cookie_pairs(headers: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Every ``name=value`` of all Cookie lines, in order.

    ``HeadersRefused`` for more than ``MAX_LINES`` octets, control characters and bytes that are no UTF-8 (CK-17).
    """
    for line in _checked_lines(headers):
        for pair in line.split(b";"):
            name, equals, value = pair.strip(_BLANKS).partition(b"=")
            if equals and name:
                yield name, value


def _checked_lines(headers: Iterable[bytes]) -> Iterator[bytes]:
    octets = 0
    for line in headers:
        octets += len(line)
        if octets > MAX_LINES:
            raise HeadersRefused(f"more than {MAX_LINES} octets of Cookie headers")
        if _CONTROLS.search(line):
            raise HeadersRefused("Cookie header with a control character")
        if not line.isascii():
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                raise HeadersRefused("Cookie header that is not UTF-8") from None
        yield line


def cookie_values(headers: Iterable[bytes], name: bytes) -> list[bytes]:
    """The values of all cookies with exactly this name, over all Cookie lines, in order; raises as ``cookie_pairs``."""
    begins = name + b"="
    size = len(begins)
    values = []
    for line in _checked_lines(headers):
        for pair in line.split(b";"):
            stripped = pair.strip(_BLANKS)
            if stripped[:size] == begins:
                values.append(stripped[size:])
    return values


def set_cookie(name: str, value: str, names: CookieNames, *, max_age: int | None) -> str:
    """A whole Set-Cookie value. ``max_age`` seconds; None keeps it until the browser closes. ``ValueError`` for what no browser keeps."""
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value) or len(name) + len(value) > MAX_COOKIE:
        raise ValueError("not a cookie (RFC 6265bis section 4.1.1)")
    parts = [f"{name}={value}", "Path=/", "HttpOnly", "SameSite=Lax"]
    if names.secure:
        parts.insert(1, "Secure")
    if max_age is not None:
        parts.append(f"Max-Age={max_age}")
    return "; ".join(parts)


def delete_cookie(name: str, names: CookieNames) -> str:
    """A Set-Cookie value that removes a cookie of ours: same attributes, no value, no time left."""
    return f"{set_cookie(name, '', names, max_age=0)}; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
