"""One JSON line an event on stderr, and no line ever holds a token, code, verifier, secret or cookie value.

Answers invariant 11: callers log names and reasons; as a second wall, a field with a name that promises a secret is never printed. Answers
the log that stops a gateway as well: no line is waited for (``sink``), and what anybody can cause has a budget (``budget``).
"""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import TYPE_CHECKING, TextIO, cast

import structlog
from typing_extensions import override

from gateway.telemetry import sink
from gateway.telemetry.budget import Budget

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping
    from typing import Any

SECRET_NAMES = ("token", "secret", "password", "cookie", "verifier", "nonce", "authorization", "assertion")
"""A field whose name holds one of these is printed as ``[hidden]``, whatever the caller meant."""

BY_ANYBODY = frozenset(
    {
        "request.refused",
        "request.failed",
        "request.unreadable",
        "forward_auth.refused",
        "proxy_protocol.refused",
        "answer.broken_off",
        "library.logged",
        "admin.refused",
    }
)
"""Events that a caller without a session can cause as often as it likes: each has a budget by its error code."""


def _limit() -> structlog.typing.Processor:
    """The first processor: what is left out costs nothing else. The budget belongs to the process."""
    budget = Budget()

    def limit(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        name = event["event"]
        if name in BY_ANYBODY:
            suppressed = budget.spend((name, event.get("error") or event.get("where")), time.monotonic())
            if suppressed is None:
                raise structlog.DropEvent
            if suppressed:
                event["suppressed"] = suppressed
        return event

    return limit


def _hide(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name in event:
        folded = name.lower()
        if folded in {"code", "state"} or any(part in folded for part in SECRET_NAMES):
            event[name] = "[hidden]"
    return event


def configure(*, stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Set up the process's logs: JSON lines to ``stream`` (stderr when None), from ``level`` up.

    A stream with a descriptor is written beside the caller, who never waits (``flush`` does); any other is written at once. What
    libraries log by the standard library becomes a line too, from WARNING up, without what they would fill in.
    """
    structlog.configure(
        processors=[
            _limit(),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _hide,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_factory(stream if stream is not None else sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_Libraries()], level=logging.WARNING, force=True)


def flush() -> None:
    """Let the last lines get out, for a second at most. A process that ends by ``os._exit`` calls this; any other does so by itself."""
    sink.flush()


def _factory(stream: TextIO | None) -> Callable[..., object]:
    # stderr is None where it was closed before the start.
    descriptor = _take_closed_ones() if stream is None else _descriptor_of(stream)
    if descriptor is None:
        return structlog.WriteLoggerFactory(stream)
    lines = sink.open_sink(descriptor)
    return lambda *_: lines


def _take_closed_ones() -> int:
    """A way to nowhere. Left closed, stderr's number would be the next socket's, and the interpreter's last words a caller's."""
    while (nowhere := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 - stdin, stdout, stderr
        pass
    return nowhere


def _descriptor_of(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


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
