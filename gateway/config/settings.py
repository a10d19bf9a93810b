"""What the rooms take: frozen values, complete and checked. Nothing here can be half right.

Answers invariant 16: these are made by ``compiling`` alone, after every fault was looked for. All times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.session.store.redis_options import RedisOptions

if TYPE_CHECKING:
    from gateway.access.origins import Origins
    from gateway.access.routes import Routes
    from gateway.access.trusted_proxies import TrustedProxies
    from gateway.oidc.registration import ProviderSettings, Secret
    from gateway.proxy.upgrades import TunnelRules
    from gateway.proxy.upstream import UpstreamSettings
    from gateway.session.lifecycle import Lifetimes
    from gateway.session.refresh_rules import RefreshRules


@dataclass(frozen=True, slots=True)
class Listen:
    """Where a listener binds: ``host`` and ``port``, or ``unix_path`` alone. Port 0 lets the system choose."""

    host: str | None
    port: int | None
    unix_path: str | None = None


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What one connection may take in time, and how many there may be in one process."""

    header_timeout: float = 15.0
    body_timeout: float = 30.0
    keepalive_timeout: float = 75.0
    connections: int = 16384
    connections_per_peer: int = 1000
    body_min_rate: float = 240.0
    """Bytes a second; 0 for none."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The public listener. ``prefix`` has a leading slash and no trailing one; ``cookie_suffix`` is the demo's (cookies ignore ports)."""

    listen: Listen
    origins: Origins
    prefix: str
    trusted_proxies: TrustedProxies
    shutdown_grace: float
    shutdown_delay: float = 0.0
    workers: int = 1
    proxy_protocol: bool = False
    limits: ConnectionLimits = ConnectionLimits()
    cookie_suffix: str = ""


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """The listener for probes and operators. ``listen`` None: there is none. ``token`` None: the session API is off."""

    listen: Listen | None
    token: Secret | None


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """``store`` is ``"memory"`` or a Redis URL, secret because it may hold a password. ``keys`` are 32 bytes each, newest first."""

    store: str | Secret
    keys: tuple[bytes, ...]
    lifetimes: Lifetimes
    return_to: tuple[str, ...]
    outage_grace: float = 30.0
    redis: RedisOptions = field(default_factory=RedisOptions)


@dataclass(frozen=True, slots=True)
class Settings:
    """A whole configuration.

    ``upstreams`` and ``tunnels`` are indexed by ``Route.index``; an upstream is None where a route answers forward-auth alone.
    ``refresh`` says when grants are renewed. ``wanted_claims`` are the claims that a session keeps. ``reserved_headers`` are folded names
    (lower case, letters and digits only) that no client's request brings upstream.
    """

    server: ServerSettings
    admin: AdminSettings
    provider: ProviderSettings
    session: SessionSettings
    refresh: RefreshRules
    routes: Routes
    upstreams: tuple[UpstreamSettings | None, ...]
    tunnels: tuple[TunnelRules, ...]
    wanted_claims: frozenset[str]
    reserved_headers: frozenset[str]
