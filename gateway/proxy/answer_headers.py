"""The head that the caller gets: the application's words without what was meant for the gateway alone, framed by the gateway.

Answers invariant 4, RFC 9110 section 7.6.1 and the hostile cases IH-28, UP-19, UP-26. What passes was judged line by line when the head was
read (``answer_lines``); what Connection nominates besides goes here.
"""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.errors import UpstreamFailed
from gateway.proxy.answer_lines import Date
from gateway.proxy.framing import Delimiter
from gateway.proxy.headers import fold

if TYPE_CHECKING:
    from gateway.proxy.answer import AnswerHead
    from gateway.proxy.framing import Framing

_PLAIN_CONNECTION = frozenset({b"", b"close", b"keep-alive", b"upgrade"})
_FIRST_FINAL = 200
_NO_CONTENT = 204


def response_head(head: AnswerHead, *, framing: Framing, keep_alive: bool, now: float, upgrade: bytes | None = None) -> bytes:
    """The bytes of the head to send to the caller for the application's ``head``.

    ``framing`` is how the body will be sent (for a HEAD or 304 the length that the application told passes as well). ``now`` is epoch
    seconds, for the Date that a gateway adds when it is missing (RFC 9110 section 6.6.1). Raises UpstreamFailed when a value would make
    a line of its own.
    """
    final = head.status >= _FIRST_FINAL
    lines, dated = head.lines, head.dated
    if head.nominates:
        lines = _not_nominated(head)
        dated = any(isinstance(line, Date) for line in lines)
    last = b"" if dated or not final else date_line(now)
    if framing is Delimiter.CHUNKS:
        last += b"Transfer-Encoding: chunked\r\n"
    elif isinstance(framing, int):
        last += b"Content-Length: %d\r\n" % framing
    elif framing is Delimiter.NOTHING and head.length is not None and final and head.status != _NO_CONTENT:
        last += b"Content-Length: %d\r\n" % head.length
    if upgrade is not None:
        last += b"Connection: Upgrade\r\nUpgrade: %b\r\n" % upgrade
    elif not keep_alive and final:
        last += b"Connection: close\r\n"
    raw = b"".join((b"HTTP/1.1 %d %b\r\n" % (head.status, head.reason), *lines, last, b"\r\n"))
    ends = len(lines) + 2 + last.count(b"\n")
    if raw.count(b"\n") != ends or raw.count(b"\r") != ends or b"\0" in raw:
        raise UpstreamFailed("a header of the answer holds a line break or NUL")
    return raw


def date_line(now: float) -> bytes:
    """The Date header of an answer that is made at ``now``, epoch seconds (RFC 9110 section 6.6.1), as a whole line."""
    return _date_line(int(now))


@lru_cache(maxsize=2)
def _date_line(second: int) -> bytes:
    return b"Date: %b\r\n" % formatdate(second, usegmt=True).encode("ascii")


def _not_nominated(head: AnswerHead) -> list[bytes]:
    options: set[bytes] = set()
    for name, value in head.headers:
        if name.lower() == b"connection":
            options.update(option.strip(b" \t") for option in value.lower().split(b","))
    nominated = frozenset(fold(option) for option in options - _PLAIN_CONNECTION)
    return [line for line in head.lines if fold(line.partition(b":")[0]) not in nominated]
