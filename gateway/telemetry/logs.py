"""One JSON line an event on stderr, and no line ever holds a token, code, verifier, secret or cookie value.

Answers invariant 11: callers log names and reasons; as a second wall, a field with a name that promises a secret is never printed.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, TextIO, cast

import structlog
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

SECRET_NAMES = ("token", "secret", "password", "cookie", "verifier", "nonce", "authorization", "assertion")
"""A field whose name holds one of these is printed as ``[hidden]``, whatever the caller meant."""


def _hide(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name in event:
        folded = name.lower()
        if folded in {"code", "state"} or any(part in folded for part in SECRET_NAMES):
            event[name] = "[hidden]"
    return event


def configure(*, stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Set up the process's logs: JSON lines to ``stream`` (stderr when None), from ``level`` up.

    What libraries log by the standard library becomes a line too, from WARNING up, without what they would fill in.
    """
    out = stream if stream is not None else sys.stderr
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _hide,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # A line leaves in one write, so that those of several processes do not run into each other.
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_Libraries()], level=logging.WARNING, force=True)


class _Libraries(logging.Handler):
    """Lines of aiohttp, asyncio and others: where they come from and the kind of exception. Their words may quote a request."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        fault = record.exc_info[0] if isinstance(record.exc_info, tuple) else None
        get(record.name).warning(
            "library.logged", where=f"{record.filename}:{record.lineno}", fault=fault.__name__ if fault is not None else None
        )


def get(room: str) -> structlog.typing.FilteringBoundLogger:
    """The logger of one room; events are named ``noun.verb`` and their fields are plain words."""
    return cast("structlog.typing.FilteringBoundLogger", structlog.get_logger(room=room))
