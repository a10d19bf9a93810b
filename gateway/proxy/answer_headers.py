"""The head that the caller gets: the application's words without what was meant for the gateway alone, framed by the gateway.

Answers invariant 4, RFC 9110 section 7.6.1 and the hostile cases IH-28, UP-19, UP-26: Location, WWW-Authenticate and everything else
that speaks to the caller passes untouched; hop-by-hop headers, identity headers and cookies of the gateway's names do not.
"""

from __future__ import annotations

from email.utils import formatdate
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.errors import UpstreamFailed
from gateway.proxy.framing import Delimiter
from gateway.proxy.headers import MEMO_NAME_LENGTH, MEMO_NAMES, fold
from gateway.proxy.own_cookies import sets_own

if TYPE_CHECKING:
    from gateway.proxy.answer import AnswerHead
    from gateway.proxy.framing import Framing
    from gateway.proxy.headers import HeaderRules

_DROPPED = frozenset(
    {
        b"connection", b"keep-alive", b"te", b"trailer", b"upgrade", b"http2-settings", b"content-length", b"transfer-encoding",
        b"proxy-connection", b"proxy-authenticate", b"proxy-authorization", b"proxy-authentication-info",
    }
)  # fmt: skip


class _Treatment(Enum):
    PASS = "pass"  # noqa: S105 - no password
    DROP = "drop"
    DATE = "date"
    SET_COOKIE = "set-cookie"


# An enumeration's members are slow to look up, and this is looked up for every header of every answer.
_PASS, _DROP, _DATE, _SET_COOKIE = _Treatment

_SPECIAL = {b"date": _Treatment.DATE, b"set-cookie": _Treatment.SET_COOKIE}
_PLAIN_CONNECTION = frozenset({b"", b"close", b"keep-alive", b"upgrade"})
_INTERIM = range(100, 200)
_NO_CONTENT = 204


def response_head(  # noqa: PLR0913 - what a response is made of
    head: AnswerHead, *, rules: HeaderRules, framing: Framing, keep_alive: bool, now: float, upgrade: bytes | None = None
) -> bytes:
    """The bytes of the head to send to the caller for the application's ``head``.

    ``framing`` is how the body will be sent (for a HEAD or 304 the length that the application told passes as well). ``now`` is epoch
    seconds, for the Date that a gateway adds when it is missing (RFC 9110 section 6.6.1). Raises UpstreamFailed when a value would make
    a line of its own.
    """
    lines = [b"HTTP/1.1 %d %b\r\n" % (head.status, head.reason)]
    nominated = _nominated(head) if head.connection else frozenset()
    dated = head.status in _INTERIM
    treatments = rules.answer_treatments
    for name, value in head.headers:
        if nominated and fold(name) in nominated:
            continue
        what = treatments.get(name) or _treatment(name, rules)
        if what is not _PASS:
            if what is _DROP or (what is _SET_COOKIE and sets_own(value, rules)):
                continue
            dated = dated or what is _DATE
        lines.append(name + b": " + value + b"\r\n")
    if not dated:
        lines.append(b"Date: %b\r\n" % _date(int(now)))
    ends = len(lines) + 1
    framing_line = _framing_line(head, framing)
    if framing_line:
        lines.append(framing_line)
        ends += 1
    if upgrade is not None:
        lines.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % upgrade)
        ends += 2
    elif not keep_alive and head.status not in _INTERIM:
        lines.append(b"Connection: close\r\n")
        ends += 1
    lines.append(b"\r\n")
    raw = b"".join(lines)
    if raw.count(b"\n") != ends or raw.count(b"\r") != ends or b"\0" in raw:
        raise UpstreamFailed("a header of the answer holds a line break or NUL")
    return raw


def _treatment(name: bytes, rules: HeaderRules) -> _Treatment:
    """What happens to an answer's header called ``name``; names are few and come again, so it is remembered (bounded)."""
    lower = name.lower()
    if lower in _DROPPED or (lower != b"set-cookie" and fold(lower) in rules.reserved):
        what = _Treatment.DROP
    else:
        what = _SPECIAL.get(lower, _Treatment.PASS)
    if len(name) <= MEMO_NAME_LENGTH:
        if len(rules.answer_treatments) >= MEMO_NAMES:
            rules.answer_treatments.clear()
        rules.answer_treatments[name] = what
    return what


@lru_cache(maxsize=2)
def _date(now: int) -> bytes:
    return formatdate(now, usegmt=True).encode("ascii")


def _nominated(head: AnswerHead) -> frozenset[bytes]:
    options: set[bytes] = set()
    for name, value in head.headers:
        if name.lower() == b"connection":
            options.update(option.strip(b" \t") for option in value.lower().split(b","))
    return frozenset(fold(option) for option in options - _PLAIN_CONNECTION)


def _framing_line(head: AnswerHead, framing: Framing) -> bytes:
    if framing is Delimiter.CHUNKS:
        return b"Transfer-Encoding: chunked\r\n"
    if isinstance(framing, int):
        return b"Content-Length: %d\r\n" % framing
    if framing is Delimiter.NOTHING and head.length is not None and head.status not in _INTERIM and head.status != _NO_CONTENT:
        return b"Content-Length: %d\r\n" % head.length
    return b""
