"""Unix sockets, IPv6 and TLS: UP-31, UP-32."""

from __future__ import annotations

import ssl
import tempfile

import pytest

from gateway.proxy.upstream import TlsSettings, UpstreamSettings, parse_upstream
from gateway.proxy.upstreams import Upstreams
from tests.support.raw_upstream import answering, raw_upstream

GET = b"GET /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
OK = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


async def test_unix_socket(gateway_for):
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/app.sock"
        async with raw_upstream(OK, unix_path=path) as upstream, gateway_for(f"unix:{path}") as gateway:
            assert (await gateway.ask(GET)).endswith(b"\r\n\r\nok")
            assert b"\r\nHost: a\r\n" in upstream.received


async def test_ipv6(gateway_for):
    async with raw_upstream(OK, host="::1") as upstream, gateway_for(f"http://[::1]:{upstream.port}") as gateway:
        assert (await gateway.ask(GET)).endswith(b"\r\n\r\nok")


@pytest.mark.parametrize(
    ("host", "trusted", "status"),
    [
        pytest.param("localhost", True, b"200", id="a certificate that is trusted"),
        pytest.param("127.0.0.1", True, b"200", id="by address"),
        pytest.param("localhost", False, b"502", id="UP-31 a certificate that nobody trusts"),
        pytest.param("127.0.0.2", True, b"502", id="UP-31 a certificate for another host"),
    ],
)
async def test_tls(gateway_for, certificate, host, trusted, status):
    names = []
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*certificate)
    server.sni_callback = lambda _socket, name, _context: names.append(name)
    client = ssl.create_default_context(cafile=certificate[0] if trusted else None)
    async with raw_upstream(OK, host="0.0.0.0", tls=server) as upstream:  # noqa: S104 - to be reached as 127.0.0.2 too
        async with gateway_for(f"https://{host}:{upstream.port}", tls=client) as gateway:
            answer = await gateway.ask(GET)
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert upstream.received.startswith(b"GET /p ") == (status == b"200")
    assert names == (["localhost"] if host == "localhost" else [None])


async def test_plain_http_behind_https_is_502(gateway_for):
    async def script(connection):
        await connection.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await connection.rest()

    async with raw_upstream(script) as upstream, gateway_for(f"https://127.0.0.1:{upstream.port}") as gateway:
        assert (await gateway.ask(GET)).startswith(b"HTTP/1.1 502")


def settings_for(port, host="localhost", **files):
    return UpstreamSettings((parse_upstream(f"https://{host}:{port}"),), tls=TlsSettings(**files))


@pytest.mark.parametrize(
    ("files", "status"),
    [
        pytest.param({"ca_file": 0, "certificate": 0, "key": 1}, b"200", id="with a client certificate"),
        pytest.param({"ca_file": 0}, b"502", id="without one"),
        pytest.param({"certificate": 0, "key": 1}, b"502", id="without its authorities"),
    ],
)
async def test_an_app_that_asks_for_a_client_certificate(gateway_for, certificate, files, status):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*certificate)
    server.load_verify_locations(certificate[0])
    server.verify_mode = ssl.CERT_REQUIRED
    # In TLS 1.2 the handshake itself fails for a client without a certificate.
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    async with raw_upstream(OK, tls=server) as upstream:
        upstreams = Upstreams([settings_for(upstream.port, **{key: str(certificate[index]) for key, index in files.items()})])
        async with gateway_for(upstream.url) as gateway:
            gateway.upstream = upstreams[0]
            assert (await gateway.ask(GET)).startswith(b"HTTP/1.1 " + status)
        await upstreams.close()


@pytest.mark.parametrize(
    ("name", "status"), [pytest.param("localhost", b"200", id="the name in it"), pytest.param("other.example", b"502", id="another name")]
)
async def test_the_name_to_verify_is_that_of_the_settings(gateway_for, certificate, name, status):
    names = []
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*certificate)
    server.sni_callback = lambda _socket, asked, _context: names.append(asked)
    async with raw_upstream(OK, host="0.0.0.0", tls=server) as upstream:  # noqa: S104 - to be reached as 127.0.0.2
        upstreams = Upstreams([settings_for(upstream.port, "127.0.0.2", ca_file=str(certificate[0]), server_name=name)])
        async with gateway_for(upstream.url) as gateway:
            gateway.upstream = upstreams[0]
            assert (await gateway.ask(GET)).startswith(b"HTTP/1.1 " + status)
        await upstreams.close()
    assert names == [name]


async def test_tls_connections_are_used_again(gateway_for, certificate):
    async def script(connection):
        while True:
            await connection.head()
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*certificate)
    client = ssl.create_default_context(cafile=certificate[0])
    async with raw_upstream(script, tls=server) as upstream, gateway_for(f"https://localhost:{upstream.port}", tls=client) as gateway:
        for _ in range(5):
            assert (await gateway.ask(GET)).endswith(b"ok")
        assert len(upstream.connections) == 1
