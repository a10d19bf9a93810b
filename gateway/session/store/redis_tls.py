"""TLS to Redis: the server is always verified, by the authorities that were named or else by the system's, and never by both.

Answers a certificate that is renewed while the gateway runs: files that changed are read again for the next connection, and what they held
before stays in use while they cannot be read.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.telemetry import logs

if TYPE_CHECKING:
    from gateway.session.store.redis_options import RedisOptions

log = logs.get("session")


class TlsContext:
    """What connections are opened with. Nothing is read before the first of them."""

    def __init__(self, options: RedisOptions) -> None:
        self._options = options
        self._files = tuple(Path(name) for name in (options.ca_file, options.certificate, options.key) if name is not None)
        self._read: tuple[int, ...] | None = None
        self._context: ssl.SSLContext | None = None

    def current(self) -> ssl.SSLContext:
        """The context, of the files as they are now; OSError when they never could be used."""
        try:
            changed = tuple(file.stat().st_mtime_ns for file in self._files)
            if self._context is None or changed != self._read:
                self._context, self._read = tls_context(self._options), changed
        except OSError as error:
            if self._context is None:
                raise
            log.warning("store.tls_files_kept", fault=type(error).__name__)
        return self._context


def tls_context(options: RedisOptions) -> ssl.SSLContext:
    """A context that verifies. ``OSError`` (``ssl.SSLError`` is one) when a file cannot be read or used."""
    context = ssl.create_default_context(cafile=options.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if options.certificate is not None:
        context.load_cert_chain(options.certificate, options.key, password=_no_password)
    return context


def _no_password() -> str:
    """A key under a pass phrase must not make the gateway ask at a terminal."""
    raise ssl.SSLError("the key is under a pass phrase")
