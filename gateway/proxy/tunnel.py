"""Bytes both ways after a 101 (signatures first)."""

from __future__ import annotations


class Tunnel:
    """An upgraded connection; ``close`` ends it from outside (a sign-out)."""

    def close(self) -> None:
        """Close both sides; what cannot be flushed in half a second is dropped."""
        raise NotImplementedError
