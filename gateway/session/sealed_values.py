"""A session's two values as the store keeps them: sealed under its own data key, bound to its key in the store, and never too large.

Answers invariants 11 and 14. Whatever cannot be opened and read back is no session and no tokens, with an error in the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import IdTokenRefused, ProviderFailed
from gateway.session.record import session_from_bytes, session_to_bytes
from gateway.session.sealing import Purpose, open_with, seal_with
from gateway.session.store.protocol import MAX_VALUE
from gateway.session.token_record import tokens_from_bytes, tokens_to_bytes
from gateway.telemetry import logs

if TYPE_CHECKING:
    from gateway.oidc.token_response import Tokens
    from gateway.session.handle import Handle
    from gateway.session.record import Session

log = logs.get("session")


def seal_session(handle: Handle, session: Session) -> bytes:
    """The record; ``IdTokenRefused`` where the claims make it larger than the store takes."""
    record = seal_with(handle.data_key, Purpose.IDENTITY, session_to_bytes(session), bound_to=handle.key)
    if len(record) > MAX_VALUE:
        raise IdTokenRefused(f"the session's record would be {len(record)} bytes, more than {MAX_VALUE}")
    return record


def seal_tokens(handle: Handle, tokens: Tokens) -> bytes:
    """The tokens; ``ProviderFailed`` where they are larger than the store takes."""
    sealed = seal_with(handle.data_key, Purpose.TOKENS, tokens_to_bytes(tokens), bound_to=handle.key)
    if len(sealed) > MAX_VALUE:
        raise ProviderFailed(f"the provider's tokens are {len(sealed)} bytes, more than {MAX_VALUE}")
    return sealed


def open_session(handle: Handle, sealed: bytes) -> Session | None:
    """What ``seal_session`` sealed, or None."""
    plaintext = open_with(handle.data_key, Purpose.IDENTITY, sealed, bound_to=handle.key)
    session = None if plaintext is None else session_from_bytes(plaintext)
    if session is None:
        log.error("session.damaged", key=handle.key, fault="the stored record is not what was sealed under this key")
    return session


def open_tokens(handle: Handle, sealed: bytes | None) -> Tokens | None:
    """What ``seal_tokens`` sealed, or None."""
    if sealed is None:
        return None
    plaintext = open_with(handle.data_key, Purpose.TOKENS, sealed, bound_to=handle.key)
    tokens = None if plaintext is None else tokens_from_bytes(plaintext)
    if tokens is None:
        log.error("session.damaged", key=handle.key, fault="the stored grant is not what was sealed under this key")
    return tokens
