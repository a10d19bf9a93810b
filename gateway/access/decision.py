"""The verdict over a request: pass, with or without an identity, or sign in first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, assert_never

from gateway.access.routes import Access, Route

if TYPE_CHECKING:
    from gateway.identity import Identity


class Allow(NamedTuple):
    """The request may pass, as ``identity`` or as nobody."""

    identity: Identity | None


@dataclass(frozen=True, slots=True)
class SignIn:
    """Nobody is signed in, and the route wants somebody."""


Verdict: TypeAlias = Allow | SignIn

_AS_NOBODY: Final = Allow(None)
_SIGN_IN: Final = SignIn()


def decide(route: Route, identity: Identity | None) -> Verdict:
    """Judge a request by its route and by who is asking (None: nobody)."""
    access = route.access
    if access is Access.PUBLIC:
        return _AS_NOBODY
    if access is Access.OPTIONAL:
        return Allow(identity)
    if access is Access.SIGNED_IN:
        return _SIGN_IN if identity is None else Allow(identity)
    assert_never(access)
