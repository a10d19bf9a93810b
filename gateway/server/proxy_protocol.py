"""The PROXY protocol, versions 1 and 2: who the client of a balancer on layer 4 is, in the first bytes of its connection.

Answers the specification (haproxy.org, proxy-protocol.txt, sections 2.1 and 2.2) and its warning that a receiver must not guess: with the
option on, every connection begins with a header, and from trusted proxies alone. Pure: bytes in, a value out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
"""What version 2 begins with."""
MAX_V1: Final = 107
"""Bytes of the longest header of version 1, its line end included."""
MAX_V2: Final = 4096
"""Bytes of addresses and TLVs after the first 16: more than any balancer sends."""

_V1_BEGINNING = b"PROXY "
_V1 = re.compile(
    rb"PROXY (?:UNKNOWN(?: [ -~]*)?|(TCP4|TCP6) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4}))\r\n"
)
_HIGHEST_PORT = 65535
_FIXED = 16
_LOCAL, _PROXY = 0x20, 0x21
_ADDRESS_BYTES = {0x00: 0, 0x11: 12, 0x21: 36, 0x31: 216}
"""Bytes of addresses by family and transport: unspecified, TCP over IPv4, TCP over IPv6, a Unix stream."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """``client`` is the address that the balancer was called from, None where it does not say; ``size`` bytes belong to the header."""

    client: str | None
    size: int


def read_proxy_header(received: bytes) -> ProxyHeader | None:
    """Read the header that ``received`` begins with; None while it is not whole.

    None as ``client`` stands for the balancer's own connections (LOCAL, health checks) and for UNKNOWN, AF_UNSPEC and AF_UNIX: the peer is
    then whoever connected, and speaks for nobody else. Raises ValueError with the reason for what is no header, as soon as that can be
    seen.
    """
    if received.startswith(SIGNATURE[: len(received)]):
        return _read_v2(received)
    if received.startswith(_V1_BEGINNING[: len(received)]):
        return _read_v1(received)
    raise ValueError("no PROXY protocol header")


def _read_v1(received: bytes) -> ProxyHeader | None:
    end = received.find(b"\r\n", 0, MAX_V1)
    if end < 0:
        if len(received) >= MAX_V1:
            raise ValueError("a header of version 1 that does not end")
        return None
    match = _V1.fullmatch(received[: end + 2])
    if match is None:
        raise ValueError("a malformed header of version 1")
    family, source, destination, *ports = match.groups()
    if family is None:
        return ProxyHeader(None, end + 2)
    if any(int(port) > _HIGHEST_PORT for port in ports):
        raise ValueError("a port beyond 65535")
    address = IPv4Address if family == b"TCP4" else IPv6Address
    try:
        address(destination.decode("ascii"))
        return ProxyHeader(_shown(address(source.decode("ascii"))), end + 2)
    except AddressValueError:
        raise ValueError(f"no {family.decode()} addresses") from None


def _read_v2(received: bytes) -> ProxyHeader | None:
    if len(received) < _FIXED:
        return None
    command, family = received[12], received[13]
    length = int.from_bytes(received[14:16], "big")
    if command not in (_LOCAL, _PROXY):
        raise ValueError("another version or command than 2 and LOCAL or PROXY")
    if length > MAX_V2:
        raise ValueError(f"a header of version 2 with more than {MAX_V2} bytes")
    if command == _PROXY and family not in _ADDRESS_BYTES:
        raise ValueError("an address family or transport that no stream has")
    if command == _PROXY and length < _ADDRESS_BYTES[family]:
        raise ValueError("a header of version 2 too short for its addresses")
    size = _FIXED + length
    if len(received) < size:
        return None
    # What follows the addresses are TLVs; nobody here asks for them.
    return ProxyHeader(_v2_client(received, family) if command == _PROXY else None, size)


def _v2_client(received: bytes, family: int) -> str | None:
    match family:
        case 0x11:
            return str(IPv4Address(received[16:20]))
        case 0x21:
            return _shown(IPv6Address(received[16:32]))
        case _:
            return None


def _shown(address: IPv4Address | IPv6Address) -> str:
    """IPv4 in IPv6 is IPv4, as everywhere here."""
    return str((address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address)
