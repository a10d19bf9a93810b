"""How many of an app's connections one caller may hold by being slow: a share, so that others find some.

Answers SL-02 and SL-04 beyond one connection: whoever sends bodies, or reads long answers, as slowly as the limits allow holds a connection
to the app for each of them, and with enough of those holds all. Who counts as one caller, the server says; a body that is whole when its
request is forwarded never counts, and neither does an answer that is whole in its first write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.errors import UpstreamBusy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.proxy.pool import Pool

SHARE: Final = 4
"""One caller may have a quarter of the connections."""
PLENTY: Final = 2
"""While half of the connections are free, nobody is kept from reading."""


class UploadShares:
    """Counts at every one of ``pools``, each of which may be asked by other routes too."""

    __slots__ = ("_counts", "_most")

    def __init__(self, pools: Sequence[Pool]) -> None:
        self._counts = tuple(pool.uploads for pool in pools)
        self._most = _share_of(pools)

    def begin(self, caller: str) -> Callable[[], None]:
        """Count a body of ``caller``'s that is still coming; what this returns is to be called when it is here or given up, once or twice.

        Raises UpstreamBusy when the caller has its share.
        """
        if _has(self._counts, caller, self._most):
            raise UpstreamBusy(f"one address sends {self._most} bodies at once, as many as it may")
        return _count(self._counts, caller)


class AnswerShares:
    """The same for answers that are still being read."""

    __slots__ = ("_counts", "_most", "_pools")

    def __init__(self, pools: Sequence[Pool]) -> None:
        self._pools = pools
        self._counts = tuple(pool.answers for pool in pools)
        self._most = _share_of(pools)

    def begin(self, caller: str) -> Callable[[], None]:
        """Count an answer to ``caller`` of which more is to come; what this returns is to be called when it is over, once or twice.

        Raises UpstreamBusy when the caller has its share and fewer than half of the connections are free, its own among the others.
        """
        if _has(self._counts, caller, self._most) and self._are_scarce:
            raise UpstreamBusy(f"one address reads {self._most} long answers or more while connections are scarce")
        return _count(self._counts, caller)

    @property
    def _are_scarce(self) -> bool:
        return PLENTY * sum(pool.load for pool in self._pools) > sum(pool.most for pool in self._pools)


def _share_of(pools: Sequence[Pool]) -> int:
    return max(1, sum(pool.most for pool in pools) // SHARE)


def _has(counts: Sequence[dict[str, int]], caller: str, most: int) -> bool:
    return any(count.get(caller, 0) >= most for count in counts)


def _count(counts: Sequence[dict[str, int]], caller: str) -> Callable[[], None]:
    for count in counts:
        count[caller] = count.get(caller, 0) + 1
    counted = True

    def end() -> None:
        nonlocal counted
        if not counted:
            return
        counted = False
        for count in counts:
            left = count[caller] - 1
            if left:
                count[caller] = left
            else:
                del count[caller]

    return end
