"""From what an operator wrote to what the rooms take: the one way to ``Settings``, and it gives settings or every fault at once.

Answers invariant 16: nothing is returned until the schema, the secrets and the contradictions were all looked at.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from gateway.access.origins import Origins
from gateway.access.routes import Access, Route, Routes
from gateway.access.trusted_proxies import UNIX, TrustedProxies
from gateway.config.contradictions import find_contradictions
from gateway.config.faults import Findings, Warning_
from gateway.config.header_names import DEFAULT_IDENTITY, RESERVED, TOKEN_SOURCES, folded
from gateway.config.loading import read_document
from gateway.config.secrets import SecretReader
from gateway.config.sections import Sections, plain, read_sections
from gateway.config.settings import AdminSettings, ConnectionLimits, Listen, ServerSettings, SessionSettings, Settings
from gateway.config.stores import redis_options, refuse_memory, session_store
from gateway.config.upstreams import check_tls_files, tunnel_rules, upstream_settings
from gateway.oidc.registration import ClientAuth, ProviderSettings, Secret
from gateway.session.lifecycle import Lifetimes
from gateway.session.refresh_rules import Follows, RefreshRules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config import schema
    from gateway.config.faults import KeyPath
    from gateway.config.loading import Tree

__all__ = ["AdminSettings", "Listen", "ServerSettings", "SessionSettings", "Settings", "Warning_", "load_settings", "settings_from"]

LEAST_TOKEN: Final = 16
"""Characters of an admin token: fewer can be tried out."""
LONGEST_SECRET: Final = 4096


def load_settings(path: Path, *, environ: Mapping[str, str]) -> tuple[Settings, tuple[Warning_, ...]]:
    """The settings in the YAML file at ``path``, with what its operator should know about them.

    Raises:
        ConfigRefused: with a line ``file:line:column key.path: what is wrong, what to do`` for every fault.
    """
    tree, findings = read_document(path)
    settings = _compile(tree, findings, environ=environ, base=path.parent)
    return settings, findings.warned()


def settings_from(mapping: Mapping[str, object], *, environ: Mapping[str, str] = MappingProxyType({}), base: Path = Path()) -> Settings:
    """Settings from values in memory, for the demo and for tests: the same schema, the same faults, without positions.

    Beyond what YAML can say, a secret may be a ``Secret`` and a session key its 32 bytes. Warnings are dropped.

    Raises:
        ConfigRefused: with a line for every fault.
    """
    findings = Findings(source="settings")
    try:
        tree = plain(mapping)
    except ValueError as error:
        findings.fault((), str(error))
        tree = None
    return _compile(tree, findings, environ=environ, base=base)  # type: ignore[arg-type]  # the schema judges what is in it


def load_store_access(path: Path, *, environ: Mapping[str, str]) -> tuple[SessionSettings, tuple[tuple[str, str], ...]]:
    """Of the YAML file at ``path`` what it takes to read and end sessions, and the providers (id and issuer) that it names.

    No other secret is followed: whoever looks after sessions may have no way to read the client secret. Sessions in memory are refused.

    Raises:
        ConfigRefused: as ``load_settings``.
    """
    tree, findings = read_document(path)
    sections = read_sections(tree, findings)
    find_contradictions(sections, findings)
    reader = SecretReader(environ, path.parent, findings)
    keys, store = _session_keys(sections.session, reader), session_store(sections.session, sections.server, reader)
    if store == "memory":
        refuse_memory(sections.admin, findings)
    findings.refuse_if_faulty()
    assert sections.session is not None
    assert store is not None
    providers = tuple((provider.id, provider.issuer) for provider in sections.providers if provider is not None)
    return _session(sections.session, keys, store, path.parent), providers


@dataclass(frozen=True, slots=True)
class _Secrets:
    """Every secret of a configuration, read. None where there is none, or where a fault was noted."""

    token: Secret | None
    clients: tuple[Secret | None, ...]
    keys: tuple[bytes, ...]
    store: str | Secret | None


def _compile(tree: Tree, findings: Findings, *, environ: Mapping[str, str], base: Path) -> Settings:
    sections = read_sections(tree, findings)
    find_contradictions(sections, findings)
    # Secrets are followed in a faulty file too: "every fault" includes a variable that is not set.
    reader = SecretReader(environ, base, findings)
    secrets = _Secrets(
        token=_admin_token(sections.admin, reader),
        clients=tuple(_client_secret(one, ("providers", index, "client_secret"), reader) for index, one in enumerate(sections.providers)),
        keys=_session_keys(sections.session, reader),
        store=session_store(sections.session, sections.server, reader),
    )
    for index, provider in enumerate(sections.providers):
        _check_authorities(provider, ("providers", index, "ca_file"), reader)
    for index, route in enumerate(sections.routes):
        check_tls_files(route, ("routes", index), base, findings)
    findings.refuse_if_faulty()
    return _settings(sections, secrets, base)


def _settings(sections: Sections, secrets: _Secrets, base: Path) -> Settings:
    """Put a faultless configuration together."""
    server, admin, provider, session = sections.server, sections.admin, sections.providers[0], sections.session
    routes = [route for route in sections.routes if route is not None]
    # What could not be read has a fault, and none got here.
    assert server is not None
    assert admin is not None
    assert provider is not None
    assert session is not None
    assert secrets.clients[0] is not None
    assert secrets.store is not None
    identities = [_identity(route) for route in routes]
    names = {name for identity in identities for name, _ in identity}
    claims = {source for identity in identities for _, source in identity if source not in TOKEN_SOURCES}
    return Settings(
        server=ServerSettings(
            listen=server.listen,
            origins=Origins(server.public_url),
            prefix=server.prefix,
            trusted_proxies=TrustedProxies(
                tuple(one for one in server.trusted_proxies if one != UNIX), unix=UNIX in server.trusted_proxies
            ),
            shutdown_grace=server.shutdown_grace,
            shutdown_delay=server.shutdown_delay,
            workers=server.workers,
            proxy_protocol=server.proxy_protocol,
            limits=ConnectionLimits(
                header_timeout=server.header_timeout,
                body_timeout=server.body_timeout,
                keepalive_timeout=server.keepalive_timeout,
                connections=server.connections,
                connections_per_peer=server.connections_per_peer,
                body_min_rate=float(server.body_min_rate),
            ),
        ),
        admin=AdminSettings(listen=admin.listen, token=secrets.token),
        provider=_provider(provider, secrets.clients[0], base),
        session=_session(session, secrets.keys, secrets.store, base),
        refresh=RefreshRules(
            follows=Follows(session.session_follows),
            ahead=session.refresh_ahead,
            skew=provider.clock_skew,
            sends_id_token=any(source == "token:id" for identity in identities for _, source in identity),
        ),
        routes=Routes([_route(index, route) for index, route in enumerate(routes)]),
        upstreams=tuple(upstream_settings(route, base) for route in routes),
        tunnels=tuple(tunnel_rules(route) for route in routes),
        wanted_claims=frozenset(claims | set(DEFAULT_IDENTITY.values())),
        reserved_headers=frozenset(folded(name) for name in (*RESERVED, *names)),
    )


def _session(session: schema.Session, keys: tuple[bytes, ...], store: str | Secret, base: Path) -> SessionSettings:
    return SessionSettings(
        store=store,
        redis=redis_options(session.redis, base),
        keys=keys,
        lifetimes=Lifetimes(idle=session.idle, lifetime=session.lifetime, login=session.login),
        return_to=tuple(session.return_to),
        outage_grace=session.outage_grace,
    )


def _provider(provider: schema.Provider, client_secret: Secret, base: Path) -> ProviderSettings:
    return ProviderSettings(
        id=provider.id,
        issuer=provider.issuer,
        client_id=provider.client_id,
        client_secret=client_secret,
        scopes=tuple(provider.scopes),
        client_auth=ClientAuth(provider.client_auth),
        id_token_algs=tuple(provider.id_token_signing_algs),
        insecure_http=provider.insecure_http is not None,
        authorization_params=MappingProxyType(dict(provider.authorization_params)),
        connect_timeout=provider.connect_timeout,
        total_timeout=provider.total_timeout,
        refresh_timeout=max(provider.refresh_timeout, provider.total_timeout),
        clock_skew=provider.clock_skew,
        ca_file=None if provider.ca_file is None else str(base / provider.ca_file),
    )


def _route(index: int, route: schema.Route) -> Route:
    return Route(
        index=index,
        path=route.path,
        hosts=None if route.host is None else frozenset(route.host),
        access=Access(route.access),
        identity=_identity(route),
        strip_prefix=route.strip_prefix,
        add_prefix=route.add_prefix or "",
    )


def _identity(route: schema.Route) -> tuple[tuple[str, str], ...]:
    if route.identity is not None:
        return tuple(route.identity.items())
    return () if route.access == Access.PUBLIC.value else tuple(DEFAULT_IDENTITY.items())


def _admin_token(admin: schema.Admin | None, secrets: SecretReader) -> Secret | None:
    path: KeyPath = ("admin", "token")
    if admin is None or admin.token is None or not secrets.findings.sound(path):
        return None
    token = secrets.read(admin.token, path)
    if token is None:
        return None
    if not LEAST_TOKEN <= len(token) <= LONGEST_SECRET or not token.isascii() or " " in token:
        secrets.findings.fault(path, f"a token has {LEAST_TOKEN} to {LONGEST_SECRET} ASCII characters without spaces; make a new one")
    return Secret(token)


def _client_secret(provider: schema.Provider | None, path: KeyPath, secrets: SecretReader) -> Secret | None:
    if provider is None or not secrets.findings.sound(path):
        return None
    value = secrets.read(provider.client_secret, path)
    if value is None:
        return None
    if len(value) > LONGEST_SECRET:
        secrets.findings.fault(path, f"longer than {LONGEST_SECRET} characters; copy it from the provider again")
    return Secret(value)


def _session_keys(session: schema.Session | None, secrets: SecretReader) -> tuple[bytes, ...]:
    keys: list[bytes] = []
    if session is None or not secrets.findings.sound(("session", "keys")):
        return ()
    for index, source in enumerate(session.keys):
        path: KeyPath = ("session", "keys", index)
        key = secrets.read_key(source, path)
        if key is not None and key in keys:
            secrets.findings.fault(path, "this key stands here twice; keep one")
        elif key is not None:
            keys.append(key)
    return tuple(keys)


def _check_authorities(provider: schema.Provider | None, path: KeyPath, secrets: SecretReader) -> None:
    if provider is None or provider.ca_file is None or not secrets.findings.sound(path):
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(secrets.base / provider.ca_file)
    except ssl.SSLError:
        secrets.findings.fault(path, "not a file of PEM certificates; name one that begins with -----BEGIN CERTIFICATE-----")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a usable file name"
        secrets.findings.fault(path, f"cannot be read ({reason}); a relative path starts from the folder of the configuration file")
