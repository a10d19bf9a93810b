"""What proxies in front of us say about a request: believed from trusted ones, in one way, or not at all.

In forward-auth the request to decide on is told in headers. Answers the bypasses that follow from that (oauth2-proxy CVE-2026-40575 and
GHSA-7x63, Oathkeeper CVE-2026-33495, authentik CVE-2024-47070): anybody can send ``X-Forwarded-Uri: /public/``. So the peer has to be a
trusted proxy, one family of headers has to be complete, each of its headers is there once, a second family has to agree, and the target
goes through the same reading as that of a direct request. There is no falling back to the path of the check itself.

``X-Forwarded-For`` is walked from the right (RFC 7239 section 8.1): every hop appends what it saw, so only what trusted proxies appended is
evidence. The X-Forwarded headers that an app gets are written anew; nothing of what came is passed on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING

from gateway.access.origins import Origin, split_authority
from gateway.access.target import Target, canonical_target
from gateway.errors import ForwardAuthRefused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

UNKNOWN_CLIENT = "unknown"
"""RFC 7239 section 6.2: the client of a connection without an address (a Unix socket)."""

_METHOD, _PROTO, _HOST, _URI = b"x-forwarded-method", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-uri"
_ORIGINAL_METHOD, _ORIGINAL_URL = b"x-original-method", b"x-original-url"

_HOW_TO_SEND = {
    _METHOD: "proxy_set_header X-Forwarded-Method $request_method",
    _PROTO: "proxy_set_header X-Forwarded-Proto $scheme",
    _HOST: "proxy_set_header X-Forwarded-Host $http_host",
    _URI: "proxy_set_header X-Forwarded-Uri $request_uri",
    _ORIGINAL_METHOD: "proxy_set_header X-Original-Method $request_method",
    _ORIGINAL_URL: "proxy_set_header X-Original-URL $scheme://$http_host$request_uri",
}

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}")  # RFC 9110 section 5.6.2; the longest registered method has 17 characters
_ABSOLUTE = re.compile(r"(?P<scheme>[a-z]{2,5})://(?P<authority>[^/?#]++)(?P<target>.*+)", re.DOTALL)

# Traefik calls the scheme of a WebSocket handshake ws or wss; the handshake is an HTTP request like any other (RFC 6455 section 4.1).
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}

_MOST_HOPS = 32

_BRACKETED = re.compile(r"\[([^\]]*)\](?::[0-9]{1,5})?")
_V4_WITH_PORT = re.compile(r"([0-9.]++):[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class OriginalRequest:
    """The request that a proxy asks a decision for: ``scheme`` is http or https, ``authority`` lower-case ``host[:port]`` as told."""

    method: str
    scheme: str
    authority: str
    target: Target


def original_request(headers: Sequence[tuple[bytes, bytes]], *, trusted: bool) -> OriginalRequest:
    """Read the original request from the raw headers of a forward-auth check; ``trusted`` is what ``is_trusted`` says of the peer.

    A family is X-Forwarded-Method, -Proto, -Host and -Uri, or X-Original-Method and -URL (absolute); it is present by its -Uri or -URL.
    Raises ForwardAuthRefused, whose detail names the setting to mend, and TargetRefused for a target that a direct request could not have
    either. Whether the authority is one of ours is for ``Origins.for_url``.
    """
    if not trusted:
        raise ForwardAuthRefused("a check from a peer that is no trusted proxy: add its address to server.trusted_proxies")
    told = _told_once(headers)
    requests = [read(told) for name, read in ((_URI, _from_forwarded), (_ORIGINAL_URL, _from_original)) if name in told]
    match requests:
        case [request]:
            return request
        case [request, other] if request == other:
            return request
        case [_, _]:
            raise ForwardAuthRefused(
                "X-Forwarded-Uri and X-Original-URL tell of different requests: let the proxy set one family and clear the other "
                '(proxy_set_header X-Original-URL "")'
            )
        case _:
            raise ForwardAuthRefused(f"neither X-Forwarded-Uri nor X-Original-URL: set one family ({_HOW_TO_SEND[_URI]})")


def is_trusted(peer: str | None, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Whether the address on the other end of the connection lies in one of the trusted networks; None (no address) never does."""
    if not networks or peer is None:
        return False
    address = _address(peer)
    return address is not None and any(address in network for network in networks)


def client_address(peer: str | None, xff: Sequence[bytes], networks: Sequence[IPv4Network | IPv6Network]) -> str:
    """The address of the client: the right-most hop that is no trusted proxy.

    ``xff`` holds the values of all X-Forwarded-For lines in their order. What is no address ends the walk at the last hop that was one,
    and so do more than 32 hops. Of a chain of trusted proxies alone the left-most counts. Without a peer address: ``unknown``.
    """
    if peer is None:
        return UNKNOWN_CLIENT
    client = peer
    hops = _hops_from_the_right(xff)
    for _ in range(_MOST_HOPS):
        if not is_trusted(client, networks):
            break
        hop = _address(next(hops, ""))
        if hop is None:
            break
        client = str(hop)
    address = _address(client)
    return client if address is None else str(address)


def forwarded_headers(origin: Origin, client: str) -> tuple[tuple[bytes, bytes], ...]:
    """The X-Forwarded-For, -Proto, -Host and -Port lines for the app, from the origin that took the request and ``client_address``.

    One address, not the chain: an app cannot know which hops we trust, and the hops between are nobody's business (RFC 7239 section 8.3).
    """
    return (
        (b"X-Forwarded-For", client.encode("ascii", "replace")),
        (b"X-Forwarded-Proto", origin.scheme.encode("ascii")),
        (b"X-Forwarded-Host", origin.authority.encode("ascii")),
        (b"X-Forwarded-Port", str(origin.port).encode("ascii")),
    )


def _told_once(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, str]:
    told: dict[bytes, str] = {}
    for raw_name, value in headers:
        name = raw_name.lower()
        if name not in _HOW_TO_SEND:
            continue
        if name in told:
            raise ForwardAuthRefused(f"{name.decode()} more than once: let the proxy set it, not add to it ({_HOW_TO_SEND[name]})")
        if not value.isascii():
            raise ForwardAuthRefused(f"{name.decode()} is not ASCII: send it as the client did ({_HOW_TO_SEND[name]})")
        told[name] = value.decode("ascii")
    return told


def _from_forwarded(told: dict[bytes, str]) -> OriginalRequest:
    method, proto, host = (_required(told, name, beside="X-Forwarded-Uri") for name in (_METHOD, _PROTO, _HOST))
    return OriginalRequest(_method(method, _METHOD), _scheme(proto, _PROTO), _authority(host, _HOST), canonical_target(told[_URI]))


def _from_original(told: dict[bytes, str]) -> OriginalRequest:
    method = _required(told, _ORIGINAL_METHOD, beside="X-Original-URL")
    url = _ABSOLUTE.fullmatch(told[_ORIGINAL_URL])
    if url is None:
        raise ForwardAuthRefused(f"x-original-url is not an absolute URL ({_HOW_TO_SEND[_ORIGINAL_URL]})")
    return OriginalRequest(
        _method(method, _ORIGINAL_METHOD),
        _scheme(url["scheme"], _ORIGINAL_URL),
        _authority(url["authority"], _ORIGINAL_URL),
        canonical_target(url["target"]),
    )


def _required(told: dict[bytes, str], name: bytes, *, beside: str) -> str:
    if name not in told:
        raise ForwardAuthRefused(f"{beside} without {name.decode()}: set it too ({_HOW_TO_SEND[name]})")
    return told[name]


def _method(value: str, name: bytes) -> str:
    if _TOKEN.fullmatch(value) is None:
        raise ForwardAuthRefused(f"{name.decode()} is not one method ({_HOW_TO_SEND[name]})")
    return value


def _scheme(value: str, name: bytes) -> str:
    if value not in _SCHEMES:
        raise ForwardAuthRefused(f"{name.decode()} does not say one of http and https ({_HOW_TO_SEND[name]})")
    return _SCHEMES[value]


def _authority(value: str, name: bytes) -> str:
    if split_authority(value) is None:
        raise ForwardAuthRefused(f"{name.decode()} does not name one host ({_HOW_TO_SEND[name]})")
    return value.lower()


def _hops_from_the_right(xff: Sequence[bytes]) -> Iterator[str]:
    for line in reversed(xff):
        rest = line.decode("latin-1")
        while rest:
            rest, _, hop = rest.rpartition(",")
            yield hop.strip(" \t")


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """``192.0.2.1``, ``192.0.2.1:80``, ``2001:db8::1`` or ``[2001:db8::1]:80``; IPv4 in IPv6 is IPv4, and a zone is left out."""
    with_port = _BRACKETED.fullmatch(text) or _V4_WITH_PORT.fullmatch(text)
    try:
        address = ip_address((text if with_port is None else with_port[1]).partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
