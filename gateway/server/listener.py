"""The public listener: aiohttp's server with bounds, without a banner, and without its own words on a request that it cannot parse.

Answers invariant 14 (header bytes and count are bounded before anything of ours runs) and LK-05 (no version in any answer).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from typing_extensions import override

from gateway.errors import GatewayFailed, HeadersTooLarge
from gateway.proxy.caller_connection import CallerConnection
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

log = logs.get("server")

HEADER_LINE_BYTES = 16 * 1024
"""One header line or the request line: room for a Cookie header of several sites' cookies."""
HEADERS_MOST = 128
KEEP_ALIVE_SECONDS = 75.0
LINGER_SECONDS = 2.0
"""How long a body that nobody wants is read before its connection is closed."""


class _Connection(CallerConnection):
    """One client connection. Only what it says about unparsable requests differs from aiohttp's."""

    @override
    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """A constant answer and a line of ours: the library's own would echo the request, to the caller and into the log."""
        log.info("request.unreadable", status=status, error=type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was begun already")
        if isinstance(exc, LineTooLong):
            status, text = HeadersTooLarge.status, HeadersTooLarge.public
        elif status < 500:  # noqa: PLR2004 - server errors
            text = "This request cannot be understood."
        else:
            text = GatewayFailed.public
        response = web.Response(
            status=status,
            text=text + "\n",
            headers={"Cache-Control": "no-store", "Server": "gateway"},
        )
        response.force_close()
        return response


class PublicServer(web.Server):
    """The server of the public listener; ``handler`` sees every request that aiohttp's parser let through."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], **options: Any) -> None:
        super().__init__(
            handler,
            handler_cancellation=True,
            **options,
        )
        self._options: dict[str, Any] = {
            "access_log": None,
            "keepalive_timeout": KEEP_ALIVE_SECONDS,
            "lingering_time": LINGER_SECONDS,
            "max_line_size": HEADER_LINE_BYTES,
            "max_field_size": HEADER_LINE_BYTES,
            "max_headers": HEADERS_MOST,
            # Bodies pass as they are; the app reads what the client wrote.
            "auto_decompress": False,
        }

    @override
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._options)
