"""The end of one process: readiness down first, then the port, then what is in flight, within one grace for all of it.

Answers the restart that people notice: a request that was let in is answered, an idle connection is not waited for, and what outlasts the
grace is broken off visibly, by a reset, so that half an answer never looks whole.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Final, cast

from gateway.server.sockets import BACKLOG
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.proxy.unread_answers import UnreadAnswers
    from gateway.server.detached import Detached
    from gateway.server.listener import PublicServer

log = logs.get("server")

UNWIND: Final = 0.5
"""Seconds that handlers have to clean up behind a connection that was cut."""
LOOK: Final = 0.02
"""Seconds between two looks at what is still in flight."""


class Stop:
    """What was asked of this process. A second asking means at once, unless ``patient``: a worker hears both of what one person sent."""

    def __init__(self, *, patient: bool = False) -> None:
        self._patient = patient
        self._asked = asyncio.Event()
        self._at_once = asyncio.Event()

    @property
    def at_once(self) -> bool:
        """Whether nobody is to be waited for any more."""
        return self._at_once.is_set()

    def ask(self) -> None:
        """End in order."""
        if self._asked.is_set() and not self._patient:
            self._at_once.set()
        self._asked.set()

    async def asked(self) -> None:
        """Wait until somebody asks."""
        await self._asked.wait()

    async def unless_at_once(self, seconds: float) -> None:
        """Wait for so long, or until it has to be at once."""
        try:
            async with asyncio.timeout(seconds):
                await self._at_once.wait()
        except TimeoutError:
            pass

    async def at_once_or(self, work: asyncio.Future[None]) -> None:
        """Wait until ``work`` is done, or until it has to be at once; it goes on then."""
        at_once = asyncio.ensure_future(self._at_once.wait())
        either: set[asyncio.Future[Any]] = {work, at_once}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        at_once.cancel()
        await asyncio.wait({at_once})


class Listener:
    """One server on sockets that were bound before."""

    def __init__(self, server: PublicServer) -> None:
        self._server = server
        self._accepting: list[asyncio.Server] = []

    async def open(self, sockets: Sequence[socket.socket]) -> None:
        """Accept on ``sockets``, which belong to the listener from now on."""
        loop = asyncio.get_running_loop()
        for sock in sockets:
            serve = loop.create_unix_server if sock.family == socket.AF_UNIX else loop.create_server
            self._accepting.append(await serve(self._server, sock=sock, backlog=BACKLOG))

    def stop_accepting(self) -> None:
        """Close the port; connections that stand are not touched."""
        for accepting in self._accepting:
            accepting.close()

    async def let_go(self) -> None:
        """Idle connections end now, each of the others after the answer that it waits for."""
        # What was accepted in this turn of the loop comes to wait for its first request in the next, and would not be seen as idle.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self._server.pre_shutdown()

    async def finish(self, seconds: float, stop: Stop) -> None:
        """Wait until the last connection is gone, ``seconds`` at most; break off what is left then, or at once when told so."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while self._server.connections and loop.time() < until and not stop.at_once:
            await stop.unless_at_once(LOOK)
        late = self._server.connections
        if late:
            for connection in late:
                cast("UnreadAnswers", connection).abort()
            log.warning("drain.cut", connections=len(late))
        await self._server.shutdown(UNWIND)

    async def close(self, seconds: float, stop: Stop) -> None:
        """All of the above."""
        self.stop_accepting()
        await self.let_go()
        await self.finish(seconds, stop)


async def finish_detached(detached: Detached, seconds: float, stop: Stop) -> None:
    """Wait for work that outlived its request, ``seconds`` at most or until it has to be at once; what is left then is cancelled."""
    draining = asyncio.ensure_future(detached.drain(max(0.0, seconds)))
    await stop.at_once_or(draining)
    if not draining.done():
        await detached.drain(0.0)
    await draining
