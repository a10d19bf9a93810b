"""A server that forwards everything, for tests of the data plane over real sockets."""

from __future__ import annotations

import asyncio
import datetime as dt
import errno
import ipaddress
import os
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uvloop
from aiohttp import web
from aiohttp.http import HttpVersion11
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.errors import GatewayError
from gateway.proxy import splice
from gateway.proxy.caller_connection import CallerConnection
from gateway.proxy.connector import Upstream
from gateway.proxy.headers import HeaderRules, fold
from gateway.proxy.relay import forward
from gateway.proxy.request_head import our_headers
from gateway.proxy.request_headers import read_request_headers
from gateway.proxy.tunnel import Tunnel
from gateway.proxy.upgrades import TunnelRules
from gateway.proxy.upstream import parse_upstream
from tests.support.raw_upstream import PATIENCE, raw_upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from gateway.proxy.held import Held
    from tests.support.raw_upstream import RawUpstream, Script

RULES = HeaderRules(
    reserved=frozenset({fold(b"X-Forwarded-User"), fold(b"X-Forwarded-Email"), fold(b"X-Forwarded-Groups"), fold(b"X-Team")}),
    cookie_names=frozenset({b"__Host-gateway", b"gateway-8080"}),
    cookie_prefixes=(b"__Host-gateway-login-", b"gateway-8080-login-"),
)
IDENTITY = ((b"X-Forwarded-User", b"bob"), (b"X-Team", b"blue"))
FORWARDED = ((b"X-Forwarded-For", b"127.0.0.1"), (b"X-Forwarded-Proto", b"http"))


class Client:
    """A raw connection to the gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def leave(self) -> None:
        self.writer.transport.abort()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def read(self, count: int) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readexactly(count)

    async def chunk(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            return (await self.reader.readexactly(size + 2))[:-2]

    async def rest(self) -> bytes:
        """Everything until an orderly end. Raises ConnectionResetError when the connection breaks off."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    async def rest_until_reset(self) -> bytes:
        """Everything until the connection breaks off; fails when it ends in order."""
        received = b""
        async with asyncio.timeout(PATIENCE):
            try:
                while piece := await self.reader.read(65536):
                    received += piece
            except ConnectionResetError:
                return received
        raise AssertionError("the connection ended in order")


class Gateway:
    """The forwarding server: its clients, what it refused, the tunnels it opened."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.failures: list[GatewayError] = []
        self.held: list[Held] = []
        self.over: list[Held] = []
        self.tunnel_rules = TunnelRules()
        self.port = 0
        self.host: bytes | None = None
        self.identity: Sequence[tuple[bytes, bytes]] = IDENTITY
        self.clients: list[Client] = []
        self.callers: list[CallerConnection] = []

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request.protocol, CallerConnection)
        self.callers.append(request.protocol)
        try:
            headers = read_request_headers(request.raw_headers, RULES, method=request.method, http10=request.version < HttpVersion11)
            return await forward(
                request,
                self.upstream,
                headers,
                target=request.raw_path,
                host=self.host,
                identity=our_headers(self.identity, RULES),
                forwarded=our_headers(FORWARDED, RULES),
                rules=RULES,
                hold=self.hold,
                tunnels=self.tunnel_rules,
            )
        except GatewayError as failure:
            self.failures.append(failure)
            answer = web.Response(status=failure.status, text=failure.code)
            answer.force_close()
            return answer

    def hold(self, held: Held) -> Callable[[], None]:
        self.held.append(held)
        return partial(self.over.append, held)

    @property
    def tunnels(self) -> list[Tunnel]:
        return [held for held in self.held if isinstance(held, Tunnel)]

    @property
    def closed_tunnels(self) -> int:
        return sum(isinstance(held, Tunnel) for held in self.over)

    async def holding(self) -> Held:
        """Wait until something is held open."""
        async with asyncio.timeout(PATIENCE):
            while not self.held:
                await asyncio.sleep(0)
        return self.held[-1]

    async def client(self) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**20)
        client = Client(reader, writer)
        self.clients.append(client)
        return client

    async def ask(self, request: bytes) -> bytes:
        """Send ``request`` and read everything until the gateway closes in order."""
        client = await self.client()
        await client.send(request)
        return await client.rest()


class _Server(web.Server):
    def __call__(self):
        return CallerConnection(self, loop=self._loop, auto_decompress=False, access_log=None, lingering_time=0)


@asynccontextmanager
async def _gateway(url: str, *, small_buffers: bool = False, **settings) -> AsyncIterator[Gateway]:
    upstream = Upstream.at(parse_upstream(url), **settings)
    gateway = Gateway(upstream)
    server = _Server(gateway.handle, handler_cancellation=True)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    if small_buffers:
        listener.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    gateway.port = listener.sockets[0].getsockname()[1]
    try:
        yield gateway
    finally:
        listener.close()
        for client in gateway.clients:
            client.leave()
        await server.shutdown(5)
        await upstream.close()


def pytest_asyncio_loop_factories():
    """Every test runs on the loop of the standard library and on the one that serves."""
    return {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def world():
    """``async world(script, **settings) -> (gateway, upstream)``; at the end nothing of ours may be left running."""
    before = asyncio.all_tasks()
    async with AsyncExitStack() as stack:

        async def build(script: Script, **settings) -> tuple[Gateway, RawUpstream]:
            upstream = await stack.enter_async_context(raw_upstream(script))
            gateway = await stack.enter_async_context(_gateway(upstream.url, **settings))
            return gateway, upstream

        yield build
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=5)
    assert left == set()


@pytest.fixture
def gateway_for():
    """``async with gateway_for(url, timeouts=..., tls=...) as gateway``."""
    return _gateway


@pytest.fixture(params=[True, False], ids=["spliced", "copied"])
def by_splice(request, monkeypatch):
    """Whether the kernel moves the bytes by itself; at the end nothing is left of that but a few empty pipes."""
    monkeypatch.setattr(splice, "_POSSIBLE", request.param)
    yield request.param
    assert splice._here.open == 0
    assert len(splice._here.spare) <= 4


@pytest.fixture
def failing(monkeypatch):
    """``failing(call)``: that call of os.splice fails, and every later one."""
    real, calls = os.splice, []

    def fail_from(first):
        def refuse(source, sink, count, **options):
            calls.append(count)
            if len(calls) >= first:
                raise OSError(errno.EINVAL, "refused")
            return real(source, sink, count, **options)

        monkeypatch.setattr(os, "splice", refuse)
        return calls

    return fail_from


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate for localhost and 127.0.0.1: (certificate file, key file)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    files = Path(folder, "certificate.pem"), Path(folder, "key.pem")
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )  # fmt: skip
    return files
