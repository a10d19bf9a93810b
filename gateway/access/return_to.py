"""Where a login or a logout may come back to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReturnRules:
    """``origin`` is ours (``Origin.text``), ``allowed`` other origins (``https://*.app.example`` too), ``prefix`` our endpoints'."""

    origin: str
    allowed: tuple[str, ...]
    prefix: str


def return_target(raw: str | None, rules: ReturnRules) -> str:
    """A safe value for ``Location``; never raises."""
    raise NotImplementedError
