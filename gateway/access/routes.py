"""One route takes a request, the same one in every reading of its path, or none does.

Answers rules that one spelling of a path slips past (``/public%2f..``, ``/admin;x``, ``/api/private%23/status``): a match is made on the
bytes that go upstream, by prefix on segment borders, and is void when another plausible reading of them belongs to another route. There
is no match by suffix, regular expression, query or header: those are the rules that the field's advisories are about.

Which route is the one: the longest path that takes the request; among equally long ones that for the request's host before that for every
host. A route without a host is one for *every* host, beside a host's own routes and not behind them: a short ``path: /`` of one host does
not switch off what is written for all. So a public path without a host is public on all hosts; a host that must not have it says so with
a route of its own for that path.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from gateway.errors import RouteMissing, TargetRefused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.access.target import Target

_ROUTE_PATH = re.compile(r"/(?:(?!\.{1,2}(?:/|\Z))[A-Za-z0-9\-._~!$&'()*+,=:@]++(?:/|\Z))*")


class Access(Enum):
    """Who may pass a route."""

    PUBLIC = "public"
    OPTIONAL = "optional"
    SIGNED_IN = "signed_in"


@dataclass(frozen=True, slots=True)
class Route:
    """One entry of ``routes:``.

    ``path`` is plain ASCII without escapes; ``/public/`` takes what lies below it, ``/healthz`` itself and what lies below it. ``hosts``
    are authorities as in ``Origin.authority``, None for every host. ``identity`` pairs a header name with its source: a claim's name,
    ``token:access`` or ``token:id``. ``strip_prefix`` and ``add_prefix`` are what ``rewriting`` does to the path
    that the app sees.
    """

    index: int
    path: str
    hosts: frozenset[str] | None
    access: Access
    identity: tuple[tuple[str, str], ...] = ()
    strip_prefix: bool = False
    add_prefix: str = ""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A route with its two comparisons prepared."""

    path: str
    below: str
    route: Route


class Routes:
    """All routes, ready to match."""

    def __init__(self, routes: Sequence[Route]) -> None:
        """Raises ValueError in plain words for a path that cannot be matched in one way, and for two routes that take the same requests."""
        self._routes = tuple(routes)
        _refuse_faults(self._routes)
        hosts = {host for route in self._routes for host in route.hosts or ()}
        self._for_any_host = self._entries_for(None)
        self._by_host = {host: self._entries_for(host) for host in hosts}

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def __len__(self) -> int:
        return len(self._routes)

    def match(self, authority: str, target: Target) -> Route:
        """The route for ``target`` at ``authority`` (as in ``Origin.authority``).

        Raises RouteMissing when no reading of the path has a route, TargetRefused when the readings do not all have the same one.
        """
        entries = self._by_host.get(authority, self._for_any_host)
        chosen = _first(entries, target.path)
        for reading in target.other_readings:
            if _first(entries, reading) is not chosen:
                raise TargetRefused("a path whose readings belong to different routes")
        if chosen is None:
            raise RouteMissing("no route takes this path")
        return chosen

    def _entries_for(self, host: str | None) -> tuple[_Entry, ...]:
        """The routes that can take a request for this host, the deciding one first."""
        candidates = [route for route in self._routes if route.hosts is None or host in route.hosts]
        candidates.sort(key=lambda route: (-len(route.path), route.hosts is None))
        return tuple(_Entry(route.path, route.path.removesuffix("/") + "/", route) for route in candidates)


def _first(entries: tuple[_Entry, ...], path: str) -> Route | None:
    for entry in entries:
        if path.startswith(entry.below) or path == entry.path:
            return entry.route
    return None


def _refuse_faults(routes: tuple[Route, ...]) -> None:
    seen: set[tuple[str, str | None]] = set()
    for route in routes:
        if _ROUTE_PATH.fullmatch(route.path) is None:
            raise ValueError(f"path {route.path!r} must begin with / and hold no escapes, ;, //, blanks or dot segments")
        for host in (None,) if route.hosts is None else route.hosts:
            if (route.path, host) in seen:
                raise ValueError(f"path {route.path!r} is written twice for {'every host' if host is None else host}")
            seen.add((route.path, host))
