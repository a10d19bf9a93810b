"""Connections to one application: who wants one asks here, and gives it back here.

Answers UP-01, UP-31, UP-32 and invariant 13. Today each exchange has a connection of its own; a pool would live between ``acquire`` and
``release`` and nobody else would notice.
"""

from __future__ import annotations

import asyncio
import ssl

from gateway.errors import UpstreamFailed, UpstreamTimeout
from gateway.proxy.connection import UpstreamConnection
from gateway.proxy.upstream import Timeouts, UpstreamAddress


class Upstream:
    """One application: its address, its time limits, its connections. Make one for each address and keep it; ``close`` it at the end."""

    persistent = False
    """Whether connections are wanted again after an exchange; the request's head says so."""

    def __init__(self, address: UpstreamAddress, *, timeouts: Timeouts | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.address = address
        self.timeouts = timeouts or Timeouts()
        self._tls = (tls or ssl.create_default_context()) if address.scheme == "https" else None

    async def acquire(self) -> UpstreamConnection:
        """A connection that is ready for ``begin``. Raises UpstreamFailed (refused, unknown name, TLS not verified) or UpstreamTimeout."""
        loop = asyncio.get_running_loop()
        connection = UpstreamConnection(loop, self.timeouts)
        try:
            async with asyncio.timeout(self.timeouts.connect):
                await self._connect(loop, connection)
        except TimeoutError:
            connection.close()
            raise UpstreamTimeout(f"no connection to {self.address} in time") from None
        except (OSError, ssl.CertificateError, UnicodeError) as fault:
            connection.close()
            raise UpstreamFailed(f"no connection to {self.address}: {type(fault).__name__}") from None
        except BaseException:
            connection.close()
            raise
        return connection

    def release(self, connection: UpstreamConnection) -> None:
        """Give ``connection`` back, however its exchange ended."""
        connection.close()

    async def close(self) -> None:
        """Close what is idle; exchanges in flight end by themselves."""

    async def _connect(self, loop: asyncio.AbstractEventLoop, connection: UpstreamConnection) -> None:
        address = self.address
        if address.unix_path is not None:
            await loop.create_unix_connection(lambda: connection, address.unix_path)
        else:
            await loop.create_connection(
                lambda: connection,
                address.host,
                address.port,
                ssl=self._tls,
                server_hostname=address.host if self._tls is not None else None,
            )
