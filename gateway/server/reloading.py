"""A reload that fails keeps what was there, says so, and ends nobody: an operator's mistake at night signs no one out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import ConfigRefused
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config.settings import Settings

log = logs.get("server")


def read_anew(reload: Callable[[], Settings]) -> Settings | None:
    """The settings as they are written now; None, and a line in the log, when they cannot be had, whatever the reason."""
    try:
        return reload()
    except ConfigRefused as refused:
        log.warning("secrets.kept", faults=len(refused.faults), first=refused.faults[0] if refused.faults else "")
    except Exception as fault:  # noqa: BLE001 - whatever it is, the service goes on; its words may quote a secret
        log.warning("secrets.kept", fault=type(fault).__name__)
    return None
