"""The write of a grant that exists nowhere but in this process: tried again and again, over outages and failovers of the store.

Answers RF-07 and RD-05. The provider has spent the old refresh token: whoever shows it again ends the sign-in. So the pauses between two
attempts are shorter than those that other replicas leave a store that has come back (``SessionCache.unsettled``). What no replica of the
store knows is written again, beside the requests, until one does: on a new primary that never heard of it the fence still fits.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gateway.errors import StoreUnavailable
from gateway.session.store.protocol import UnknownToReplicas
from gateway.telemetry import logs

if TYPE_CHECKING:
    from gateway.session.store.protocol import SessionStore

WRITE_FOR: Final = 16.0
"""Seconds of an outage for which it is tried."""
WRITE_PAUSE: Final = 0.25
"""Seconds between two attempts: less than others leave a store that has come back."""
KEPT_FOR: Final = 30.0
"""Seconds for which a replica of the store is waited for: longer than a failover takes."""
KEPT_PAUSE: Final = 1.0

log = logs.get("session")


class GrantWrite:
    """Writes to ``store``."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._keeping: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Wait for no replica any longer: no stop is held up by one."""
        for task in self._keeping:
            task.cancel()

    async def write(self, key: str, *, record: bytes, tokens: bytes, fence: bytes) -> bool:
        """As ``SessionStore.replace``, but it outlasts an outage.

        Raises:
            StoreUnavailable: of a longer one; the grant is lost.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + WRITE_FOR
        while True:
            try:
                return await self._store.replace(key, record=record, tokens=tokens, fence=fence)
            except UnknownToReplicas:
                # It is there, and everybody may use it; it may only not outlast this server.
                task = loop.create_task(self._kept(key, record=record, tokens=tokens, fence=fence))
                self._keeping.add(task)
                task.add_done_callback(self._keeping.discard)
                return True
            except StoreUnavailable as failure:
                if loop.time() >= until:
                    log.error("refresh.lost", key=key, detail=failure.detail)  # noqa: TRY400 - what failed is known, and where
                    raise
            await asyncio.sleep(WRITE_PAUSE)

    async def _kept(self, key: str, *, record: bytes, tokens: bytes, fence: bytes) -> None:
        """Write until a replica knows, or it has been replaced or ended."""
        loop = asyncio.get_running_loop()
        until = loop.time() + KEPT_FOR
        pause = WRITE_PAUSE
        while loop.time() < until:
            await asyncio.sleep(pause)
            try:
                for before in (fence, tokens):
                    if await self._store.replace(key, record=record, tokens=tokens, fence=before):
                        return
            except UnknownToReplicas:
                pause = KEPT_PAUSE
            except StoreUnavailable:
                pause = WRITE_PAUSE
            else:
                return
        log.warning("refresh.unacknowledged", key=key)
