"""WS: who may open a WebSocket, what makes it one, and what passes through it; over raw sockets, to an app that records every byte."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from gateway.proxy.websocket_frames import SESSION_ENDED, close_frame
from tests.support.hostile_house import HOST, PUBLIC, SESSION, every_row_has_its_place, hostile_house
from tests.support.raw_upstream import PATIENCE, answering, raw_upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.hostile_house import Edge, House
    from tests.support.raw_upstream import Connection, RawUpstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOT_YET = {"WS-08": "bytes pass as they are: browser and app judge frames, by the extensions that they agreed on"}

KEY, ACCEPT = b"dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
OURS = b"Origin: " + PUBLIC.encode() + b"\r\n"
SMUGGLED = b"GET /smug HTTP/1.1\r\nHost: app.example\r\n\r\n"


def handshake(cookie: str | None, lines: bytes = OURS, *, path: bytes = b"/ws") -> bytes:
    given = b"" if cookie is None else f"Cookie: {SESSION}={cookie}\r\n".encode()
    return (
        b"GET %b HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n%b%b\r\n" % (path, HOST.encode(), KEY, given, lines)
    )


def switched(accept: bytes = ACCEPT, lines: bytes = b"Connection: Upgrade\r\nUpgrade: websocket\r\n") -> bytes:
    return b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: " + accept + b"\r\n" + lines + b"\r\n"


async def echo(connection: Connection) -> None:
    await connection.head()
    await connection.send(switched())
    while data := await connection.reader.read(65536):
        connection._note(data)
        await connection.send(data)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app() -> AsyncIterator[RawUpstream]:
    async with raw_upstream(echo) as upstream:
        yield upstream


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def standing_house(app: RawUpstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    routes = [
        {"path": "/", "upstream": app.url, "access": "signed_in"},
        {"path": "/public/", "upstream": app.url, "access": "public"},
        {"path": "/open/", "upstream": app.url, "access": "optional"},
    ]
    async with hostile_house(tmp_path_factory.mktemp("house"), routes=routes) as house:
        yield house


@pytest.fixture(autouse=True)
def forgotten(app: RawUpstream) -> None:
    app.connections.clear()
    app.script = echo


@pytest_asyncio.fixture(loop_scope="module")
async def cookie(house: House, browser: Edge) -> str:
    return await house.signed_in(browser)


@asynccontextmanager
async def connection_to(house: House) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    parts = urlsplit(house.listener)
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


async def everything(house: House, request: bytes) -> bytes:
    """Send ``request`` and read until the gateway closes."""
    async with connection_to(house) as (reader, writer):
        writer.write(request)
        return await reader.read()


async def status(house: House, request: bytes) -> int:
    async with connection_to(house) as (reader, writer):
        writer.write(request)
        return int((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1])


@pytest.mark.parametrize("who", [None, "forged"], ids=["nobody", "a forged cookie"])
async def test_nobody_opens_one(house: House, app: RawUpstream, who: str | None) -> None:
    """WS-01: 401, never a redirect, and nothing reaches the app."""
    assert await status(house, handshake(who)) == 401
    assert app.connections == []


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(b"Origin: https://evil.example\r\n", id="WS-02 evil"),
        pytest.param(b"Origin: null\r\n", id="WS-02 null"),
        pytest.param(b"", id="WS-02 missing"),
        pytest.param(b"Origin:\r\n", id="WS-02 empty"),
        pytest.param(b"Origin: https://app.example.evil.example\r\n", id="WS-02 our name in front"),
        pytest.param(b"Origin: http://app.example\r\n", id="WS-02 plain http"),
        pytest.param(b"Origin: https://app.example:8443\r\n", id="WS-02 another port"),
        pytest.param(b"Origin: https://app.example/\r\n", id="WS-02 no serialised origin"),
        pytest.param(OURS + OURS, id="WS-02 ours twice"),
        pytest.param(OURS + b"Origin: https://evil.example\r\n", id="WS-02 ours and evil"),
        pytest.param(b"oRiGiN: https://evil.example\r\n", id="WS-02 in another case"),
    ],
)
@pytest.mark.parametrize("path", [b"/ws", b"/open/ws"])
async def test_another_site_opens_none(house: House, app: RawUpstream, cookie: str, lines: bytes, path: bytes) -> None:
    assert await status(house, handshake(cookie, lines, path=path)) == 403
    assert app.connections == []


@pytest.mark.parametrize("lines", [OURS, b"Origin: HTTPS://APP.EXAMPLE\r\n"])
async def test_our_own_pages_open_one(house: House, cookie: str, lines: bytes) -> None:
    assert await status(house, handshake(cookie, lines)) == 101


@pytest.mark.parametrize("path", [b"/public/ws", b"/open/ws"])
async def test_where_nobody_is_known_there_is_nothing_to_hijack(house: House, app: RawUpstream, path: bytes) -> None:
    assert await status(house, handshake(None, b"Origin: https://evil.example\r\n", path=path)) == 101
    assert b"X-Forwarded-User" not in app.received


async def test_a_public_route_learns_nothing_of_a_session(house: House, app: RawUpstream, cookie: str) -> None:
    assert await status(house, handshake(cookie, b"Origin: https://evil.example\r\n", path=b"/public/ws")) == 101
    assert b"X-Forwarded-User" not in app.received
    assert cookie.encode() not in app.received


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(line, id=f"WS-04 {line[:3].decode()}")
        for line in (b"200 OK", b"302 Found", b"403 No", b"426 Upgrade Required", b"500 Oops")
    ],
)
async def test_an_answer_that_does_not_switch_stays_http(house: House, app: RawUpstream, cookie: str, answer: bytes) -> None:
    app.script = answering(b"HTTP/1.1 " + answer + b"\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nno")
    got = await everything(house, handshake(cookie) + SMUGGLED)
    assert got.startswith(b"HTTP/1.1 " + answer)
    assert got.endswith(b"\r\n\r\nno")
    assert b"\r\nUpgrade:" not in got
    assert b"/smug" not in app.received


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(switched(accept=b"AAAAAAAAAAAAAAAAAAAAAAAAAAA="), id="WS-05 wrong accept"),
        pytest.param(switched(lines=b"Connection: Upgrade\r\n"), id="WS-05 no Upgrade"),
        pytest.param(switched(lines=b"Upgrade: websocket\r\n"), id="WS-05 no Connection"),
        pytest.param(switched(lines=b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n") + b"hi", id="WS-05 a body"),
        pytest.param(
            switched(lines=b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: mqtt\r\n"), id="WS-07 one not offered"
        ),
    ],
)
async def test_a_switch_that_proves_nothing_is_502(house: House, app: RawUpstream, cookie: str, answer: bytes) -> None:
    app.script = answering(answer, then="hold")
    assert await status(house, handshake(cookie, OURS + b"Sec-WebSocket-Protocol: chat, v2\r\n")) == 502


async def test_subprotocols_pass_both_ways(house: House, app: RawUpstream, cookie: str) -> None:
    """WS-07: a list goes up, the one that was chosen comes back."""
    app.script = answering(switched(lines=b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: v2\r\n"))
    got = await everything(house, handshake(cookie, OURS + b"Sec-WebSocket-Protocol: chat, v2\r\n"))
    assert b"\r\nSec-WebSocket-Protocol: v2\r\n" in got
    assert b"\r\nSec-WebSocket-Protocol: chat, v2\r\n" in app.received


async def test_a_subprotocol_beyond_ascii_is_400(house: House, app: RawUpstream, cookie: str) -> None:
    """WS-07: it is no token."""
    assert await status(house, handshake(cookie, OURS + b"Sec-WebSocket-Protocol: ch\xe4t\r\n")) == 400
    assert app.connections == []


async def test_a_caller_that_vanishes_lets_the_app_go(house: House, app: RawUpstream, cookie: str) -> None:
    """WS-10: one side is gone, so the other is closed; one that vanishes without a word is noticed by TCP keepalive."""
    async with connection_to(house) as (reader, writer):
        writer.write(handshake(cookie))
        await reader.readuntil(b"\r\n\r\n")
    await app.dropped()


async def test_an_app_that_vanishes_lets_the_caller_go(house: House, app: RawUpstream, cookie: str) -> None:
    """WS-10: the same, from the other side."""
    go = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.head()
        await connection.send(switched())
        await go.wait()
        connection.reset()

    app.script = script
    async with connection_to(house) as (reader, writer):
        writer.write(handshake(cookie))
        await reader.readuntil(b"\r\n\r\n")
        go.set()
        with suppress(ConnectionResetError):
            assert await reader.read() == b""


async def test_close_frames_and_half_closes_pass(house: House, app: RawUpstream, cookie: str) -> None:
    """WS-11: each side says its own goodbye, and may go on listening after it."""

    async def script(connection: Connection) -> None:
        await connection.head()
        await connection.send(switched() + b"\x88\x02\x03\xe8")
        await connection.rest()
        await connection.send(b"late")

    app.script = script
    async with connection_to(house) as (reader, writer):
        writer.write(handshake(cookie))
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(4) == b"\x88\x02\x03\xe8"
        writer.write(b"\x88\x82abcd\x62\x8a")
        writer.write_eof()
        assert await reader.read() == b"late"
    assert app.received.endswith(b"\x88\x82abcd\x62\x8a")


async def test_the_app_learns_who_it_is_from_the_gateway_alone(house: House, app: RawUpstream, cookie: str) -> None:
    """WS-13: as for any other request."""
    spoofed = OURS + b"X-Forwarded-User: root\r\nx_forwarded_user: root\r\nConnection: X-Forwarded-Email\r\nX-Forwarded-Email: root\r\n"
    assert await status(house, handshake(cookie, spoofed)) == 101
    assert b"\r\nX-Forwarded-User: alice-sub\r\n" in app.received
    assert b"root" not in app.received
    assert cookie.encode() not in app.received


async def test_early_bytes_wait_for_the_101(house: House, app: RawUpstream, cookie: str) -> None:
    """WS-14: what follows the handshake is the protocol's, once there is one."""
    agree = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.head()
        await agree.wait()
        await connection.send(switched())
        await connection.read(5)

    app.script = script
    async with connection_to(house) as (reader, writer):
        writer.write(handshake(cookie) + b"early")
        await app.seen(b"\r\n\r\n")
        assert b"early" not in app.received
        agree.set()
        await reader.readuntil(b"\r\n\r\n")
        await app.seen(b"\r\n\r\nearly")


async def test_events_pass_one_by_one(house: House, app: RawUpstream, cookie: str) -> None:
    """WS-16: each event reaches the browser before the app sends the next."""
    step = asyncio.Queue[bytes]()

    async def script(connection: Connection) -> None:
        await connection.head()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        while event := await step.get():
            await connection.send(event)

    app.script = script
    async with connection_to(house) as (reader, writer):
        writer.write(f"GET /events HTTP/1.1\r\nHost: {HOST}\r\nCookie: {SESSION}={cookie}\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        for event in (b"data: one\n\n", b": heartbeat\n\n", b"data: two\n\n"):
            step.put_nowait(event)
            assert await reader.readexactly(len(event) + 5) == b"%x\r\n%b\r\n" % (len(event), event)
        step.put_nowait(b"")
        assert await reader.readuntil(b"0\r\n\r\n") == b"0\r\n\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n", id="WS-17 h2c"),
        pytest.param(b"Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n", id="WS-17 TLS"),
        pytest.param(b"Connection: Upgrade\r\nUpgrade: spdy/3.1\r\n", id="WS-17 one that the route does not list"),
    ],
)
async def test_other_upgrades_are_removed(house: House, app: RawUpstream, cookie: str, lines: bytes) -> None:
    app.script = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    request = f"GET /page HTTP/1.1\r\nHost: {HOST}\r\nCookie: {SESSION}={cookie}\r\n".encode() + lines + b"\r\n"
    got = await everything(house, request + SMUGGLED)
    assert got.startswith(b"HTTP/1.1 200")
    assert got.count(b"HTTP/1.1") == 1
    assert b"pgrade:" not in app.received
    assert b"ettings" not in app.received
    assert b"/smug" not in app.received


async def test_a_sign_out_reaches_into_the_stream_of_frames(house: House, browser: Edge, app: RawUpstream, cookie: str) -> None:
    """WS-11: in the middle of a frame of the app's the goodbye waits for its end, and nothing comes after it."""
    go = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.head()
        await connection.send(switched() + b"\x81\x05hel")
        await go.wait()
        await connection.send(b"lo\x81\x03abc")
        await connection.rest()

    app.script = script
    async with connection_to(house) as (reader, writer):
        writer.write(handshake(cookie))
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(5) == b"\x81\x05hel"
        since = len(house.gateway.log)
        await browser.ask(f"{PUBLIC}/oauth2/sign_out", method="POST", headers={"Sec-Fetch-Site": "same-origin"}, data={})
        while not house.logged("session.connections_ended", since):
            await asyncio.sleep(0.01)
        go.set()
        assert await reader.read() in (b"lo" + close_frame(SESSION_ENDED), b""), "or broken off, where the frame took too long"


async def test_every_row_has_its_place() -> None:
    every_row_has_its_place("WS", "01 02 04 05 07 08 10 11 13 14 16 17", globals(), NOT_YET)
