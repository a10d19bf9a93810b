"""As much of RFC 6455 as an echo needs: the handshake's answer, and whole frames out of bytes."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

BINARY = 2
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SHORT, _LONG = 126, 127


def accept_value(key: bytes) -> bytes:
    """``Sec-WebSocket-Accept`` for a ``Sec-WebSocket-Key`` (section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def accepted(key: bytes) -> bytes:
    """The 101 answer."""
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + accept_value(key)
        + b"\r\n\r\n"
    )


def frame(opcode: int, payload: bytes, mask: bytes | None = None) -> bytes:
    """One final frame of at most 65,535 bytes, masked when a client sends it."""
    flag = 0x80 if mask else 0
    length = len(payload)
    head = bytes((0x80 | opcode, flag | length)) if length < _SHORT else bytes((0x80 | opcode, flag | _SHORT)) + length.to_bytes(2)
    return head + mask + _masked(payload, mask) if mask else head + payload


class Frames:
    """Whole frames out of bytes that arrive in any pieces."""

    def __init__(self) -> None:
        self._waiting = b""

    def read(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Opcode and unmasked payload of every frame that is whole now."""
        data = self._waiting + data
        while len(data) >= 2:
            length, start = data[1] & 0x7F, 2
            if length == _SHORT:
                length, start = int.from_bytes(data[2:4]), 4
            elif length == _LONG:
                length, start = int.from_bytes(data[2:10]), 10
            mask = data[start : start + 4] if data[1] & 0x80 else b""
            start += len(mask)
            if len(data) < start + length or (data[1] & 0x80 and len(mask) < 4):
                break
            payload = data[start : start + length]
            yield data[0] & 0x0F, _masked(payload, mask) if mask else payload
            data = data[start + length :]
        self._waiting = data


def _masked(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    whole = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(whole)).to_bytes(size)
