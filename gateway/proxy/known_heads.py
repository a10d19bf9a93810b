"""Heads of requests that were read before: the same bytes were read once, and mean the same each time.

Answers the cost of reading what a browser or a proxy sends again with every request, and request smuggling (SM) all the same: a head is
known by every byte after its request line, so nothing is read in a way in which aiohttp's parser did not read it. What may differ is the
request line, of the one form ``GET /target HTTP/1.1`` (or HEAD), and the value of one header that differs with every page, as long as it is
of visible ASCII alone: neither has a byte that a parser takes for anything else. Pure; bounded in number and in bytes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from gateway.proxy.request_headers import RequestHeaders

LONGEST_HEAD: Final = 8 * 1024
"""Bytes, request line included: no limit on a line or on all headers together is near."""
MOST_HEADS: Final = 4096
MOST_OCTETS: Final = 4 * 1024 * 1024
"""Of heads; with what they say it is about three times that."""

_LINE_END: Final = b"\r\n"
_END: Final = b"\r\n\r\n"
_VERSION: Final = b" HTTP/1.1"
_VARYING: Final = (b"\r\nReferer: ", b"\r\nX-Original-URL: ", b"\r\nX-Forwarded-Uri: ")
"""Of these headers the first that is there may have another value: where a page was asked for, and what a proxy asks about."""
_VISIBLE: Final = re.compile(rb"[!-~]+")


class Known:
    """What a head says, apart from its request line and the one value that may differ. ``host`` and ``cookies``: as ``RequestHeaders``."""

    __slots__ = ("_after", "_before", "_told", "_varies_at", "authority", "cookies", "cookies_by_origin", "host")

    def __init__(self, headers: RequestHeaders, before: bytes, after: bytes, varies_at: int) -> None:
        self.host = headers.host
        self.authority = headers.host.decode("latin-1")
        self.cookies = headers.cookies
        self.cookies_by_origin: dict[str, tuple[str, str, bytes] | None] = {}
        """Whoever looks for one cookie in ``cookies`` may keep it here, with None for not exactly one, by origin."""
        self._told = headers.told
        self._before = before
        self._after = after
        self._varies_at = varies_at

    def passed(self, value: bytes) -> bytes:
        """The lines that pass to an application."""
        return self._before + value + self._after if self._after else self._before

    def told(self, value: bytes) -> list[tuple[bytes, bytes]]:
        """As ``RequestHeaders.told``."""
        told, at = self._told, self._varies_at
        return told if at < 0 else [*told[:at], (told[at][0], value), *told[at + 1 :]]


class Met(NamedTuple):
    """A request whose head is known: ``target`` as sent, ``value`` of the header that may differ (empty without it)."""

    known: Known
    method: str
    target: str
    value: bytes


class _Taken(NamedTuple):
    """A head taken apart. ``rest`` is all of it after the request line, less ``value``, which stands behind ``varying``."""

    method: str
    target: bytes
    rest: bytes
    varying: bytes
    value: bytes


class KnownHeads:
    """The heads that one process knows."""

    def __init__(self) -> None:
        self._known: dict[bytes, Known] = {}
        self._octets = 0

    def meet(self, head: bytes) -> Met | None:
        """What ``head`` is, one whole head and nothing else; None where only a parser can say."""
        taken = _take_apart(head)
        if taken is None:
            return None
        known = self._known.get(taken.rest)
        return None if known is None else Met(known, taken.method, taken.target.decode("latin-1"), taken.value)

    def remember(self, head: bytes, headers: RequestHeaders) -> None:
        """``head`` was parsed as one request that has no body and does not end its connection, and read as ``headers``.

        What asks for more than an answer (an upgrade, a 100, a nomination) is not kept.
        """
        taken = _take_apart(head)
        if taken is None or headers.length is not None or headers.chunked or headers.expects_continue:
            return
        if headers.upgrade or headers.nominated or not headers.host:
            return
        known = _as_known(headers, taken)
        if known is None:
            return
        octets = len(taken.rest)
        if len(self._known) >= MOST_HEADS or self._octets + octets > MOST_OCTETS:
            self._known.clear()
            self._octets = 0
        self._known[taken.rest] = known
        self._octets += octets


def _take_apart(head: bytes) -> _Taken | None:
    if len(head) > LONGEST_HEAD:
        return None
    line_end = head.find(_LINE_END)
    if head.find(_END, line_end) != len(head) - len(_END) or head[line_end - len(_VERSION) : line_end] != _VERSION:
        return None
    method = "GET" if head.startswith(b"GET /") else "HEAD" if head.startswith(b"HEAD /") else None
    if method is None:
        return None
    target = head[len(method) + 1 : line_end - len(_VERSION)]
    for varying in _VARYING:
        at = head.find(varying, line_end)
        if at >= 0:
            begin = at + len(varying)
            end = head.find(_LINE_END, begin)
            value = head[begin:end]
            if _VISIBLE.fullmatch(value) is None:
                return None
            return _Taken(method, target, head[line_end:begin] + head[end:], varying, value)
    return _Taken(method, target, head[line_end:], b"", b"")


def _as_known(headers: RequestHeaders, taken: _Taken) -> Known | None:
    lines = headers.lines
    passed = b"".join(lines)
    ends = len(lines)
    if passed.count(b"\n") != ends or passed.count(b"\r") != ends or b"\0" in passed or b"sec-websocket-" in passed.lower():
        return None
    if not taken.varying:
        return Known(headers, passed, b"", -1)
    name = taken.varying[2:-2]
    told = [at for at, pair in enumerate(headers.told) if pair == (name, taken.value)]
    line = b"%b: %b\r\n" % (name, taken.value)
    places = [at for at, one in enumerate(lines) if one == line]
    if len(told) == 1 and not places:
        return Known(headers, passed, b"", told[0])
    if len(places) == 1 and not told:
        at = places[0]
        return Known(headers, b"".join(lines[:at]) + name + b": ", _LINE_END + b"".join(lines[at + 1 :]), -1)
    return None
