"""The map of the house.

A request enters at ``server`` (the listener and the one entry), is judged by ``access``, belongs to somebody by ``session``, and goes
upstream through ``proxy``. Signing in follows the standards in ``oidc``. Operators write YAML that
``config`` reads, and start it by ``cli``.

=============  ======================================================================================================================
room           what lives there
=============  ======================================================================================================================
``cli``        a command a file: serve, check, schema, demo
``demo``       the demo's provider and app; only ``cli/demo`` imports it
``server``     aiohttp: the listener, the one entry, an endpoint a file, pages; answers callers
``config``     what an operator may write (schema), reading it (loading), turning it into what the rooms take (compiling)
``proxy``      the data plane: header hygiene, upstream connections, relaying bodies, upgraded tunnels; moves bytes
``session``    the record, the login in flight, sealing, lifecycle; ``session/store`` alone talks to Redis or memory
``access``     our rules: canonical target, routes, identity headers, return URLs, the decision; nothing here waits
``oidc``       the standards' rules, a file a step; ``client`` alone sends, ``provider`` alone keeps metadata and keys fresh
``telemetry``  logs (leaf)
``identity``   who somebody is (leaf)
``errors``     the error tree (leaf)
=============  ======================================================================================================================

Imports go one way, checked by import-linter: ``cli -> server -> config -> proxy | session | access -> oidc -> errors``.
A line knows its room: quotes a specification -> ``oidc``; decides without waiting -> ``access``; knows what a session is -> ``session``;
moves bytes -> ``proxy``; answers a caller -> ``server``; reads what an operator wrote -> ``config``.
"""

__version__ = "0.1.0"
