"""Whether the caller is a person whose browser can be sent to sign in."""

from __future__ import annotations

from typing import Protocol


class HeaderLookup(Protocol):
    """What ``is_navigation`` asks: lower-case names, one value or None."""

    def get(self, name: str, /) -> str | None:
        """The value of a header."""


def is_navigation(method: str, headers: HeaderLookup) -> bool:
    """Whether a 303 to the provider would reach a person."""
    raise NotImplementedError
