"""base64url without padding, one spelling for each value.

Answers RFC 7515 section 2 and RFC 4648 section 3.5: padding, the other alphabet, white space and stray trailing bits are refused, so that
no token has a second spelling.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

_ALPHABET: Final = re.compile(r"[A-Za-z0-9_-]*\Z")


def encode(data: bytes) -> str:
    """The bytes as base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """The bytes behind a canonical spelling; raises ``ValueError`` for any other spelling."""
    if not _ALPHABET.match(text):
        raise ValueError("not base64url without padding")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise ValueError("not base64url without padding") from None
    if encode(data) != text:
        raise ValueError("base64url with stray trailing bits")
    return data
