"""What a running gateway is made of, composed once from the settings and handed to every room that answers.

Answers "each origin has its own cookie and redirect URI": a ``Site`` is the only place where an origin, its cookie names, its redirect
URI and its return rules meet, so none of them can be taken from a request.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.access.return_to import ReturnRules
from gateway.oidc.provider import Provider
from gateway.proxy.headers import HeaderRules
from gateway.proxy.upstreams import Upstreams
from gateway.server.admin_token import AdminToken
from gateway.server.detached import Detached
from gateway.server.left_tokens import LeftTokens
from gateway.server.live import Live
from gateway.server.reloading import KeyTurnover
from gateway.session.cookies import CookieNames
from gateway.session.sealing import Keyring
from gateway.session.sessions import Renewing, Sessions
from gateway.session.store.opening import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.access.origins import Origin
    from gateway.config.settings import Settings


@dataclass(frozen=True, slots=True)
class Site:
    """One public origin: everything that derives from it, and from nothing in a request."""

    origin: Origin
    authority: str
    names: CookieNames
    redirect_uri: str
    signed_out_uri: str
    start_uri: str
    return_rules: ReturnRules
    forwarded: dict[tuple[str, str], bytes] = field(default_factory=dict, compare=False, repr=False)
    """X-Forwarded headers as lines, by client and prefix; ``rendered`` keeps it."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The composed gateway. ``upstreams`` is indexed by ``Route.index``; None where the gateway only answers forward-auth.

    ``token_routes`` are the indices of the routes that send a token upstream: they alone need one that has not expired.
    """

    settings: Settings
    keyring: Keyring
    turnover: KeyTurnover
    sessions: Sessions
    provider: Provider
    sites: Mapping[Origin, Site]
    upstreams: Upstreams
    token_routes: frozenset[int]
    header_rules: HeaderRules
    detached: Detached
    live: Live
    left_tokens: LeftTokens
    admin_token: AdminToken
    clock: Callable[[], float]
    by_host: dict[str, Site] = field(default_factory=dict, compare=False, repr=False)
    """Sites by their authority, which is how browsers write Host; ``site_for_host`` fills it."""

    def site_for_host(self, host: str) -> Site:
        """The site that a Host header's value names; raises as ``Origins.for_host``."""
        site = self.by_host.get(host)
        if site is None:
            origin = self.settings.server.origins.for_host(host)
            site = self.sites[origin]
            if host == origin.authority:
                self.by_host[host] = site
        return site

    def reload_secrets(self, settings: Settings) -> None:
        """Take the keys, the client secret and the admin token of freshly read settings; everything else stays as it is."""
        self.turnover.take(settings.session.keys)
        self.provider.replace_secret(settings.provider.client_secret)
        self.sessions.try_again()
        self.admin_token.replace(settings.admin.token)

    async def close(self) -> None:
        """Finish detached work within the grace, then close the back channel and the store."""
        self.turnover.close()
        await self.live.close()
        await self.upstreams.close()
        await self.detached.drain(self.settings.server.shutdown_grace)
        await self.provider.close()
        await self.sessions.close()


def open_parts(settings: Settings, *, clock: Callable[[], float] = time.time) -> Parts:
    """Compose the gateway. Nothing is contacted: it starts while the provider and the store are down."""
    keyring = Keyring(settings.session.keys)
    sites = {origin: _site(origin, settings) for origin in settings.server.origins}
    provider = Provider(settings.provider, clock=clock)
    detached = Detached()
    sessions = Sessions(
        keyring,
        open_store(settings.session.store, settings.session.redis, clock=clock),
        settings.session.lifetimes,
        clock=clock,
        outage_grace=settings.session.outage_grace,
        renewing=Renewing(provider, settings.refresh, wanted=settings.wanted_claims, spawn=detached.start),
    )
    left_tokens = LeftTokens(sessions, provider, detached)
    return Parts(
        settings=settings,
        keyring=keyring,
        turnover=KeyTurnover(keyring, settings.session.keys),
        sessions=sessions,
        provider=provider,
        sites=sites,
        upstreams=Upstreams(settings.upstreams),
        token_routes=frozenset(
            route.index for route in settings.routes if any(source.startswith("token:") for _, source in route.identity)
        ),
        header_rules=HeaderRules(
            reserved=frozenset(name.encode() for name in settings.reserved_headers),
            cookie_names=frozenset(site.names.session.encode() for site in sites.values()),
            cookie_prefixes=tuple({site.names.login_prefix.encode() for site in sites.values()}),
        ),
        detached=detached,
        live=Live(sessions, clock=clock, found_dead=left_tokens.look_for),
        left_tokens=left_tokens,
        admin_token=AdminToken(settings.admin.token),
        clock=clock,
    )


def _site(origin: Origin, settings: Settings) -> Site:
    endpoints = origin.text + settings.server.prefix
    return Site(
        origin=origin,
        authority=origin.authority,
        names=CookieNames.for_origin(origin.text, suffix=settings.server.cookie_suffix),
        redirect_uri=endpoints + "/callback",
        signed_out_uri=endpoints + "/signed_out",
        start_uri=endpoints + "/start",
        return_rules=ReturnRules(origin=origin.text, allowed=settings.session.return_to, prefix=settings.server.prefix),
    )
