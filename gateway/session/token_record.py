"""The tokens of a session as bytes, apart from its record: large, and read by the few who need them.

Answers invariant 11: these bytes are only ever sealed, and a value that cannot be read back is no tokens, never a crash.
"""

from __future__ import annotations

from typing import Final

from gateway.oidc.token_response import Tokens
from gateway.session.stored_json import read_stored, write_stored

_VERSION: Final = 1


def tokens_to_bytes(tokens: Tokens) -> bytes:
    """Compact JSON; ``tokens_from_bytes`` gives the equal value back."""
    return write_stored(
        {
            "v": _VERSION,
            "access_token": tokens.access_token,
            "token_type": tokens.token_type,
            "expires_at": tokens.expires_at,
            "refresh_token": tokens.refresh_token,
            "id_token": tokens.id_token,
            "scope": tokens.scope,
        }
    )


def tokens_from_bytes(data: bytes) -> Tokens | None:
    """The tokens that these bytes are; None for whatever ``tokens_to_bytes`` of this version did not write."""
    match read_stored(data):
        case {
            "v": 1,
            "access_token": str(access_token),
            "token_type": str(token_type),
            "expires_at": None | int() | float() as expires_at,
            "refresh_token": None | str() as refresh_token,
            "id_token": str(id_token),
            "scope": None | str() as scope,
        }:
            return Tokens(
                access_token=access_token,
                token_type=token_type,
                expires_at=expires_at,
                refresh_token=refresh_token,
                id_token=id_token,
                scope=scope,
            )
    return None
