"""The rest of a long answer goes from socket to socket: whole, in order, nobody else's; and what breaks off never looks whole."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import ssl
from pathlib import Path

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.proxy import delivery, splice
from gateway.proxy.splice import Splice
from gateway.proxy.upstream import Timeouts
from tests.proxy.conftest import _gateway
from tests.support.raw_upstream import PATIENCE, raw_upstream

SIZE = 6_000_000
FIRST = 1_000_000
MOST = 2 * 1024 * 1024
"""Bytes that may lie between an application and a caller who reads nothing, besides the buffers of sockets."""
GET = b"GET /p HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
pytestmark = pytest.mark.usefixtures("by_splice")


@pytest.fixture
def splices(monkeypatch):
    """Every splice that was made for an answer."""
    made = []

    class Noted(Splice):
        def __init__(self, *options):
            made.append(self)
            self.taken = 0
            super().__init__(*options)

        def _take(self):
            count = super()._take()
            self.taken += count
            return count

    monkeypatch.setattr(delivery, "Splice", Noted)
    return made


@pytest.fixture
def moved(splices, by_splice):
    """At the end: whether there was a splice, where the kernel can."""
    yield
    assert bool(splices) == by_splice


def body(size: int = SIZE, *, seed: int = 1) -> bytes:
    """Bytes of which no two stretches are alike."""
    return random.Random(seed).randbytes(size)  # noqa: S311 - nobody is to guess it


def head(length: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length


def sending(*answers: bytes):
    """Sends one answer for each request of a connection, from its beginning for each connection."""

    async def script(connection):
        for answer in answers:
            await connection.body(await connection.head())
            await connection.send(answer)
        await connection.rest()

    return script


def beginning(length: int, *, then=None):
    """Sends the head of an answer and its first bytes, and then does as ``then`` says."""

    async def script(connection):
        await connection.head()
        await connection.send(head(length) + body()[:FIRST])
        if then is not None:
            await then(connection)
        await connection.rest()

    return script


async def until_behind(splices):
    """Wait until the caller is so far behind that nothing more is taken."""
    async with asyncio.timeout(PATIENCE):
        while not any(one.behind for one in splices):
            await asyncio.sleep(0)


async def until_idle(gateway):
    async with asyncio.timeout(PATIENCE):
        while gateway.upstream.pools[0].load:
            await asyncio.sleep(0)


async def read_slowly(client, count):
    """With turns of the loop between, in which nobody reads."""
    pieces = []
    while count:
        pieces.append(await client.read(min(100_000, count)))
        count -= len(pieces[-1])
        for _ in range(20):
            await asyncio.sleep(0)
    return b"".join(pieces)


@pytest.mark.parametrize("slowly", [False, True], ids=["read at once", "read in bursts"])
async def test_a_long_answer_arrives_byte_for_byte_and_the_connections_stay(world, splices, by_splice, slowly):
    gateway, upstream = await world(sending(head(SIZE) + body(seed=1), head(SIZE) + body(seed=2), head(2) + b"ok"))
    client = await gateway.client()
    for seed in (1, 2):
        await client.send(GET)
        await client.head()
        assert await (read_slowly(client, SIZE) if slowly else client.read(SIZE)) == body(seed=seed)
    await client.send(LAST)
    assert (await client.rest()).endswith(b"\r\n\r\nok")
    assert len(splices) == (2 if by_splice else 0)
    assert len(upstream.connections) == 1
    assert [held.moved for held in gateway.held] == [SIZE, SIZE]
    assert gateway.over == gateway.held


async def test_answers_to_callers_that_are_behind_never_mix(world, splices, by_splice):
    """Invariant 13: the pipes that the bytes wait in are used again."""

    async def script(connection):
        seed = int((await connection.head()).split(b" ")[1][1:])
        await connection.send(head(SIZE) + body(seed=seed))
        await connection.rest()

    gateway, _ = await world(script)

    async def download(seed):
        client = await gateway.client()
        await client.send(LAST.replace(b"/p", b"/%d" % seed))
        await client.head()
        return await read_slowly(client, SIZE)

    assert await asyncio.gather(*(download(seed) for seed in range(6))) == [body(seed=seed) for seed in range(6)]
    assert len(splices) == (6 if by_splice else 0)


@pytest.mark.usefixtures("moved")
async def test_an_answer_whose_last_byte_ends_a_turn_waits_for_no_other(world, monkeypatch):
    monkeypatch.setattr(splice, "_TURN", 1)
    gateway, upstream = await world(sending(*(head(SIZE) + body(seed=seed) for seed in range(3))))
    client = await gateway.client()
    for seed in range(3):
        await client.send(GET)
        await client.head()
        assert await client.read(SIZE) == body(seed=seed)
    assert len(upstream.connections) == 1


@pytest.mark.parametrize(
    ("asked", "answer", "spliced"),
    [
        pytest.param(LAST, head(delivery.WORTH_IT - 1) + body(delivery.WORTH_IT - 1), False, id="short"),
        pytest.param(LAST.replace(b"1.1", b"1.0"), head(SIZE) + body(), True, id="HTTP/1.0 caller"),
        pytest.param(
            LAST, b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % SIZE + body(), True, id="upstream closes"
        ),
        pytest.param(LAST.replace(b"GET", b"HEAD"), head(SIZE), False, id="HEAD"),
        pytest.param(LAST, b"HTTP/1.1 304 Not Modified\r\nContent-Length: %d\r\n\r\n" % SIZE, False, id="304"),
        pytest.param(LAST, b"HTTP/1.1 204 No Content\r\n\r\n", False, id="204"),
        pytest.param(LAST, b"HTTP/1.1 200 OK\r\n\r\n" + body(), False, id="framed by close"),
        pytest.param(
            LAST, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (SIZE, body()), False, id="in chunks"
        ),
    ],
)
async def test_which_answers_are_moved_by_the_kernel(world, splices, by_splice, *, asked, answer, spliced):
    async def script(connection):
        await connection.head()
        await connection.send(answer)
        if not spliced:
            connection.writer.close()
        await connection.rest()

    gateway, _ = await world(script)
    received = await gateway.ask(asked)
    if spliced:
        assert received.endswith(b"\r\n\r\n" + body())
    else:
        assert received.startswith(answer.partition(b"\r\n")[0])
        assert (len(received) >= SIZE) == (len(answer) >= SIZE)
    assert len(splices) == (by_splice and spliced)


@pytest.mark.usefixtures("moved")
async def test_what_the_caller_sends_meanwhile_is_its_next_request(world):
    gateway, _ = await world(sending(head(SIZE) + body(), head(2) + b"ok"))
    client = await gateway.client()
    await client.send(GET)
    await client.head()
    first = await client.read(FIRST)
    await client.send(LAST)
    assert first + await client.read(SIZE - FIRST) == body()
    assert (await client.rest()).endswith(b"\r\n\r\nok")


async def test_both_bodies_of_an_exchange_move_at_once(world, splices, by_splice):
    async def script(connection):
        await connection.head()
        await connection.send(head(SIZE) + body()[:FIRST])
        assert await connection.read(SIZE) == body(seed=2)
        await connection.send(body()[FIRST:])
        await connection.rest()

    gateway, _ = await world(script)
    client = await gateway.client()
    await client.send(b"PUT /p HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % SIZE)
    await client.head()
    first = await client.read(FIRST)
    await client.send(body(seed=2))
    assert first + await client.read(SIZE - FIRST) == body()
    assert len(splices) == by_splice


@pytest.mark.parametrize("kind", ["tls", "unix"])
async def test_what_is_not_plain_tcp_is_copied(gateway_for, splices, certificate, tmp_path, kind):
    server, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=certificate[0])
    server.load_cert_chain(*certificate)
    where = {"tls": server} if kind == "tls" else {"unix_path": str(tmp_path / "app.sock")}
    async with raw_upstream(sending(head(SIZE) + body()), **where) as upstream:
        url = f"https://localhost:{upstream.port}" if kind == "tls" else f"unix:{tmp_path / 'app.sock'}"
        async with gateway_for(url, tls=trusting if kind == "tls" else None) as gateway:
            assert (await gateway.ask(LAST)).endswith(b"\r\n\r\n" + body())
    assert not splices


@pytest.mark.usefixtures("moved")
@pytest.mark.parametrize("follows", [b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"])
@pytest.mark.parametrize("together", [True, False], ids=["with the last byte", "after it"])
async def test_what_follows_a_long_answer_is_nobodys(world, follows, together):
    """Invariant 13."""
    served = 0

    async def script(connection):
        nonlocal served
        served += 1
        await connection.head()
        await connection.send(head(SIZE) + body(seed=served) + (follows if together else b""))
        if not together:
            await until_idle(gateway)
            await connection.send(follows)
        await connection.rest()

    gateway, upstream = await world(script)
    client = await gateway.client()
    await client.send(GET)
    await client.head()
    assert await client.read(SIZE) == body(seed=1)
    await upstream.dropped()
    await client.send(LAST)
    assert (await client.rest()).endswith(b"\r\n\r\n" + body(seed=2))
    assert len(upstream.connections) == 2


@pytest.mark.parametrize("behind", [False, True], ids=["caller reads", "caller is behind"])
async def test_a_caller_that_leaves_ends_the_answer(world, splices, behind, by_splice):
    async def script(connection):
        await connection.head()
        await connection.send(head(10**9))
        while not connection.writer.is_closing():
            await connection.send(body(FIRST))

    gateway, upstream = await world(script)
    client = await gateway.client()
    await client.send(GET)
    if behind:
        await (until_behind(splices) if by_splice else gateway.holding())
    else:
        await client.read(3 * FIRST)
    client.leave()
    await upstream.dropped()
    await until_idle(gateway)
    assert gateway.upstream.pools[0].connections == 0
    assert gateway.over == gateway.held


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("sent", [0, 300_000, FIRST, SIZE - 1])
async def test_an_answer_that_breaks_off_resets_the_caller(world, how, sent):
    """UP-04: what arrived of it is its beginning, and no end of it looks orderly."""

    async def script(connection):
        await connection.head()
        await connection.send(head(SIZE) + body()[:sent])
        if how == "reset":
            await got_most.wait()
            connection.reset()
        else:
            connection.writer.close()

    got_most = asyncio.Event()
    gateway, _ = await world(script)
    client = await gateway.client()
    await client.send(GET)
    await client.head()
    received = await client.read(sent) if how == "reset" else b""
    got_most.set()
    received += await client.rest_until_reset()
    assert received == body()[: len(received)]
    assert not gateway.failures
    assert gateway.over == gateway.held


@pytest.mark.usefixtures("moved")
@pytest.mark.parametrize("what", ["idle", "total"])
async def test_an_answer_that_takes_too_long_resets_the_caller(world, what):
    timeouts = Timeouts(idle=0.2) if what == "idle" else Timeouts(total=0.2)
    gateway, upstream = await world(beginning(SIZE), timeouts=timeouts)
    client = await gateway.client()
    await client.send(GET)
    await client.head()
    received = await client.rest_until_reset()
    assert received == body()[: len(received)]
    await upstream.dropped()


async def test_a_caller_that_never_reads_is_given_up_by_time(world):
    gateway, upstream = await world(sending(head(10**8) + body(10**8)), timeouts=Timeouts(idle=0.3), small_buffers=True)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    sock.settimeout(0)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", gateway.port))
    await loop.sock_sendall(sock, GET)
    await gateway.holding()
    await upstream.dropped()
    received = b"begin"
    with pytest.raises(ConnectionResetError):  # noqa: PT012 - the reset comes behind what had arrived
        while received:
            received = await loop.sock_recv(sock, 1 << 20)
    sock.close()


@pytest.mark.parametrize("how", ["leaves", "is ended"])
async def test_a_caller_whose_first_bytes_are_still_waiting_may_go(world, how):
    """What was written before the splice has to leave first."""

    async def script(connection):
        await connection.head()
        await connection.send(head(10**9) + body())
        await connection.rest()

    gateway, upstream = await world(script, small_buffers=True)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(0)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", gateway.port))
    await loop.sock_sendall(sock, GET)
    held = await gateway.holding()
    for _ in range(100):
        await asyncio.sleep(0)
    if how == "leaves":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()
    else:
        held.end(None)
    await upstream.dropped()
    await until_idle(gateway)
    sock.close()
    assert gateway.over == [held]


async def test_a_slow_caller_holds_back_the_application_and_gets_all_of_it_later(gateway_for, splices, by_splice):
    """SL-04: what was taken and not given yet waits in one pipe."""
    length = 64_000_000
    sent_whole = asyncio.Event()

    async def script(connection):
        await connection.head()
        await connection.send(head(length))
        for _ in range(64):
            await connection.send(b"x" * 1_000_000)
        sent_whole.set()
        await connection.rest()

    async with raw_upstream(script) as upstream, gateway_for(upstream.url, small_buffers=True) as gateway:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.settimeout(0)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", gateway.port))
        await loop.sock_sendall(sock, LAST)
        held = await gateway.holding()
        if by_splice:
            # It waits for the first bytes to leave, or for those in its pipe.
            async with asyncio.timeout(PATIENCE):
                while not (splices and splices[0].behind) and not gateway.callers[0].writing_paused:
                    await asyncio.sleep(0)
        for _ in range(1000):
            await asyncio.sleep(0)
        assert held.moved < MOST
        assert not sent_whole.is_set()
        got = 0
        async with asyncio.timeout(3 * PATIENCE):
            while data := await loop.sock_recv(sock, 1 << 20):
                got += data.count(b"x")
        sock.close()
        assert got == length


@pytest.mark.usefixtures("moved")
async def test_who_ends_a_download_resets_it_and_no_descriptor_keeps_it_open(world):
    """As a sign-out does."""
    gateway, upstream = await world(beginning(10**9))
    client = await gateway.client()
    await client.send(GET)
    await client.head()
    await client.read(FIRST)
    (held,) = gateway.held
    assert held.moved == FIRST
    held.end(None)
    assert await client.rest_until_reset() == b""
    await upstream.dropped()
    assert gateway.over == [held]


@pytest.mark.usefixtures("moved")
async def test_urgent_data_turns_no_wheel(world):
    """splice(2) stops at it and epoll goes on telling of it: the rest of the answer is copied."""
    urgent = asyncio.Event()

    async def then(connection):
        await urgent.wait()
        with socket.socket(fileno=os.dup(connection.writer.get_extra_info("socket").fileno())) as raw:
            raw.send(b"!", socket.MSG_OOB)
        await connection.send(body()[FIRST : FIRST + 50])
        async with asyncio.timeout(PATIENCE):
            while splice._here.open:
                await asyncio.sleep(0)
        await connection.send(body()[FIRST + 50 :])

    gateway, _ = await world(beginning(SIZE, then=then))
    client = await gateway.client()
    await client.send(GET)
    await client.head()
    first = await client.read(FIRST)
    urgent.set()
    assert first + await client.read(SIZE - FIRST) == body()


@pytest.mark.parametrize("first", [1, 2, 3, 6])
@pytest.mark.parametrize("slowly", [False, True], ids=["read at once", "read in bursts"])
async def test_a_splice_that_fails_is_gone_on_with_by_copies(world, by_splice, failing, first, slowly):
    gateway, upstream = await world(sending(*(head(SIZE) + body(seed=seed) for seed in range(2))))
    calls = failing(first)
    client = await gateway.client()
    for seed in range(2):
        await client.send(GET)
        await client.head()
        assert await (read_slowly(client, SIZE) if slowly else client.read(SIZE)) == body(seed=seed)
    assert bool(calls) == by_splice
    assert len(upstream.connections) == 1
    assert [held.moved for held in gateway.held] == [SIZE, SIZE]


async def test_slow_callers_hold_a_bounded_number_of_descriptors(world, by_splice, monkeypatch):
    monkeypatch.setattr(splice, "MOST", 2)
    gateway, upstream = await world(beginning(SIZE))
    for _ in range(5):
        client = await gateway.client()
        await client.send(GET)
        await client.head()
        await client.read(FIRST)
    assert splice._here.open == (2 if by_splice else 0)
    for client in gateway.clients:
        client.leave()
    for index in range(5):
        await upstream.dropped(index)


@pytest.mark.usefixtures("moved")
async def test_descriptors_are_given_back(world):
    async def script(connection):
        while path := (await connection.head()).split(b" ")[1]:
            await connection.send(head(SIZE) + body()[: SIZE if path == b"/whole" else FIRST])
            if path == b"/reset":
                await seen.wait()
                connection.reset()

    seen = asyncio.Event()
    gateway, _ = await world(script)
    taken = []
    for _ in range(3):
        for path, count in ((b"/whole", SIZE), (b"/reset", FIRST), (b"/left", FIRST)):
            seen.clear()
            client = await gateway.client()
            await client.send(LAST.replace(b"/p", path))
            await client.head()
            await client.read(count)
            seen.set()
            if path == b"/reset":
                await client.rest_until_reset()
            client.leave()
        await until_idle(gateway)
        await asyncio.sleep(0.05)
        taken.append(len([*Path("/proc/self/fd").iterdir()]))
    assert taken[2] <= taken[1]


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_answers_of_any_length_in_any_pieces_arrive_whole_one_after_the_other(loop, data):
    around = [delivery.WORTH_IT, 512 * 1024, 2 * 1024 * 1024]
    lengths = st.one_of(st.integers(0, 3_000_000), st.builds(int.__add__, st.sampled_from(around), st.integers(-2, 200)))
    answers = data.draw(st.lists(st.tuples(lengths, st.lists(st.integers(1, 1_000_000), max_size=5)), min_size=1, max_size=4))

    async def script(connection):
        for seed, (length, cuts) in enumerate(answers):
            await connection.head()
            rest = head(length) + body(length, seed=seed)
            for cut in cuts:
                await connection.send(rest[:cut])
                rest = rest[cut:]
                await asyncio.sleep(0)
            await connection.send(rest)
        await connection.rest()

    async def exchange():
        async with raw_upstream(script) as upstream, _gateway(upstream.url) as gateway:
            client = await gateway.client()
            for seed, (length, _) in enumerate(answers):
                await client.send(GET)
                assert b"\r\nContent-Length: %d\r\n" % length in await client.head()
                assert await client.read(length) == body(length, seed=seed)
            assert len(upstream.connections) == 1

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(exchange())
