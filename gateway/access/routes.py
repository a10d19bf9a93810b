"""One route takes a request, the same one in every reading of its path, or none does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from gateway.access.target import Target


class Access(Enum):
    """Who may pass a route."""

    PUBLIC = "public"
    OPTIONAL = "optional"
    SIGNED_IN = "signed_in"


@dataclass(frozen=True, slots=True)
class Route:
    """One entry of ``routes:``.

    ``hosts`` are authorities as in ``Origin.authority``, None for every host. ``identity`` pairs a header name with its source: a claim's
    name, ``token:access`` or ``token:id``. ``host_header`` is ``client`` (the app sees the client's Host) or ``upstream``.
    """

    index: int
    path: str
    hosts: frozenset[str] | None
    access: Access
    identity: tuple[tuple[str, str], ...] = ()
    host_header: str = "client"


class Routes:
    """All routes, ready to match."""

    def __init__(self, routes: Sequence[Route]) -> None:
        raise NotImplementedError

    def __iter__(self):  # noqa: ANN204
        raise NotImplementedError

    def match(self, authority: str, target: Target) -> Route:
        """The route for a target at ``Origin.authority``; raises RouteMissing, TargetRefused."""
        raise NotImplementedError
