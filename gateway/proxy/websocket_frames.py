"""Where frames begin and end in a WebSocket's bytes (RFC 6455 section 5.2), so that a last frame of ours never lands inside another.

Answers "a sign-out closes it with code 1008": a tunnel passes bytes and reads no message, but what it adds has to stand between two frames.
Lengths alone are followed; opcodes, extensions and compression change no boundary. Whether frames are valid is for the browser and the
application to judge (hostile case WS-08). Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_CLOSE: Final = 0x8
_OPCODE: Final = 0x0F
_FINAL: Final = 0x80
_MASKED: Final = 0x80
_LENGTH: Final = 0x7F
_IN_TWO_BYTES: Final = 126
_LONGEST_KNOWN_LENGTH: Final = 10
"""Bytes of a header after which its frame's length is known for certain."""
_MOST_REASON: Final = 123
"""A control frame holds 125 bytes, of which a status code takes two (RFC 6455 section 5.5)."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a connection ends, as a close frame says it: a status code of RFC 6455 section 7.4.1 and a few words of ASCII."""

    code: int
    reason: str


SESSION_ENDED: Final = Ending(1008, "session ended")
SILENT: Final = Ending(1001, "idle")
GOING_AWAY: Final = Ending(1001, "going away")


def close_frame(ending: Ending) -> bytes:
    """The unmasked close frame of a server (RFC 6455 section 5.5.1)."""
    payload = ending.code.to_bytes(2, "big") + ending.reason.encode("ascii")[:_MOST_REASON]
    return bytes((_FINAL | _CLOSE, len(payload))) + payload


class FrameFollower:
    """Follows one direction of a WebSocket from its first frame on. Nothing of the payload is kept or copied."""

    __slots__ = ("_beginning", "_left", "closing")

    def __init__(self) -> None:
        self._left = 0
        self._beginning = b""
        self.closing = False
        """Whether a close frame has begun: nothing may follow it (RFC 6455 section 5.5.1)."""

    @property
    def at_boundary(self) -> bool:
        """Whether the last frame is whole, so that another may begin."""
        return not self._left and not self._beginning

    def follow(self, data: bytes) -> None:
        """Take note of ``data``, the next bytes in this direction."""
        size = len(data)
        if self._left >= size:
            self._left -= size
            return
        at = self._join(data) if self._beginning else self._left
        while at < size:
            if data[at] & _OPCODE == _CLOSE:
                self.closing = True
            length = _frame_length(data, at)
            if not length:
                self._beginning = data[at:]
                self._left = 0
                return
            at += length
        self._left = at - size

    def finish(self, data: bytes) -> int | None:
        """Follow ``data`` up to the end of the frame in progress.

        Returns how many of its bytes belong to that frame; None when all do and the frame goes on.
        """
        left = self._join(data) if self._beginning else self._left
        size = len(data)
        if self._beginning or left > size:
            self._left = left - size
            return None
        self._left = 0
        return left

    def _join(self, data: bytes) -> int:
        """Where in ``data`` the frame ends whose header began before; its end when not even the header does."""
        known = len(self._beginning)
        header = self._beginning + data[:_LONGEST_KNOWN_LENGTH]
        length = _frame_length(header, 0)
        if not length:
            self._beginning = header
            return len(data)
        self._beginning = b""
        return length - known


def _frame_length(data: bytes, at: int) -> int:
    """Bytes of the frame that begins at ``at``, header included; 0 while too little of its header is there."""
    there = len(data) - at
    if there < 2:  # noqa: PLR2004 - the shortest header
        return 0
    second = data[at + 1]
    length = second & _LENGTH
    header = 6 if second & _MASKED else 2
    if length < _IN_TWO_BYTES:
        return header + length
    extended = 2 if length == _IN_TWO_BYTES else 8
    if there < 2 + extended:
        return 0
    return header + extended + int.from_bytes(data[at + 2 : at + 2 + extended], "big")
