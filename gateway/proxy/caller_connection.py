"""A caller's connection whose broken bodies are noticed by whoever reads them.

Answers SM-35, SM-37 and SL: when a chunk is malformed, aiohttp 3.14 queues a 400 behind the request in flight and leaves that request's
reader waiting for bytes that will never come; here the reader hears of it at once. The server's connections derive from this one.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError, _ErrInfo
from typing_extensions import override


class CallerConnection(web.RequestHandler):
    """aiohttp's connection, honest about malformed bodies."""

    __slots__ = ()

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages and isinstance(self._messages[-1][0], _ErrInfo):
            self._break_unfinished_bodies()

    def _break_unfinished_bodies(self) -> None:
        """A body that was not read to its end before the parser gave up will not end."""
        bodies = [body for _, body in self._messages]
        if self._current_request is not None:
            bodies.append(self._current_request.content)
        for body in bodies:
            if not body.is_eof() and body.exception() is None:
                body.set_exception(RequestPayloadError("malformed body"))
