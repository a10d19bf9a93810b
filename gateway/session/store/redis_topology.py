"""Which primary of a cluster serves which keys, as one node told it: a value, read strictly, compared as a whole."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from redis.crc import key_slot

if TYPE_CHECKING:
    from gateway.session.store.redis_address import HostPort

SLOTS: Final = 16384


@dataclass(frozen=True, slots=True)
class Range:
    """Slots ``first`` to ``last`` and who serves them."""

    first: int
    last: int
    primary: HostPort


@dataclass(frozen=True, slots=True)
class Topology:
    """``ranges`` are in order and do not overlap. A later state of the cluster has a greater ``epoch``."""

    ranges: tuple[Range, ...]
    replicas: frozenset[HostPort]
    epoch: int = 0

    @property
    def primaries(self) -> frozenset[HostPort]:
        """Every primary that serves something."""
        return frozenset(each.primary for each in self.ranges)

    @property
    def nodes(self) -> frozenset[HostPort]:
        """Whoever can be asked for the topology."""
        return self.primaries | self.replicas

    def owner(self, slot: int) -> HostPort | None:
        """Who serves this slot; None for nobody."""
        index = bisect_right(self.ranges, slot, key=lambda each: each.first) - 1
        if index < 0 or slot > self.ranges[index].last:
            return None
        return self.ranges[index].primary


def slot_of(key: str | bytes | int) -> int:
    """The slot of a key, by its hash tag where it has one."""
    return int(key_slot(key if isinstance(key, bytes) else str(key).encode()))


def read_topology(slots: object, info: object, *, asked: HostPort) -> Topology | None:
    """From a node's answers to CLUSTER SLOTS and CLUSTER INFO; None when it says that the cluster is down.

    ``asked`` is where they came from: a node that does not know its own name leaves it empty. ValueError for anything else.
    """
    said = _info(info)
    if said.get("cluster_state") != "ok":
        return None
    if not isinstance(slots, list):
        raise ValueError("no list of slots")  # noqa: TRY004 - whatever is wrong with an answer is one error
    ranges: list[Range] = []
    replicas: set[HostPort] = set()
    for each in slots:
        try:
            first, last, primary, *others = each
            ranges.append(Range(int(first), int(last), _host(primary, asked)))
            replicas |= {_host(other, asked) for other in others}
        except (TypeError, ValueError, AttributeError):
            raise ValueError("not a range of slots") from None
    ranges.sort(key=lambda one: one.first)
    if any(not 0 <= one.first <= one.last < SLOTS for one in ranges) or any(
        before.last >= after.first for before, after in pairwise(ranges)
    ):
        raise ValueError("ranges of slots that overlap")
    return Topology(tuple(ranges), frozenset(replicas), int(said.get("cluster_current_epoch", "0")))


def _host(written: list[object], asked: HostPort) -> HostPort:
    host, port = written[0], written[1]
    # None and nothing: the node has no name to tell; it is where the answer came from.
    name = host.decode("ascii") if isinstance(host, bytes) else ""
    if not isinstance(port, int) or name == "?":
        raise ValueError("a node without an address")
    return (name or asked[0], port)


def _info(answer: object) -> dict[str, str]:
    if isinstance(answer, dict):
        return {str(name): str(value) for name, value in answer.items()}
    if not isinstance(answer, bytes):
        raise ValueError("no text of names and values")  # noqa: TRY004 - the same
    lines = (line.partition(":") for line in answer.decode("ascii", "replace").splitlines())
    return {name: value for name, _, value in lines}
