"""The bearer token of the session API, as long as there is one; a reload may bring another.

Answers LK-08: tokens are compared as hashes, in a time that tells nothing of where they differ or how long they are.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.oidc.registration import Secret

_BEARER: Final = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([!-~]{1,4096})")
"""RFC 6750 section 2.1, with every character that a token of ours may have."""


class AdminToken:
    """Holds the one token, or none: then nobody is let in."""

    def __init__(self, token: Secret | None) -> None:
        self._hash: bytes | None = None
        self.replace(token)

    @property
    def is_set(self) -> bool:
        """Whether there is a token at all."""
        return self._hash is not None

    def replace(self, token: Secret | None) -> None:
        """Take this one from now on, and no other."""
        self._hash = None if token is None else _hashed(token.reveal().encode())

    def admits(self, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        """Whether these raw headers carry the token, in one Authorization line."""
        lines = [value for name, value in headers if name.lower() == b"authorization"]
        sent = _BEARER.fullmatch(lines[0]) if len(lines) == 1 else None
        if sent is None or self._hash is None:
            return False
        return hmac.compare_digest(_hashed(sent[1]), self._hash)


def _hashed(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
