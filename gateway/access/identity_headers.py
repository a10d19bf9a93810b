"""The claims that an app gets, as header values that cannot split."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.identity import Identity


def identity_headers(
    identity: Identity | None, mapping: Sequence[tuple[str, str]], tokens: tuple[str | None, str | None] | None
) -> tuple[tuple[bytes, bytes], ...]:
    """Header lines for a route's ``identity`` mapping; ``tokens`` is (access token, id_token); raises RequestTooLarge."""
    raise NotImplementedError
