"""The URL of a Redis or Valkey server, taken apart once: which it is may be told, how to get in may not.

Answers RD-11, RD-14 and invariant 11: no text made here holds the password; and an option in the URL cannot undo what the store relies on
(bytes undecoded, no retries, a bounded pool, TLS that verifies).
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from gateway.session.store.tracking import Tracking

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from gateway.session.store.protocol import Follower

CONNECT_TIMEOUT: Final = 2.0
ANSWER_TIMEOUT: Final = 1.0
POOL_WAIT: Final = 1.0
"""Seconds a command waits for a free connection."""
MAX_CONNECTIONS: Final = 32

_OPTIONS: Final = {
    "redis": frozenset({"db"}),
    "rediss": frozenset({"db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"}),
    "unix": frozenset({"db"}),
}
_DATABASE: Final = re.compile(r"[0-9]{1,5}", re.ASCII)


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where the store is. ``place`` is for logs: scheme, host, port and database, or the socket's path; never user or password."""

    place: str
    scheme: str
    url: str = field(repr=False)

    def connection_pool(self, *, max_connections: int = MAX_CONNECTIONS, protocol: int = 2) -> BlockingConnectionPool:
        """A pool that waits a second for a free connection, two for a new one and one for each answer, and sends nothing twice.

        ``protocol`` is RESP's version: 3 is for the connection on which the server speaks unasked.
        """
        options: dict[str, Any] = {
            "max_connections": max_connections,
            "timeout": POOL_WAIT,
            "socket_connect_timeout": CONNECT_TIMEOUT,
            "socket_timeout": ANSWER_TIMEOUT,
            "retry": Retry(NoBackoff(), 0),
            "retry_on_error": [],
            "protocol": protocol,
            "decode_responses": False,
            "driver_info": None,
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        }
        if self.scheme != "unix":
            options["socket_keepalive"] = True
        if self.scheme == "rediss":
            options |= {"ssl_cert_reqs": "required", "ssl_check_hostname": True, "ssl_min_version": ssl.TLSVersion.TLSv1_2}
        return BlockingConnectionPool.from_url(self.url, **options)

    def client(self, *, max_connections: int) -> Redis:
        """What commands are sent with; nothing is connected yet."""
        return Redis.from_pool(self.connection_pool(max_connections=max_connections))

    def follow(self, follower: Follower, *, prefix: str) -> Tracking:
        """Tell ``follower`` of every change of a key that begins with ``prefix``, on a connection of its own, until that is closed."""
        return Tracking(self.connection_pool(max_connections=1, protocol=3).make_connection, follower, prefix=prefix, place=self.place)


def parse_redis_address(url: str) -> RedisAddress:
    """Take a ``redis://``, ``rediss://`` or ``unix://`` URL; ``ValueError``, with a text that holds no part of it, for anything else."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("the store's URL is not a URL: special characters in its password are written as %XX") from None
    if parts.scheme not in _OPTIONS:
        raise ValueError("the store's URL starts with redis://, rediss:// or unix://")
    database = _database(parts)
    if parts.scheme == "unix":
        if not parts.path.startswith("/"):
            raise ValueError("a unix:// store names a socket by its whole path")
        return RedisAddress(place=f"unix://{parts.path}?db={database}", scheme=parts.scheme, url=url)
    if not host:
        raise ValueError("the store's URL names no host")
    shown = f"[{host}]" if ":" in host else host
    return RedisAddress(place=f"{parts.scheme}://{shown}:{port or 6379}/{database}", scheme=parts.scheme, url=url)


def _database(parts: SplitResult) -> str:
    """The database's number; on the way, every option that the store does not take is refused."""
    if parts.fragment:
        raise ValueError("the store's URL holds a '#': special characters in its password are written as %XX")
    options = parse_qsl(parts.query, keep_blank_values=True)
    known = _OPTIONS[parts.scheme]
    if len(dict(options)) != len(options) or not known.issuperset(dict(options)):
        raise ValueError(f"the store's URL takes these options, each once: {', '.join(sorted(known))}")
    in_path = "" if parts.scheme == "unix" else parts.path.removeprefix("/")
    in_query = dict(options).get("db", "")
    if in_path and in_query:
        raise ValueError("the store's URL names a database twice")
    database = in_path or in_query or "0"
    if not _DATABASE.fullmatch(database):
        raise ValueError("the store's database is a number")
    return database
