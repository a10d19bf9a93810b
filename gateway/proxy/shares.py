"""How many of an app's connections one caller may hold by being slow: a share, so that others find some.

Answers SL-02 and SL-04 beyond one connection: whoever sends bodies, or reads long answers, as slowly as the limits allow holds a connection
to the app for each of them, and with enough of those holds all. Who counts as one caller, the server says. A body that is whole when its
request is forwarded never counts; how long an answer will be, or how slowly it will be read, nobody knows before it is sent, so while
connections are scarce every exchange counts, and those that are quick wait for each other and not for long.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Final

from gateway.errors import UpstreamBusy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.proxy.pool import Pool

SHARE: Final = 4
"""One caller may have a quarter of the connections."""
PLENTY: Final = 2
"""While half of the connections are free, no exchange counts."""


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
        if any(count.get(caller, 0) >= self._most for count in self._counts):
            raise UpstreamBusy(f"one address sends {self._most} bodies at once, as many as it may")
        return _count(self._counts, caller)


class ExchangeShares:
    """While fewer than half of the connections are free, whoever has a quarter of them for exchanges begun meanwhile waits for one to end.

    Where routes share addresses, it is counted at the first one.
    """

    __slots__ = ("_callers", "_half", "_most", "_pools")

    def __init__(self, pools: Sequence[Pool]) -> None:
        self._pools = pools
        self._callers = pools[0].callers
        self._most = _share_of(pools)
        self._half = sum(pool.most for pool in pools) / PLENTY

    @property
    def are_scarce(self) -> bool:
        """Whether no exchange may begin before ``begin`` says so."""
        load = 0
        for pool in self._pools:
            load += pool.load
        return load >= self._half

    async def begin(self, caller: str, *, seconds: float) -> Callable[[], None]:
        """Count an exchange of ``caller``'s, after a wait if it has its share; what this returns is to be called at its end, once.

        Raises UpstreamBusy when none of them ends within ``seconds`` while connections are scarce.
        """
        mine = self._callers.setdefault(caller, Turns())
        if mine.taken < self._most:
            mine.taken += 1
        else:
            await self._wait(caller, mine, seconds)
        return partial(self._end, caller, mine)

    async def _wait(self, caller: str, mine: Turns, seconds: float) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        mine.waiting[turn] = None
        try:
            async with asyncio.timeout(seconds):
                await turn
        except BaseException as broken:
            if turn.done() and not turn.cancelled():
                self._end(caller, mine)  # given in the moment in which it was no longer waited for
            mine.waiting.pop(turn, None)
            if not isinstance(broken, TimeoutError):
                raise
            if self.are_scarce:
                raise UpstreamBusy(f"one address has {self._most} exchanges or more while connections are scarce, and none ended") from None
            mine.taken += 1

    def _end(self, caller: str, mine: Turns) -> None:
        while mine.waiting:
            turn, _ = mine.waiting.popitem(last=False)
            if not turn.done():
                turn.set_result(None)
                return
        mine.taken -= 1
        if not mine.taken and self._callers.get(caller) is mine:
            del self._callers[caller]


class Turns:
    """One caller's: how many it has, and who waits for one, in order."""

    __slots__ = ("taken", "waiting")

    def __init__(self) -> None:
        self.taken = 0
        self.waiting: OrderedDict[asyncio.Future[None], None] = OrderedDict()


def _share_of(pools: Sequence[Pool]) -> int:
    return max(1, sum(pool.most for pool in pools) // SHARE)


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
