"""UP: what broken and hostile upstreams send. 502 before the first byte to the caller; after it, a connection that visibly breaks off."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import UpstreamFailed, UpstreamTimeout
from gateway.proxy.upstream import Timeouts
from tests.support.raw_upstream import answering, echo

GET = b"GET /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
HEAD_OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="no byte at all"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Le", id="end within the head"),
        pytest.param(b"hello", id="HTTP/0.9"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="another protocol"),
        pytest.param(b"HTTP/1.1 99 Low\r\n\r\n", id="status of two digits"),
        pytest.param(b"HTTP/1.1 099 Low\r\n\r\n", id="status below 100"),
        pytest.param(b"HTTP/1.1 20 OK\r\n\r\n", id="status cut"),
        pytest.param(b"HTTP/1.1 2000 OK\r\n\r\n", id="status of four digits"),
        pytest.param(b"HTTP/2.0 200 OK\r\n\r\n", id="HTTP/2.0"),
        pytest.param(b"HTTP/1.2 200 OK\r\n\r\n", id="HTTP/1.2"),
        pytest.param(b"http/1.1 200 OK\r\n\r\n", id="lower-case version"),
        pytest.param(b"HTTP/1.1  200 OK\r\n\r\n", id="two spaces"),
        pytest.param(b"\r\nHTTP/1.1 200 OK\r\n\r\n", id="blank line first"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", id="obs-fold"),
        pytest.param(b"HTTP/1.1 200 OK\r\n X: a\r\n\r\n", id="space before the first name"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX : a\r\n\r\n", id="space before colon"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX\r\n\r\n", id="no colon"),
        pytest.param(b"HTTP/1.1 200 OK\r\n: a\r\n\r\n", id="empty name"),
        pytest.param(b"HTTP/1.1 200 OK\nX: a\n\n", id="bare line feeds"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: a\nY: b\r\n\r\n", id="bare line feed in a value"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: a\rY: b\r\n\r\n", id="bare carriage return"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", id="NUL in a value"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX\xff: a\r\n\r\n", id="byte beyond ASCII in a name"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nxx", id="Transfer-Encoding gzip"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", id="Transfer-Encoding gzip, chunked"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="chunked twice"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n", id="comma before chunked"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\nContent-Length: 2\r\n\r\nok", id="empty Transfer-Encoding beside a length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", id="chunked and a length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="a length and chunked"),
        pytest.param(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="chunked in HTTP/1.0"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", id="length twice"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", id="list of lengths"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", id="signed length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok", id="negative length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok", id="hexadecimal length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok", id="empty length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok", id="length beyond 63 bits"),
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", id="101 unasked"),
        pytest.param(
            b"HTTP/1.1 100 Continue\r\n\r\n" * 1000 + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", id="a thousand interim answers"
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", id="head beyond 64 KiB"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000, id="head beyond 64 KiB without an end"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 201 + b"\r\n", id="201 headers"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", id="bad first chunk size"),
    ],
)
async def test_unusable_answer_is_502_and_nothing_of_it_passes(world, answer):
    gateway, upstream = await world(answering(answer))
    got = await gateway.ask(GET)
    assert got.startswith(b"HTTP/1.1 502")
    assert got.endswith(b"\r\n\r\nupstream_failed")
    assert [type(failure) for failure in gateway.failures] == [UpstreamFailed]
    assert len(upstream.connections) == 1  # nothing is sent twice


@pytest.mark.parametrize(
    "hanging",
    [
        pytest.param(b"hello", id="HTTP/0.9"),
        pytest.param(b"HTTP/1.1 200 OK\nX: a\n\n", id="bare line feeds"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000, id="endless head"),
    ],
)
async def test_hopeless_head_is_refused_before_the_upstream_closes(world, hanging):
    gateway, upstream = await world(answering(hanging, then="hold"))
    assert (await gateway.ask(GET)).startswith(b"HTTP/1.1 502")
    await upstream.dropped()


@pytest.mark.parametrize(
    ("rest", "then"),
    [
        pytest.param(b"", "close", id="end"),
        pytest.param(b"", "reset", id="reset"),
        pytest.param(b"ZZ\r\n", "hold", id="bad size"),
        pytest.param(b"+3\r\nabc\r\n", "hold", id="signed size"),
        pytest.param(b"0x3\r\nabc\r\n", "hold", id="hexadecimal prefix"),
        pytest.param(b"3\nabc\r\n", "hold", id="size ended by line feed"),
        pytest.param(b"3\r\nabc\n", "hold", id="data ended by line feed"),
        pytest.param(b"3\r\nabcd\r\n", "hold", id="data longer than said"),
        pytest.param(b"FFFFFFFFFFFFFFFFF\r\n", "hold", id="size overflows"),
        pytest.param(b"5\r\nab", "close", id="end within a chunk"),
        pytest.param(b"0\r\n", "close", id="end within the last chunk"),
    ],
)
async def test_chunked_answer_that_breaks_off_never_looks_whole(world, rest, then):
    sent = asyncio.Event()

    async def script(connection):
        await connection.head()
        await connection.send(HEAD_OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        await sent.wait()
        await answering(rest, then=then)(Headless(connection))

    gateway, upstream = await world(script)
    client = await gateway.client()
    await client.send(GET)
    await client.head()
    assert await client.chunk() == b"ok"
    sent.set()
    assert b"0\r\n\r\n" not in await client.rest_until_reset()
    await upstream.dropped()
    assert gateway.failures == []  # no second answer behind the first


class Headless:
    """A connection whose request was read already."""

    def __init__(self, connection):
        self._connection = connection

    async def head(self):
        return b""

    async def body(self, _head):
        return b""

    def __getattr__(self, name):
        return getattr(self._connection, name)


@pytest.mark.parametrize(
    ("version", "framing"),
    [
        pytest.param(b"1.1", b"Content-Length: 10\r\n", id="known length"),
        pytest.param(b"1.0", b"Content-Length: 10\r\n", id="known length for HTTP/1.0"),
        pytest.param(b"1.0", b"Transfer-Encoding: chunked\r\n", id="chunks passed to HTTP/1.0, where only a reset can tell"),
    ],
)
async def test_answer_that_breaks_off_ends_in_a_reset(world, version, framing):
    go_on = asyncio.Event()

    async def script(connection):
        await connection.head()
        await connection.send(HEAD_OK + framing + b"\r\n" + (b"2\r\nok\r\n" if b"chunked" in framing else b"ok"))
        await go_on.wait()

    gateway, _ = await world(script)
    client = await gateway.client()
    await client.send(b"GET /p HTTP/" + version + b"\r\nHost: a\r\n\r\n")
    await client.head()
    assert await client.read(2) == b"ok"
    go_on.set()
    assert await client.rest_until_reset() == b""


async def test_reset_of_an_answer_ended_by_close_is_no_end(world):
    go_on = asyncio.Event()

    async def script(connection):
        await connection.head()
        await connection.send(HEAD_OK + b"\r\nok")
        await go_on.wait()
        connection.writer.get_extra_info("socket").setsockopt(1, 13, b"\x01\0\0\0\0\0\0\0")  # SO_LINGER: reset
        connection.reset()

    gateway, _ = await world(script)
    client = await gateway.client()
    await client.send(GET)
    await client.head()
    assert await client.chunk() == b"ok"
    go_on.set()
    assert await client.rest_until_reset() == b""


@pytest.mark.parametrize("minor", [b"0", b"1"], ids=["HTTP/1.0", "HTTP/1.1"])
async def test_early_hints_pass_to_http11_alone_and_other_interim_answers_to_nobody(world, minor):
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </s>\r\nX-Team: red\r\n\r\n"
    gateway, _ = await world(answering(interim, HEAD_OK + b"Content-Length: 2\r\n\r\nok"))
    answer = await gateway.ask(b"GET /p HTTP/1." + minor + b"\r\nHost: a\r\nConnection: close\r\n\r\n")
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\n"
    assert answer.startswith(hint) == (minor == b"1")
    assert answer.count(b"HTTP/1.1 ") == 1 + (minor == b"1")
    assert answer.endswith(b"ok")


async def test_failure_after_early_hints_is_still_a_502(world):
    gateway, _ = await world(answering(b"HTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\n"))
    answer = await gateway.ask(GET)
    assert answer.startswith(b"HTTP/1.1 103 ")
    assert b"HTTP/1.1 502 " in answer


@pytest.mark.parametrize(
    "surplus",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", id="a second answer in the same segment"),
        pytest.param(b"evil", id="garbage"),
    ],
)
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(HEAD_OK + b"Content-Length: 2\r\n\r\nok", id="known length"),
        pytest.param(HEAD_OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", id="chunks"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", id="no body"),
    ],
)
async def test_bytes_after_the_answer_are_nobodys(world, answer, surplus):
    gateway, upstream = await world(answering(answer + surplus, then="hold"))
    client = await gateway.client()
    for _ in range(2):
        await client.send(b"GET /p HTTP/1.1\r\nHost: a\r\n\r\n")
        head = await client.head()
        if b"chunked" in head:
            assert [await client.chunk(), await client.chunk()] == [b"ok", b""]
        elif b"204" not in head:
            assert await client.read(2) == b"ok"
    client.writer.write_eof()
    assert await client.rest() == b""
    assert len(upstream.connections) == 2


async def test_trailers_and_chunk_extensions_are_dropped(world):
    body = b'2;a="x;y"\r\nok\r\n0\r\nX-Forwarded-User: admin\r\nSet-Cookie: a=b\r\n\r\n'
    gateway, _ = await world(answering(HEAD_OK + b"Transfer-Encoding: chunked\r\nTrailer: Set-Cookie\r\n\r\n" + body))
    answer = await gateway.ask(GET)
    assert answer.endswith(b"\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    assert b"railer" not in answer
    assert b"admin" not in answer


async def test_redirects_challenges_and_encodings_pass_untouched(world):
    passing = (
        b"HTTP/1.1 302 Moved Temporarily\r\nLocation: http://up:8000/x?y=%zz\r\nWWW-Authenticate: Basic realm=app\r\n"
        b"Content-Encoding: gzip\r\nX-Latin: caf\xe9\r\n"
    )
    gateway, upstream = await world(answering(passing + b"Content-Length: 4\r\n\r\n\x1f\x8b\0\xff"))
    answer = await gateway.ask(GET)
    assert answer.startswith(passing)
    assert answer.endswith(b"\r\n\r\n\x1f\x8b\0\xff")
    assert len(upstream.connections) == 1


async def test_large_heads_within_the_limit_pass(world):
    lines = b"".join(b"X-%d: v\r\n" % number for number in range(140)) + b"Content-Security-Policy: " + b"p" * 9000 + b"\r\n"
    gateway, _ = await world(answering(HEAD_OK + lines + b"Content-Length: 0\r\n\r\n"))
    assert lines in await gateway.ask(GET)


@pytest.mark.parametrize("status", [b"999 Odd", b"200", b"200 "], ids=["999", "no reason", "empty reason"])
async def test_odd_but_valid_status_lines_pass(world, status):
    gateway, _ = await world(answering(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\nok"))
    answer = await gateway.ask(GET)
    assert answer.startswith(b"HTTP/1.1 " + status.strip())
    assert answer.endswith(b"ok")


async def test_head_that_comes_byte_by_byte_is_read(world):
    gateway, _ = await world(answering(*(bytes([byte]) for byte in HEAD_OK + b"Content-Length: 2\r\n\r\nok")))
    assert (await gateway.ask(GET)).endswith(b"\r\n\r\nok")


async def test_silent_upstream_is_504_in_the_limit_for_heads(world):
    gateway, upstream = await world(answering(then="hold"), timeouts=Timeouts(head=0.05, idle=60))
    assert (await gateway.ask(GET)).startswith(b"HTTP/1.1 504")
    assert [type(failure) for failure in gateway.failures] == [UpstreamTimeout]
    await upstream.dropped()


async def test_body_that_stands_still_breaks_off_in_the_limit_for_bodies(world):
    gateway, upstream = await world(answering(HEAD_OK + b"Content-Length: 9\r\n\r\nok", then="hold"), timeouts=Timeouts(head=60, idle=0.05))
    client = await gateway.client()
    await client.send(GET)
    await client.rest_until_reset()
    await upstream.dropped()


async def test_an_exchange_that_goes_on_and_on_breaks_off_in_the_total_limit(world):
    async def script(connection):
        await connection.head()
        await connection.send(HEAD_OK + b"\r\n")
        while not connection.writer.is_closing():
            await connection.send(b"x")
            await asyncio.sleep(0.001)

    gateway, upstream = await world(script, timeouts=Timeouts(total=0.1))
    client = await gateway.client()
    await client.send(GET)
    assert b"x" in await client.rest_until_reset()
    await upstream.dropped()


async def test_an_answer_that_does_not_come_within_the_total_limit_is_504(world):
    gateway, _ = await world(answering(then="hold"), timeouts=Timeouts(total=0.05))
    assert (await gateway.ask(GET)).startswith(b"HTTP/1.1 504 ")


async def test_a_head_that_drips_is_held_to_the_limit_for_heads(world):
    async def script(connection):
        await connection.head()
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X-Slow: 1\r\n" * 20:
            await connection.send(bytes([byte]))
            await asyncio.sleep(0.001)

    gateway, _ = await world(script, timeouts=Timeouts(head=0.1))
    assert (await gateway.ask(GET)).startswith(b"HTTP/1.1 504 ")


async def test_slow_upload_is_not_held_to_the_limit_for_heads(world):
    head_limit_passed = asyncio.Event()
    gateway, upstream = await world(echo, timeouts=Timeouts(head=0.01, idle=60))
    client = await gateway.client()
    await client.send(b"POST /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n")
    await upstream.seen(b"he")
    asyncio.get_running_loop().call_later(0.05, head_limit_passed.set)
    await head_limit_passed.wait()
    await client.send(b"2\r\nre\r\n0\r\n\r\n")
    assert (await client.rest()).endswith(b"2\r\nre\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://127.0.0.1:1", id="refused"),
        pytest.param("http://nowhere.invalid:80", id="unknown name"),
        pytest.param("unix:/nowhere/at-all.sock", id="missing unix socket"),
    ],
)
async def test_unreachable_upstream_is_502(gateway_for, url):
    async with gateway_for(url) as gateway:
        assert (await gateway.ask(GET)).startswith(b"HTTP/1.1 502")
