"""The session cookie: the session's id and the key of its values, both sealed, so that cookie and store open nothing without each other.

Answers CK-25, RD-19 and invariant 11: 32 random bytes of id, of which the store knows a hash alone; 32 random bytes of data key, which the
store never sees.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.oidc import base64url
from gateway.session.cookies import cookie_values
from gateway.session.sealing import KEY_BYTES, Purpose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.session.cookies import CookieNames
    from gateway.session.sealing import Keyring

ID_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Handle:
    """What a cookie opens: the session's key in the store (a hash of its id) and the key of its values."""

    key: str
    data_key: bytes = field(repr=False)


def new_handle(keyring: Keyring, names: CookieNames, randomness: Callable[[int], bytes]) -> tuple[str, Handle]:
    """A new session's cookie value (135 characters) and handle."""
    session_id, data_key = randomness(ID_BYTES), randomness(KEY_BYTES)
    cookie = keyring.seal(Purpose.SESSION_COOKIE, session_id + data_key, bound_to=names.binding(names.session))
    return cookie, Handle(key=store_key(session_id), data_key=data_key)


def open_handle(keyring: Keyring, cookie: bytes, names: CookieNames) -> Handle | None:
    """What this cookie value opens; None for whatever this gateway did not seal for this name and origin."""
    plaintext = _opened(keyring, cookie, names)
    return None if plaintext is None else Handle(key=store_key(plaintext[:ID_BYTES]), data_key=plaintext[ID_BYTES:])


def sealed_anew(keyring: Keyring, cookie_headers: Iterable[bytes], names: CookieNames, handle: Handle) -> str | None:
    """The cookie of this session under the newest key, where the one in these raw Cookie lines is under an older; None where it is not.

    It opens to the same id and data key, so nothing changes in the store and both are good. Raises as ``cookie_values``.
    """
    values = set(cookie_values(cookie_headers, names.session.encode()))
    if len(values) == 1 and keyring.is_newest(next(iter(values))):
        return None
    same: bytes | None = None
    for value in values:
        plaintext = _opened(keyring, value, names)
        if plaintext is not None and store_key(plaintext[:ID_BYTES]) == handle.key:
            if keyring.is_newest(value):
                return None
            same = plaintext
    return None if same is None else keyring.seal(Purpose.SESSION_COOKIE, same, bound_to=names.binding(names.session))


def _opened(keyring: Keyring, cookie: bytes, names: CookieNames) -> bytes | None:
    plaintext = keyring.open(Purpose.SESSION_COOKIE, cookie, bound_to=names.binding(names.session))
    return plaintext if plaintext is not None and len(plaintext) == ID_BYTES + KEY_BYTES else None


def store_key(session_id: bytes) -> str:
    """43 characters base64url of a hash: what the store, the log and a login cookie may know of a session's id."""
    return hashed(b"gateway session id", session_id)


def hashed(label: bytes, value: bytes) -> str:
    """A hash of a random value that no other label gives, as 43 characters base64url."""
    return base64url.encode(hashlib.sha256(label + b"\0" + value).digest())
