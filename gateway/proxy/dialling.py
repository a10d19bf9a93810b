"""Opening one connection to an address: by name, by IPv4 or IPv6 address, over a unix socket, with TLS.

Answers UP-01, UP-31 and UP-32. Names are resolved anew for every connection: nothing here remembers an address.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

from gateway.errors import UpstreamFailed, UpstreamTimeout

if TYPE_CHECKING:
    from gateway.proxy.upstream import TlsSettings, UpstreamAddress


def tls_context(settings: TlsSettings) -> ssl.SSLContext:
    """A context that verifies certificates and names. Raises OSError (ssl.SSLError among it) for a file that cannot be used."""
    context = ssl.create_default_context(cafile=settings.ca_file)
    context.set_alpn_protocols(["http/1.1"])
    if settings.certificate is not None:
        context.load_cert_chain(settings.certificate, settings.key)
    return context


async def dial(
    address: UpstreamAddress, protocol: asyncio.BaseProtocol, *, tls: ssl.SSLContext | None, server_name: str | None, seconds: float
) -> None:
    """Connect ``protocol``. Raises UpstreamFailed (refused, unknown name, TLS not verified) or UpstreamTimeout."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(seconds):
            if address.unix_path is not None:
                await loop.create_unix_connection(lambda: protocol, address.unix_path)
            else:
                await loop.create_connection(
                    lambda: protocol,
                    address.host,
                    address.port,
                    ssl=tls,
                    server_hostname=(server_name or address.host) if tls is not None else None,
                )
    except TimeoutError:
        raise UpstreamTimeout(f"no connection to {address} in time") from None
    except (OSError, ssl.CertificateError, UnicodeError) as fault:
        raise UpstreamFailed(f"no connection to {address}: {type(fault).__name__}") from None
