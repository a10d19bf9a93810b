"""SL: callers that are slow, many, or ask for much, at a real gateway with small limits. What is asserted is that it ends, never when."""

from __future__ import annotations

import asyncio
import resource
import socket
import struct
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.support.hostile_house import every_row_has_its_place
from tests.support.raw_caller import PATIENCE, answers, until_closed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.hostile_house import House

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHARE = 40
HOUSE = {
    "server": {"header_timeout": "1s", "body_timeout": "1s", "keepalive_timeout": "1s", "connections_per_peer": SHARE},
}
GOOD = b"GET /public/ok HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n\r\n"


@contextmanager
def flood(house: House, count: int) -> Iterator[list[socket.socket]]:
    """So many connections, which end with the context."""
    parts = urlsplit(house.listener)
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection((parts.hostname, parts.port))) for _ in range(count)]


def is_turned_away(caller: socket.socket) -> bool:
    """Whether the other side has closed."""
    caller.settimeout(0)
    try:
        return caller.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


async def served(house: House) -> None:
    """Others get an answer, as soon as connections that just ended are counted out."""
    async with asyncio.timeout(PATIENCE):
        while b" 200 " not in (await until_closed(house.listener, GOOD))[:20]:
            await asyncio.sleep(0.02)


async def alive(house: House) -> None:
    async with aiohttp.ClientSession() as client, client.get(house.gateway.admin + "/livez") as answer:
        assert answer.status == 200


async def test_sl_01_who_says_nothing_is_let_go(house: House) -> None:
    """SL-01: a connection without a byte."""
    assert await until_closed(house.listener) == b""


@pytest.mark.parametrize(
    "begun",
    [
        pytest.param(b"GET /x HT", id="SL-02 half a request line"),
        pytest.param(b"GET /public/x HTTP/1.1\r\nHost: app.example\r\n", id="SL-02 half a head"),
        pytest.param(b"\r\n", id="SL-02 an empty line"),
    ],
)
async def test_a_head_that_stops_is_let_go(house: House, begun: bytes) -> None:
    assert [answer.status for answer in answers(await until_closed(house.listener, begun))] == [408]
    assert house.app.requests == []


async def test_sl_02_a_head_that_trickles_in_is_let_go(house: House) -> None:
    """SL-02: a byte now and then."""
    parts = urlsplit(house.listener)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    ended = asyncio.create_task(reader.read())
    with suppress(ConnectionError):
        async with asyncio.timeout(PATIENCE):
            writer.write(b"GET /public/x HTTP/1.1\r\nHost: app.example\r\nX: ")
            while not ended.done():
                writer.write(b"y")
                await asyncio.sleep(0.02)
            assert b"408" in (await ended)[:20]
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    assert house.app.requests == []


@pytest.mark.parametrize(
    "framing",
    [
        pytest.param(b"Content-Length: 10\r\n\r\nabc", id="SL-02 a body of known length"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", id="SL-02 a body in chunks"),
        pytest.param(b"Content-Length: 10\r\nExpect: 100-continue\r\n\r\n", id="SL-02 a body that was asked for"),
    ],
)
async def test_a_body_that_stops_is_let_go(house: House, framing: bytes) -> None:
    received = await until_closed(house.listener, b"POST /public/upload HTTP/1.1\r\nHost: app.example\r\n" + framing)
    assert [answer.status for answer in answers(received)] == [408]
    await served(house)


async def test_sl_02_an_idle_connection_is_let_go(house: House) -> None:
    """SL-02: one request, then nothing."""
    received = await until_closed(house.listener, GOOD.replace(b"Connection: close\r\n", b""))
    assert [answer.status for answer in answers(received)] == [200]


async def test_sl_05_one_peer_holds_its_share_and_no_more(house: House) -> None:
    """SL-05: many connections of one address."""
    with flood(house, SHARE * 3) as callers:
        async with asyncio.timeout(PATIENCE):
            while sum(is_turned_away(caller) for caller in callers) < SHARE * 2:
                await asyncio.sleep(0.02)
        await alive(house)
    await served(house)
    assert 1 <= len(await house.hears("connections.full")) < 5


@pytest.mark.parametrize(
    ("target", "status"),
    [
        pytest.param(b"/public/" + b"a" * 8180, 200, id="SL-07 a long path"),
        pytest.param(b"/public/" + b"a" * 8190, 414, id="SL-07 a path that is too long"),
        pytest.param(b"/public/?" + b"a" * 8100, 200, id="SL-07 a long query"),
        pytest.param(b"/public/?" + b"a" * 16000, 414, id="SL-07 a query that is too long"),
        pytest.param(b"/public/" + b"a" * 65536, 414, id="SL-07 64 KiB"),
        pytest.param(b"/public/" + b"a" * 2**20, 414, id="SL-07 a megabyte"),
    ],
)
async def test_pn_41_a_target_has_an_end(house: House, target: bytes, status: int) -> None:
    received = await until_closed(house.listener, b"GET " + target + b" HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n\r\n")
    assert [answer.status for answer in answers(received)] == [status]
    assert [raw for _, raw in house.app.requests] == ([target.decode()] if status == 200 else [])


async def test_sl_10_a_thousand_requests_in_one_segment_are_answered_in_order(house: House) -> None:
    """SL-10: pipelining."""
    count = 1000
    requests = b"".join(b"GET /public/%d HTTP/1.1\r\nHost: app.example\r\n\r\n" % number for number in range(count))
    received = await until_closed(house.listener, requests + GOOD)
    said = answers(received)
    assert [answer.status for answer in said] == [200] * (count + 1)
    assert [target for _, target in house.app.requests] == [f"/public/{number}" for number in range(count)] + ["/public/ok"]


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"GET /oauth2/start?" + b"a&" * 7000 + b" HTTP/1.1\r\n", id="SL-14 seven thousand parameters"),
        pytest.param(b"GET /oauth2/callback?" + b"state=a&" * 1500 + b" HTTP/1.1\r\n", id="SL-14 the same one again and again"),
        pytest.param(
            b"POST /oauth2/sign_out HTTP/1.1\r\nOrigin: https://app.example\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            b"Content-Length: 1000000\r\n",
            id="SL-14 a large form",
        ),
        pytest.param(
            b"POST /oauth2/sign_out HTTP/1.1\r\nOrigin: https://app.example\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            b"Content-Length: 1000000\r\n",
            id="SL-14 parts",
        ),
    ],
)
async def test_a_flood_of_parameters_is_refused_unread(house: House, request_: bytes) -> None:
    received = await until_closed(house.listener, request_ + b"Host: app.example\r\nConnection: close\r\n\r\n" + b"a=b&" * 20_000)
    (said,) = answers(received)
    assert said.status in {400, 413}
    assert house.app.requests == []


async def test_sl_11_resets_leave_room_for_others(house: House) -> None:
    """SL-11: a flood of connections that are reset half way, more of them than a peer may have."""
    begun = (b"GET /public/x HTTP/1.1\r\n", GOOD, b"POST /public/x HTTP/1.1\r\nHost: app.example\r\nContent-Length: 9\r\n\r\nabc")
    for number in range(SHARE * 3):
        with flood(house, 1) as callers:
            callers[0].sendall(begun[number % 3])
            callers[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await asyncio.sleep(0)
    await served(house)


async def test_sl_16_without_descriptors_it_waits_and_comes_back(house: House) -> None:
    """SL-16: no file can be opened any more, and then some can."""
    pid = house.gateway.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    try:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (24, before[1]))
        with flood(house, SHARE - 5) as callers:
            for caller in callers:
                with suppress(ConnectionError):
                    caller.sendall(GOOD)
            await asyncio.sleep(0)
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    await served(house)
    await alive(house)


async def test_every_row_of_the_corpus_has_its_place() -> None:
    every_row_has_its_place(
        "SL",
        "01 02 04 05 07 08 10 11 13 14 16",
        globals(),
        {
            "SL-04": "tests/proxy/test_backpressure.py",
            "SL-08": "tests/proxy/test_backpressure.py and test_forwarding.py",
            "SL-13": "tests/proxy/test_forwarding.py and test_answer_heads.py",
        },
    )
