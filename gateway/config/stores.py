"""The way from `session.store` and `session.redis` to what the store is opened with: a URL that is a secret, and how to use what is there.

Answers invariants 11 and 16: nothing of a URL is told, every file that TLS needs is there at start, and no key stands there unused.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

from gateway.config.addresses import read_store
from gateway.config.contradictions import MEMORY_OF_ONE
from gateway.config.store_keys import StoreRedis
from gateway.oidc.registration import Secret
from gateway.session.store.redis_options import RedisOptions
from gateway.session.store.redis_tls import tls_context

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config.addresses import StoreAddress
    from gateway.config.faults import Findings, KeyPath
    from gateway.config.schema import Admin, Server, Session
    from gateway.config.secrets import SecretReader

STORE: Final[KeyPath] = ("session", "store")
REDIS: Final[KeyPath] = ("session", "redis")


def redis_options(written: StoreRedis, base: Path) -> RedisOptions:
    """How Redis is used; relative names of files begin at ``base``."""
    ca_file, certificate, key = (None if name is None else str(base / name) for name in (written.ca_file, written.certificate, written.key))
    return RedisOptions(
        prefix=written.prefix,
        connections=written.pool,
        connect_timeout=written.connect_timeout,
        timeout=written.timeout,
        ca_file=ca_file,
        certificate=certificate,
        key=key,
    )


def session_store(session: Session | None, server: Server | None, secrets: SecretReader) -> str | Secret | None:
    """``memory``, or a URL as a secret; None after a fault was noted."""
    findings = secrets.findings
    if session is None or not findings.sound(STORE):
        return None
    url = session.store if isinstance(session.store, str) else secrets.read(session.store, STORE)
    if url is None:
        return None
    if url == "memory":
        if server is not None and server.workers > 1 and not isinstance(session.store, str):
            findings.fault(STORE, MEMORY_OF_ONE)
        if session.redis != StoreRedis() and findings.sound(REDIS):
            findings.fault(REDIS, "the store is memory, so nothing here is used; remove it, or write a redis:// URL as store")
        return url
    options = redis_options(session.redis, secrets.base) if findings.sound(REDIS) else RedisOptions()
    try:
        address = read_store(url, options)
    except ValueError as error:
        findings.fault(STORE, str(error))
        return None
    if address.exposed:
        findings.warn(
            STORE, "plain redis:// beyond loopback: values are sealed, but who is on the path can delete or replay them; use rediss://"
        )
    _check_tls(address, options, findings)
    return Secret(url)


def refuse_memory(admin: Admin | None, findings: Findings) -> None:
    """Note that sessions in memory are the running gateway's alone, and where it can be asked for them."""
    if admin is None or admin.listen is None:
        way = "set admin.listen and admin.token, and ask its session API"
    else:
        listen = admin.listen
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host or "", listen.host or "")  # noqa: S104 - where everywhere is, from here
        at = (
            f"http://{f'[{host}]' if ':' in host else host}:{listen.port}/sessions"
            if listen.unix_path is None
            else f"/sessions at the socket {listen.unix_path}"
        )
        mark = findings.values.get(("admin", "token"))
        token = "admin.token, once you have set it" if admin.token is None else "admin.token"
        way = f"ask its session API, {at}, with {token}{f' ({findings.source}:{mark.line})' if mark and admin.token else ''}"
    findings.fault(STORE, f"these sessions live in the memory of the running gateway, where no other process reads them; {way}")


def _check_tls(address: StoreAddress, options: RedisOptions, findings: Findings) -> None:
    if not findings.sound(REDIS):
        return
    if not address.tls:
        if options.ca_file or options.certificate or options.key:
            findings.fault(REDIS, "the store is reached without TLS, so its files are not used; remove them, or write rediss://")
        return
    try:
        tls_context(address.options)
    except (OSError, ValueError) as error:
        reason = "not PEM, or a key of another certificate"
        if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.strerror:
            reason = error.strerror
        remedy = "a relative path starts from the folder of the configuration file"
        if address.options != options:
            findings.fault(STORE, f"the files for TLS that it names cannot be used ({reason}); name them in session.redis, where {remedy}")
        else:
            findings.fault(REDIS, f"the files for TLS cannot be used ({reason}); {remedy}")
