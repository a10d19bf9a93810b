"""The PROXY protocol by its specification, and by a server that believes it from trusted balancers alone."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.trusted_proxies import TrustedProxies
from gateway.config.settings import ConnectionLimits
from gateway.server.listener import PublicServer
from gateway.server.proxy_protocol import MAX_V1, MAX_V2, SIGNATURE, ProxyHeader, read_proxy_header
from tests.support.raw_caller import PATIENCE

V4 = IPv4Address("198.51.100.7").packed + IPv4Address("192.0.2.1").packed + b"\x10\x00\x01\xbb"
V6 = IPv6Address("2001:db8::7").packed + IPv6Address("2001:db8::1").packed + b"\x10\x00\x01\xbb"
TLV = b"\x03\x00\x04\x01\x02\x03\x04" + b"\x20\x00\x05\x01\x00\x00\x00\x00"
LONGEST = b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n".replace(b"f...f", b"ffff:ffff:ffff:ffff:ffff:ffff")


def v2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + bytes([command, family]) + len(body).to_bytes(2, "big") + body


@pytest.mark.parametrize(
    ("header", "client"),
    [
        pytest.param(b"PROXY TCP4 198.51.100.7 192.0.2.1 4711 443\r\n", "198.51.100.7", id="version 1, IPv4"),
        pytest.param(b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255", id="version 1, the longest IPv4"),
        pytest.param(b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n", "2001:db8::7", id="version 1, IPv6"),
        pytest.param(b"PROXY TCP6 ::ffff:198.51.100.7 ::1 0 0\r\n", "198.51.100.7", id="version 1, IPv4 in IPv6"),
        pytest.param(b"PROXY UNKNOWN\r\n", None, id="version 1, unknown"),
        pytest.param(LONGEST, None, id="version 1, the longest that there is"),
        pytest.param(v2(0x21, 0x11, V4), "198.51.100.7", id="version 2, IPv4"),
        pytest.param(v2(0x21, 0x11, V4 + TLV), "198.51.100.7", id="version 2, IPv4 with TLVs"),
        pytest.param(v2(0x21, 0x21, V6), "2001:db8::7", id="version 2, IPv6"),
        pytest.param(v2(0x21, 0x21, V6 + b"\x04" * (MAX_V2 - 36)), "2001:db8::7", id="version 2, the longest taken"),
        pytest.param(v2(0x21, 0x31, bytes(216)), None, id="version 2, a Unix socket"),
        pytest.param(v2(0x21, 0x00, TLV), None, id="version 2, AF_UNSPEC"),
        pytest.param(v2(0x20, 0x00, b""), None, id="version 2, LOCAL"),
        pytest.param(v2(0x20, 0x11, V4), None, id="version 2, LOCAL with addresses, which do not count"),
        pytest.param(v2(0x20, 0x77, b""), None, id="version 2, LOCAL of whatever family"),
    ],
)
def test_a_header_is_read_whole_and_no_further(header, client):
    assert read_proxy_header(header) == ProxyHeader(client, len(header))
    assert read_proxy_header(header + b"GET / HTTP/1.1\r\n") == ProxyHeader(client, len(header))
    for size in range(len(header)):
        assert read_proxy_header(header[:size]) is None


@pytest.mark.parametrize(
    "received",
    [
        pytest.param(b"GET / HTTP/1.1\r\n", id="no header"),
        pytest.param(b"POST / HTTP/1.1\r\n", id="no header that begins alike"),
        pytest.param(b"proxy TCP4 198.51.100.7 192.0.2.1 1 1\r\n", id="small letters"),
        pytest.param(b"PROXY TCP5 198.51.100.7 192.0.2.1 1 1\r\n", id="another family"),
        pytest.param(b"PROXY TCP4 198.51.100.7 192.0.2.1 1 65536\r\n", id="a port too high"),
        pytest.param(b"PROXY TCP4 198.51.100.7 192.0.2.1 01 1\r\n", id="a port with a nought in front"),
        pytest.param(b"PROXY TCP4 198.51.100.7 192.0.2.1 1\r\n", id="one port"),
        pytest.param(b"PROXY TCP4  198.51.100.7 192.0.2.1 1 1\r\n", id="two spaces"),
        pytest.param(b"PROXY TCP4 198.51.100.07 192.0.2.1 1 1\r\n", id="octal or not"),
        pytest.param(b"PROXY TCP4 198.51.100 192.0.2.1 1 1\r\n", id="three numbers"),
        pytest.param(b"PROXY TCP4 2001:db8::7 2001:db8::1 1 1\r\n", id="IPv6 as IPv4"),
        pytest.param(b"PROXY TCP6 198.51.100.7 192.0.2.1 1 1\r\n", id="IPv4 as IPv6"),
        pytest.param(b"PROXY TCP4 198.51.100.7 192.0.2.1 1 1 x\r\n", id="something behind"),
        pytest.param(b"PROXY TCP4 198.51.100.7 192.0.2.1 1 1\n" + b"\r\n", id="a line feed alone"),
        pytest.param(b"PROXY UNKNOWN " + b"x" * MAX_V1, id="a line without an end"),
        pytest.param(b"PROXY UNKNOWN \xff\r\n", id="bytes beyond ASCII"),
        pytest.param(SIGNATURE + b"\x31\x11\x00\x0c" + V4, id="version 3"),
        pytest.param(v2(0x22, 0x11, V4), id="another command"),
        pytest.param(v2(0x21, 0x12, V4), id="UDP"),
        pytest.param(v2(0x21, 0x41, V4), id="another family of version 2"),
        pytest.param(v2(0x21, 0x11, V4[:11]), id="IPv4 cut short"),
        pytest.param(v2(0x21, 0x21, V6[:35]), id="IPv6 cut short"),
        pytest.param(v2(0x21, 0x31, bytes(215)), id="a Unix socket cut short"),
        pytest.param(SIGNATURE + b"\x21\x11" + (MAX_V2 + 1).to_bytes(2, "big"), id="longer than anybody sends"),
    ],
)
def test_what_is_no_header_is_refused(received):
    with pytest.raises(ValueError, match=r"."):
        read_proxy_header(received)


@given(
    st.binary(max_size=300)
    | st.binary(max_size=300).map(lambda tail: b"PROXY TCP4 " + tail)
    | st.binary(max_size=300).map(SIGNATURE.__add__)
)
def test_no_bytes_break_the_reader(received):
    try:
        header = read_proxy_header(received)
    except ValueError:
        return
    if header is not None:
        assert 0 < header.size <= len(received)
        assert header.client is None or ip_network(header.client)
        assert read_proxy_header(received[: header.size]) == header


@given(st.ip_addresses(), st.ip_addresses(), st.integers(0, 65535), st.integers(0, 65535), st.binary(max_size=20))
def test_what_a_balancer_writes_is_read_back(source, destination, port, other_port, rest):
    if source.version != destination.version:
        destination = source
    line = f"PROXY TCP{source.version} {source} {destination} {port} {other_port}\r\n".encode()
    packed = source.packed + destination.packed + port.to_bytes(2, "big") + other_port.to_bytes(2, "big")
    shown = str(source.ipv4_mapped or source) if isinstance(source, IPv6Address) else str(source)
    if len(line) <= MAX_V1:
        assert read_proxy_header(line + rest) == ProxyHeader(shown, len(line))
    binary = v2(0x21, 0x11 if source.version == 4 else 0x21, packed)
    assert read_proxy_header(binary + rest) == ProxyHeader(shown, len(binary))


async def tell_peer(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text=str(request.remote))


LOOPBACK = TrustedProxies((ip_network("127.0.0.1/32"),))
REQUEST = b"GET / HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n\r\n"


async def said_to(pieces, *, proxies=LOOPBACK, limits=None, servers=None) -> bytes:
    """What a server with the PROXY protocol on answers to ``pieces``, until it closes."""
    server = PublicServer(tell_peer, proxies=proxies, proxy_protocol=True, limits=limits or ConnectionLimits())
    if servers is not None:
        servers.append(server)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.sockets[0].getsockname()[1])
        received = b""
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            received = await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()
            listening.close()
            await server.shutdown(1)
    return received


@pytest.mark.parametrize(
    ("header", "peer"),
    [
        pytest.param(b"PROXY TCP4 198.51.100.7 192.0.2.1 4711 443\r\n", b"198.51.100.7", id="version 1"),
        pytest.param(v2(0x21, 0x21, V6 + TLV), b"2001:db8::7", id="version 2"),
        pytest.param(v2(0x20, 0x00, b""), b"127.0.0.1", id="a health check of the balancer's"),
    ],
)
async def test_the_peer_is_the_balancers_client(header, peer):
    assert (await said_to([header + REQUEST])).endswith(b"\r\n\r\n" + peer)
    assert (await said_to([bytes([byte]) for byte in header] + [REQUEST])).endswith(b"\r\n\r\n" + peer)


@pytest.mark.parametrize(
    ("pieces", "proxies"),
    [
        pytest.param([REQUEST], LOOPBACK, id="no header"),
        pytest.param([b"PROXY TCP4 x y 1 1\r\n", REQUEST], LOOPBACK, id="a malformed one"),
        pytest.param([b"PROXY UNKNOWN\r\n", REQUEST], TrustedProxies((ip_network("192.0.2.0/24"),)), id="of somebody not trusted"),
        pytest.param([b"PROXY UNKNOWN\r\n", REQUEST], TrustedProxies(), id="of anybody where nobody is"),
    ],
)
async def test_a_connection_without_a_header_of_a_trusted_balancer_is_closed(pieces, proxies):
    assert await said_to(pieces, proxies=proxies) == b""


async def test_a_second_header_is_part_of_no_request():
    header = b"PROXY TCP4 198.51.100.7 192.0.2.1 4711 443\r\n"
    received = await said_to([header + header + REQUEST])
    assert received.startswith(b"HTTP/1.0 400 ")
    assert b"198.51.100.7" not in received


async def test_the_client_counts_as_the_peer():
    server_list: list[PublicServer] = []
    received = await said_to(
        [b"PROXY TCP4 198.51.100.7 192.0.2.1 4711 443\r\n" + REQUEST], limits=ConnectionLimits(connections_per_peer=1), servers=server_list
    )
    assert received.endswith(b"198.51.100.7")
    assert server_list[0].admission.open == 0
