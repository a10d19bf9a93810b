"""Whether a server's replicas have to know of a deletion before it counts, by what the server says of itself (INFO replication).

Answers invariant 7: a failover brings back what no replica knew to be gone. Where a server has replicas in step, one has to know. Where it
has lost its last, which it remembers for an hour (by the backlog that it keeps for one that comes back), it may have been cut off while
another takes its place; so nothing counts for a minute from when that is first seen. Then it counts as alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

ORPHANED: Final = 60.0
"""Seconds; Redis itself takes as long to give up a replica that fell silent."""

_REPLICA: Final = re.compile(r"slave[0-9]+")


class Replication:
    """One answer to INFO replication, as redis-py reads it."""

    __slots__ = ("has_replica", "history", "keeps_backlog")

    def __init__(self, said: Mapping[str, object]) -> None:
        self.history = str(said.get("master_replid", ""))
        """Names what this server has written; another that takes its place begins a history of its own."""
        self.has_replica = any(
            isinstance(value, Mapping) and value.get("state") == "online" for name, value in said.items() if _REPLICA.fullmatch(name)
        )
        self.keeps_backlog = said.get("repl_backlog_active") == 1


class Replicas:
    """What is remembered of servers that have lost their replicas."""

    def __init__(self) -> None:
        self._orphaned: dict[str, float] = {}

    def are_awaited(self, told: Replication, *, now: float) -> bool:
        """Whether a replica has to know. ``now`` is in seconds of a clock that nobody sets."""
        if told.has_replica or not told.keeps_backlog:
            self._orphaned.pop(told.history, None)
            return told.has_replica
        return now < self._orphaned.setdefault(told.history, now) + ORPHANED
