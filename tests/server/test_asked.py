"""What the entry refuses before anybody is believed, on raw bytes over a real socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from gateway.errors import GatewayError, VersionRefused
from gateway.proxy.headers import HeaderRules
from gateway.server.asked import read_request
from gateway.server.listener import PublicServer
from gateway.server.refusals import respond_in_our_version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

RULES = HeaderRules(reserved=frozenset(), cookie_names=frozenset())


async def answer(request: web.BaseRequest) -> web.StreamResponse:
    """The target that would be judged, or the code of the refusal."""
    try:
        asked = read_request(request, RULES)
    except VersionRefused as refused:
        return respond_in_our_version(request, refused)
    except GatewayError as refused:
        return web.Response(status=refused.status, text=refused.code, headers={"Server": "gateway"})
    return web.Response(text=f"{asked.host} {asked.target.raw} {len(asked.headers.cookies)}")


@pytest.fixture
async def port() -> AsyncIterator[int]:
    runner = web.ServerRunner(PublicServer(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def say(port: int, request: bytes) -> bytes:
    """Send bytes and read one answer: its head, and as much body as it announces."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        async with asyncio.timeout(30):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            return head + await reader.readexactly(length)
    finally:
        writer.close()


HOST = b"Host: app.example\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "told"),
    [
        pytest.param(b"GET /a?b HTTP/1.1\r\n" + HOST + b"\r\n", b"app.example /a?b 0", id="plain"),
        pytest.param(b"GET / HTTP/1.0\r\n" + HOST + b"\r\n", b"app.example / 0", id="HTTP/1.0"),
        pytest.param(b"GET / HTTP/1.1\r\n" + HOST + b"Cookie: a=1\r\ncookie: b=2\r\n\r\n", b"app.example / 2", id="two Cookie lines"),
        pytest.param(
            b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"app.example / 0", id="SM-14 chunked"
        ),
    ],
)
async def test_what_is_read(port: int, request_bytes: bytes, told: bytes) -> None:
    assert told in await say(port, request_bytes)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        pytest.param(b"GET /\r\n\r\n", 505, id="SM-53 HTTP/0.9"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, id="SM-56 HTTP/2 preface"),
        pytest.param(b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505, id="version 2.0"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, id="SM-50 no Host"),
        pytest.param(b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400, id="SM-50 two Hosts"),
        pytest.param(b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n", 405, id="SM-58 TRACE"),
        pytest.param(b"CONNECT evil:443 HTTP/1.1\r\n" + HOST + b"\r\n", 405, id="PN-29 CONNECT"),
        pytest.param(b"GET http://evil.example/x HTTP/1.1\r\n" + HOST + b"\r\n", 400, id="SM-52 absolute-form of another host"),
        pytest.param(b"GET /a/../b HTTP/1.1\r\n" + HOST + b"\r\n", 400, id="PN-01 dot segment"),
        pytest.param(b"GET //evil.example/x HTTP/1.1\r\n" + HOST + b"\r\n", 400, id="OR-86 network path"),
        pytest.param(b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", 400, id="SM-05"),
        pytest.param(b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n", 400, id="SM-08"),
        pytest.param(b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: \r\nContent-Length: 3\r\n\r\nabc", 400, id="SM-11"),
        pytest.param(b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400, id="SM-01"),
        pytest.param(b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, id="chunked in HTTP/1.0"),
        pytest.param(b"GET / HTTP/1.1\r\n" + HOST + b"X : y\r\n\r\n", 400, id="space before the colon"),
        pytest.param(b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 40_000 + b"\r\n\r\n", 431, id="a header line that is too long"),
        pytest.param(b"GET / HTTP/1.1\r\n" + HOST + (b"Cookie: " + b"a" * 15_000 + b"\r\n") * 3 + b"\r\n", 431, id="CK-11 cookie bomb"),
        pytest.param(b"GET / HTTP/1.1\r\n" + HOST + b"Expect: 200-ok\r\n\r\n", 417, id="SM-68 another expectation"),
        pytest.param(b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 200 + b"\r\n", 431, id="too many headers"),
    ],
)
async def test_what_is_refused_without_a_word_of_the_request(port: int, request_bytes: bytes, status: int) -> None:
    received = await say(port, request_bytes)

    assert received.startswith((f"HTTP/1.1 {status} ".encode(), f"HTTP/1.0 {status} ".encode())), received[:200]
    assert b"evil" not in received
    assert b"aiohttp" not in received
    assert b"Python" not in received
