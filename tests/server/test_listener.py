"""SL, LK-09: what a connection may take in time, in requests at once and in number, on a clock that the test sets."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from aiohttp import http_parser, web

from gateway.config.settings import ConnectionLimits
from gateway.errors import ConfigRefused, RequestTimeout
from gateway.server.listener import PublicServer, check_parser
from tests.support.raw_caller import PATIENCE, answers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HEAD = b"GET / HTTP/1.1\r\nHost: app.example\r\n"
UPLOAD = b"POST / HTTP/1.1\r\nHost: app.example\r\nContent-Length: 6\r\n\r\n"
LARGE = bytes(4 * 1024 * 1024)
BULKY = HEAD.replace(b"GET /", b"GET /bulky") + b"\r\n"

LATER = 1000.0
"""Seconds beyond every limit."""


class Public:
    """A public server whose handler reads bodies and waits for ``go``; ``pass_time`` makes it look at its connections later."""

    def __init__(self, **limits) -> None:
        self.server = PublicServer(self.answer, limits=ConnectionLimits(**limits))
        self.go = asyncio.Event()
        self.go.set()
        self.begun = asyncio.Event()
        self.failures: list[Exception] = []
        self.served = 0
        self.port = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.begun.set()
        await self.go.wait()
        try:
            body = await request.read()
        except RequestTimeout as late:
            self.failures.append(late)
            answer = web.Response(status=late.status)
            answer.force_close()
            return answer
        self.served += 1
        if request.path == "/bulky":
            body = LARGE
        return web.Response(body=body, headers={"X-Number": str(self.served)})

    def pass_time(self, seconds: float = LATER) -> None:
        now = asyncio.get_running_loop().time() + seconds
        for connection in self.server.connections:
            connection.check(now)

    async def until(self, condition) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0)


@asynccontextmanager
async def public(**limits) -> AsyncIterator[Public]:
    served = Public(**limits)
    listening = await asyncio.get_running_loop().create_server(served.server, "127.0.0.1", 0)
    served.port = listening.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        listening.close()
        await served.server.shutdown(1)


@asynccontextmanager
async def caller(served: Public) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        mine = writer.get_extra_info("sockname")
        await served.until(lambda: any(one.peername == mine and one._waiter for one in served.server.connections))
        try:
            yield reader, writer
        finally:
            writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()


def has_head(served: Public) -> bool:
    return any(connection._head_bytes for connection in served.server.connections)


async def test_sl_01_who_says_nothing_is_let_go_without_a_word():
    async with public() as served, caller(served) as (reader, _):
        served.pass_time()
        assert await reader.read() == b""


@pytest.mark.parametrize(
    "begun", [pytest.param(b"G", id="a letter"), pytest.param(HEAD, id="headers"), pytest.param(b"\r\n", id="an empty line")]
)
async def test_sl_02_a_head_that_does_not_arrive_is_told_so(begun):
    async with public() as served, caller(served) as (reader, writer):
        writer.write(begun)
        await served.until(lambda: has_head(served))
        served.pass_time()
        (said,) = answers(await reader.read())
        assert said.status == 408
        assert served.served == 0


async def test_sl_02_bytes_that_trickle_in_win_no_time():
    async with public(header_timeout=15.0) as served, caller(served) as (reader, writer):
        for index, byte in enumerate(HEAD[:20]):
            writer.write(bytes([byte]))
            await served.until(lambda size=index + 1: any(one._head_bytes == size for one in served.server.connections))
            served.pass_time(5.0)
        served.pass_time(15.0)
        assert answers(await reader.read())[0].status == 408


async def test_a_connection_that_had_a_request_is_idle_and_not_late():
    async with public() as served, caller(served) as (reader, writer):
        for _ in range(2):
            writer.write(HEAD + b"\r\n")
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            await served.until(lambda: all(one._waiter for one in served.server.connections))
            served.pass_time()
        writer.write(HEAD)
        await served.until(lambda: has_head(served))
        served.pass_time()
        assert answers(await reader.read())[0].status == 408


async def test_an_idle_connection_ends_by_its_own_limit():
    async with public(keepalive_timeout=0.05) as served, caller(served) as (reader, writer):
        writer.write(HEAD + b"\r\n")
        said = answers(await reader.read())
        assert [answer.status for answer in said] == [200]


async def test_a_body_that_stops_coming_ends_the_wait_for_it():
    async with public() as served, caller(served) as (reader, writer):
        writer.write(UPLOAD + b"abc")
        await served.begun.wait()
        await served.until(lambda: all(one._current_request.content._waiter for one in served.server.connections))
        served.pass_time(0)
        served.pass_time()
        assert answers(await reader.read())[0].status == 408
        assert [failure.detail for failure in served.failures] == ["a body that stopped coming"]


async def test_a_body_that_moves_has_all_the_time_it_needs():
    async with public(body_timeout=30.0, body_min_rate=0.0) as served, caller(served) as (reader, writer):
        writer.write(UPLOAD)
        await served.begun.wait()
        for index in range(6):
            served.pass_time(29.0 * index)
            writer.write(b"x")
            await served.until(
                lambda size=index + 1: all(
                    one._current_request is None or one._current_request.content.total_bytes >= size for one in served.server.connections
                )
            )
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head


async def test_sl_02_a_body_that_comes_too_slowly_ends_the_wait_for_it():
    """A byte now and then is no silence, and would hold a connection to the app for as long as its sender likes."""
    async with public(body_min_rate=1.0) as served, caller(served) as (reader, writer):
        writer.write(UPLOAD.replace(b"6", b"100000"))
        await served.begun.wait()
        size = 0
        for seconds, piece in ((0, b"x" * 40), (20, b"x" * 40), (31, b"x" * 5), (51, b"x" * 5), (62, b"")):
            writer.write(piece)
            size += len(piece)
            await served.until(
                lambda size=size: any(
                    one._current_request.content.total_bytes == size and one._current_request.content._waiter
                    for one in served.server.connections
                )
            )
            assert served.failures == []
            served.pass_time(seconds)
        assert answers(await reader.read())[0].status == 408
        assert [failure.detail for failure in served.failures] == ["a body that came too slowly"]


async def test_the_rate_of_one_body_is_nothing_to_the_next():
    async with public(body_min_rate=1.0) as served, caller(served) as (reader, writer):
        for number, size in enumerate((100, 6)):
            served.begun.clear()
            writer.write(UPLOAD.replace(b"6", b"%d" % size) + b"x" * (size - 1))
            await served.begun.wait()
            await served.until(lambda: all(one._current_request.content._waiter for one in served.server.connections))
            served.pass_time(40.0 * number)
            writer.write(b"x")
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(size)


async def test_nobody_is_hurried_whose_body_is_not_waited_for():
    async with public() as served, caller(served) as (reader, writer):
        served.go.clear()
        writer.write(UPLOAD)
        await served.begun.wait()
        served.pass_time(0)
        served.pass_time()
        served.go.set()
        writer.write(b"abcdef")
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")


async def test_sl_10_requests_at_once_wait_in_a_short_queue_and_are_answered_in_order():
    async with public() as served, caller(served) as (reader, writer):
        served.go.clear()
        count = 2000
        writer.write((HEAD + b"\r\n") * count)
        await served.begun.wait()
        for _ in range(50):
            await asyncio.sleep(0)
        assert all(len(connection._messages) <= 32 for connection in served.server.connections)
        served.go.set()
        for number in range(1, count + 1):
            assert b"X-Number: %d\r\n" % number in await reader.readuntil(b"\r\n\r\n")


async def test_sl_10_nothing_is_taken_up_while_answers_wait_to_be_read():
    async with public() as served, caller(served) as (reader, writer):
        count = 60
        writer.write(BULKY * count)
        await served.until(lambda: any(connection.writing_paused for connection in served.server.connections))
        before = -1
        while before < served.served:
            before = served.served
            for _ in range(500):
                await asyncio.sleep(0)
        assert served.served < count / 2
        for number in range(1, count + 1):
            assert b"X-Number: %d\r\n" % number in await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(len(LARGE))
        served.pass_time(0.0)
        assert served.server.connections


async def test_sl_10_who_reads_nothing_for_long_is_let_go():
    async with public() as served, caller(served) as (_, writer):
        writer.write(BULKY * 60)
        await served.until(lambda: any(connection.writing_paused for connection in served.server.connections))
        served.pass_time(0.0)
        served.pass_time(200.0)
        assert served.server.connections
        for _ in range(500):
            await asyncio.sleep(0)
        served.pass_time(300.0)
        served.pass_time(LATER)
        await served.until(lambda: not served.server.connections)
        assert served.served < 60


async def test_sl_10_who_reads_nothing_is_let_go_when_a_stop_has_closed_the_connection():
    async with public() as served, caller(served) as (_, writer):
        writer.write(BULKY * 60)
        await served.until(lambda: any(connection.writing_paused for connection in served.server.connections))
        served.server.pre_shutdown()
        for _ in range(500):
            await asyncio.sleep(0)
        for seconds in (0.0, 200.0):
            served.pass_time(seconds)
            assert served.server.connections
        served.pass_time()
        await served.until(lambda: not served.server.connections)
        assert served.server.admission.open == 0


async def test_sl_05_one_peer_has_its_share_and_gets_it_back():
    async with public(connections_per_peer=3) as served:
        async with caller(served), caller(served), caller(served):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(HEAD + b"\r\n")
            with suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
            assert served.server.admission.open == 3
        await served.until(lambda: served.server.admission.open == 0)
        async with caller(served) as (reader, writer):
            writer.write(HEAD + b"\r\n")
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")


async def test_sl_11_connections_that_are_reset_leave_nothing_behind():
    before = asyncio.all_tasks()
    async with public() as served:
        served.go.clear()
        for number in range(60):
            async with caller(served) as (_, writer):
                writer.write((HEAD + b"\r\n", HEAD, UPLOAD)[number % 3])
                if number % 2:
                    await asyncio.sleep(0)
        await served.until(lambda: served.server.admission.open == 0 and not served.server.connections)
        served.go.set()
    async with asyncio.timeout(PATIENCE):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0)


async def test_sl_02_an_unfinished_head_is_bounded_behind_a_request_that_waits_for_its_answer():
    async with public() as served, caller(served) as (reader, writer):
        served.go.clear()
        writer.write(HEAD + b"\r\n")
        await served.begun.wait()
        writer.write(HEAD)
        for number in range(100):
            writer.write(b"X-%d: %b\r\n" % (number, b"y" * 30_000))
            for _ in range(20):
                await asyncio.sleep(0)
        await served.until(lambda: all(connection._close for connection in served.server.connections))
        assert all(connection._head_bytes < 200_000 for connection in served.server.connections)
        served.go.set()
        said = await reader.readuntil(b"\r\n\r\n")
        assert said.startswith(b"HTTP/1.1 200 ")
        assert b"Connection: close\r\n" in said
        with suppress(ConnectionError):
            await reader.read()
        assert served.served == 1


@pytest.mark.parametrize("request_", [pytest.param(HEAD + b"\r\n", id="no body"), pytest.param(UPLOAD + b"abcdef", id="a whole body")])
async def test_sl_02_rounds_go_on_while_an_answer_is_waited_for(request_):
    """A request that waits for its answer is in nobody's way: who says nothing meanwhile is let go."""
    async with public(header_timeout=0.2) as served, caller(served) as (reader, writer):
        served.go.clear()
        writer.write(request_)
        await served.begun.wait()
        served.pass_time()
        seen = {served.server._next_round}
        await served.until(lambda: seen.add(served.server._next_round) or len(seen) > 3)
        async with caller(served) as (silent, _):
            assert await silent.read() == b""
        served.go.set()
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")


async def test_no_connection_no_rounds():
    async with public(header_timeout=0.04) as served:
        async with caller(served):
            assert served.server._next_round is not None
        await served.until(lambda: served.server._next_round is None)


def test_lk_09_without_the_strict_parser_nothing_listens(monkeypatch):
    monkeypatch.setattr(http_parser, "HttpRequestParser", http_parser.HttpRequestParserPy)
    with pytest.raises(ConfigRefused):
        check_parser()


def test_lk_09_the_command_says_why(tmp_path):
    said = subprocess.run(
        [sys.executable, "-m", "gateway", "serve", "--config", str(tmp_path / "gateway.yaml")],
        env=os.environ | {"AIOHTTP_NO_EXTENSIONS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 2
    assert "AIOHTTP_NO_EXTENSIONS" in said.stderr
