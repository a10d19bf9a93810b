"""The identity block of a session, rendered once and kept with the session's copy, for whoever sends it at every request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.access.identity_headers import identity_headers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.session.sessions import Found

MOST_BLOCKS: Final = 16
"""Blocks kept with one session: further routes render theirs each time."""


def rendered_identity(found: Found, number: int, mapping: Sequence[tuple[str, str]]) -> tuple[tuple[bytes, bytes], ...]:
    """Header lines for a mapping without tokens, as ``identity_headers``. ``number`` is the mapping's own, for as long as we run."""
    block = found.rendered.get(number)
    if block is None:
        block = identity_headers(found.session.identity, mapping, None)
        if len(found.rendered) < MOST_BLOCKS:
            found.rendered[number] = block
    return block
