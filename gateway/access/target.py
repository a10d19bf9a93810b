"""The request-target is read once, and judged, matched and sent upstream as the same bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """An accepted origin-form target: ``raw`` is ``path`` and, where ``query`` is not None, ``"?" + query``, exactly as sent."""

    raw: str
    path: str
    query: str | None


def canonical_target(raw: str, *, limit: int = 8192) -> Target:
    """Read an origin-form request-target; raises TargetRefused."""
    raise NotImplementedError


def is_own(target: Target, prefix: str) -> bool:
    """Whether the target is one of the gateway's own endpoints; raises TargetRefused when only another reading of it is."""
    raise NotImplementedError
