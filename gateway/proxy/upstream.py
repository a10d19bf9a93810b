"""Where an application listens, and how long it may take: values that configuration makes and connections use.

An address is an origin only. A path, a query or credentials in it would change what is sent after the decision was taken, so they are
refused here, at start (design, invariants 2 and 16).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from typing_extensions import override

_DEFAULT_PORTS = {"http": 80, "https": 443}
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*\.?")
_MAX_UNIX_PATH = 107
"""Bytes: what ``sun_path`` holds on Linux, less its closing NUL."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that an upstream may take. All but ``total`` are limits on silence: a long download goes on."""

    connect: float = 5.0
    """From the first packet to a connection that can be written to, TLS included; also how long a request waits for one that is free."""
    head: float = 60.0
    """From the request's last byte to the end of the answer's head."""
    idle: float = 300.0
    """Between two pieces of a body, in either direction."""
    total: float | None = None
    """For a whole exchange."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How many connections one address may have, and how long they are kept."""

    connections: int = 512
    """Exchanges at once. Tunnels are not counted: each is held by a connection of its caller."""
    waiting: int = 1024
    """Requests that may wait for a connection."""
    idle: float = 4.0
    """Seconds that a connection waits for its next exchange: less than the 5 seconds after which common servers close theirs, since a
    request on a connection that is being closed is lost, and only some requests may be sent again."""
    age: float = 300.0
    """Seconds after which a connection takes no further exchange, so that an address that moved in DNS is followed."""


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """How an ``https`` upstream is verified, and how we prove ourselves to it. Paths of PEM files."""

    ca_file: str | None = None
    """The authorities to trust instead of the system's."""
    server_name: str | None = None
    """The name to ask for (SNI) and to verify, when it is not the host of the address."""
    certificate: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """An active check: GET ``path``, every ``interval`` seconds, each given ``timeout`` seconds; 2xx and 3xx are healthy."""

    path: str
    interval: float = 10.0
    timeout: float = 2.0


@dataclass(frozen=True, slots=True)
class UpstreamAddress:
    """An origin to connect to. With ``unix_path`` set, ``host`` is "localhost" and ``port`` 0."""

    scheme: Literal["http", "https"]
    host: str
    """A name, or an IP address without brackets."""
    port: int
    unix_path: str | None = None

    @property
    def authority(self) -> str:
        """``host`` or ``host:port`` as a Host header would carry it; the scheme's default port is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.unix_path is not None or self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @override
    def __str__(self) -> str:
        return f"unix:{self.unix_path}" if self.unix_path is not None else f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """Where one route leads. ``pass_host``: the application sees the caller's Host (True), its own address (False) or a name."""

    addresses: tuple[UpstreamAddress, ...]
    timeouts: Timeouts = Timeouts()
    limits: PoolLimits = PoolLimits()
    tls: TlsSettings = TlsSettings()
    health: HealthCheck | None = None
    pass_host: bool | str = True


def parse_upstream(url: str) -> UpstreamAddress:
    """Read ``http://host[:port]``, ``https://host[:port]`` or ``unix:/path/to.sock``.

    Raises ValueError with a text for the operator when the URL is anything else: another scheme, no host, an impossible port, credentials,
    a path other than "/", a query or a fragment.
    """
    if url.startswith("unix:"):
        return _unix(url.removeprefix("unix:").removeprefix("//"))
    if not url.isascii() or not url.isprintable() or any(character in url for character in ' \\"<>^`{|}'):
        raise ValueError("has characters that no URL has")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as fault:
        raise ValueError(f"is not a URL: {fault}") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError("must begin with http://, https:// or unix:/")
    if "@" in parts.netloc:
        raise ValueError("must not hold credentials")
    if parts.path not in ("", "/") or "?" in url or "#" in url:
        raise ValueError("must be an origin only, without a path, query or fragment")
    if not parts.hostname or parts.netloc.endswith(":") or port == 0:
        raise ValueError("needs a host and, if any, a port from 1 to 65535")
    scheme: Literal["http", "https"] = "https" if parts.scheme == "https" else "http"
    return UpstreamAddress(scheme, _host(parts.hostname, bracketed="[" in parts.netloc), port or _DEFAULT_PORTS[scheme])


def _unix(path: str) -> UpstreamAddress:
    if not path.startswith("/") or "\0" in path:
        raise ValueError("needs an absolute path after unix:")
    if len(path.encode()) > _MAX_UNIX_PATH:
        raise ValueError(f"has a socket path of more than {_MAX_UNIX_PATH} bytes")
    return UpstreamAddress("http", "localhost", 0, path)


def _host(host: str, *, bracketed: bool) -> str:
    if bracketed:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError:
            raise ValueError("has brackets around something that is not an IPv6 address") from None
    if not _HOST_NAME.fullmatch(host):
        raise ValueError("has a host that is neither a name nor an address")
    return host.lower()
