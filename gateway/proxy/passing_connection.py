"""A caller's connection whose long bodies need not be read: aiohttp's, which lends its transport to a ``Passage`` for a while.

Answers invariant 4 across requests: the parser that read the head knows nothing of the bytes that went past it, so it never sees another
byte. What follows the body is read by a parser that begins there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.http import HttpRequestParser
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE, RequestPayloadError
from typing_extensions import override

from gateway.proxy.passage import WORTH_IT, Passage

if TYPE_CHECKING:
    from typing import Any

    from aiohttp.streams import StreamReader

    from gateway.proxy.connection import UpstreamConnection


class PassingConnection(web.RequestHandler):
    """aiohttp's connection. Only one that leaves bodies as they come (``auto_decompress=False``) lets them pass."""

    __slots__ = ("_passage", "_passes")

    def __init__(self, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self._passes = options.get("auto_decompress") is False
        self._passage: Passage | None = None
        """Who reads the transport in our place."""

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        self._passage = None
        super().connection_lost(exc)

    def pass_on(self, body: StreamReader, left: int, connection: UpstreamConnection) -> Passage | None:
        """Let the last ``left`` bytes of ``body`` go straight to ``connection``; None when they have to be read from ``body``.

        That is so when they are few, when some of what came before them was not read yet, or when aiohttp does more than pass bytes on.
        """
        transport = self.transport
        request = self._current_request
        if (
            left < WORTH_IT
            or not self._passes
            or transport is None
            or transport.is_closing()
            or request is None
            or request.content is not body
            or self._upgraded
            or self._payload_parser is not None
            or self._reading_paused
            or self._buffer_paused
            or self._passage is not None
            or body.is_eof()
            or body.exception() is not None
            or body._size  # noqa: SLF001 - what came and was not read; the minor version is pinned
        ):
            return None
        self._passage = Passage(self, transport, body, left, connection)
        self._passage.begin()
        return self._passage

    def passed_on(self) -> None:
        """The body that went past the parser is over: a new parser begins where it ended."""
        self._passage = None
        self._parser = HttpRequestParser(
            self,
            self._loop,
            self._read_bufsize,
            max_line_size=self.max_line_size,
            max_field_size=self.max_field_size,
            max_headers=self.max_headers,
            payload_exception=RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=MAX_MSG_QUEUE_SIZE,
        )
