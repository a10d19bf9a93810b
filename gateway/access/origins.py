"""The origins that browsers see us under; a Host that is none of them is answered by nobody.

Answers Host header attacks (RFC 9112 section 3.2, RFC 9110 section 7.4): redirect URIs, cookies and the ``X-Forwarded-Host`` that apps see
derive from the operator's ``public_url``, never from what a caller sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address
from typing import TYPE_CHECKING

from gateway.errors import HeadersRefused, HostUnknown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DEFAULT_PORTS = {"http": 80, "https": 443}

# A name of letters, digits, hyphens and underscores (RFC 1123 and what is used inside clusters), IPv4, or IPv6 in brackets; never userinfo.
_AUTHORITY = re.compile(r"(?P<host>[a-z0-9_-]++(?:\.[a-z0-9_-]++)*\.?|\[[0-9a-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?", re.IGNORECASE)
_LONGEST_AUTHORITY = 262  # 255 for a name, a colon and a port


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme (``http`` or ``https``), lower-case host (IPv6 in brackets, shortened) and port of one public URL."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> Origin:
        """Read a public URL such as ``https://apps.example.org``; raises ValueError with the reason in plain words."""
        scheme, separator, rest = url.partition("://")
        scheme = scheme.lower()
        if not separator or scheme not in DEFAULT_PORTS:
            raise ValueError("must begin with https:// or http://")
        if not rest.isascii():
            raise ValueError("must be ASCII: write an internationalised name in its xn-- form")
        host_and_port = split_authority(rest.removesuffix("/"))
        if host_and_port is None:
            raise ValueError("must be a scheme, a host and at most a port, without path, query, user or blanks")
        host, port = host_and_port
        if host.endswith("."):
            raise ValueError("must not end with a dot: to a browser that is another host")
        return cls(scheme, host, DEFAULT_PORTS[scheme] if port is None else port)

    @property
    def authority(self) -> str:
        """``apps.example.org``, or ``apps.example.org:8443`` where the port is not the scheme's own."""
        return self.host if self.port == DEFAULT_PORTS[self.scheme] else f"{self.host}:{self.port}"

    @property
    def text(self) -> str:
        """The origin as browsers write it (RFC 6454 section 6.2): ``https://apps.example.org``."""
        return f"{self.scheme}://{self.authority}"


def split_authority(authority: str) -> tuple[str, int | None] | None:
    """Lower-case host (IPv6 in brackets, shortened) and port of ``host[:port]``, or None when it is not of that form."""
    match = _AUTHORITY.fullmatch(authority) if len(authority) <= _LONGEST_AUTHORITY else None
    if match is None:
        return None
    host, port = match["host"].lower(), match["port"]
    if port is not None and not 0 < int(port) < 65536:  # noqa: PLR2004 - the ports there are
        return None
    if host.startswith("["):
        try:
            host = f"[{IPv6Address(host[1:-1])}]"
        except AddressValueError:
            return None
    return host, None if port is None else int(port)


class Origins:
    """Every origin of ours, found by what a Host header or a forwarded URL says."""

    def __init__(self, origins: Sequence[Origin]) -> None:
        """Raises ValueError when there is none, or when one Host would name two of them (``http`` and ``https`` of one name)."""
        if not origins:
            raise ValueError("at least one public URL is needed")
        self._origins = tuple(origins)
        self._by_url = {(origin.scheme, origin.host, origin.port): origin for origin in origins}
        self._by_host: dict[str, Origin] = {}
        self._as_told = {(origin.scheme, origin.authority): origin for origin in origins}
        for origin in self._origins:
            for spelling in {origin.authority, f"{origin.host}:{origin.port}"}:
                if self._by_host.setdefault(spelling, origin) != origin:
                    raise ValueError(f"{self._by_host[spelling].text} and {origin.text} cannot be told apart by the Host header")

    def __iter__(self) -> Iterator[Origin]:
        return iter(self._origins)

    def for_host(self, host_header: str) -> Origin:
        """The origin that a Host header's value names, whatever its case.

        The port counts: a Host without one means the default port of the origin's scheme, since TLS may end in front of us.
        Raises HostUnknown for a host that is none of ours, HeadersRefused for what is no host at all.
        """
        origin = self._by_host.get(host_header)
        if origin is not None:
            return origin
        host_and_port = split_authority(host_header)
        if host_and_port is None:
            raise HeadersRefused("a Host that is not of the form host[:port]")
        host, port = host_and_port
        origin = self._by_host.get(host if port is None else f"{host}:{port}")
        if origin is None:
            raise HostUnknown("a Host that is none of server.public_url")
        return origin

    def for_url(self, scheme: str, authority: str) -> Origin:
        """The origin of a forwarded ``scheme`` (``http`` or ``https``) and ``host[:port]``; raises as ``for_host`` does."""
        as_told = self._as_told.get((scheme, authority))
        if as_told is not None:
            return as_told
        host_and_port = split_authority(authority)
        if host_and_port is None:
            raise HeadersRefused("a forwarded host that is not of the form host[:port]")
        host, port = host_and_port
        origin = self._by_url.get((scheme, host, DEFAULT_PORTS[scheme] if port is None else port))
        if origin is None:
            raise HostUnknown(f"a forwarded {scheme} URL whose origin is none of server.public_url")
        return origin
