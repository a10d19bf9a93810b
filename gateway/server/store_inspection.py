"""A look at the session store beside the start: what an operator should know of it is in the log, and nothing waits for it.

Answers RD-01: while the store is down the gateway starts all the same, and says so at ``/readyz``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.session.store.inspection import inspect
from gateway.session.store.opening import address_of
from gateway.telemetry import logs

if TYPE_CHECKING:
    from gateway.config.settings import SessionSettings

log = logs.get("session")


async def inspect_store(settings: SessionSettings) -> None:
    """Look once, and log what was found."""
    address = address_of(settings.store, settings.redis)
    if address is None:
        return
    seen = await inspect(address)
    for fact in seen.facts:
        log.info("store.seen", detail=fact)
    for warning in (*seen.warnings, *seen.faults):
        log.warning("store.warning", detail=warning)
