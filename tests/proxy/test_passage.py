"""A long body goes from socket to socket: whole, in order, nobody else's, and no byte of what follows it."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import socket
import ssl
from pathlib import Path

import pytest

from gateway.proxy import passage, splice
from gateway.proxy.connection import UpstreamConnection
from gateway.proxy.passage import Passage
from tests.support.raw_upstream import PATIENCE, raw_upstream

SIZE = 6_000_000
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CLOSING = b"Connection: close\r\n"
pytestmark = pytest.mark.usefixtures("by_splice")


@pytest.fixture
def passages(monkeypatch):
    """Every passage that was begun."""
    begun = []

    class Noted(Passage):
        def begin(self):
            begun.append(self)
            super().begin()

    monkeypatch.setattr("gateway.proxy.passing_connection.Passage", Noted)
    return begun


def body(size: int = SIZE, *, seed: int = 1) -> bytes:
    """Bytes of which no two stretches are alike."""
    return random.Random(seed).randbytes(size)  # noqa: S311 - nobody is to guess it


def put(length: int, *lines: bytes) -> bytes:
    return b"PUT /p HTTP/1.1\r\nHost: a\r\n" + b"".join(lines) + b"Content-Length: %d\r\n\r\n" % length


def keeping(got: list[bytes], *, burst: int = 0):
    """Reads a body of each request, when asked ``burst`` bytes at a time with turns of the loop between, and answers."""

    async def script(connection):
        while True:
            try:
                head = await connection.head()
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            left = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
            pieces = []
            while left:
                pieces.append(await connection.reader.readexactly(min(burst or left, left)))
                left -= len(pieces[-1])
                for _ in range(20 if burst else 0):
                    await asyncio.sleep(0)
            got.append(b"".join(pieces))
            await connection.send(OK)

    return script


async def until_behind(passages):
    """Wait until an application is so far behind that a passage reads no more."""
    async with asyncio.timeout(PATIENCE):
        while not any(passage.behind for passage in passages):
            await asyncio.sleep(0)


@pytest.mark.parametrize("burst", [pytest.param(0, id="read at once"), pytest.param(100_000, id="read in bursts")])
async def test_a_long_body_arrives_byte_for_byte_and_the_connections_stay(world, passages, burst):
    got = []
    gateway, upstream = await world(keeping(got, burst=burst))
    client = await gateway.client()
    for seed in (1, 2):
        await client.send(put(SIZE) + body(seed=seed))
        assert b"Connection" not in await client.head()
        assert await client.read(2) == b"ok"
    assert got == [body(seed=1), body(seed=2)]
    assert len(passages) == 2
    assert len([connection for connection in upstream.connections if connection.received]) == 1


async def test_bodies_to_applications_that_are_behind_never_mix(world, passages):
    """Invariant 13: they share a buffer, but only between a read and its write."""
    got = []
    gateway, _ = await world(keeping(got, burst=50_000))

    async def upload(seed):
        return await gateway.ask(put(SIZE, CLOSING) + body(seed=seed))

    answers = await asyncio.gather(*(upload(seed) for seed in range(6)))
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
    assert len(passages) == 6
    assert sorted(got) == sorted(body(seed=seed) for seed in range(6))


@pytest.mark.parametrize("chopped", [False, True], ids=["in one piece", "in pieces"])
async def test_what_follows_a_long_body_is_the_next_request(world, passages, chopped):
    got = []
    gateway, upstream = await world(keeping(got))
    client = await gateway.client()
    follows = b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n" + put(SIZE, CLOSING) + body(seed=2)
    sent = put(SIZE) + body(seed=1) + follows
    for start in range(0, len(sent), 70_001 if chopped else len(sent)):
        await client.send(sent[start : start + (70_001 if chopped else len(sent))])
    answers = await client.rest()
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 3
    assert got == [body(seed=1), b"", body(seed=2)]
    assert len(passages) == 2
    assert b"GET /second HTTP/1.1\r\nHost: a\r\n" in upstream.received


async def test_urgent_data_turns_no_wheel(world, passages):
    """splice(2) stops at it and epoll goes on telling of it: the rest of the body is copied."""
    got = []
    gateway, _ = await world(keeping(got))
    client = await gateway.client()
    sent = body()
    await client.send(put(SIZE) + sent[:1_000_000])
    async with asyncio.timeout(PATIENCE):
        while not (passages and passages[0]._left < SIZE - 500_000):
            await asyncio.sleep(0)
    with socket.socket(fileno=os.dup(client.writer.get_extra_info("socket").fileno())) as raw:
        raw.send(b"!", socket.MSG_OOB)
    await client.send(sent[1_000_000 : 1_000_000 + 50])
    async with asyncio.timeout(PATIENCE):
        while splice._here.open:
            await asyncio.sleep(0)
    await client.send(sent[1_000_000 + 50 :])
    assert (await client.head()).startswith(b"HTTP/1.1 200 OK")
    assert got == [sent]


@pytest.mark.parametrize("follows", [b"nonsense\r\n\r\n", b"\0", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"])
async def test_nonsense_behind_a_long_body_is_refused_and_reaches_nobody(world, passages, follows):
    got = []
    gateway, upstream = await world(keeping(got))
    answers = await gateway.ask(put(SIZE) + body() + follows)
    assert answers.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answers.count(b"HTTP/1.") == 2
    assert b" 400 " in answers
    assert got == [body()]
    assert len(passages) == 1
    assert upstream.received.endswith(b"\r\n\r\n")


async def test_a_long_body_to_an_encrypted_upstream_that_is_behind(gateway_for, passages, certificate):
    server, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=certificate[0])
    server.load_cert_chain(*certificate)
    got = []
    async with (
        raw_upstream(keeping(got, burst=50_000), tls=server) as upstream,
        gateway_for(f"https://localhost:{upstream.port}", tls=trusting) as gateway,
    ):
        client = await gateway.client()
        for seed in (1, 2):
            await client.send(put(SIZE) + body(seed=seed))
            await client.head()
            assert await client.read(2) == b"ok"
    assert got == [body(seed=1), body(seed=2)]
    assert len(passages) == 2


async def test_an_early_answer_lets_go_of_the_upstream_and_forgets_the_rest(world, passages):
    async def script(connection):
        await connection.head()
        await connection.read(300_000)
        await connection.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await connection.rest()

    gateway, upstream = await world(script)
    client = await gateway.client()
    await client.send(put(1_000_000_000) + body(300_000))
    head = await client.head()
    assert head.startswith(b"HTTP/1.1 413")
    assert b"\r\nConnection: close\r\n" in head
    assert await client.read(3) == b"big"
    await upstream.dropped()
    assert len(passages) == 1
    assert len(upstream.connections[0].received) < 300_500


@pytest.mark.parametrize("behind", [False, True], ids=["application reads", "application is behind"])
async def test_a_caller_that_leaves_breaks_the_upload_off(world, passages, behind):
    async def script(connection):
        await connection.head()
        if behind:
            await until_behind(passages)
        await connection.rest()

    gateway, upstream = await world(script)
    client = await gateway.client()
    client.writer.write(put(20_000_000) + body())
    await (until_behind(passages) if behind else upstream.seen(body()[-100:]))
    client.leave()
    await upstream.dropped()
    assert gateway.upstream.pools[0].connections == 0
    assert len(upstream.connections[0].received) < 20_000_000


@pytest.mark.parametrize("behind", [False, True], ids=["caller is waited for", "application is behind"])
async def test_an_upstream_that_goes_fails_the_upload(world, passages, behind):
    async def script(connection):
        await connection.head()
        if behind:
            await until_behind(passages)
        else:
            await connection.read(SIZE)
        connection.reset()

    gateway, _ = await world(script)
    client = await gateway.client()
    client.writer.write(put(20_000_000) + body())
    assert (await client.head()).startswith(b"HTTP/1.1 502")
    assert [failure.status for failure in gateway.failures] == [502]
    assert passages[0].over.done()


async def test_a_long_body_that_stands_still_is_given_up_by_its_time(world, passages):
    """SL-02: whoever runs the server checks its connections; while the application is behind, nobody waits for the caller."""
    begun, read_on = asyncio.Event(), asyncio.Event()

    async def script(connection):
        await connection.head()
        begun.set()
        await read_on.wait()
        await connection.rest()

    gateway, upstream = await world(script)
    client = await gateway.client()
    client.writer.write(put(SIZE + 1) + body())
    await begun.wait()
    await until_behind(passages)
    caller = passages[0]._caller
    now = asyncio.get_running_loop().time()
    for later in (0, 1000, 2000):
        caller.check(now + later)
    assert not gateway.failures
    read_on.set()
    await upstream.seen(body()[-100:])
    for later in (0, 29):
        caller.check(now + later)
    assert not passages[0].over.done()
    caller.check(now + 31)
    assert (await client.head()).startswith(b"HTTP/1.1 408")
    await upstream.dropped()
    assert len(upstream.connections[0].received) < SIZE + 1000


async def test_a_long_body_that_trickles_is_given_up_by_its_rate(world, passages):
    """SL-02: what moves, but for a byte now and then, is slow."""

    async def script(connection):
        await connection.head()
        await connection.rest()

    gateway, upstream = await world(script)
    client = await gateway.client()
    await client.send(put(1_000_000) + b"begin")
    await upstream.seen(b"begin")
    caller = passages[0]._caller
    now = asyncio.get_running_loop().time()
    for turn in range(2):
        caller.check(now + 15 * turn)
        await client.send(b"%03d;" % turn)
        await upstream.seen(b"%03d;" % turn)
    caller.check(now + 29.9)
    assert not passages[0].over.done()
    caller.check(now + 30)
    assert (await client.head()).startswith(b"HTTP/1.1 408")
    await upstream.dropped()


@pytest.mark.parametrize("length", [10, passage.WORTH_IT - 1])
async def test_a_short_body_takes_the_usual_way(world, passages, length):
    got = []
    gateway, _ = await world(keeping(got))
    client = await gateway.client()
    await client.send(put(length, CLOSING))
    await client.send(body(length))
    assert (await client.rest()).endswith(b"ok")
    assert got == [body(length)]
    assert not passages


async def test_while_a_passage_writes_any_byte_left_pauses_it_and_after_it_the_usual_limits_hold(world, monkeypatch):
    """The buffer of a read is written over by the next, so nothing may wait in it."""
    limits = []
    usual = UpstreamConnection.feed_from

    def noted(self, feeder):
        usual(self, feeder)
        limits.append(self._transport.get_write_buffer_limits())

    monkeypatch.setattr(UpstreamConnection, "feed_from", noted)
    gateway, _ = await world(keeping([]))
    answer = await gateway.ask(put(SIZE, CLOSING) + body())
    assert answer.endswith(b"ok")
    assert limits[0] == (0, 0)
    assert limits[1] == (16 * 1024, 64 * 1024)


async def test_a_body_whose_last_byte_ends_a_turn_waits_for_no_other(world, passages, monkeypatch):
    """Nothing follows it before its answer is here, and that says whether anything may."""
    monkeypatch.setattr(splice, "_TURN", 1)
    got = []
    gateway, _ = await world(keeping(got))
    client = await gateway.client()
    for seed in range(3):
        await client.send(put(SIZE) + body(seed=seed))
        assert b"Connection" not in await client.head()
        assert await client.read(2) == b"ok"
    assert got == [body(seed=seed) for seed in range(3)]
    assert len(passages) == 3


@pytest.mark.parametrize("size", [passage.WORTH_IT, 300_000, 3 * 2**20 + 1])
async def test_bodies_of_many_sizes_arrive_whole(world, size):
    got = []
    gateway, _ = await world(keeping(got))
    client = await gateway.client()
    for seed in range(3):
        await client.send(put(size))
        await client.send(body(size, seed=seed))
        await client.head()
        assert await client.read(2) == b"ok"
    assert got == [body(size, seed=seed) for seed in range(3)]


async def test_who_ends_an_upload_resets_it_and_no_descriptor_keeps_it_open(world, passages):
    """As a sign-out does: the caller sees a reset, the application a body that broke off."""

    async def script(connection):
        await connection.head()
        await connection.rest()

    gateway, upstream = await world(script)
    client = await gateway.client()
    await client.send(put(20_000_000) + body())
    await upstream.seen(body()[-100:])
    (held,) = gateway.held
    assert held.heard >= SIZE
    held.end(None)
    await client.rest_until_reset()
    await upstream.dropped()
    assert len(passages) == 1


class TestWithoutSplice:
    """What the kernel refuses is copied, with no byte lost and none twice."""

    @pytest.mark.parametrize("first", [1, 2, 3, 6])
    async def test_a_splice_that_fails_is_gone_on_with_by_copies(self, world, by_splice, failing, first):
        got = []
        gateway, _ = await world(keeping(got, burst=200_000))
        calls = failing(first)
        client = await gateway.client()
        for seed in range(2):
            await client.send(put(SIZE) + body(seed=seed))
            await client.head()
            assert await client.read(2) == b"ok"
        assert got == [body(seed=0), body(seed=1)]
        assert bool(calls) == by_splice

    async def test_without_descriptors_it_copies(self, world, monkeypatch):
        got = []
        gateway, _ = await world(keeping(got))

        def refuse(*_):
            raise OSError(errno.EMFILE, "too many")

        monkeypatch.setattr(os, "dup", refuse)
        answer = await gateway.ask(put(SIZE, CLOSING) + body())
        assert answer.endswith(b"ok")
        assert got == [body()]

    async def test_slow_bodies_hold_a_bounded_number_of_descriptors(self, world, passages, by_splice, monkeypatch):
        monkeypatch.setattr(splice, "MOST", 2)

        async def script(connection):
            await connection.head()
            await connection.rest()

        gateway, upstream = await world(script)
        for seed in range(5):
            client = await gateway.client()
            await client.send(put(SIZE) + body(300_000, seed=seed))
            await upstream.seen(body(300_000, seed=seed)[-100:])
        assert len(passages) == 5
        assert splice._here.open == (2 if by_splice else 0)
        for client in gateway.clients:
            client.leave()
        for index in range(5):
            await upstream.dropped(index)


async def test_descriptors_are_given_back(world, passages):
    async def script(connection):
        head = await connection.head()
        if b"/early" in head:
            await connection.read(300_000)
            await connection.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            await connection.rest()
        elif b"/reset" in head:
            await connection.read(300_000)
            connection.reset()
        else:
            await connection.read(SIZE)
            await connection.send(OK)

    gateway, _ = await world(script)
    taken = []
    for _ in range(3):
        for path, status in ((b"/p", b"200"), (b"/early", b"413"), (b"/reset", b"502")):
            client = await gateway.client()
            client.writer.write(put(SIZE, CLOSING).replace(b"/p", path) + body())
            assert (await client.head()).startswith(b"HTTP/1.1 " + status)
            client.leave()
        while gateway.upstream.pools[0].load:
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        taken.append(len([*Path("/proc/self/fd").iterdir()]))
    assert taken[2] <= taken[1]
    assert len(passages) == 9
