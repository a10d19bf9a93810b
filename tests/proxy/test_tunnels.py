"""WS-04, 05, 07, 14, 17 and SM-62, 64, 65: when a connection becomes a tunnel, and when it stays HTTP."""

from __future__ import annotations

import asyncio

import pytest

from gateway.proxy.websocket import asks_for_websocket
from tests.support.raw_upstream import PATIENCE, answering

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # the key and accept of RFC 6455 section 1.3
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
SMUGGLED = b"GET /smug HTTP/1.1\r\nHost: a\r\n\r\n"


def handshake(*lines, drop=(), method=b"GET", version=b"1.1"):
    wanted = [
        b"Host: a", b"Connection: keep-alive, Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: " + KEY, b"Sec-WebSocket-Version: 13",
    ]  # fmt: skip
    kept = [line for line in wanted if not line.startswith(tuple(drop))]
    return b"\r\n".join([method + b" /ws HTTP/" + version, *kept, *lines, b"", b""])


def switched(*lines, accept=ACCEPT, connection=b"Connection: Upgrade", upgrade=b"Upgrade: websocket"):
    return b"\r\n".join([b"HTTP/1.1 101 Switching Protocols", connection, upgrade, b"Sec-WebSocket-Accept: " + accept, *lines, b"", b""])


async def echo_tunnel(connection):
    await connection.head()
    await connection.send(switched())
    while data := await connection.reader.read(65536):
        connection._note(data)
        await connection.send(data)


async def test_bytes_pass_both_ways_and_either_side_may_end(world):
    gateway, upstream = await world(echo_tunnel)
    client = await gateway.client()
    await client.send(handshake(b"X-Forwarded-User: admin", b"Cookie: __Host-gateway=x; a=1"))
    head = await client.head()
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert head.endswith(b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert b"\r\nSec-WebSocket-Accept: " + ACCEPT in head
    sent = upstream.received
    assert b"\r\nX-Forwarded-User: bob\r\n" in sent
    assert b"admin" not in sent
    assert b"\r\nCookie: a=1\r\n" in sent
    assert sent.endswith(b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    for data in (b"\x81\x85abcd", b"\0" * 300_000, b"GET / HTTP/1.1\r\n\r\n"):
        await client.send(data)
        assert await client.read(len(data)) == data
    assert len(gateway.tunnels) == 1
    assert gateway.closed_tunnels == 0
    client.writer.write_eof()
    assert await client.rest() == b""
    await upstream.dropped()
    async with asyncio.timeout(PATIENCE):
        while not gateway.closed_tunnels:
            await asyncio.sleep(0)


async def test_rounds_of_the_listener_leave_a_tunnel_alone(world):
    gateway, _ = await world(echo_tunnel)
    client = await gateway.client()
    await client.send(handshake())
    await client.head()
    for later in (0, 3600):
        gateway.callers[0].check(asyncio.get_running_loop().time() + later)
    await client.send(b"still")
    assert await client.read(5) == b"still"


async def test_half_closed_caller_still_hears_the_answer(world):
    async def script(connection):
        await connection.head()
        await connection.send(switched())
        assert await connection.rest() == b"bye"
        await connection.send(b"and bye")

    gateway, _ = await world(script)
    client = await gateway.client()
    await client.send(handshake())
    await client.head()
    await client.send(b"bye")
    client.writer.write_eof()
    assert await client.rest() == b"and bye"


async def test_early_bytes_wait_for_the_101(world):
    """WS-14: what follows the handshake reaches the application only after it agreed."""
    agree = asyncio.Event()

    async def script(connection):
        await connection.head()
        await agree.wait()
        await connection.send(switched() + b"hello")
        await connection.read(5)

    gateway, upstream = await world(script)
    client = await gateway.client()
    await client.send(handshake() + b"ea")
    await upstream.seen(b"\r\n\r\n")
    await client.send(b"rly")
    assert upstream.received.endswith(b"\r\n\r\n")
    agree.set()
    await client.head()
    assert await client.read(5) == b"hello"
    await upstream.seen(b"\r\n\r\nearly")


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_upstream_that_vanishes_ends_the_callers_side(world, how):
    go = asyncio.Event()

    async def script(connection):
        await connection.head()
        await connection.send(switched())
        await go.wait()
        if how == "reset":
            connection.reset()

    gateway, _ = await world(script)
    client = await gateway.client()
    await client.send(handshake())
    await client.head()
    go.set()
    assert await client.rest() == b""


async def test_caller_that_vanishes_ends_the_upstreams_side(world):
    gateway, upstream = await world(echo_tunnel)
    client = await gateway.client()
    await client.send(handshake())
    await client.head()
    client.leave()
    await upstream.dropped()


async def test_closing_from_outside_ends_both_sides(world):
    gateway, upstream = await world(echo_tunnel)
    client = await gateway.client()
    await client.send(handshake())
    await client.head()
    gateway.tunnels[0].close()
    assert await client.rest() == b""
    await upstream.dropped()
    gateway.tunnels[0].close()  # once more does no harm


async def test_closing_from_outside_does_not_wait_for_a_side_that_reads_nothing(world):
    async def script(connection):
        await connection.head()
        await connection.send(switched())
        await connection.send(b"x" * 50_000_000)
        await connection.rest()

    gateway, upstream = await world(script)
    client = await gateway.client()
    client.reader._limit = 1
    await client.send(handshake())
    async with asyncio.timeout(PATIENCE):
        while not gateway.tunnels:
            await asyncio.sleep(0)
    gateway.tunnels[0].close()
    await upstream.dropped()


@pytest.mark.parametrize("status", [b"200 OK", b"302 Found", b"401 Unauthorized", b"403 Forbidden", b"426 Upgrade Required", b"500 Oops"])
async def test_answer_that_does_not_switch_stays_http_and_closes(world, status):
    """WS-04, SM-62: nothing of what was sent behind the handshake is tunnelled or answered."""
    gateway, upstream = await world(answering(b"HTTP/1.1 " + status + b"\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nno"))
    answer = await gateway.ask(handshake() + SMUGGLED)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert answer.endswith(b"\r\nConnection: close\r\n\r\nno")
    assert b"pgrade: websocket" not in answer
    assert len(upstream.connections) == 1
    assert b"/smug" not in upstream.received


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(switched(accept=b"AAAAAAAAAAAAAAAAAAAAAAAAAAA="), id="WS-05 wrong accept"),
        pytest.param(switched(b"Sec-WebSocket-Accept: " + ACCEPT), id="accept twice"),
        pytest.param(switched(upgrade=b"X: y"), id="WS-05 no upgrade"),
        pytest.param(switched(upgrade=b"Upgrade: h2c"), id="another protocol"),
        pytest.param(switched(connection=b"Connection: keep-alive"), id="no connection option"),
        pytest.param(switched(b"Content-Length: 2") + b"ok", id="WS-05 a body"),
        pytest.param(switched(b"Transfer-Encoding: chunked") + b"0\r\n\r\n", id="WS-05 a chunked body"),
        pytest.param(switched(b"Sec-WebSocket-Protocol: mqtt"), id="WS-07 a subprotocol not offered"),
        pytest.param(switched(b"Sec-WebSocket-Protocol: chat, v2"), id="two subprotocols"),
        pytest.param(switched(b"Sec-WebSocket-Extensions: permessage-deflate"), id="an extension not offered"),
    ],
)
async def test_switch_that_proves_nothing_is_502(world, answer):
    gateway, upstream = await world(answering(answer, then="hold"))
    got = await gateway.ask(handshake(b"Sec-WebSocket-Protocol: chat, v2") + b"early")
    assert got.startswith(b"HTTP/1.1 502")
    await upstream.dropped()
    assert b"early" not in upstream.received


async def test_offered_subprotocol_and_extension_pass(world):
    agreed = (b"Sec-WebSocket-Protocol: v2", b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10")
    gateway, upstream = await world(answering(switched(*agreed)))
    offered = (b"Sec-WebSocket-Protocol: chat, v2", b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-other")
    answer = await gateway.ask(handshake(*offered))
    assert answer.startswith(b"HTTP/1.1 101")
    assert all(b"\r\n" + line + b"\r\n" in answer for line in agreed)
    assert all(b"\r\n" + line + b"\r\n" in upstream.received for line in offered)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(handshake(method=b"POST"), id="POST"),
        pytest.param(handshake(drop=[b"Connection"]), id="no Connection: upgrade"),
        pytest.param(handshake(b"Upgrade: websocket"), id="Upgrade twice"),
        pytest.param(handshake(b"Upgrade: websocket, h2c", drop=[b"Upgrade"]), id="two protocols"),
        pytest.param(handshake(drop=[b"Sec-WebSocket-Key"]), id="no key"),
        pytest.param(handshake(b"Sec-WebSocket-Key: " + KEY), id="key twice"),
        pytest.param(handshake(b"Sec-WebSocket-Key: dGhlIHNhbXBsZQ==", drop=[b"Sec-WebSocket-Key"]), id="short key"),
        pytest.param(handshake(b"Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!==", drop=[b"Sec-WebSocket-Key"]), id="no base64"),
        pytest.param(handshake(b"Sec-WebSocket-Version: 13"), id="version twice"),
        pytest.param(handshake(b"Content-Length: 2") + b"ok", id="a body"),
        pytest.param(handshake(b"Sec-WebSocket-Protocol: ch\xe4t"), id="WS-07 subprotocol beyond ASCII"),
        pytest.param(handshake(b"Sec-WebSocket-Protocol: a,,b"), id="empty subprotocol"),
        pytest.param(handshake(b"Origin: http://a", b"Origin: http://b"), id="Origin twice"),
    ],
)
async def test_incomplete_handshake_is_400_and_nothing_goes_upstream(world, request_):
    gateway, upstream = await world(echo_tunnel)
    assert (await gateway.ask(request_ + SMUGGLED)).startswith(b"HTTP/1.1 400")
    assert upstream.connections == []


async def test_other_version_is_426_with_the_one_there_is(world):
    gateway, upstream = await world(echo_tunnel)
    answer = await gateway.ask(handshake(b"Sec-WebSocket-Version: 8", drop=[b"Sec-WebSocket-Version"]) + SMUGGLED)
    assert answer.startswith(b"HTTP/1.1 426 Upgrade Required\r\n")
    assert b"\r\nSec-WebSocket-Version: 13\r\n" in answer
    assert answer.count(b"HTTP/1.1") == 1
    assert upstream.connections == []


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(
            b"GET /p HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n",
            id="SM-64 h2c",
        ),
        pytest.param(b"GET /p HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n", id="SM-65 an unknown one"),
        pytest.param(b"GET /p HTTP/1.1\r\nHost: a\r\nUpgrade: TLS/1.0\r\n\r\n", id="WS-17 TLS/1.0"),
        pytest.param(handshake(version=b"1.0"), id="WebSocket over HTTP/1.0"),
    ],
)
async def test_other_upgrades_are_dropped_and_the_connection_ends(world, sent):
    gateway, upstream = await world(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
    answer = await gateway.ask(sent + SMUGGLED)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"\r\n\r\nok")
    assert answer.count(b"HTTP/1.1") == 1
    assert b"pgrade: " not in upstream.received
    assert b"ettings" not in upstream.received
    assert len(upstream.connections) == 1


@pytest.mark.parametrize("value", [b"websocket", b"WebSocket", b"h2c, websocket", b"xwebsocketx"])
def test_whatever_may_be_a_websocket_gets_its_origin_checked(value):
    assert asks_for_websocket([(b"uPGRADE", value)])
    assert not asks_for_websocket([(b"X-Upgrade", value)])
