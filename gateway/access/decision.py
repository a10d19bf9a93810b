"""The verdict over a request: pass, with or without an identity, or sign in first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, assert_never

from gateway.access.routes import Access, Route

if TYPE_CHECKING:
    from gateway.identity import Identity


@dataclass(frozen=True, slots=True)
class Allow:
    """The request may pass, as ``identity`` or as nobody."""

    identity: Identity | None


@dataclass(frozen=True, slots=True)
class SignIn:
    """Nobody is signed in, and the route wants somebody."""


Verdict: TypeAlias = Allow | SignIn


def decide(route: Route, identity: Identity | None) -> Verdict:
    """Judge a request by its route and by who is asking (None: nobody)."""
    match route.access:
        case Access.PUBLIC:
            return Allow(None)
        case Access.OPTIONAL:
            return Allow(identity)
        case Access.SIGNED_IN:
            return SignIn() if identity is None else Allow(identity)
        case _:
            assert_never(route.access)
