"""Work that outlives the request it came from: a callback whose browser hung up, a revocation beside an answer. The drain waits for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.errors import GatewayError
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Awaitable

T = TypeVar("T")

log = logs.get("server")


class Detached:
    """The process's detached work, held so that none of it is lost to the garbage collector or to a stop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Future[Any]] = set()

    def start(self, work: Awaitable[object]) -> None:
        """Let ``work`` run beside the answer; its failure is logged by its kind."""
        _ = self._hold(work)

    async def shielded(self, work: Awaitable[T]) -> T:
        """Wait for ``work``, which runs on to its end when the waiting request is cancelled."""
        return await asyncio.shield(self._hold(work))

    def _hold(self, work: Awaitable[T]) -> asyncio.Future[T]:
        task: asyncio.Future[T] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def drain(self, seconds: float) -> None:
        """Wait until all of it is done, ``seconds`` at most; what is left then is cancelled."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(set(self._tasks), timeout=seconds)
        for task in late:
            task.cancel()
        if late:
            log.warning("detached.cut", tasks=len(late))
            await asyncio.wait(late)

    def _ended(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        fault = task.exception()
        if fault is not None and not isinstance(fault, GatewayError):
            log.warning("detached.failed", fault=type(fault).__name__)
