"""The opening handshake of RFC 6455, checked on both sides before a byte is tunnelled.

Answers the hostile cases WS-04 to WS-07 and SM-62: a tunnel opens only for a complete request and only after an answer that proves the
application understood it; anything else stays HTTP. Pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import HeadersRefused, UpstreamFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.proxy.answer import AnswerHead

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES = 16
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ONCE = (b"sec-websocket-key", b"sec-websocket-version", b"upgrade", b"host", b"origin")

UPGRADE_REQUIRED = (
    b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n"
    b"Sec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n"
)
"""The whole answer to a handshake of another version (RFC 6455 section 4.4)."""


@dataclass(frozen=True, slots=True)
class Handshake:
    """A complete opening handshake: what the application's answer is held to."""

    key: bytes
    version: bytes
    protocols: frozenset[bytes]
    extensions: frozenset[bytes]

    @property
    def supported(self) -> bool:
        """Whether it is of version 13, the only one there is."""
        return self.version == b"13"

    @property
    def accept(self) -> bytes:
        """The Sec-WebSocket-Accept that proves that the application read the key (RFC 6455 section 4.2.2)."""
        return base64.b64encode(hashlib.sha1(self.key + _GUID, usedforsecurity=False).digest())


def asks_for_websocket(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether any Upgrade header speaks of WebSocket, in whatever form: then the Origin has to be checked."""
    return any(name.lower() == b"upgrade" and b"websocket" in value.lower() for name, value in headers)


def read_handshake(method: str, headers: Sequence[tuple[bytes, bytes]], *, http10: bool) -> Handshake | None:
    """The handshake that a request makes; None when it asks for no WebSocket (or speaks HTTP/1.0, where Upgrade means nothing).

    Raises HeadersRefused when it asks for one but not as RFC 6455 section 4.2.1 has it. The version is the caller's to check.
    """
    if http10 or not asks_for_websocket(headers):
        return None
    values = _by_name(headers)
    if method != "GET" or _single(values, b"upgrade").lower() != b"websocket" or b"upgrade" not in options(headers, b"connection"):
        raise HeadersRefused("a WebSocket handshake needs GET, Upgrade: websocket and Connection: upgrade")
    if b"content-length" in values or b"transfer-encoding" in values:
        raise HeadersRefused("a WebSocket handshake has no body")
    if any(len(values.get(name, ())) > 1 for name in _ONCE):
        raise HeadersRefused("a header of the WebSocket handshake stands there twice")
    key = _single(values, b"sec-websocket-key")
    if not _is_key(key):
        raise HeadersRefused("Sec-WebSocket-Key is not the base64 of 16 bytes")
    protocols = _listed(values, b"sec-websocket-protocol")
    if not all(_TOKEN.fullmatch(protocol) for protocol in protocols):
        raise HeadersRefused("Sec-WebSocket-Protocol is not a list of tokens")
    return Handshake(key, _single(values, b"sec-websocket-version"), frozenset(protocols), _extension_names(values))


def check_switch(handshake: Handshake, answer: AnswerHead) -> None:
    """Hold a 101 to its handshake (RFC 6455 section 4.1, client requirements). Raises UpstreamFailed."""
    values = _by_name(answer.headers)
    if _single(values, b"upgrade").lower() != b"websocket" or b"upgrade" not in options(answer.headers, b"connection"):
        raise UpstreamFailed("the upstream's 101 does not switch to websocket")
    if _single(values, b"sec-websocket-accept") != handshake.accept:
        raise UpstreamFailed("the upstream's 101 does not prove that it read the handshake")
    if answer.chunked or answer.length:
        raise UpstreamFailed("the upstream's 101 announces a body")
    if b"sec-websocket-protocol" in values and _single(values, b"sec-websocket-protocol") not in handshake.protocols:
        raise UpstreamFailed("the upstream chose a subprotocol that was not offered")
    if not _extension_names(values) <= handshake.extensions:
        raise UpstreamFailed("the upstream chose an extension that was not offered")


def options(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> frozenset[bytes]:
    """The members of all headers called ``name`` (in lower case), in lower case: a list without parameters (RFC 9110 section 5.6.1)."""
    return frozenset(option.strip(b" \t").lower() for key, value in headers if key.lower() == name for option in value.split(b","))


def _is_key(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def _by_name(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, list[bytes]]:
    values: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        values.setdefault(name.lower(), []).append(value)
    return values


def _single(values: dict[bytes, list[bytes]], name: bytes) -> bytes:
    """The one value of a header; empty when there is none, or when there are several."""
    found = values.get(name, [])
    return found[0] if len(found) == 1 else b""


def _listed(values: dict[bytes, list[bytes]], name: bytes) -> list[bytes]:
    return [item.strip(b" \t") for value in values.get(name, []) for item in value.split(b",")]


def _extension_names(values: dict[bytes, list[bytes]]) -> frozenset[bytes]:
    names = (item.partition(b";")[0].strip(b" \t").lower() for item in _listed(values, b"sec-websocket-extensions"))
    return frozenset(name for name in names if name)
