"""The tokens of a session that was ended without its cookie: revoked by whichever replica holds the session open, and so can read them.

Answers "an admin's end reaches the provider too". The store tells that a session changed, and this process knew it, or has something of it
open: it takes what was left of it, if anything was, and hands it to the provider, beside all requests. The store gives it to one taker
alone. Where the store forgot everything at once (a flush, a new connection) nobody is named, and nothing is asked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from gateway.errors import StoreUnavailable

if TYPE_CHECKING:
    from gateway.oidc.provider import Provider
    from gateway.server.detached import Detached
    from gateway.session.handle import Handle
    from gateway.session.sessions import Sessions

MOST_WAITING: Final = 10_000
"""Sessions that changed and were not looked at yet: as many as a process knows."""
AT_ONCE: Final = 8
"""Exchanges with store and provider at once: the end of all sessions must not take the way of everybody else."""
PATIENCE: Final = 30.0
"""Seconds after which the tokens that were left are gone: what waited longer is not asked for."""


class LeftTokens:
    """Listens to ``sessions`` from now on."""

    def __init__(self, sessions: Sessions, provider: Provider, detached: Detached) -> None:
        self._sessions = sessions
        self._provider = provider
        self._detached = detached
        self._waiting: deque[tuple[Handle, float]] = deque(maxlen=MOST_WAITING)
        self._takers = 0
        sessions.on_dropped(self.look_for)

    def look_for(self, handle: Handle) -> None:
        """Take what may have been left of this session, soon. Whoever asks twice is given nothing twice."""
        self._waiting.append((handle, asyncio.get_running_loop().time() + PATIENCE))
        if self._takers < AT_ONCE:
            self._takers += 1
            self._detached.start(self._take())

    async def _take(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                handle, until = self._waiting.popleft()
                if loop.time() >= until:
                    continue
                try:
                    tokens = await self._sessions.take_left_tokens(handle)
                except StoreUnavailable:
                    # They go by themselves; the session has ended, or the store will say so.
                    continue
                if tokens is not None:
                    await self._provider.revoke(tokens)
        finally:
            self._takers -= 1
