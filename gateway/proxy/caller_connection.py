"""A caller's connection that waits for nothing without end: heads and bodies come in time and in bounds, and broken ones are noticed.

Answers SL-01 and SL-02 (aiohttp keeps a connection with half a head for as long as an idle one, and waits for ever for a body of which a
byte comes now and then), SL-10 (pipelined requests wait in a queue of 32, and the rest in the kernel), and SM-35, SM-37: when a chunk is
malformed, aiohttp 3.14 queues a 400 behind the request in flight and leaves that request's reader waiting for bytes that will never come;
here the reader hears of it at once. No request costs a timer: whoever runs the server calls ``check`` of every connection now and then. The
server's connections derive from this one.

Answers IH-10 and SM-43 across requests as well: aiohttp 3.14 keeps the last trailer of a chunked body and makes it the first header of the
next request on the connection, which behind a proxy is somebody else's. So a connection goes on after a chunked body only when that had no
trailers, and nothing came with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestPayloadError, _ErrInfo
from typing_extensions import override

from gateway.errors import HeadersTooLarge, RequestRefused, RequestTimeout
from gateway.proxy.unread_answers import UnreadAnswers
from gateway.telemetry import logs

if TYPE_CHECKING:
    import asyncio
    from typing import Any

    from aiohttp import web
    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.streams import StreamReader

log = logs.get("proxy")

MAX_UNFINISHED_HEAD = 84 * 1024
"""Bytes of a head that is not whole yet: a target of 16 KiB, headers of 64 KiB, and what is between them."""

PACED_OVER: Final = 30.0
"""Seconds over which the rate of a body is taken: pauses are no fault, being slow without end is."""

_NO_TRAILERS = b"\r\n0\r\n\r\n"
"""How a chunked body without trailers ends. None with trailers does: a trailer has a colon."""


class CallerConnection(UnreadAnswers):
    """aiohttp's connection, with limits on time and size, and honest about malformed bodies. Times are seconds."""

    __slots__ = (
        "_body_min_rate",
        "_body_timeout",
        "_chunked",
        "_head_bytes",
        "_head_since",
        "_header_timeout",
        "_newest_body",
        "_paced",
        "_paced_at",
        "_paced_since",
        "_recent",
        "_stalled_at",
        "_stalled_since",
    )

    def __init__(
        self,
        manager: web.Server,
        *,
        header_timeout: float = 15.0,
        body_timeout: float = 30.0,
        body_min_rate: float = 240.0,
        **options: Any,
    ) -> None:
        super().__init__(manager, **options)
        self._header_timeout = header_timeout
        self._body_timeout = body_timeout
        self._head_since = 0.0
        """When the head that is waited for began, on a new connection when that was made; 0 while none has begun."""
        self._head_bytes = 0
        self._stalled_since = 0.0
        """When a body that is waited for was first seen where it still is; 0 while none is waited for."""
        self._stalled_at = 0
        self._body_min_rate = body_min_rate
        self._paced: StreamReader | None = None
        """The body that is waited for without a break since ``_paced_since``, when ``_paced_at`` bytes of it were here."""
        self._paced_since = 0.0
        self._paced_at = 0
        self._newest_body: StreamReader = EMPTY_PAYLOAD
        """The body of the newest request."""
        self._chunked: StreamReader | None = None
        """The chunked body that is being received."""
        self._recent = b""
        """The last bytes received, while there is one."""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._head_since = self._loop.time()

    @override
    def data_received(self, data: bytes) -> None:
        if self._close:
            self._finish_body(data)
            return
        before, whole = self._request_count, self._newest_body.is_eof()
        super().data_received(data)
        messages = self._messages
        if self._request_count != before:
            if self._head_since:
                self._head_since = 0.0
                self._head_bytes = 0
            newest, self._newest_body = messages[-1]
            if isinstance(newest, _ErrInfo):
                self._break_unfinished_bodies()
            elif newest.chunked or len(messages) > 1 or self._chunked is not None:
                self._follow_chunked_body(data)
        elif self._chunked is not None:
            self._follow_chunked_body(data)
        elif data and whole:
            # No body is still to come: it can only be the beginning of a head.
            self._note_unfinished_head(len(data))

    @override
    def close(self) -> None:
        """Take no further request: an idle connection ends now, any other after the answer that it waits for, which says so."""
        idle = self._waiter is not None and not self._waiter.done()
        super().close()
        if idle:
            self.force_close()
        elif self._current_request is not None:
            # RFC 9112 section 9.6. Whoever writes the answer asks the request, which keeps what it said here.
            self._current_request._cache["keep_alive"] = False  # noqa: SLF001 - the minor version is pinned
        elif self._messages:
            message, body = self._messages[0]
            if not isinstance(message, _ErrInfo):
                self._messages[0] = (message._replace(should_close=True), body)

    def check(self, now: float) -> None:
        """End what takes too long by the loop's time ``now``: a head with 408, or silently when nothing came, and the wait for a body."""
        self.check_reading(now)
        if self._waiter is not None:
            self._paced = None
            if self._head_since and now - self._head_since >= self._header_timeout and not self._close:
                if self._head_bytes:
                    self._refuse(RequestTimeout("a head that did not arrive in time"))
                else:
                    self.force_close()
            return
        request = self._current_request
        if request is None:
            return
        body = request.content
        passage = self._passage
        # Whether somebody waits for it; the minor version is pinned. Where there is no body, aiohttp's reader of none has no waiter.
        awaited = not body.is_eof() and (body._waiter is not None or (passage is not None and passage.awaited))  # noqa: SLF001
        stands = bool(self._stalled_since) and body.total_bytes == self._stalled_at
        if not awaited:
            self._stalled_since, self._paced = 0.0, None
        elif stands and now - self._stalled_since >= self._body_timeout:
            self._give_up(body, RequestTimeout("a body that stopped coming"))
        elif self._is_slow(body, now):
            self._give_up(body, RequestTimeout("a body that came too slowly"))
        elif not stands:
            self._stalled_since, self._stalled_at = now, body.total_bytes

    def _give_up(self, body: StreamReader, failure: RequestTimeout) -> None:
        body.set_exception(failure)
        if self._passage is not None:
            self._passage.fail(failure)

    def _is_slow(self, body: StreamReader, now: float) -> bool:
        """Whether a body that is waited for came at less than the least rate. Only time in which it is waited for counts."""
        if self._paced is body:
            seconds = now - self._paced_since
            if seconds < PACED_OVER:
                return False
            if body.total_bytes - self._paced_at < self._body_min_rate * seconds:
                return True
        self._paced, self._paced_since, self._paced_at = body, now, body.total_bytes
        return False

    @override
    def _process_keepalive(self) -> None:
        """A connection on which a head has begun, or never one has, is not idle, nor one that ``owes``: ``check`` has their limits."""
        if self._head_since:
            self._keepalive_handle = None
        elif self.owes:
            self._keepalive_handle = self._loop.call_later(self._keepalive_timeout, self._process_keepalive)
        else:
            super()._process_keepalive()

    @override
    def log_exception(self, *args: Any, **kw: Any) -> None:
        """What a caller broke is no fault of ours: its connection ends, and everything to say was said where it was refused."""
        if isinstance(kw.get("exc_info"), RequestPayloadError | RequestRefused):
            log.debug("connection.broken")
        else:
            super().log_exception(*args, **kw)

    def _finish_body(self, data: bytes) -> None:
        """No further request is taken, and the body of the one under way still comes: aiohttp would drop it, and go on waiting for it.

        Nothing of what follows the body is kept.
        """
        request, parser = self._current_request, self._parser
        if self._force_close or parser is None or request is None or request.content.is_eof():
            return
        try:
            parser.feed_data(data)
        except HttpProcessingError:
            if not request.content.is_eof():
                request.content.set_exception(RequestPayloadError("malformed body"))

    def _note_unfinished_head(self, size: int) -> None:
        if self._close or self._force_close:
            return
        self._head_bytes += size
        if not self._head_since:
            self._head_since = self._loop.time()
        if self._head_bytes <= MAX_UNFINISHED_HEAD:
            return
        if self._current_request is not None or self._messages:
            self.close()  # with the answer that it waits for
        else:
            self._refuse(HeadersTooLarge(f"an unfinished head of more than {MAX_UNFINISHED_HEAD} bytes"))

    def _refuse(self, failure: RequestRefused) -> None:
        """Answer a request that never became one, and read nothing more."""
        self._messages.append((_ErrInfo(status=failure.status, exc=failure, message=failure.public), EMPTY_PAYLOAD))
        self._close = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _follow_chunked_body(self, data: bytes) -> None:
        """Let no request follow a chunked body on this connection, unless the body is over, had no trailers, and nothing came with it."""
        if self._chunked is None:
            self._chunked = next((body for message, body in self._messages if _is_chunked(message)), None)
            if self._chunked is None:
                return
        body = self._chunked
        self._recent = (self._recent + data[-len(_NO_TRAILERS) :])[-len(_NO_TRAILERS) :]
        if not body.is_eof() and not self._behind(body):
            return
        # The parser may hold bytes back; whatever they are, they came with the body.
        if self._recent == _NO_TRAILERS and not self._behind(body):
            super().data_received(b"")
        if self._recent != _NO_TRAILERS or self._behind(body):
            self._end_after(body)
        self._chunked, self._recent = None, b""

    def _behind(self, body: StreamReader) -> int:
        """How many requests wait that came after the one with ``body``."""
        waiting = [waiting for _, waiting in self._messages]
        return len(waiting) - (waiting.index(body) + 1 if body in waiting else 0)

    def _end_after(self, body: StreamReader) -> None:
        """Answer the request with ``body``, whose answer says that it is the last, and forget what came behind it."""
        for _ in range(self._behind(body)):
            self._messages.pop()
        if self._messages:
            message, _ = self._messages.pop()
            assert not isinstance(message, _ErrInfo), "only a request has a body"
            self._messages.append((message._replace(should_close=True), body))
        else:
            self.close()

    def _break_unfinished_bodies(self) -> None:
        """A body that was not read to its end before the parser gave up will not end."""
        bodies = [body for _, body in self._messages]
        if self._current_request is not None:
            bodies.append(self._current_request.content)
        for body in bodies:
            if not body.is_eof() and body.exception() is None:
                body.set_exception(RequestPayloadError("malformed body"))


def _is_chunked(message: RawRequestMessage | _ErrInfo) -> bool:
    return not isinstance(message, _ErrInfo) and message.chunked
