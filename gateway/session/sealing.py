"""Sealed bytes: whoever holds no key can neither read them, change them, nor use them for another purpose or under another name.

Answers CK-01, CK-02, CK-19, CK-26 and RD-19. AES-256-GCM; key and nonce of each message are derived from the key, the purpose and a
random salt of 16 bytes (one block of HMAC-SHA-512), so no key meets the limit of random GCM nonces (NIST SP 800-38D section 8.3). Header,
purpose and what the message is bound to are associated data, each with its length, so no two lists of names read alike.

::

    keyring:    version (1) | key id (4) | salt (16) | ciphertext | tag (16)    as base64url without padding
    data key:   version (1) | salt (16) | ciphertext | tag (16)                 as bytes
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.oidc import base64url

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KEY_BYTES: Final = 32
SALT_BYTES: Final = 16
TAG_BYTES: Final = 16
ID_BYTES: Final = 4
KEYRING_VERSION: Final = b"\x01"
DATA_KEY_VERSION: Final = b"\x41"
_HEAD_TEXT: Final = 8
"""Characters that hold the version and the key's id (and one byte more, so that they are base64url by themselves)."""
MAX_SEALED: Final = 4096
"""Characters: no longer sealed text is looked at. A cookie is no longer (RFC 6265bis section 5.6)."""


class Purpose(Enum):
    """What sealed bytes are for; bytes of one purpose never open as another."""

    SESSION_COOKIE = "session-cookie"
    LOGIN_COOKIE = "login-cookie"
    IDENTITY = "identity"
    TOKENS = "tokens"
    LOGOUT_STATE = "logout-state"
    CARD = "card"


BoundTo = str | tuple[str, ...]
"""The names that a message belongs to (a store key; a cookie's name and origin): it opens under the same names alone."""


@dataclass(frozen=True, slots=True)
class _ServerKey:
    id: bytes
    secret: bytes = field(repr=False)
    naming: bytes = field(repr=False)


class Keyring:
    """The server's keys, newest first: the first seals, all open. Key ids are hashes, so a list needs no numbering by hand."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Take 32-byte keys, newest first; ``ValueError`` for none, for other lengths and for one key twice."""
        self._keys = _server_keys(keys)
        self._on_removed: list[Callable[[], None]] = []
        self.has_older = len(self._keys) > 1
        """Whether something may come that an older key sealed; read by others, set here alone."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Eight hexadecimal digits of each key, in the order of the keys. They tell nothing of the keys."""
        return tuple(key.id.hex() for key in self._keys)

    def replace(self, keys: Sequence[bytes]) -> None:
        """Use these keys from now on, at once; ``ValueError`` as in the constructor, with the old keys kept."""
        before, self._keys = self._keys, _server_keys(keys)
        self.has_older = len(self._keys) > 1
        if set(before) - set(self._keys):
            for told in self._on_removed:
                told()

    def on_removed(self, told: Callable[[], None]) -> None:
        """Have ``told`` called when a key was taken away: what it sealed opens no more."""
        self._on_removed.append(told)

    def is_newest(self, sealed: bytes) -> bool:
        """Whether this names the key that seals now. It says nothing about whether it opens."""
        try:
            return base64url.decode(sealed[:_HEAD_TEXT].decode("ascii"))[1 : 1 + ID_BYTES] == self._keys[0].id
        except ValueError:
            return False

    def seal(self, purpose: Purpose, plaintext: bytes, *, bound_to: BoundTo) -> str:
        """Base64url text (no padding) of 37 bytes more than ``plaintext``, sealed under the newest key."""
        key = self._keys[0]
        return base64url.encode(_seal(key.secret, KEYRING_VERSION + key.id, purpose, plaintext, bound_to))

    def open(self, purpose: Purpose, sealed: str | bytes, *, bound_to: BoundTo) -> bytes | None:
        """The plaintext, or None for whatever else: too long, not canonical, unknown key, changed, of another purpose or name."""
        if len(sealed) > MAX_SEALED:
            return None
        blob = _bytes(sealed)
        if blob is None or blob[:1] != KEYRING_VERSION:
            return None
        head = 1 + ID_BYTES
        for key in self._keys:
            if key.id == blob[1:head]:
                plaintext = _open(key.secret, head, purpose, blob, bound_to)
                if plaintext is not None:
                    return plaintext
        return None

    def names(self, kind: str, *parts: str) -> tuple[str, ...]:
        """What a set of this kind about these parts is called in the store, under each key, newest first: 43 characters base64url each.

        HMAC-SHA-256 under a key that is derived for this alone (HKDF-Expand, RFC 5869 section 2.3: one block). Without the server's keys
        nobody can tell whom a name is about, nor try out people one by one.
        """
        about = _delimited(kind.encode(), *(part.encode("utf-8", "surrogatepass") for part in parts))
        return tuple(base64url.encode(hmac.digest(key.naming, about, "sha256")) for key in self._keys)


def seal_with(data_key: bytes, purpose: Purpose, plaintext: bytes, *, bound_to: BoundTo) -> bytes:
    """Seal a value of the store under its session's own data key (32 bytes): 33 bytes more than ``plaintext``."""
    return _seal(data_key, DATA_KEY_VERSION, purpose, plaintext, bound_to)


def open_with(data_key: bytes, purpose: Purpose, sealed: bytes, *, bound_to: BoundTo) -> bytes | None:
    """What ``seal_with`` sealed, or None for whatever else. The caller bounds the length (``MAX_VALUE``)."""
    if sealed[:1] != DATA_KEY_VERSION:
        return None
    return _open(data_key, 1, purpose, sealed, bound_to)


def _server_keys(keys: Sequence[bytes]) -> tuple[_ServerKey, ...]:
    if not keys:
        raise ValueError("at least one session key is needed")
    if any(len(key) != KEY_BYTES for key in keys):
        raise ValueError("every session key is 32 bytes")
    if len(set(keys)) != len(keys):
        raise ValueError("a session key is listed twice")
    return tuple(_server_key(bytes(key)) for key in keys)


def _server_key(key: bytes) -> _ServerKey:
    return _ServerKey(
        id=hashlib.sha256(b"gateway session key id\0" + key).digest()[:ID_BYTES],
        secret=key,
        naming=hmac.digest(key, b"gateway index names\x01", "sha256"),
    )


def _seal(key: bytes, head: bytes, purpose: Purpose, plaintext: bytes, bound_to: BoundTo) -> bytes:
    head += secrets.token_bytes(SALT_BYTES)
    cipher, nonce = _message_key(key, purpose, head[-SALT_BYTES:])
    return head + cipher.encrypt(nonce, plaintext, _associated(head, purpose, bound_to))


def _open(key: bytes, salt_at: int, purpose: Purpose, blob: bytes, bound_to: BoundTo) -> bytes | None:
    body_at = salt_at + SALT_BYTES
    if len(blob) < body_at + TAG_BYTES:
        return None
    cipher, nonce = _message_key(key, purpose, blob[salt_at:body_at])
    try:
        return cipher.decrypt(nonce, blob[body_at:], _associated(blob[:body_at], purpose, bound_to))
    except InvalidTag:
        return None


def _message_key(key: bytes, purpose: Purpose, salt: bytes) -> tuple[AESGCM, bytes]:
    block = hmac.digest(key, _delimited(b"gateway message key", purpose.value.encode(), salt), "sha512")
    return AESGCM(block[:KEY_BYTES]), block[KEY_BYTES : KEY_BYTES + 12]


def _associated(head: bytes, purpose: Purpose, bound_to: BoundTo) -> bytes:
    names = (bound_to,) if isinstance(bound_to, str) else bound_to
    return _delimited(head, purpose.value.encode(), *(name.encode("utf-8", "surrogatepass") for name in names))


def _delimited(*parts: bytes) -> bytes:
    return len(parts).to_bytes(4, "big") + b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _bytes(sealed: str | bytes) -> bytes | None:
    """The bytes behind sealed text, which has one spelling: two texts are never one message."""
    try:
        return base64url.decode(sealed if isinstance(sealed, str) else sealed.decode("ascii"))
    except ValueError:
        return None
