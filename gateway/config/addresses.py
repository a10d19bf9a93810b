"""The addresses that an operator writes: listeners, origins, issuers, hosts, networks, stores. Each raw string is read in one way.

Answers the threat of an address that two programs read differently (``urlsplit`` tolerates backslashes, TABs and userinfo that browsers do
not): hosts and ports are read by the code that reads a request's Host, and what is around them is a full match of a narrow grammar.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.access.origins import Origin, split_authority
from gateway.access.trusted_proxies import UNIX
from gateway.config.settings import Listen
from gateway.session.store.redis_address import parse_redis_address
from gateway.session.store.redis_options import RedisOptions

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

_ISSUER = re.compile(r"(https?)://([^/?#@\\]+)((?:/[A-Za-z0-9/._~:!$&'()*+,;=%-]*)?)", re.IGNORECASE)
_PREFIX = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
_NUMERIC = re.compile(r"[0-9.]+|(?:.*\.)?0x[0-9a-f]*")

LONGEST_URL: Final = 2048
LONGEST_PREFIX: Final = 64
LONGEST_SOCKET_PATH: Final = 107
"""Bytes that the kernel takes for the path of a socket (unix(7))."""
LOOPBACK: Final = {"127.0.0.1", "::1"}
EVERYWHERE: Final = {"0.0.0.0", "::"}  # noqa: S104 - recognised, not bound
WIDEST_TRUSTED: Final = {4: 8, 6: 7}
"""The shortest length of a trusted network: 10.0.0.0/8 and fc00::/7 are somebody's own, anything wider is the Internet."""
IPV4_IN_IPV6: Final = ipaddress.IPv6Network("::ffff:0:0/96")

STORE_REMEDY: Final = "write redis://host:port/0, rediss://host:port/0 or memory"
ORIGIN_REMEDY: Final = "write scheme and host alone, such as https://apps.example.org"


def read_listen(text: str) -> Listen:
    """``127.0.0.1:8080``, ``localhost:8080``, ``[::1]:8080`` or ``unix:/run/gateway.sock``; port 0 lets the system choose.

    Raises:
        ValueError: with what is wrong and what to write.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/") or not path.isprintable() or len(path.encode()) > LONGEST_SOCKET_PATH:
            raise ValueError(
                f"the path of a socket begins with / and has at most {LONGEST_SOCKET_PATH} bytes; write unix:/run/gateway.sock"
            )
        return Listen(host=None, port=None, unix_path=path)
    any_port = text.endswith(":0")
    authority = split_authority(text.removesuffix(":0") if any_port else text)
    if authority is None or (authority[1] is None) is not any_port:
        raise ValueError(
            "not an address to listen on; write host:port, [::1]:port or unix:/run/gateway.sock (0.0.0.0:port for every address)"
        )
    host, port = authority
    _check_numeric(host)
    return Listen(host=host.strip("[]"), port=port or 0)


def read_origin(text: str) -> Origin:
    """``https://apps.example.org`` or with a port; nothing after it.

    Raises:
        ValueError: with what is wrong and what to write.
    """
    try:
        origin = Origin.parse(text)
    except ValueError as error:
        raise ValueError(f"{error}; {ORIGIN_REMEDY}") from None
    _check_numeric(origin.host)
    return origin


def read_return_origin(text: str) -> str:
    """An origin, or every host one label below a domain: ``https://*.apps.example.org``. Given back as browsers write it.

    Raises:
        ValueError: with what is wrong and what to write.
    """
    if "://*." not in text:
        return read_origin(text).text
    origin = read_origin(text.replace("://*.", "://", 1))
    if "." not in origin.host or origin.host.startswith("[") or not origin.host.rpartition(".")[2].strip("0123456789"):
        raise ValueError("this stands for hosts of strangers too; name a domain of yours, such as https://*.apps.example.org")
    return origin.text.replace("://", "://*.", 1)


def read_authority(text: str) -> str:
    """The host of a route, ``apps.example.org`` or ``apps.example.org:8443``, in lower case.

    Raises:
        ValueError: with what is wrong and what to write.
    """
    authority = split_authority(text)
    if authority is None:
        raise ValueError("not a host; write it without scheme and path, such as apps.example.org")
    host, port = authority
    return host if port is None else f"{host}:{port}"


def read_issuer(text: str) -> str:
    """An issuer identifier: no query, no fragment, no userinfo (OpenID Connect Discovery section 3). Never normalised.

    Raises:
        ValueError: with what is wrong and what to write.
    """
    match = _ISSUER.fullmatch(text)
    authority = None if match is None or len(text) > LONGEST_URL else split_authority(match[2])
    if authority is None:
        raise ValueError("not an issuer; copy the provider's own exactly: https://host/path, with no query, fragment or user name")
    _check_numeric(authority[0])
    return text


def issuer_parts(issuer: str) -> tuple[str, str]:
    """Scheme and host, both in lower case, of an issuer that ``read_issuer`` accepted."""
    match = _ISSUER.fullmatch(issuer)
    authority = None if match is None else split_authority(match[2])
    assert match is not None
    assert authority is not None
    return match[1].lower(), authority[0]


def read_prefix(text: str) -> str:
    """``/oauth2``: one or more plain segments, no trailing slash.

    Raises:
        ValueError: with what is wrong and what to write.
    """
    if _PREFIX.fullmatch(text) is None or len(text) > LONGEST_PREFIX:
        raise ValueError("not a prefix; write one or more plain segments without a trailing slash, such as /oauth2")
    return text


def read_proxies(text: str) -> IPv4Network | IPv6Network | str:
    """Where proxies come from: a network as ``read_network`` reads it, or ``unix`` for whoever connects by a Unix socket.

    Raises:
        ValueError: with what is wrong and what to write.
    """
    return text if text == UNIX else read_network(text)


def read_network(text: str) -> IPv4Network | IPv6Network:
    """A network in CIDR form, or one address. Never one as wide as the Internet.

    Raises:
        ValueError: with what is wrong and what to write.
    """
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("not a network in CIDR form; write one such as 10.0.0.0/24 or fd00::/64") from None
    wide = network.prefixlen < WIDEST_TRUSTED[network.version]
    if wide or (isinstance(network, ipaddress.IPv6Network) and network.supernet_of(IPV4_IN_IPV6)):
        raise ValueError("this trusts strangers to say who they are and where they come from; name the networks of your own proxies")
    if str(network.network_address) != str(ipaddress.ip_address(text.partition("/")[0])):
        raise ValueError(f"this address has bits set beyond the network; write {network}, or the address alone")
    return network


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """What can be said about a Redis URL without saying it: it may hold a password."""

    has_password: bool
    exposed: bool
    """Without TLS beyond loopback. Where sentinels and nodes lead from there is not known here."""
    tls: bool
    options: RedisOptions
    """Those of `session.redis`, with the files that the URL names."""


def read_store(url: str, options: RedisOptions | None = None) -> StoreAddress:
    """Judge the URL of Redis or Valkey servers, together with what `session.redis` says.

    Raises:
        ValueError: with what is wrong and what to write, and nothing of ``url``.
    """
    if not url.isascii() or not url.isprintable() or " " in url or len(url) > LONGEST_URL:
        raise ValueError(f"the store's URL has characters that no URL has; {STORE_REMEDY}")
    try:
        address = parse_redis_address(url, options or RedisOptions())
    except ValueError as error:
        raise ValueError(f"{error}; {STORE_REMEDY}") from None
    for host, _ in address.hosts:
        _check_numeric(host)
    return StoreAddress(
        has_password=address.login.password is not None or address.sentinel_login.password is not None,
        exposed=not address.tls and any(not is_loopback(host) for host, _ in address.hosts),
        tls=address.tls,
        options=address.options,
    )


def is_loopback(host: str) -> bool:
    """Whether packets for ``host`` never leave this machine: ``localhost``, 127.0.0.0/8 or ::1, with or without brackets."""
    bare = host.lower().strip("[]")
    if bare == "localhost" or bare.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False


def same_host(listening: str, reached: str) -> bool:
    """Whether somebody who connects to ``reached`` may come out at a listener on ``listening`` (on the same port)."""
    one, other = (LOOPBACK if host == "localhost" else {host.strip("[]")} for host in (listening, reached))
    return bool(one & other or other & EVERYWHERE or (one & EVERYWHERE and is_loopback(reached)))


def _check_numeric(host: str) -> None:
    """``127.1`` and ``0x7f000001`` are addresses to some readers and names to others."""
    if _NUMERIC.fullmatch(host):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise ValueError("neither a host name nor an IPv4 address; write all four numbers, such as 127.0.0.1") from None
