"""Ended from outside: a WebSocket hears why between two frames, everything else breaks off, and nothing takes long."""

from __future__ import annotations

import asyncio

import pytest

from gateway.proxy.upgrades import TunnelRules
from gateway.proxy.websocket_frames import SESSION_ENDED, close_frame
from tests.proxy.test_tunnels import handshake, switched
from tests.support.raw_upstream import PATIENCE

GOODBYE = close_frame(SESSION_ENDED)


def speaking(*pieces, go=None, and_then=()):
    """An application that switches, sends ``pieces``, waits for ``go``, sends the rest, and reads until it is let go."""

    async def script(connection):
        await connection.head()
        await connection.send(switched())
        for piece in pieces:
            await connection.send(piece)
        if go is not None:
            await go.wait()
        for piece in and_then:
            await connection.send(piece)
        await connection.rest()

    return script


async def opened(world, script):
    gateway, upstream = await world(script)
    client = await gateway.client()
    await client.send(handshake())
    await client.head()
    return gateway, upstream, client


async def over(gateway):
    async with asyncio.timeout(PATIENCE):
        while not gateway.closed_tunnels:
            await asyncio.sleep(0)


async def test_an_idle_websocket_is_told_why_and_both_sides_end(world):
    gateway, upstream, client = await opened(world, speaking())
    gateway.tunnels[0].end(SESSION_ENDED)
    assert await client.rest() == GOODBYE
    await client.send(b"\x88\x82abcd\x62\x8a")  # the browser's answer to the close frame
    client.writer.write_eof()
    await upstream.dropped()
    await over(gateway)
    gateway.tunnels[0].end(SESSION_ENDED)  # once more does no harm


async def test_the_close_frame_waits_for_the_frame_in_progress_and_cuts_what_comes_after(world):
    go = asyncio.Event()
    gateway, _, client = await opened(world, speaking(b"\x81\x05hel", go=go, and_then=[b"lo\x81\x03abc"]))
    assert await client.read(5) == b"\x81\x05hel"
    gateway.tunnels[0].end(SESSION_ENDED)
    go.set()
    assert await client.rest() == b"lo" + GOODBYE


async def test_the_close_frame_waits_for_a_header_that_came_in_pieces(world):
    go = asyncio.Event()
    gateway, _, client = await opened(world, speaking(b"\x82", go=go, and_then=[b"\x7e", b"\x00", b"\x80", b"x" * 100, b"y" * 100]))
    assert await client.read(1) == b"\x82"
    gateway.tunnels[0].end(SESSION_ENDED)
    go.set()
    assert await client.rest() == b"\x7e\x00\x80" + b"x" * 100 + b"y" * 28 + GOODBYE


async def test_a_frame_that_never_ends_is_broken_off(world):
    gateway, upstream, client = await opened(world, speaking(b"\x82\x7f" + b"\xff" * 8))
    await client.read(10)
    gateway.tunnels[0].end(SESSION_ENDED)
    assert await client.rest() == b""
    await upstream.dropped()
    await over(gateway)


async def test_an_application_that_leaves_in_the_middle_of_a_frame_ends_the_wait(world):
    go = asyncio.Event()

    async def script(connection):
        await connection.head()
        await connection.send(switched() + b"\x81\x05hel")
        await go.wait()

    gateway, _, client = await opened(world, script)
    await client.read(5)
    gateway.tunnels[0].end(SESSION_ENDED)
    go.set()
    assert await client.rest() == b""
    await over(gateway)


async def test_nothing_follows_a_close_frame_of_the_applications(world):
    gateway, _, client = await opened(world, speaking(b"\x88\x02\x03\xe8"))
    assert await client.read(4) == b"\x88\x02\x03\xe8"
    gateway.tunnels[0].end(SESSION_ENDED)
    assert await client.rest() == b""
    await over(gateway)


async def test_what_the_browser_sends_after_the_end_goes_nowhere(world):
    gateway, upstream, client = await opened(world, speaking(b"\x81\x05hel"))
    await client.read(5)
    await client.send(b"before")
    await upstream.seen(b"before")
    gateway.tunnels[0].end(SESSION_ENDED)
    await client.send(b"after")
    assert await client.rest() == b""
    await upstream.dropped()
    assert b"after" not in upstream.received


@pytest.mark.parametrize("half", ["caller", "application"])
async def test_a_half_closed_websocket_ends_too(world, half):
    heard = asyncio.Event()

    async def script(connection):
        await connection.head()
        await connection.send(switched())
        if half == "application":
            connection.writer.write_eof()
        await connection.rest()
        await heard.wait()

    gateway, _, client = await opened(world, script)
    if half == "caller":
        client.writer.write_eof()
        async with asyncio.timeout(PATIENCE):
            while not gateway.tunnels[0]._caller.ended:
                await asyncio.sleep(0)
    else:
        assert await client.rest() == b""
    gateway.tunnels[0].end(SESSION_ENDED)
    if half == "caller":
        assert await client.rest() == GOODBYE
    heard.set()
    await over(gateway)


async def test_a_browser_that_reads_nothing_is_dropped(world):
    gateway, upstream, client = await opened(world, speaking(b"\x82\x7f" + (2**40).to_bytes(8, "big") + bytes(30_000_000)))
    client.reader._limit = 1
    gateway.tunnels[0].end(SESSION_ENDED)
    await upstream.dropped()
    await over(gateway)


async def test_other_protocols_end_without_a_word(world):
    async def script(connection):
        await connection.head()
        await connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: SPDY/3.1\r\n\r\nhello")
        await connection.rest()

    gateway, upstream = await world(script)
    gateway.tunnel_rules = TunnelRules(upgrades=frozenset({b"spdy/3.1"}))
    client = await gateway.client()
    await client.send(b"POST /exec HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n\r\n")
    head = await client.head()
    assert head.endswith(b"\r\nConnection: Upgrade\r\nUpgrade: spdy/3.1\r\n\r\n")
    assert await client.read(5) == b"hello"
    await client.send(b"\x80\x03stream")
    await upstream.seen(b"\x80\x03stream")
    assert b"\r\nConnection: Upgrade\r\nUpgrade: spdy/3.1\r\n\r\n" in upstream.received
    gateway.tunnels[0].end(SESSION_ENDED)
    assert await client.rest() == b""
    await upstream.dropped()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"Connection: upgrade\r\nUpgrade: other", id="another protocol"),
        pytest.param(b"Upgrade: spdy/3.1", id="no connection option"),
        pytest.param(b"Connection: upgrade", id="none"),
        pytest.param(b"Connection: upgrade\r\nUpgrade: spdy/3.1\r\nContent-Length: 4", id="a body"),
    ],
)
async def test_a_switch_to_something_else_is_502(world, answer):
    async def script(connection):
        await connection.head()
        await connection.send(b"HTTP/1.1 101 Switching Protocols\r\n" + answer + b"\r\n\r\n")
        await connection.rest()

    gateway, upstream = await world(script)
    gateway.tunnel_rules = TunnelRules(upgrades=frozenset({b"spdy/3.1"}))
    got = await gateway.ask(b"GET /exec HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 502")
    await upstream.dropped()


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(b"Connection: Upgrade\r\nUpgrade: spdy/3.1, other\r\n\r\n", id="two protocols"),
        pytest.param(b"Connection: Upgrade\r\nUpgrade: spdy/3.1\r\nUpgrade: other\r\n\r\n", id="two headers"),
        pytest.param(b"Upgrade: spdy/3.1\r\n\r\n", id="no connection option"),
        pytest.param(b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", id="one that is not listed"),
        pytest.param(b"Connection: Upgrade\r\nUpgrade: spdy/3.1\r\nContent-Length: 0002\r\n\r\nhi", id="a body"),
    ],
)
async def test_what_a_route_does_not_let_through_is_removed(world, lines):
    async def script(connection):
        await connection.head()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await connection.rest()

    gateway, upstream = await world(script)
    gateway.tunnel_rules = TunnelRules(upgrades=frozenset({b"spdy/3.1"}))
    got = await gateway.ask(b"GET /exec HTTP/1.1\r\nHost: a\r\n" + lines)
    assert got.startswith(b"HTTP/1.1 200")
    assert b"\r\nUpgrade:" not in upstream.received


async def test_websocket_passes_only_where_it_is_listed(world):
    gateway, upstream = await world(speaking())
    gateway.tunnel_rules = TunnelRules(upgrades=frozenset())
    answer = await gateway.ask(handshake())
    assert answer.startswith(b"HTTP/1.1 502"), "a 101 that nobody asked for"
    assert b"\r\nUpgrade:" not in upstream.received


@pytest.mark.parametrize("kind", ["length", "chunks", "close"])
async def test_a_long_answer_is_broken_off_visibly(world, kind):
    framing = {"length": b"Content-Length: 1000\r\n", "chunks": b"Transfer-Encoding: chunked\r\n", "close": b""}[kind]

    async def script(connection):
        await connection.head()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\n" + framing + b"\r\n")
        await connection.send(b"5\r\nhello\r\n" if kind == "chunks" else b"hello")
        await connection.rest()

    gateway, upstream = await world(script)
    client = await gateway.client()
    await client.send(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
    await client.head()
    held = await gateway.holding()
    assert held.endless
    held.end(SESSION_ENDED)
    await client.rest_until_reset()
    await upstream.dropped()
    async with asyncio.timeout(PATIENCE):
        while len(gateway.over) < len(gateway.held):
            await asyncio.sleep(0)


async def test_an_upload_is_broken_off_on_both_sides(world):
    async def script(connection):
        await connection.head()
        await connection.rest()

    gateway, upstream = await world(script)
    client = await gateway.client()
    await client.send(b"PUT /file HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhello")
    await upstream.seen(b"hello")
    held = await gateway.holding()
    assert not held.endless
    assert held.heard == 5
    held.end(SESSION_ENDED)
    await client.rest_until_reset()
    await upstream.dropped()


async def test_an_answer_that_is_whole_at_once_is_never_held(world):
    async def script(connection):
        await connection.head()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    gateway, _ = await world(script)
    await gateway.ask(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert gateway.held == []
