"""Which upgrades a route lets through, and whether the application really made the one that was asked for (RFC 9110 section 7.8).

Answers WS-17, SM-64 and SM-65: WebSocket has a handshake that proves itself; any other protocol passes only where the operator listed it,
and ``h2c`` nowhere, since requests inside it would be judged by nobody. What is not listed is removed, and the request goes on without.
Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.errors import UpstreamFailed
from gateway.proxy.websocket import Handshake, asks_for_websocket, check_switch, options, read_handshake

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.proxy.answer import AnswerHead

WEBSOCKET: Final = b"websocket"
_PROTOCOL: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}(?:/[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64})?")
_JUDGED_BY_NOBODY: Final = ("h2c", "h2", "http", "tls")
"""Protocols that carry requests of their own: whatever is asked inside passes no rule of ours."""


@dataclass(frozen=True, slots=True)
class TunnelRules:
    """What a route lets become a tunnel: protocols in lower case, and the seconds that a tunnel may stand idle."""

    upgrades: frozenset[bytes] = frozenset({WEBSOCKET})
    idle: float = 3600.0


@dataclass(frozen=True, slots=True)
class Upgrade:
    """An upgrade that is to be asked for. ``handshake`` is WebSocket's own proof, None for any other protocol."""

    protocol: bytes
    handshake: Handshake | None = None

    @property
    def supported(self) -> bool:
        """Whether the caller speaks a version of it that there is."""
        return self.handshake is None or self.handshake.supported


def check_protocol(written: str) -> str:
    """A protocol that an operator lists, in lower case. Raises ValueError in plain words."""
    protocol = written.lower()
    if not _PROTOCOL.fullmatch(protocol):
        raise ValueError("not the name of a protocol; write it as in an Upgrade header, such as websocket")
    if protocol.partition("/")[0] in _JUDGED_BY_NOBODY:
        raise ValueError("carries requests that no route would judge; it cannot be let through")
    return protocol


def read_upgrade(method: str, headers: Sequence[tuple[bytes, bytes]], rules: TunnelRules, *, http10: bool) -> Upgrade | None:
    """The upgrade that a request asks for and ``rules`` let through; None for a plain request, which it then becomes.

    Raises HeadersRefused for a WebSocket's handshake that is not as RFC 6455 section 4.2.1 has it.
    """
    if WEBSOCKET in rules.upgrades:
        handshake = read_handshake(method, headers, http10=http10)
        if handshake is not None:
            return Upgrade(WEBSOCKET, handshake)
    if http10 or asks_for_websocket(headers):
        return None
    asked = [value.strip(b" \t").lower() for name, value in headers if name.lower() == b"upgrade"]
    # One protocol, in a request without a body: then what follows the 101 is the protocol's, and nothing else can be meant.
    plain = len(asked) == 1 and asked[0] in rules.upgrades and b"upgrade" in options(headers, b"connection")
    return Upgrade(asked[0]) if plain and not _has_body(headers) else None


def check_switched(upgrade: Upgrade, answer: AnswerHead) -> None:
    """Hold a 101 to what was asked for. Raises UpstreamFailed."""
    if upgrade.handshake is not None:
        check_switch(upgrade.handshake, answer)
        return
    made = [value.lower() for name, value in answer.headers if name.lower() == b"upgrade"]
    if made != [upgrade.protocol] or b"upgrade" not in options(answer.headers, b"connection"):
        raise UpstreamFailed("the upstream's 101 does not switch to what was asked for")
    if answer.chunked or answer.length:
        raise UpstreamFailed("the upstream's 101 announces a body")


def _has_body(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    return any(
        name.lower() == b"transfer-encoding" or (name.lower() == b"content-length" and value.strip(b" \t0")) for name, value in headers
    )
