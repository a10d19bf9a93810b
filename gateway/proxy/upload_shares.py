"""How many of an app's connections one caller may hold with bodies that are still coming: a share, so that others find some.

Answers SL-02 beyond one connection: whoever sends bodies as slowly as the limits allow holds a connection to the app for each of them, and
with enough of those holds all. Who counts as one caller, the server says; a body that is whole when its request is forwarded never counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.errors import UpstreamBusy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.proxy.pool import Pool

SHARE: Final = 4
"""One caller may have a quarter of the connections."""


class UploadShares:
    """Counts at every one of ``pools``, each of which may be asked by other routes too."""

    __slots__ = ("_counts", "_most")

    def __init__(self, pools: Sequence[Pool]) -> None:
        self._counts = tuple(pool.uploads for pool in pools)
        self._most = max(1, sum(pool.most for pool in pools) // SHARE)

    def begin(self, caller: str) -> Callable[[], None]:
        """Count a body of ``caller``'s that is still coming; what this returns is to be called when it is here or given up, once or twice.

        Raises UpstreamBusy when the caller has its share.
        """
        counts = self._counts
        if any(count.get(caller, 0) >= self._most for count in counts):
            raise UpstreamBusy(f"one address sends {self._most} bodies at once, as many as it may")
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
