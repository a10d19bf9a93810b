"""What proxies in front of us say about a request: believed from trusted ones, in one way, or not at all.

In forward-auth the request to decide on is told in headers. Answers the bypasses that follow from that (oauth2-proxy CVE-2026-40575 and
GHSA-7x63, Oathkeeper CVE-2026-33495, authentik CVE-2024-47070): anybody can send ``X-Forwarded-Uri: /public/``. So the peer has to be a
trusted proxy, one family of headers has to be complete, each of its headers is there once, a second family has to agree, and the target
goes through the same reading as that of a direct request. There is no falling back to the path of the check itself.

The X-Forwarded headers that an app gets, and Forwarded, are written anew; nothing of what came is passed on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.access.origins import Origin, split_authority
from gateway.access.target import Target, canonical_target
from gateway.errors import ForwardAuthRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

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
# Names are told apart by their length first: most headers are none of these.
_LENGTHS = frozenset(map(len, _HOW_TO_SEND))
_MOST_REMEMBERED = 1024
"""Bytes of all values."""

# Methods have case, and no registered one has a small letter (RFC 9110 section 9.1); the longest has 17 characters.
_TOKEN = re.compile(r"[A-Z][A-Z-]{0,31}")
_ABSOLUTE = re.compile(r"(?P<scheme>[a-z]{2,5})://(?P<authority>[^/?#]++)(?P<target>.*+)", re.DOTALL)

# Traefik calls the scheme of a WebSocket handshake ws or wss; the handshake is an HTTP request like any other (RFC 6455 section 4.1).
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


@dataclass(frozen=True, slots=True)
class OriginalRequest:
    """The request that a proxy asks a decision for: ``scheme`` is http or https, ``authority`` lower-case ``host[:port]`` as told."""

    method: str
    scheme: str
    authority: str
    target: Target


def original_request(headers: Sequence[tuple[bytes, bytes]], *, trusted: bool) -> OriginalRequest:
    """Read the original request from the raw headers of a forward-auth check; ``trusted``: ``TrustedProxies.trusts`` says so of the peer.

    A family is X-Forwarded-Method, -Proto, -Host and -Uri, or X-Original-Method and -URL (absolute); it is present by its -Uri or -URL.
    Raises ForwardAuthRefused, whose detail names the setting to mend, and TargetRefused for a target that a direct request could not have
    either. Whether the authority is one of ours is for ``Origins.for_url``.
    """
    if not trusted:
        raise ForwardAuthRefused("a check from a peer that is no trusted proxy: add its address to server.trusted_proxies")
    told = tuple([pair for pair in headers if len(pair[0]) in _LENGTHS and pair[0].lower() in _HOW_TO_SEND])
    return _remembered(told) if sum([len(value) for _, value in told]) <= _MOST_REMEMBERED else _read_told(told)


def _read_told(headers: tuple[tuple[bytes, bytes], ...]) -> OriginalRequest:
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


_remembered = lru_cache(maxsize=512)(_read_told)
"""Proxies tell the same of every request for one target, and it means the same each time. A refusal is not remembered."""


def forwarded_headers(origin: Origin, client: str, prefix: str = "") -> tuple[tuple[bytes, bytes], ...]:
    """What the app is told of the way here: X-Forwarded-For, -Proto, -Host, -Port, and the same once more as Forwarded (RFC 7239).

    ``origin`` took the request and ``client`` is ``TrustedProxies.client``. ``prefix`` is what the route took off the path, told as
    X-Forwarded-Prefix; "" for none. One address, not the chain: an app cannot know which hops we trust, and the hops between are
    nobody's business (RFC 7239 section 8.3).
    """
    lines = (
        (b"X-Forwarded-For", client.encode("ascii", "replace")),
        (b"X-Forwarded-Proto", origin.scheme.encode("ascii")),
        (b"X-Forwarded-Host", origin.authority.encode("ascii")),
        (b"X-Forwarded-Port", str(origin.port).encode("ascii")),
        (b"Forwarded", f"for={_node(client)};host={_value(origin.authority)};proto={origin.scheme}".encode("ascii", "replace")),
    )
    return (*lines, (b"X-Forwarded-Prefix", prefix.encode("ascii"))) if prefix else lines


def _node(client: str) -> str:
    """A node of RFC 7239 section 6: IPv6 in brackets and quotes, everything else a token."""
    return f'"[{client}]"' if ":" in client else client


def _value(text: str) -> str:
    """A token, or a quoted-string where there is a colon or a bracket (RFC 7239 section 4)."""
    return f'"{text}"' if ":" in text else text


def _told_once(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, str]:
    told: dict[bytes, str] = {}
    for raw_name, value in headers:
        name = raw_name.lower()
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
