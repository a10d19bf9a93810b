"""The head that goes upstream: built in one pass over the raw header list, so that nothing passes that was not looked at.

Answers invariants 2, 3 and 4 and RFC 9110 section 7.6. The order is the defence: what ``Connection`` nominates and hop-by-hop names go
first, then names that are the gateway's, then the gateway's own headers are set; so no caller can nominate one of ours away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import HeadersRefused, TargetRefused
from gateway.proxy.framing import Delimiter, content_length
from gateway.proxy.headers import Treatment, fold
from gateway.proxy.own_cookies import without_own

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.proxy.framing import Framing
    from gateway.proxy.headers import HeaderRules

PSEUDONYM = b"gateway"
"""Our name in Via; an internal host name is nobody's business (RFC 9110 section 7.6.3)."""
MAX_PASSES = 4
"""How often a request may have passed gateways before it counts as a loop."""

_WHITE = b" \t"
# An enumeration's members are slow to look up, and these are looked up for every header of every request.
_PASS, _DROP = Treatment.PASS, Treatment.DROP
_PLAIN_CONNECTION = frozenset({b"", b"close", b"keep-alive", b"upgrade"})
_PLAIN_LISTS = frozenset({*_PLAIN_CONNECTION, b"keep-alive, upgrade", b"upgrade, http2-settings"})
_NEVER_NOMINATED = frozenset({b"host", b"cookie", b"authorization", b"contentlength"})
"""Obeying would change whom the request is from or for, or where it ends."""


class RequestHead(NamedTuple):
    """The bytes of a request's head, and what they promise of its body."""

    raw: bytes
    framing: Framing
    expects_continue: bool
    """The caller waits for ``100 Continue`` before it sends the body."""
    upgrade_dropped: bool
    """An Upgrade header was there and did not pass."""


@dataclass(slots=True)
class _Seen:
    host: bytes | None = None
    length: int | None = None
    chunked: bool = False
    expects_continue: bool = False
    upgrade: bool = False
    authorization: bool = False
    passes: int = 0
    nominated: frozenset[bytes] = frozenset()


def request_head(  # noqa: PLR0913 - what a request is made of
    method: str,
    target: str,
    headers: Sequence[tuple[bytes, bytes]],
    *,
    rules: HeaderRules,
    identity: Sequence[tuple[bytes, bytes]],
    forwarded: Sequence[tuple[bytes, bytes]],
    host: bytes | None,
    http10: bool = False,
    upgrade: bytes | None = None,
    persistent: bool = False,
) -> RequestHead:
    """The head to send for a request that was allowed.

    ``target`` goes out byte for byte. ``headers`` are the caller's, raw and in order. ``identity`` and ``forwarded`` are the gateway's and
    are set last; their names must be reserved by ``rules`` or on the default list. ``host`` replaces the caller's Host when not None.
    ``http10`` says which version the caller spoke, ``upgrade`` the one protocol to ask for, ``persistent`` whether the upstream connection
    is wanted again.

    Raises HeadersRefused for headers that could be read in two ways, TargetRefused for a target that would break the request line.
    """
    lines: list[bytes] = [_request_line(method, target), b""]
    seen = _read(headers, lines, rules, method)
    if seen.nominated:
        if seen.nominated & _NEVER_NOMINATED:
            raise HeadersRefused("Connection nominates Host, Cookie, Authorization or Content-Length")
        del lines[2:]
        kept = [pair for pair in headers if pair[0].lower() != b"connection" and fold(pair[0]) not in seen.nominated]
        nominated_upgrade = seen.upgrade
        seen = _read(kept, lines, rules, method)
        seen.upgrade = seen.upgrade or nominated_upgrade
    if seen.chunked and (seen.length is not None or http10):
        raise HeadersRefused("Transfer-Encoding beside Content-Length, or in HTTP/1.0")
    host_value = host if host is not None else seen.host
    if not host_value:
        raise HeadersRefused("no Host")
    lines[1] = b"Host: " + host_value + b"\r\n"
    lines.append(b"Via: 1.%d %b\r\n" % (0 if http10 else 1, PSEUDONYM))
    _append_ours(lines, forwarded, identity, rules)
    framing = _append_framing(lines, seen)
    if upgrade is not None:
        lines.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % upgrade)
    elif not persistent:
        lines.append(b"Connection: close\r\n")
    lines.append(b"\r\n")
    raw = b"".join(lines)
    # Whatever a parser or a mapping let through: a value that makes a line of its own never leaves.
    ends = len(lines) + (1 if upgrade is not None else 0)
    if raw.count(b"\n") != ends or raw.count(b"\r") != ends or b"\0" in raw:
        raise HeadersRefused("a header holds a line break or NUL")
    return RequestHead(raw, framing, seen.expects_continue and not http10, upgrade_dropped=seen.upgrade and upgrade is None)


def with_host(head: bytes, host: bytes) -> bytes:
    """The bytes of a ``RequestHead`` for another ``host``, which is a valid one: Host is always the second line."""
    request_line, _, rest = head.split(b"\r\n", 2)
    return b"%b\r\nHost: %b\r\n%b" % (request_line, host, rest)


def _request_line(method: str, target: str) -> bytes:
    if not target.startswith(("/", "*")) or not target.isascii() or not target.isprintable() or " " in target:
        raise TargetRefused("the target does not fit a request line")
    return f"{method} {target} HTTP/1.1\r\n".encode("ascii")


def _read(headers: Sequence[tuple[bytes, bytes]], lines: list[bytes], rules: HeaderRules, method: str) -> _Seen:
    """Append to ``lines`` what passes of ``headers``, in order; return what was seen of the rest."""
    seen = _Seen()
    known = rules.treatments
    for name, value in headers:
        what = known.get(name) or rules.treatment(name)
        if what is _PASS:
            lines.append(name + b": " + value + b"\r\n")
        elif what is not _DROP:
            _read_special(what, name, value, lines, seen, rules, method)
    return seen


def _read_special(  # noqa: C901, PLR0912, PLR0913, PLR0917 - a table of cases, each a line or two
    what: Treatment, name: bytes, value: bytes, lines: list[bytes], seen: _Seen, rules: HeaderRules, method: str
) -> None:
    match what:
        case Treatment.COOKIE:
            left = without_own(value, rules)
            if left:
                lines.append(name + b": " + left + b"\r\n")
        case Treatment.HOST:
            if seen.host is not None:
                raise HeadersRefused("Host twice")
            seen.host = value
        case Treatment.CONNECTION:
            seen.nominated |= _nominated(value)
        case Treatment.ONCE:
            if seen.authorization:
                raise HeadersRefused("Authorization twice")
            seen.authorization = True
            lines.append(name + b": " + value + b"\r\n")
        case Treatment.CONTENT_LENGTH:
            if seen.length is not None:
                raise HeadersRefused("Content-Length twice")
            seen.length = content_length(value.strip(_WHITE))
            if seen.length is None:
                raise HeadersRefused("Content-Length is not a number")
        case Treatment.TRANSFER_ENCODING:
            if seen.chunked or value.strip(_WHITE).lower() != b"chunked":
                raise HeadersRefused("Transfer-Encoding is not chunked, once")
            seen.chunked = True
        case Treatment.EXPECT:
            seen.expects_continue = seen.expects_continue or value.strip(_WHITE).lower() == b"100-continue"
        case Treatment.UPGRADE:
            seen.upgrade = True
        case Treatment.VIA:
            seen.passes += sum(1 for hop in value.split(b",") if hop.split()[1:2] == [PSEUDONYM])
            if seen.passes >= MAX_PASSES:
                raise HeadersRefused("the request runs in a loop")
            lines.append(name + b": " + value + b"\r\n")
        case Treatment.MAX_FORWARDS:
            lines.append(name + b": " + (_one_less(value) if method == "OPTIONS" else value) + b"\r\n")
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


def _append_ours(
    lines: list[bytes], forwarded: Sequence[tuple[bytes, bytes]], identity: Sequence[tuple[bytes, bytes]], rules: HeaderRules
) -> None:
    known = rules.treatments
    for ours in (forwarded, identity):
        for name, value in ours:
            if known.get(name) is not _DROP and rules.treatment(name) is not _DROP:
                raise HeadersRefused("a header of the gateway's that callers could set too")
            lines.append(name + b": " + value + b"\r\n")


def _append_framing(lines: list[bytes], seen: _Seen) -> Framing:
    if seen.chunked:
        lines.append(b"Transfer-Encoding: chunked\r\n")
        return Delimiter.CHUNKS
    if seen.length is None:
        return Delimiter.NOTHING
    lines.append(b"Content-Length: %d\r\n" % seen.length)
    return seen.length
