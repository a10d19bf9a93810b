"""What was measured, its medians, and the JSON that holds all of it."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Measurement:
    """One scenario on one peer, once. Seconds and bytes; latencies in milliseconds.

    ``cpu`` is that of all processes of the peer, ``redis_cpu`` what Redis spent meanwhile; ``moved`` are bytes of bodies; ``held`` is
    memory that ``connections`` idle ones added; ``turn`` is the round, whose figures are compared with each other.
    """

    peer: str
    scenario: str
    cpu: float
    seconds: float
    requests: float = 0.0
    moved: int = 0
    p50: float | None = None
    p99: float | None = None
    memory: int = 0
    connections: int = 0
    held: int = 0
    redis_cpu: float = 0.0
    turn: int = 0

    @property
    def megabytes_per_cpu_second(self) -> float | None:
        """MB of bodies a CPU-second."""
        return self.moved / 1e6 / self.cpu if self.moved and self.cpu else None

    @property
    def cpu_us(self) -> float | None:
        """CPU microseconds a request."""
        return self.cpu / self.requests * 1e6 if self.requests else None

    @property
    def held_kib(self) -> float | None:
        """KiB that a connection added."""
        return self.held / self.connections / 1024 if self.connections else None


@dataclass(frozen=True, slots=True)
class Row:
    """The medians of one peer in one scenario.

    ``lowest`` is the least CPU time a request of all rounds, ``spread`` (highest - lowest) / median of it.
    """

    peer: str
    scenario: str
    repeats: int
    cpu_us: float | None
    lowest: float | None
    per_cpu_second: float | None
    p50: float | None
    p99: float | None
    megabytes_per_cpu_second: float | None
    memory: float
    held_kib: float | None
    redis_us: float | None
    spread: float | None


def medians(measurements: Iterable[Measurement]) -> list[Row]:
    """A row for each peer and scenario, in the order in which they first occur."""
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for one in measurements:
        groups.setdefault((one.scenario, one.peer), []).append(one)
    return [_row(group) for group in groups.values()]


def _row(group: Sequence[Measurement]) -> Row:
    cpu_us = [one.cpu_us for one in group if one.cpu_us is not None]
    middle = _median(cpu_us)
    moved = [speed for one in group if (speed := one.megabytes_per_cpu_second) is not None]
    return Row(
        peer=group[0].peer,
        scenario=group[0].scenario,
        repeats=len(group),
        cpu_us=middle,
        lowest=min(cpu_us, default=None),
        per_cpu_second=1e6 / middle if middle else None,
        p50=_median([one.p50 for one in group if one.p50 is not None]),
        p99=_median([one.p99 for one in group if one.p99 is not None]),
        megabytes_per_cpu_second=_median(moved),
        memory=statistics.median(one.memory for one in group),
        held_kib=_median([one.held_kib for one in group if one.held_kib is not None]),
        redis_us=_median([one.redis_cpu / one.requests * 1e6 for one in group if one.requests]),
        spread=(max(cpu_us) - min(cpu_us)) / middle if middle else None,
    )


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


@dataclass(slots=True)
class Report:
    """A whole run: ``installed`` by peer, ``missing`` by peer with the reason, ``failed`` scenarios with theirs."""

    machine: Mapping[str, str]
    installed: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Everything, medians included."""
        return {
            "machine": dict(self.machine),
            "installed": self.installed,
            "missing": self.missing,
            "failed": self.failed,
            "medians": [asdict(row) for row in medians(self.measurements)],
            "measurements": [asdict(one) for one in self.measurements],
        }
