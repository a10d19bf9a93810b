"""The address of Redis or Valkey servers, taken apart once: where they are may be told, how to get in may not.

Answers RD-11, RD-14 and invariant 11: no text made here holds a password, and no option in the URL can undo what the store relies on (bytes
undecoded, nothing sent twice, a bounded pool, TLS that verifies): the URL is read here, and the library never sees it.

::

    redis://[user:password@]host:6379/0                              rediss:// with TLS
    unix://[user:password@]/run/redis.sock?db=0
    redis+sentinel://[user:password@]host:26379,host/service/0       rediss+sentinel:// with TLS
    redis+cluster://[user:password@]host:6379,host:6379              rediss+cluster:// with TLS
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

from gateway.session.store.redis_options import RedisOptions

if TYPE_CHECKING:
    from urllib.parse import SplitResult

HostPort: TypeAlias = tuple[str, int]

MAX_HOSTS: Final = 32


class Kind(Enum):
    """How the servers belong together."""

    ONE = "one"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Login:
    """Who the gateway is to a server."""

    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    def __bool__(self) -> bool:
        return self.username is not None or self.password is not None


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where the store is. ``place`` is for logs: scheme, hosts, ports and database, or the socket's path; never user or password.

    ``hosts`` are the server, the sentinels, or nodes to begin with; ``path`` is a socket's instead.
    """

    place: str
    kind: Kind
    tls: bool
    hosts: tuple[HostPort, ...] = ()
    path: str = ""
    service: str = ""
    database: int = 0
    login: Login = field(default=Login(), repr=False)
    sentinel_login: Login = field(default=Login(), repr=False)
    options: RedisOptions = field(default_factory=RedisOptions)


@dataclass(frozen=True, slots=True)
class _Scheme:
    kind: Kind
    tls: bool
    options: frozenset[str]
    port: int = 6379


_TLS: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
_SENTINEL: Final = frozenset({"db", "sentinel_username", "sentinel_password"})
_SCHEMES: Final = {
    "redis": _Scheme(Kind.ONE, tls=False, options=frozenset({"db"})),
    "rediss": _Scheme(Kind.ONE, tls=True, options=frozenset({"db"}) | _TLS),
    "unix": _Scheme(Kind.ONE, tls=False, options=frozenset({"db"})),
    "redis+sentinel": _Scheme(Kind.SENTINEL, tls=False, options=_SENTINEL, port=26379),
    "rediss+sentinel": _Scheme(Kind.SENTINEL, tls=True, options=_SENTINEL | _TLS, port=26379),
    "redis+cluster": _Scheme(Kind.CLUSTER, tls=False, options=frozenset()),
    "rediss+cluster": _Scheme(Kind.CLUSTER, tls=True, options=_TLS),
}
_DATABASE: Final = re.compile(r"[0-9]{1,5}", re.ASCII)
_SERVICE: Final = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
"""What Sentinel takes for the name of a master."""


def parse_redis_address(url: str, options: RedisOptions = RedisOptions()) -> RedisAddress:  # noqa: B008 - frozen
    """Take one of the URLs above; ``ValueError``, with a text that holds no part of it, for anything else."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("the store's URL is not a URL: special characters in its password are written as %XX") from None
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None:
        raise ValueError("the store's URL starts with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://")
    asked = _asked(parts, scheme)
    user, _, hosts = parts.netloc.rpartition("@")
    service, database = _path(parts, scheme, asked.get("db", ""))
    address = RedisAddress(
        place="",
        kind=scheme.kind,
        tls=scheme.tls,
        service=service,
        database=database,
        login=_login(user),
        sentinel_login=Login(asked.get("sentinel_username"), asked.get("sentinel_password")),
        options=_with_files(options, asked) if scheme.tls else options,
    )
    if parts.scheme == "unix":
        if hosts or not parts.path.startswith("/"):
            raise ValueError("a unix:// store names a socket by its whole path")
        return replace(address, path=unquote(parts.path), place=f"unix://{parts.path}?db={database}")
    read = _hosts(hosts, scheme)
    places = ",".join(f"{f'[{host}]' if ':' in host else host}:{port}" for host, port in read)
    ending = {Kind.ONE: f"/{database}", Kind.SENTINEL: f"/{service}/{database}", Kind.CLUSTER: ""}[scheme.kind]
    return replace(address, hosts=read, place=f"{parts.scheme}://{places}{ending}")


def _hosts(written: str, scheme: _Scheme) -> tuple[HostPort, ...]:
    several = written.split(",") if scheme.kind is not Kind.ONE else [written]
    if len(several) > MAX_HOSTS:
        raise ValueError(f"the store's URL names at most {MAX_HOSTS} hosts")
    read: list[HostPort] = []
    for one in several:
        try:
            parts = urlsplit(f"//{one}")
            host, port = parts.hostname, parts.port
        except ValueError:
            raise ValueError("the store's URL is not a URL: special characters in its password are written as %XX") from None
        if not host or "," in host:
            raise ValueError(
                "the store's URL names no host" if scheme.kind is Kind.ONE else "the store's URL has an empty host in its list"
            )
        read.append((host, port or scheme.port))
    if len(set(read)) < len(read):
        raise ValueError("the store's URL names a host twice")
    return tuple(read)


def _login(user: str) -> Login:
    name, colon, password = user.partition(":")
    return Login(unquote(name) or None, unquote(password) or None if colon else None)


def _asked(parts: SplitResult, scheme: _Scheme) -> dict[str, str]:
    """The options of the URL; every one that the store does not take is refused."""
    if parts.fragment:
        raise ValueError("the store's URL holds a '#': special characters in its password are written as %XX")
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    asked = dict(pairs)
    if len(asked) != len(pairs) or not scheme.options.issuperset(asked):
        known = ", ".join(sorted(scheme.options)) or "none"
        raise ValueError(f"the store's URL takes these options, each once: {known}")
    if not all(asked.values()):
        raise ValueError("an option of the store's URL is empty")
    return asked


def _path(parts: SplitResult, scheme: _Scheme, in_query: str) -> tuple[str, int]:
    """The service and the database."""
    if parts.scheme == "unix":
        return "", _database("", in_query)
    path = parts.path.removeprefix("/")
    if scheme.kind is Kind.ONE:
        return "", _database(path, in_query)
    if scheme.kind is Kind.CLUSTER:
        if path not in {"", "0"}:
            raise ValueError("a cluster has no other database than 0, and nothing follows its hosts")
        return "", 0
    service, _, database = path.partition("/")
    if not _SERVICE.fullmatch(service):
        raise ValueError("a Sentinel's URL names the service after its hosts: redis+sentinel://host:26379/service/0")
    return service, _database(database, in_query)


def _database(in_path: str, in_query: str) -> int:
    if in_path and in_query:
        raise ValueError("the store's URL names a database twice")
    database = in_path or in_query or "0"
    if not _DATABASE.fullmatch(database):
        raise ValueError("the store's database is a number")
    return int(database)


def _with_files(options: RedisOptions, asked: dict[str, str]) -> RedisOptions:
    files = {"ca_file": asked.get("ssl_ca_certs"), "certificate": asked.get("ssl_certfile"), "key": asked.get("ssl_keyfile")}
    for name, value in files.items():
        if value is not None and getattr(options, name) is not None:
            raise ValueError(f"the store's URL names a file that {name} of session.redis names too")
    ca_file, certificate, key = (files[name] or getattr(options, name) for name in ("ca_file", "certificate", "key"))
    if (certificate is None) is not (key is None):
        raise ValueError("a client certificate of the store needs its key, and a key its certificate")
    return replace(options, ca_file=ca_file, certificate=certificate, key=key)
