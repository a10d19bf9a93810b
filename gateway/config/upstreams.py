"""The way from a route to its app: what each key allows, what two together do not, and the value that the data plane takes.

Answers invariants 1, 2 and 16: an app is an origin, never the gateway itself, and every file that TLS needs is there at start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.config.addresses import same_host
from gateway.proxy.dialling import tls_context
from gateway.proxy.upgrades import TunnelRules
from gateway.proxy.upstream import HealthCheck, PoolLimits, Timeouts, TlsSettings, UpstreamSettings, parse_upstream

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config.faults import Findings, KeyPath
    from gateway.config.schema import Route
    from gateway.config.sections import Sections
    from gateway.config.settings import Listen
    from gateway.proxy.upstream import UpstreamAddress


def upstream_settings(route: Route, base: Path) -> UpstreamSettings | None:
    """Where a faultless route leads; None where it answers forward-auth alone."""
    if route.upstream is None:
        return None
    timeouts, pool, health = route.timeouts, route.pool, route.health
    return UpstreamSettings(
        addresses=tuple(parse_upstream(url) for url in route.upstream),
        timeouts=Timeouts(timeouts.connect, timeouts.response_header, timeouts.idle, timeouts.total),
        limits=PoolLimits(pool.connections, pool.waiting, pool.idle, pool.max_age),
        tls=_tls(route, base),
        health=None if health is None else HealthCheck(health.path, health.interval, health.timeout),
        pass_host=route.pass_host,
    )


def tunnel_rules(route: Route) -> TunnelRules:
    """What a faultless route lets become a tunnel."""
    return TunnelRules(upgrades=frozenset(protocol.encode() for protocol in route.upgrades), idle=route.timeouts.tunnel_idle)


def check_upstreams(route: Route, path: KeyPath, sections: Sections, findings: Findings) -> None:
    """Note what is wrong with where a route leads."""
    if route.upstream is None:
        _check_nothing_led(route, path, findings)
        return
    secure = False
    for index, url in enumerate(route.upstream if findings.sound((*path, "upstream")) else ()):
        at: KeyPath = (*path, "upstream", index) if len(route.upstream) > 1 else (*path, "upstream")
        if url in route.upstream[:index]:
            findings.fault(at, "this app stands here twice; keep one")
            continue
        try:
            address = parse_upstream(url)
        except ValueError as error:
            # The reason of a URL that cannot be split quotes it.
            reason = "is not a URL" if "not a URL" in str(error) else str(error)
            findings.fault(at, f"{reason}; write http://host:port, https://host:port or unix:/run/app.sock")
            secure = True
            continue
        secure = secure or address.scheme == "https"
        _check_address(address, at, sections, findings)
    if route.tls is None or not findings.sound((*path, "tls")):
        return
    if not secure:
        findings.fault(
            (*path, "tls"), "there is no https:// in upstream, so nothing here is used; remove it, or write https://", breaks=False
        )
    if (route.tls.certificate is None) is not (route.tls.key is None):
        findings.fault((*path, "tls"), "a certificate needs its key and a key its certificate; write both", breaks=False)


def check_tls_files(route: Route | None, path: KeyPath, base: Path, findings: Findings) -> None:
    """Note files that TLS to the app would need and that cannot be used."""
    if route is None or route.tls is None or not findings.sound((*path, "tls")):
        return
    try:
        tls_context(_tls(route, base))
    except (OSError, ValueError) as error:
        reason = (
            error.strerror if isinstance(error, OSError) and error.strerror and error.errno else "not PEM, or a key of another certificate"
        )
        findings.fault(
            (*path, "tls"),
            f"its files cannot be used ({reason}); a relative path starts from the folder of the configuration file",
            breaks=False,
        )


def _check_nothing_led(route: Route, path: KeyPath, findings: Findings) -> None:
    for key in ("tls", "health", "strip_prefix", "add_prefix"):
        if getattr(route, key) and findings.sound((*path, key), (*path, "upstream")):
            findings.fault((*path, key), "this route has no upstream, so nothing is sent anywhere; remove this key, or write upstream")


def _check_address(address: UpstreamAddress, path: KeyPath, sections: Sections, findings: Findings) -> None:
    """Neither a loop, nor the admin listener on the public one."""
    if sections.server is not None and findings.sound(("server", "listen")) and _reaches(address, sections.server.listen):
        findings.fault(path, "this is server.listen: every request would come back for ever; name the app's own address")
    elif sections.admin is not None and findings.sound(("admin", "listen")) and _reaches(address, sections.admin.listen):
        findings.fault(path, "this is admin.listen, which must never be reached from outside; name the app's own address")


def _reaches(address: UpstreamAddress, listen: Listen | None) -> bool:
    if listen is None:
        return False
    if listen.unix_path is not None or address.unix_path is not None:
        return listen.unix_path == address.unix_path
    assert listen.host is not None
    return listen.port == address.port and same_host(listen.host, address.host)


def _tls(route: Route, base: Path) -> TlsSettings:
    tls = route.tls
    if tls is None:
        return TlsSettings()
    files = (None if name is None else str(base / name) for name in (tls.ca_file, tls.certificate, tls.key))
    ca_file, certificate, key = files
    return TlsSettings(ca_file, tls.server_name, certificate, key)
