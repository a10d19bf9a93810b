"""Where a body ends: one answer for each message, made by the gateway and never copied from a header.

Answers invariant 4 and RFC 9112 section 6. A framing is an ``int``, the exact number of bytes, or a ``Delimiter``.
"""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias


class Delimiter(Enum):
    """What ends a body whose length nobody told."""

    NOTHING = "there is no body"
    CHUNKS = "a chunk of size zero"
    CLOSE = "the end of the connection"


Framing: TypeAlias = int | Delimiter

LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of RFC 9112 section 7.1. ``data`` is not empty: an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def framing_down(up: Framing, *, http10: bool) -> Framing:
    """How a caller gets a body that came framed as ``up``: one of unknown length in chunks, which HTTP/1.0 does not know."""
    if up is Delimiter.NOTHING or isinstance(up, int):
        return up
    return Delimiter.CLOSE if http10 else Delimiter.CHUNKS


def content_length(value: bytes) -> int | None:
    """A Content-Length as a number; None for anything but 1 to 18 digits (no sign, no list, no other alphabet: RFC 9110 section 8.6)."""
    return int(value) if value.isdigit() and len(value) <= 18 else None  # noqa: PLR2004 - within 63 bits
