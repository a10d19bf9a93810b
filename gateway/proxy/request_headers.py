"""The headers of a request, read once: what they say to the gateway, and the lines of them that may pass to an application.

Answers request smuggling (SM), spoofed identity (IH), two Hosts, and heads larger than anybody needs; invariants 3 and 4, RFC 9110 section
7.6 and RFC 9112 sections 3.2 and 6. The order is the defence: what ``Connection`` nominates and hop-by-hop names go first, then names that
are the gateway's; the gateway's own headers are set afterwards, by ``request_head``, so that no caller can nominate one of ours away.

aiohttp's parser comes before and is strict: it refuses bare CR and LF, NUL, obs-fold, spaces before the colon. Its C build is the one that
these rules stand on; without it nothing listens (``listener.check_parser``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.errors import ExpectationRefused, HeadersRefused, HeadersTooLarge
from gateway.proxy.framing import content_length
from gateway.proxy.headers import Treatment, fold
from gateway.proxy.own_cookies import without_own

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.proxy.headers import HeaderRules

HEADER_BYTES: Final = 64 * 1024
"""All names and values together."""
COOKIE_BYTES: Final = 32 * 1024
"""All Cookie lines together: four times what browsers keep for one site's usual needs, little enough to look through (CK-11)."""
MOST_COOKIES: Final = 1024
"""Several times what browsers keep for one host."""
USUAL_BYTES: Final = 4 * 1024
"""Up to here nothing can be too much."""
PSEUDONYM: Final = b"gateway"
"""Our name in Via; an internal host name is nobody's business (RFC 9110 section 7.6.3)."""
MAX_PASSES: Final = 4
"""How often a request may have passed gateways before it counts as a loop."""

_WHITE = b" \t"
# An enumeration's members are slow to look up, and these are looked up for every header of every request.
_PASS, _DROP, _COOKIE, _TOLD = Treatment.PASS, Treatment.DROP, Treatment.COOKIE, Treatment.TOLD
_PLAIN_CONNECTION = frozenset({b"", b"close", b"keep-alive", b"upgrade"})
_PLAIN_LISTS = frozenset({*_PLAIN_CONNECTION, b"keep-alive, upgrade", b"upgrade, http2-settings"})
_NEVER_NOMINATED = frozenset({b"host", b"cookie", b"authorization", b"contentlength", b"transferencoding"})
"""Obeying would change whom the request is from or for, or where it ends."""


class RequestHeaders:
    """What one reading found. ``lines`` pass, whole and in order; everything else was looked at and stays here."""

    __slots__ = (
        "authorization",
        "chunked",
        "cookies",
        "expects_continue",
        "host",
        "length",
        "lines",
        "nominated",
        "passes",
        "told",
        "upgrade",
    )

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.told: list[tuple[bytes, bytes]] = []
        """What a proxy in front of us may have told (``Treatment.TOLD``), raw and in order: to be believed from trusted ones alone."""
        self.host = b""
        """The one Host, as sent."""
        self.cookies: tuple[bytes, ...] = ()
        """The raw Cookie lines, in order."""
        self.length: int | None = None
        """What Content-Length said."""
        self.chunked = False
        self.expects_continue = False
        """The caller waits for ``100 Continue`` before it sends the body."""
        self.upgrade = False
        """An Upgrade header is there."""
        self.authorization = False
        self.passes = 0
        self.nominated: frozenset[bytes] = frozenset()
        """What Connection names besides the usual, folded; none of it is in ``lines``."""


def read_request_headers(
    headers: Sequence[tuple[bytes, bytes]], rules: HeaderRules, *, method: str = "GET", http10: bool = False
) -> RequestHeaders:
    """Read the raw headers of a request, in their order, or refuse it. ``http10`` says which version the caller spoke.

    Raises:
        HeadersRefused: no Host or more than one, a body that can be framed in two ways, a header that could be read in two ways, a loop.
        HeadersTooLarge: more than ``HEADER_BYTES``, or more cookies than ``COOKIE_BYTES`` or ``MOST_COOKIES``.
        ExpectationRefused: an Expect other than 100-continue.
    """
    total = sum(map(len, map(b"".join, headers)))
    if total > HEADER_BYTES:
        raise HeadersTooLarge(f"headers of {total} bytes together, more than {HEADER_BYTES}")
    if total > USUAL_BYTES:
        check_cookies([value for name, value in headers if name.lower() == b"cookie"])
    read = _read(headers, rules, method)
    if read.nominated:
        if read.nominated & _NEVER_NOMINATED:
            raise HeadersRefused("Connection nominates Host, Cookie, Authorization, Content-Length or Transfer-Encoding")
        kept = [pair for pair in headers if pair[0].lower() != b"connection" and fold(pair[0]) not in read.nominated]
        first, read = read, _read(kept, rules, method)
        read.nominated, read.upgrade = first.nominated, first.upgrade
        # What a proxy told does not pass anyway, and a caller cannot nominate it away: it is judged as it came.
        read.told = first.told
    if read.chunked and (read.length is not None or http10):
        raise HeadersRefused("Transfer-Encoding beside Content-Length, or in HTTP/1.0")
    if not read.host:
        raise HeadersRefused("no Host line")
    if http10:
        read.expects_continue = False
    return read


def check_cookies(lines: Sequence[bytes]) -> None:
    """Raises HeadersTooLarge. Comes before they are taken apart: anonymous requests cost the attacker more than us (invariant 15)."""
    if sum(map(len, lines)) > COOKIE_BYTES or sum([line.count(b";") for line in lines]) > MOST_COOKIES:
        raise HeadersTooLarge("Cookie lines")


def _read(headers: Sequence[tuple[bytes, bytes]], rules: HeaderRules, method: str) -> RequestHeaders:
    read = RequestHeaders()
    lines = read.lines
    known = rules.treatments.get
    for name, value in headers:
        what = known(name) or rules.treatment(name)
        if what is _PASS:
            lines.append(b"%b: %b\r\n" % (name, value))
        elif what is _TOLD:
            read.told.append((name, value))
        elif what is _COOKIE:
            read.cookies += (value,)
            left = without_own(value, rules)
            if left:
                lines.append(b"%b: %b\r\n" % (name, left))
        elif what is not _DROP:
            _read_special(what, name, value, read, method)
    return read


def _read_special(  # noqa: C901, PLR0912 - a table of cases, each a line or two
    what: Treatment, name: bytes, value: bytes, read: RequestHeaders, method: str
) -> None:
    match what:
        case Treatment.HOST:
            if read.host or not value:
                raise HeadersRefused("Host twice, or empty")
            read.host = value
        case Treatment.CONNECTION:
            read.nominated |= _nominated(value)
        case Treatment.ONCE:
            if read.authorization:
                raise HeadersRefused("Authorization twice")
            read.authorization = True
            read.lines.append(name + b": " + value + b"\r\n")
        case Treatment.CONTENT_LENGTH:
            if read.length is not None:
                raise HeadersRefused("Content-Length twice")
            read.length = content_length(value.strip(_WHITE))
            if read.length is None:
                raise HeadersRefused("Content-Length is not a number")
        case Treatment.TRANSFER_ENCODING:
            # RFC 9112 section 6.1: what is not exactly one ``chunked`` has two readings.
            if read.chunked or value.strip(_WHITE).lower() != b"chunked":
                raise HeadersRefused("Transfer-Encoding is not chunked, once")
            read.chunked = True
        case Treatment.EXPECT:
            if value.strip(_WHITE).lower() != b"100-continue":
                raise ExpectationRefused("Expect other than 100-continue")
            read.expects_continue = True
        case Treatment.UPGRADE:
            read.upgrade = True
        case Treatment.VIA:
            read.passes += sum(1 for hop in value.split(b",") if hop.split()[1:2] == [PSEUDONYM])
            if read.passes >= MAX_PASSES:
                raise HeadersRefused("the request runs in a loop")
            read.lines.append(name + b": " + value + b"\r\n")
        case Treatment.MAX_FORWARDS:
            read.lines.append(name + b": " + (_one_less(value) if method == "OPTIONS" else value) + b"\r\n")
        case _:
            raise HeadersRefused("a header name that is malformed or stands for a framing header")


def _nominated(value: bytes) -> frozenset[bytes]:
    lower = value.lower()
    if lower in _PLAIN_LISTS:
        return frozenset()
    options = (option.strip(_WHITE) for option in lower.split(b","))
    return frozenset(fold(option) for option in options if option not in _PLAIN_CONNECTION)


def _one_less(value: bytes) -> bytes:
    """Max-Forwards for the next hop (RFC 9110 section 7.6.2, which speaks of OPTIONS and TRACE alone)."""
    left = content_length(value.strip(_WHITE))
    if not left:
        raise HeadersRefused("Max-Forwards is used up or no number")
    return b"%d" % (left - 1)
