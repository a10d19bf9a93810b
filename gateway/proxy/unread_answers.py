"""A caller's connection that keeps few answers for who does not read them, and not for ever.

Answers SL-10: aiohttp 3.14 takes up request after request while their answers pile up in the transport's buffer, and a connection that
is closed with something in that buffer stays for as long as nobody reads it. Here no request is taken up while answers wait to be read,
and who takes nothing of them for ``LONGEST_UNREAD`` is let go.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from gateway.proxy.passing_connection import PassingConnection

if TYPE_CHECKING:
    import asyncio
    from typing import Any

    from aiohttp import web

LONGEST_UNREAD: Final = 300.0
"""Seconds for which a caller may take nothing of answers that were sent whole: a paused film goes on, who is gone does not come back."""

_RESET: Final = struct.pack("ii", 1, 0)
"""``struct linger``: on, zero seconds; closing sends RST."""


class UnreadAnswers(PassingConnection):
    """aiohttp's connection, whose answers have to be read. ``check_reading`` is to be called now and then."""

    __slots__ = ("_unread", "_unread_since", "_wire")

    def __init__(self, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self._wire: asyncio.Transport | None = None
        """The transport until the connection is lost; aiohttp forgets it when it closes it."""
        self._unread = 0
        self._unread_since = 0.0
        """Since when ``_unread`` bytes have waited for the caller; 0 while nothing has to be taken."""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._wire = self.transport

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        self._wire = None
        super().connection_lost(exc)

    @override
    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """No further request is taken up before the caller has caught up."""
        finished = await super().finish_response(request, resp, start_time)
        if self._paused:
            try:
                await self._drain_helper()
            except ConnectionError:
                return finished[0], True
        return finished

    @property
    def owes(self) -> bool:
        """Whether it waits for the caller to read: nothing is under way, and more is to be sent than the transport takes, or to close."""
        return self._current_request is None and self._wire is not None and (self._paused or self.transport is None)

    def check_reading(self, now: float) -> None:
        """Let go of a caller who ``owes`` and has not read for too long by the loop's time ``now``."""
        wire = self._wire
        if wire is None or not self.owes:
            self._unread_since = 0.0
            return
        unread = wire.get_write_buffer_size()
        if not self._unread_since or unread != self._unread:
            self._unread, self._unread_since = unread, now
        elif now - self._unread_since >= LONGEST_UNREAD:
            self.abort()

    def abort(self) -> None:
        """Break off, visibly where the connection has a reset for that."""
        wire = self._wire
        if wire is None:
            return
        self._force_close = True
        sock = wire.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6) and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        wire.abort()
