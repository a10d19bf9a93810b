"""What each value allows and two together do not: the checks that keep a configuration from breaking an invariant.

Answers invariant 16: every function here is one refusal with its remedy, looked for only where the values that it needs are sound, so that
one mistake is not reported twice. Where an operator may have good reasons, it is a warning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.access.origins import Origins
from gateway.access.readings import is_below
from gateway.access.routes import Access, Routes
from gateway.access.routes import Route as CompiledRoute
from gateway.access.trusted_proxies import UNIX
from gateway.config.addresses import EVERYWHERE, is_loopback, issuer_parts, read_origin, same_host
from gateway.config.header_names import check_identity_header, folded
from gateway.config.upstreams import check_upstreams
from gateway.config.values import check_parameter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.access.origins import Origin
    from gateway.config.faults import Findings, KeyPath
    from gateway.config.schema import Admin, Provider, Route, Server, Session
    from gateway.config.sections import Sections
    from gateway.config.settings import Listen


MEMORY_OF_ONE: Final = "memory belongs to one process, and server.workers asks for more; write a redis:// URL"


def find_contradictions(sections: Sections, findings: Findings) -> None:
    """Note every contradiction in what could be read."""
    server, admin, session = sections.server, sections.admin, sections.session
    if server is not None:
        _check_server(server, findings)
    if admin is not None:
        _check_admin(admin, server, findings)
    if len(sections.providers) > 1:
        findings.fault(("providers", 1), "more than one provider is not built yet; keep one", breaks=False)
    for index, provider in enumerate(sections.providers):
        if provider is not None:
            _check_provider(provider, ("providers", index), findings)
    if session is not None:
        _check_session(session, server, findings)
    if server is not None and session is not None:
        _check_grace(server, session, sections.providers, findings)
    for index, route in enumerate(sections.routes):
        if route is not None:
            _check_route(route, ("routes", index), sections, findings)
    _check_routes_differ(sections.routes, findings)


def _check_server(server: Server, findings: Findings) -> None:
    for index, origin in enumerate(server.public_url if findings.sound(("server", "public_url")) else ()):
        path: KeyPath = ("server", "public_url", index)
        earlier = server.public_url[:index]
        if origin in earlier:
            findings.fault(path, "this origin stands here twice; keep one", breaks=False)
        elif not _distinguishable(origin, earlier):
            findings.fault(path, "its Host header is that of an origin above, so the two could not be told apart; keep one", breaks=False)
        elif any(origin.host == other.host for other in earlier):
            findings.fault(
                path,
                "it would share cookies with an origin above, since cookies ignore ports; give it a host of its own",
                breaks=False,
            )
        insecure = origin.scheme == "http" and not is_loopback(origin.host) and server.insecure_http is None
        if insecure and findings.sound(("server", "insecure_http")):
            remedy = "write https, or insecure_http: allowed beside it"
            findings.fault(path, f"plain http beyond loopback sends cookies in clear; {remedy}", breaks=False)
    _check_proxies(server, findings)


def _check_proxies(server: Server, findings: Findings) -> None:
    if not findings.sound(("server", "trusted_proxies")):
        return
    if UNIX in server.trusted_proxies and server.listen.unix_path is None and findings.sound(("server", "listen")):
        index = server.trusted_proxies.index(UNIX)
        remedy = "write listen: unix:/run/gateway.sock, or name networks"
        findings.fault(
            ("server", "trusted_proxies", index), f"unix trusts the peers of a Unix socket, and listen is none; {remedy}", breaks=False
        )
    if server.proxy_protocol and not server.trusted_proxies and findings.sound(("server", "proxy_protocol")):
        remedy = "name the networks of the balancers that send it"
        findings.fault(
            ("server", "proxy_protocol"),
            f"the PROXY protocol is believed from trusted_proxies alone, and there are none; {remedy}",
            breaks=False,
        )


def _check_admin(admin: Admin, server: Server | None, findings: Findings) -> None:
    path: KeyPath = ("admin", "listen")
    if admin.token is not None and admin.listen is None and findings.sound(("admin", "token"), path):
        findings.warn(("admin", "token"), "admin.listen is none, so there is no session API for it; `gateway sessions` needs neither")
    if admin.listen is None or not findings.sound(path):
        return
    if server is not None and findings.sound(("server", "listen")) and _same_listener(server.listen, admin.listen):
        findings.fault(path, "the same address as server.listen, where everybody could reach it; take another port", breaks=False)
    if admin.listen.host is not None and not is_loopback(admin.listen.host):
        findings.warn(
            path,
            "reachable beyond this machine: the probes ask nobody who they are, and the session API's token travels in clear;"
            " keep it to 127.0.0.1 or a network of operators",
        )


def _check_provider(provider: Provider, path: KeyPath, findings: Findings) -> None:
    scheme, host = issuer_parts(provider.issuer)
    if scheme == "http" and not is_loopback(host) and provider.insecure_http is None and findings.sound((*path, "insecure_http")):
        findings.fault(
            (*path, "issuer"),
            "plain http beyond loopback lets anybody on the path sign in as anybody; write https, or insecure_http: allowed beside it",
        )
    timeouts: tuple[KeyPath, KeyPath] = ((*path, "connect_timeout"), (*path, "total_timeout"))
    if provider.connect_timeout > provider.total_timeout and findings.sound(*timeouts):
        findings.fault(timeouts[0], "longer than total_timeout, so it could never be reached; write less", breaks=False)
    if not findings.sound((*path, "authorization_params")):
        return
    for name, value in provider.authorization_params.items():
        try:
            check_parameter(name, value)
        except ValueError as error:
            findings.fault((*path, "authorization_params", name), str(error))


def _check_session(session: Session, server: Server | None, findings: Findings) -> None:
    if session.idle > session.lifetime and findings.sound(("session", "idle"), ("session", "lifetime")):
        findings.fault(("session", "idle"), "longer than lifetime, so it could never be reached; write less", breaks=False)
    if server is None:
        return
    if session.store == "memory" and server.workers > 1 and findings.sound(("session", "store")):
        findings.fault(("session", "store"), MEMORY_OF_ONE, breaks=False)
    if server.insecure_http is not None or not findings.sound(("server", "insecure_http"), ("session", "return_to")):
        return
    for index, origin in enumerate(session.return_to):
        if origin.startswith("http://") and not is_loopback(read_origin(origin.replace("://*.", "://")).host):
            findings.fault(("session", "return_to", index), "plain http beyond loopback; write https, or insecure_http: allowed in server")


def _check_grace(server: Server, session: Session, providers: Sequence[Provider | None], findings: Findings) -> None:
    """A stop that cuts a refresh may cost a sign-in; where sessions are in the process's memory, it costs them all anyway."""
    grace: KeyPath = ("server", "shutdown_grace")
    if session.store == "memory":
        return
    for index, provider in enumerate(providers):
        paths: tuple[KeyPath, ...] = tuple(("providers", index, name) for name in ("total_timeout", "refresh_timeout"))
        if provider is None or not findings.sound(grace, *paths):
            continue
        longest = max(provider.total_timeout, provider.refresh_timeout)
        if server.shutdown_grace < longest:
            findings.warn(
                grace,
                f"shorter than the {longest:g} s that the provider may take to renew tokens, and a stop that cuts that may cost a sign-in;"
                " write more, or less for refresh_timeout",
            )


def _check_route(route: Route, path: KeyPath, sections: Sections, findings: Findings) -> None:
    server = sections.server
    _check_path(route.path, (*path, "path"), server, findings)
    if server is not None and route.host is not None and findings.sound(("server", "public_url"), (*path, "host")):
        ours = {origin.authority for origin in server.public_url}
        if not route.host:
            findings.fault((*path, "host"), "an empty list takes no request; name a host, or remove the key for every host")
        for index, host in enumerate(route.host):
            if host not in ours:
                findings.fault(
                    (*path, "host", index), "not the host of a server.public_url, so no request could reach it; add its URL there"
                )
    check_upstreams(route, path, sections, findings)
    if route.identity:
        _check_identity(route, path, findings)


def _check_path(written: str, path: KeyPath, server: Server | None, findings: Findings) -> None:
    if not findings.sound(path):
        return
    try:
        Routes([CompiledRoute(index=0, path=written, hosts=None, access=Access.PUBLIC)])
    except ValueError:
        findings.fault(
            path, "not the path of a route; write it plainly, beginning with /, without escapes, ;, //, ?, blanks or dot segments"
        )
        return
    if "*" in written:
        findings.fault(path, "a route takes everything below its path already; write it without *")
    elif server is not None and findings.sound(("server", "prefix")) and is_below(written, server.prefix):
        findings.fault(
            path, "these are the gateway's own endpoints (server.prefix), which no route can take; choose another path or prefix"
        )


def _check_identity(route: Route, path: KeyPath, findings: Findings) -> None:
    assert route.identity is not None
    at: KeyPath = (*path, "identity")
    if not findings.sound(at):
        return
    if route.access == "public" and findings.sound((*path, "access")):
        findings.fault(at, "a public route carries no identity; remove it, or write access: optional")
        return
    seen: set[str] = set()
    for name, source in route.identity.items():
        try:
            check_identity_header(name, source)
        except ValueError as error:
            findings.fault((*at, name), str(error))
        if folded(name) in seen:
            findings.fault((*at, name), "the same header to an app that ignores case, - and _ as one above; keep one")
        seen.add(folded(name))


def _check_routes_differ(routes: tuple[Route | None, ...], findings: Findings) -> None:
    first: dict[tuple[str, str | None], int] = {}
    for index, route in enumerate(routes):
        if route is None or not findings.sound(("routes", index, "host"), ("routes", index, "path")):
            continue
        for host in route.host or (None,):
            earlier = first.setdefault((route.path, host), index)
            if earlier != index:
                findings.fault(("routes", index, "path"), f"routes[{earlier}] takes the same path of the same host; keep one")
                break


def _same_listener(one: Listen, other: Listen) -> bool:
    if one.unix_path is not None or other.unix_path is not None:
        return one.unix_path == other.unix_path
    assert one.host is not None
    assert other.host is not None
    overlap = same_host(one.host, other.host) or one.host in EVERYWHERE or other.host in EVERYWHERE
    return one.port == other.port != 0 and overlap


def _distinguishable(origin: Origin, others: Sequence[Origin]) -> bool:
    for other in others:
        try:
            Origins([other, origin])
        except ValueError:
            return False
    return True
