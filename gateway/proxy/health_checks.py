"""Asking an address now and then whether it is well, so that requests are not what finds out.

A check is a small GET on a connection of the address's own pool; its answer's body is not read. It says where requests go first, and never
that none may go.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gateway.errors import UpstreamBusy, UpstreamFailed
from gateway.proxy.exchange import Sent
from gateway.proxy.headers import HeaderRules
from gateway.proxy.upstream import Timeouts
from gateway.telemetry import logs

if TYPE_CHECKING:
    from gateway.proxy.pool import Pool
    from gateway.proxy.upstream import HealthCheck

HEALTHY: Final = range(200, 400)

_NO_RULES: Final = HeaderRules(reserved=frozenset(), cookie_names=frozenset())
"""The answer is passed to nobody."""

log = logs.get("proxy")


async def keep_checking(pool: Pool, check: HealthCheck, host: str | None) -> None:
    """Check for ever, and note in ``pool.health`` what comes of it. ``host`` is the Host to send, None for the address's own."""
    while True:
        before = pool.health.ailing
        told = await _told(pool, check, host)
        if told is not None:
            pool.health.checked(well=told)
        if pool.health.ailing is not before:
            log.warning("upstream.ails" if pool.health.ailing else "upstream.is_well", upstream=str(pool.address))
        await asyncio.sleep(check.interval)


async def _told(pool: Pool, check: HealthCheck, host: str | None) -> bool | None:
    """Whether the address is well; None when it has too much to do to be asked."""
    head = f"GET {check.path} HTTP/1.1\r\nHost: {host or pool.address.authority}\r\nUser-Agent: gateway-health\r\n\r\n".encode("ascii")
    timeouts = Timeouts(connect=check.timeout, head=check.timeout)
    try:
        async with asyncio.timeout(check.timeout):
            connection = await pool.acquire(timeouts, fresh=True)
            try:
                connection.begin(Sent("GET", head, _NO_RULES))
                return (await connection.answer()).status in HEALTHY
            finally:
                pool.release(connection)
    except UpstreamBusy:
        return None
    except (UpstreamFailed, TimeoutError):
        return False
