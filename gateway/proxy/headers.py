"""Header hygiene (signatures first)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HeaderRules:
    """What never passes between a caller and an application; made once from the configuration."""

    reserved: frozenset[bytes]
    """Folded names (see ``fold``) of every header by which the gateway speaks of identity, on any route."""
    cookie_names: frozenset[bytes]
    """The gateway's session cookies, of every origin, as bytes."""
    cookie_prefixes: tuple[bytes, ...] = ()
    """What the names of its login cookies begin with, of every origin."""


def fold(name: bytes) -> bytes:
    """A header name as the most forgiving application would read it: ASCII letters and digits only, in lower case."""
    return bytes(byte for byte in name.lower() if 48 <= byte <= 57 or 97 <= byte <= 122)  # noqa: PLR2004
