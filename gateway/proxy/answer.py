"""Reads the head of an upstream's answer by the letter of RFC 9112, or not at all.

Answers the hostile cases UP-07 to UP-11: two readers of one sloppy head (an obs-fold, a bare LF, a space before a colon, two lengths)
may see two answers, so such a head is a failure of the upstream. Its lines are judged by llhttp (``answer_lines``), strictly; what that
lets through and we do not (another version, a status that is none, a framing told twice) is refused here. Pure: bytes in, a value out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gateway.errors import UpstreamFailed
from gateway.proxy.answer_lines import Date, Kept, Said, judge
from gateway.proxy.framing import Delimiter

if TYPE_CHECKING:
    from gateway.proxy.answer_lines import Line
    from gateway.proxy.framing import Framing
    from gateway.proxy.headers import HeaderRules

MAX_HEAD: Final = 65536
"""Bytes of an answer's head, status line included."""
MAX_HEADERS: Final = 200
MEMO_STATUS_LINES: Final = 256
MEMO_STATUS_LINE_LENGTH: Final = 64

# llhttp takes status codes that are none, and other versions: the status line is looked at first. It is strict about all the rest.
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*+))?")
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_BEGINNING = b"HTTP/1."
_NOTHING = Said.NOTHING


class AnswerHead:
    """A response head as it was received. ``lines`` pass to the caller, whole and in order, unless ``nominates``."""

    __slots__ = ("_received", "chunked", "closes", "dated", "http10", "kept", "length", "lines", "nominates", "reason", "status")

    def __init__(self, status: int, reason: bytes, received: list[bytes], *, http10: bool = False) -> None:
        self.status = status
        self.reason = reason
        self.http10 = http10
        self._received = received
        self.lines: list[bytes] = []
        self.dated = False
        self.length: int | None = None
        """What Content-Length said."""
        self.chunked = False
        self.nominates = False
        """Whether Connection makes other headers hop-by-hop."""
        self.closes = False
        """Whether Connection says that this is the last answer."""
        self.kept: int | None = None
        """Seconds for which the upstream keeps the connection, as far as Keep-Alive tells."""

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Every header as it was received; names and values are raw, values without the white space around them."""
        pairs = (line.partition(b":") for line in self._received)
        return [(name, value.strip(b"\t ")) for name, _, value in pairs]

    def framing(self, method: str) -> Framing:
        """Where the body of this answer to ``method`` ends (RFC 9112 section 6.3)."""
        if method == "HEAD" or self.status in (204, 304) or self.status < 200:  # noqa: PLR2004 - status codes
            return Delimiter.NOTHING
        if self.chunked:
            return Delimiter.CHUNKS
        return Delimiter.CLOSE if self.length is None else self.length


_STATUS_LINES: dict[bytes, tuple[int, bytes, bool]] = {}
"""Status lines that were read, and what they say: there are few, and they come again (bounded)."""


def read_answer_head(raw: bytes, rules: HeaderRules) -> AnswerHead:
    """Read ``raw``, which ends with the empty line. Raises UpstreamFailed when it is not a strict HTTP/1.x response head."""
    status_line, *received = raw[:-4].split(b"\r\n")
    status, reason, http10 = _STATUS_LINES.get(status_line) or _read_status_line(status_line)
    if len(received) > MAX_HEADERS:
        raise UpstreamFailed(f"the answer has more than {MAX_HEADERS} headers")
    known = rules.answer_lines
    try:
        judged: list[Line] = [known[line] for line in received]
    except KeyError:
        judged = judge(raw, received, rules)
    head = AnswerHead(status, reason, received, http10=http10)
    lines = head.lines
    for line in judged:
        kind = type(line)
        if kind is bytes:
            lines.append(line)  # type: ignore[arg-type]  # it is: mypy does not follow the type through a variable
        elif kind is Date:
            head.dated = True
            lines.append(line)  # type: ignore[arg-type]  # a Date is bytes
        elif line is not _NOTHING:
            _note(head, line)
    return head


def check_beginning(received: bytes) -> None:
    """Fail as soon as an unfinished head cannot become one: it does not speak HTTP/1, breaks lines otherwise, or grows without end."""
    if not received.startswith(_BEGINNING[: len(received)]):
        raise UpstreamFailed("the answer does not begin with an HTTP/1 status line")
    if _BARE_LINE_FEED.search(received):
        raise UpstreamFailed("the answer's head has a bare line feed")
    if len(received) > MAX_HEAD:
        raise UpstreamFailed(f"the answer's head is longer than {MAX_HEAD} bytes")


def _read_status_line(line: bytes) -> tuple[int, bytes, bool]:
    read = _STATUS_LINE.fullmatch(line)
    if read is None:
        raise UpstreamFailed("the answer's head is not HTTP/1.1 by the letter")
    said = int(read[2]), read[3] or b"", read[1] == b"0"
    if len(_STATUS_LINES) < MEMO_STATUS_LINES and len(line) <= MEMO_STATUS_LINE_LENGTH:
        _STATUS_LINES[line] = said
    return said


def _note(head: AnswerHead, line: Line) -> None:
    """A line that says more than that it passes."""
    if isinstance(line, int) or line is Said.CHUNKED:
        if head.length is not None or head.chunked:
            raise UpstreamFailed("the answer frames its body twice")
        if isinstance(line, int):
            head.length = line
        elif head.http10:
            raise UpstreamFailed("the answer has a Transfer-Encoding in HTTP/1.0")
        else:
            head.chunked = True
    elif isinstance(line, Kept):
        head.kept = line.seconds
    else:
        head.closes = head.closes or line is not Said.NOMINATES
        head.nominates = head.nominates or line is not Said.CLOSES
