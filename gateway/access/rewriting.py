"""The path that an app sees, where that is not the path that was asked for: without the route's own prefix, or below another.

Answers invariant 2: what comes out goes through the one canonicaliser again, so that taking ``/api`` off ``/api//evil.example/`` makes a
refusal and not another path than anybody decided on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.access.target import canonical_target

if TYPE_CHECKING:
    from gateway.access.routes import Route
    from gateway.access.target import Target


def rewritten(target: Target, route: Route) -> Target:
    """The target to send for ``target``, which ``route`` took. Raises TargetRefused when it would not be canonical."""
    raw = target.raw
    if route.strip_prefix:
        rest = raw[len(route.path.removesuffix("/")) :]
        raw = rest if rest.startswith("/") else "/" + rest
    return canonical_target(route.add_prefix + raw)
