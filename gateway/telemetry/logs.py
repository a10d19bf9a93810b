"""One JSON line an event on stderr, and no line ever holds a token, code, verifier, secret or cookie value.

Answers invariant 11: callers log names and reasons; as a second wall, a field with a name that promises a secret is never printed.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, TextIO, cast

import structlog

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

    Libraries that log by the standard library (aiohttp, asyncio) are let through from WARNING up, without tracebacks of theirs.
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
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


def get(room: str) -> structlog.typing.FilteringBoundLogger:
    """The logger of one room; events are named ``noun.verb`` and their fields are plain words."""
    return cast("structlog.typing.FilteringBoundLogger", structlog.get_logger(room=room))
