"""Heads of requests that were read before: the same bytes were read once, and mean the same each time.

Answers the cost of reading what a browser or a proxy sends again with every request, and request smuggling (SM) all the same: a head is
known by every byte after its request line, so nothing is read in a way in which aiohttp's parser did not read it. What may differ is the
request line, of the one form ``GET /target HTTP/1.1`` (or HEAD), and the values of headers that differ with every request (``VARYING``), as
long as they are words of visible ASCII with single spaces between them: there is no byte in them that a parser takes for anything else.
Pure; bounded in number and in bytes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.errors import HeadersTooLarge
from gateway.proxy.headers import Treatment
from gateway.proxy.request_headers import check_cookies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.proxy.headers import HeaderRules
    from gateway.proxy.request_headers import RequestHeaders

LONGEST_HEAD: Final = 8 * 1024
"""Bytes, request line included: no limit on a line or on all headers together is near."""
MOST_HEADS: Final = 4096
MOST_MET_ONCE: Final = 8192
MOST_MISSED: Final = 64
MOST_OCTETS: Final = 4 * 1024 * 1024
"""Of heads; with what they say it is about three times that."""

VARYING: Final = (
    *("Referer", "If-None-Match", "If-Modified-Since", "If-Range", "Range"),
    *("X-Request-ID", "X-Correlation-ID", "Traceparent", "Tracestate"),
    *("X-Forwarded-For", "X-Real-IP", "X-Forwarded-Uri", "X-Original-URL", "X-Auth-Request-Redirect"),
)
"""As they are written here, or in small letters: where a page was asked for, what is there of it already, how logs name the request,
and what a proxy tells of it. None of them has a meaning for a parser."""

_LINE_END: Final = b"\r\n"
_END: Final = b"\r\n\r\n"
_VERSION: Final = b" HTTP/1.1"
_NAMES: Final = "|".join(dict.fromkeys(spelled for name in VARYING for spelled in (name, name.lower()))).encode()
_VISIBLE: Final = re.compile(rb"[!-~]+")
_VARIES: Final = re.compile(rb"\r\n(" + _NAMES + rb"): ([!-~]++(?: [!-~]++)*)(?=\r\n)")


class Known:
    """What a head says, apart from its request line and the values that differ. ``host`` and ``cookies``: as ``RequestHeaders``."""

    __slots__ = ("_lines", "_passing", "_told", "_told_at", "authority", "cookies", "cookies_by_origin", "host")

    def __init__(self, headers: RequestHeaders, lines: bytes, passing: Sequence[int], told_at: Sequence[int | None]) -> None:
        self.host = headers.host
        self.authority = headers.host.decode("latin-1")
        self.cookies = headers.cookies
        self.cookies_by_origin: dict[str, tuple[str, str, bytes] | None] = {}
        """Whoever looks for one cookie in ``cookies`` may keep it here, with None for not exactly one, by origin."""
        self._lines = lines
        """What passes; where ``_passing`` names values, with ``%b`` in the place of each."""
        self._passing = tuple(passing)
        self._told = headers.told
        self._told_at = tuple(told_at)

    def passed(self, values: Sequence[bytes]) -> bytes:
        """The lines that pass to an application."""
        return self._lines % tuple([values[at] for at in self._passing]) if self._passing else self._lines

    def told(self, values: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
        """As ``RequestHeaders.told``."""
        if not self._told:
            return self._told
        return [(name, value if at is None else values[at]) for (name, value), at in zip(self._told, self._told_at, strict=True)]


class Met(NamedTuple):
    """A request whose head is known: ``target`` as sent, ``values`` of the headers that differ, in their order."""

    known: Known
    method: str
    target: str
    values: Sequence[bytes]


class KnownHeads:
    """The heads that one process knows: those that came twice."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, ...], Known] = {}
        self._octets = 0
        self._met_once: set[int] = set()
        """Hashes of keys. Two heads that share one make a head known the first time, which does no harm."""
        self._missed: dict[int, tuple[bytes, _Taken]] = {}
        """Heads that were not known, by their identity, until they are remembered: they need not be taken apart twice."""

    def meet(self, head: bytes) -> Met | None:
        """What ``head`` is, one whole head and nothing else; None where only a parser can say."""
        taken = _take_apart(head)
        if taken is None:
            return None
        known = self._known.get(taken.key)
        if known is None:
            if len(self._missed) >= MOST_MISSED:
                self._missed.clear()
            self._missed[id(head)] = (head, taken)
            return None
        return Met(known, taken.method, taken.target.decode("latin-1"), taken.values)

    def remember(self, head: bytes, headers: RequestHeaders, rules: HeaderRules) -> None:
        """``head`` was parsed as one request that has no body and does not end its connection, and read as ``headers`` by ``rules``.

        What asks for more than an answer (an upgrade, a 100, a nomination) is not kept.
        """
        missed = self._missed.pop(id(head), None)
        taken = _take_apart(head) if missed is None else missed[1]
        if taken is None or taken.key in self._known or not self._came_before(taken.key):
            return
        if headers.length is not None or headers.chunked or headers.expects_continue or headers.upgrade or headers.nominated:
            return
        known = _as_known(headers, list(zip(taken.names, taken.values, strict=True)), rules)
        if known is None:
            return
        if len(self._known) >= MOST_HEADS or self._octets + len(head) > MOST_OCTETS:
            self._known.clear()
            self._octets = 0
        self._known[taken.key] = known
        self._octets += len(head)

    def _came_before(self, key: tuple[bytes, ...]) -> bool:
        number = hash(key)
        if number in self._met_once:
            self._met_once.remove(number)
            return True
        if len(self._met_once) >= MOST_MET_ONCE:
            self._met_once.clear()
        self._met_once.add(number)
        return False


class _Taken(NamedTuple):
    """A head in pieces: ``key`` is all that has to be the same, the names of what differs among it."""

    method: str
    target: bytes
    key: tuple[bytes, ...]
    names: Sequence[bytes]
    values: Sequence[bytes]


def _take_apart(head: bytes) -> _Taken | None:
    line_end = head.find(_LINE_END)
    if (
        len(head) > LONGEST_HEAD
        or head.find(_END, line_end) != len(head) - len(_END)
        or head[line_end - len(_VERSION) : line_end] != _VERSION
    ):
        return None
    method = "GET" if head.startswith(b"GET /") else "HEAD" if head.startswith(b"HEAD /") else ""
    target = head[len(method) + 1 : line_end - len(_VERSION)]
    if not method or _VISIBLE.fullmatch(target) is None:
        return None
    pieces = _VARIES.split(head[line_end:])
    names, values = pieces[1::3], pieces[2::3]
    del pieces[2::3]
    return _Taken(method, target, tuple(pieces), names, values)


def _as_known(headers: RequestHeaders, varying: list[tuple[bytes, bytes]], rules: HeaderRules) -> Known | None:
    lines = headers.lines
    passed = b"".join(lines)
    ends = len(lines)
    if passed.count(b"\n") != ends or passed.count(b"\r") != ends or b"\0" in passed or b"sec-websocket-" in passed.lower():
        return None
    if not headers.host:
        return None
    try:
        # With a short value or a long one: what is too much is too much whatever else there is.
        check_cookies(headers.cookies)
    except HeadersTooLarge:
        return None
    templates = [line.replace(b"%", b"%%") for line in lines]
    told_at: list[int | None] = [None] * len(headers.told)
    passing = []
    line = told = 0
    for at, pair in enumerate(varying):
        name = pair[0]
        same = b"%b: %b\r\n" % pair
        if lines.count(same) + headers.told.count(pair) > varying.count(pair):
            return None  # one of them was written otherwise, and which of them this one is cannot be told
        match rules.treatment(name):
            case Treatment.PASS:
                line = lines.index(same, line)
                templates[line] = name + b": %b\r\n"
                passing.append(at)
                line += 1
            case Treatment.TOLD:
                told = headers.told.index(pair, told)
                told_at[told] = at
                told += 1
            case Treatment.DROP:
                pass
            case _:
                return None
    return Known(headers, b"".join(templates) if passing else passed, passing, told_at)
