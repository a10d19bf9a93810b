from __future__ import annotations

import pytest

from gateway.proxy import downstream
from tests.support.raw_upstream import answering, echo

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_small_answer_passes_whole_and_the_connection_stays_open(world):
    gateway, upstream = await world(answering(OK))
    client = await gateway.client()
    for _ in range(2):
        await client.send(b"GET /a%2Fb/../c?x=%20&y HTTP/1.1\r\nHost: a\r\n\r\n")
        head = await client.head()
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nContent-Length: 2\r\n" in head
        assert b"\r\nDate: " in head
        assert b"\r\nConnection:" not in head
        assert b"\r\nServer:" not in head
        assert await client.read(2) == b"ok"
    assert len(upstream.connections) == 2
    assert upstream.connections[0].received == (
        b"GET /a%2Fb/../c?x=%20&y HTTP/1.1\r\nHost: a\r\nVia: 1.1 gateway\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n"
        b"X-Forwarded-User: bob\r\nX-Team: blue\r\n\r\n"
    )


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "QUERY"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
async def test_every_method_carries_a_body_both_ways(world, method, chunked):
    gateway, upstream = await world(echo)
    framed = (
        (b"Transfer-Encoding: chunked", b"5;ext=1\r\nhello\r\n0\r\nX-Forwarded-User: admin\r\n\r\n")
        if chunked
        else (b"Content-Length: 005", b"hello")
    )
    answer = await gateway.ask(method.encode() + b" /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + framed[0] + b"\r\n\r\n" + framed[1])
    assert b"\r\nX-Seen: " + method.encode() in answer
    assert answer.endswith(b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    received = upstream.received
    assert received.count(b"Transfer-Encoding: chunked\r\n") == chunked
    assert received.count(b"Content-Length: 5\r\n") == (not chunked)
    assert b"admin" not in received
    assert b"ext" not in received


async def test_body_streams_both_ways_at_once(world):
    gateway, _ = await world(echo)
    client = await gateway.client()
    await client.send(b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
    assert b"\r\nConnection: close\r\n" in await client.head()
    assert await client.chunk() == b"one"
    await client.send(b"3\r\ntwo\r\n")
    assert await client.chunk() == b"two"
    await client.send(b"0\r\n\r\n")
    assert await client.chunk() == b""
    assert await client.rest() == b""


async def test_large_upload_of_known_length_arrives_whole(world):
    size = 3_000_000
    got = []

    async def script(connection):
        head = await connection.head()
        got.append(await connection.body(head))
        await connection.send(OK)

    gateway, upstream = await world(script)
    answer = await gateway.ask(b"PUT /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
    assert answer.startswith(b"HTTP/1.1 200")
    assert got == [b"x" * size]
    assert b"Content-Length: %d\r\n" % size in upstream.received


async def test_early_answer_reaches_the_caller_and_then_the_connection_closes(world):
    async def script(connection):
        await connection.head()
        await connection.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await connection.rest()

    gateway, upstream = await world(script)
    client = await gateway.client()
    await client.send(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\nstart")
    head = await client.head()
    assert head.startswith(b"HTTP/1.1 413")
    assert b"\r\nConnection: close\r\n" in head
    assert await client.read(3) == b"big"
    await upstream.dropped()  # the upstream is let go at once


async def test_upload_that_breaks_off_never_looks_whole_upstream(world):
    async def script(connection):
        await connection.head()
        await connection.rest()

    gateway, upstream = await world(script)
    client = await gateway.client()
    await client.send(b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
    await upstream.seen(b"one")
    client.leave()
    await upstream.dropped()
    assert b"0\r\n\r\n" not in upstream.received


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b"zz\r\n", id="no hex"),
        pytest.param(b"3\r\nabcX\r\n", id="no line end"),
        pytest.param(b"3\nabc\r\n", id="bare line feed"),
    ],
)
async def test_malformed_chunks_after_good_ones_are_refused_and_break_the_upload(world, broken):
    async def script(connection):
        await connection.head()
        await connection.rest()

    gateway, upstream = await world(script)
    client = await gateway.client()
    await client.send(b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
    await upstream.seen(b"one")
    await client.send(broken)
    answer = await client.rest()
    assert answer.startswith(b"HTTP/1.1 400")
    await upstream.dropped()
    assert b"0\r\n\r\n" not in upstream.received


async def test_expect_continue_is_answered_once_the_upstream_is_connected(world):
    gateway, upstream = await world(echo)
    client = await gateway.client()
    await client.send(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
    assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert len(upstream.connections) <= 1
    await client.send(b"hi")
    assert (await client.rest()).endswith(b"2\r\nhi\r\n0\r\n\r\n")
    assert b"xpect" not in upstream.received


async def test_no_continue_when_the_upstream_cannot_be_reached(gateway_for):
    async with gateway_for("http://127.0.0.1:1") as gateway:
        answer = await gateway.ask(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 502")


async def test_head_answer_has_the_length_and_no_body(world):
    gateway, _ = await world(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"))
    client = await gateway.client()
    await client.send(b"HEAD /p HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"\r\nContent-Length: 1000\r\n" in await client.head()
    await client.send(b"HEAD /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    await client.head()
    assert await client.rest() == b""


@pytest.mark.parametrize(
    ("status", "length_told"), [pytest.param(b"204 No Content", False, id="204"), pytest.param(b"304 Not Modified", True, id="304")]
)
async def test_answers_without_body(world, status, length_told):
    gateway, _ = await world(answering(b"HTTP/1.1 " + status + b"\r\nContent-Length: 7\r\nETag: x\r\n\r\n", then="hold"))
    answer = await gateway.ask(b"GET /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert (b"\r\nContent-Length: 7\r\n" in answer) == length_told
    assert answer.endswith(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in answer


async def test_get_with_a_body_keeps_it(world):
    gateway, upstream = await world(echo)
    inner = b"GET /smug HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = await gateway.ask(b"GET /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(inner) + inner)
    assert inner in answer
    assert len(upstream.connections) == 1
    assert b"Content-Length: %d\r\n" % len(inner) in upstream.received


async def test_answer_ended_by_close_is_chunked_for_http11_and_closed_for_http10(world):
    script = answering(b"HTTP/1.0 200 OK\r\nContent-Type: x/y\r\n\r\nhello ", b"world")
    gateway, _ = await world(script)
    client = await gateway.client()
    await client.send(b"GET /p HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"\r\nTransfer-Encoding: chunked\r\n" in await client.head()
    body = b""
    while piece := await client.chunk():
        body += piece
    assert body == b"hello world"
    old = await gateway.ask(b"GET /p HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
    assert old.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"ransfer-" not in old
    assert b"\r\nConnection: close\r\n" in old
    assert old.endswith(b"\r\n\r\nhello world")


async def test_caller_that_leaves_ends_the_exchange_upstream(world):
    async def script(connection):
        await connection.head()
        await connection.rest()

    gateway, upstream = await world(script)
    client = await gateway.client()
    await client.send(b"GET /p HTTP/1.1\r\nHost: a\r\n\r\n")
    await upstream.seen(b"GET")
    client.leave()
    await upstream.dropped()


async def test_small_answer_leaves_in_one_write(world, monkeypatch):
    writes = []

    class Watched:
        def __init__(self, transport) -> None:
            self._transport = transport

        def write(self, data) -> None:
            writes.append(data)
            self._transport.write(data)

    original = downstream.write_start
    monkeypatch.setattr(downstream, "write_start", lambda transport, *args, **named: original(Watched(transport), *args, **named))
    gateway, _ = await world(answering(OK))
    await gateway.ask(b"GET /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert [write.endswith(b"\r\n\r\nok") for write in writes] == [True]
