"""What was begun on the short way and turns out otherwise: the answer, the end and the connections are those of the long way."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack

import pytest

from tests.support.raw_upstream import PATIENCE, raw_upstream
from tests.support.short_way import fronts, said_in, statuses, undated

PAGE = b"GET /page HTTP/1.1\r\nHost: app.example\r\n\r\n"
WANTED = PAGE.replace(b"/page", b"/wanted")
OTHER = PAGE.replace(b"/page", b"/other")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000)
MORE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class App:
    """Answers ``/wanted`` with ``pieces`` and then ``ends`` or not, everything else with OK, and what comes second on ``dead`` not at all.

    ``/wanted`` waits for ``go``, and before each piece and its end until the caller was told of the heads before it, which ``heads_told``
    counts.
    """

    def __init__(self) -> None:
        self.pieces: list[bytes] = [OK]
        self.ends: str | None = None
        self.dead: set[int] = set()
        self.go = asyncio.Event()
        self.go.set()
        self.heads_told = lambda: 2**16
        self.connections = 0
        self.seen: list[bytes] = []

    async def __call__(self, connection) -> None:
        number, self.connections = self.connections, self.connections + 1
        while True:
            head = await connection.head()
            await connection.body(head)
            if number in self.dead and b" /wanted " in head:
                return
            self.seen.append(head.split(b" ")[1])
            if b" /wanted" not in head:
                await connection.send(OK.removesuffix(b"ok") if head.startswith(b"HEAD") else OK)
                continue
            await self.go.wait()
            heads = 0
            for piece in self.pieces:
                await until(lambda heads=heads: self.heads_told() >= heads)
                heads += piece.count(b"\r\n\r\n")
                await connection.send(piece)
            if self.ends is not None:
                await until(lambda heads=heads: self.heads_told() >= heads)
            if self.ends == "reset":
                connection.reset()
            if self.ends is not None:
                return


async def until(condition) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0)


class World:
    def __init__(self, app, upstream, with_it, without) -> None:
        self.app, self.upstream, self.with_it, self.without = app, upstream, with_it, without

    @property
    def pool(self):
        return self.with_it.parts.upstreams[0].pools[0]

    async def under_way(self, head=WANTED):
        """A wire whose request went up on the short way and is not answered yet, and how many were answered so before."""
        self.app.go.clear()
        wire = await self.with_it.wire()
        wire.send(head)
        assert wire.protocol._exchange is not None
        await until(lambda: b"/wanted" in self.app.seen)
        return wire

    async def at_rest(self) -> None:
        """Every connection came back."""
        await until(lambda: self.pool.load == 0)


@pytest.fixture
async def world():
    """``await world(**changes)``: both listeners before an ``App``, warm; at the end no task is left."""
    before = asyncio.all_tasks()
    async with AsyncExitStack() as stack:

        async def build(**changes) -> World:
            app = App()
            upstream = await stack.enter_async_context(raw_upstream(app))
            stack.callback(app.go.set)
            if "route" in changes:
                changes["routes"] = [{"path": "/", "upstream": upstream.url, "access": "public"} | changes.pop("route")]
            with_it, without = await stack.enter_async_context(fronts(upstream.url, **changes))
            await with_it.warm(PAGE, PAGE.replace(b"GET", b"HEAD"))
            assert with_it.short
            with_it.short.clear()
            with_it.long.clear()
            app.seen.clear()
            return World(app, upstream, with_it, without)

        yield build
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=5)
    assert left == set()


@pytest.mark.parametrize(
    ("pieces", "ends", "head", "handed"),
    [
        pytest.param([OK], None, WANTED, False, id="whole"),
        pytest.param([MORE, b"cd"], None, WANTED, True, id="in two pieces"),
        pytest.param([OK[:9], OK[9:]], None, WANTED, False, id="a head in two pieces"),
        pytest.param([OK.removesuffix(b"ok")], None, WANTED.replace(b"GET", b"HEAD"), False, id="to HEAD"),
        pytest.param([b"HTTP/1.1 204 No Content\r\n\r\n"], None, WANTED, False, id="204"),
        pytest.param([b'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: "a"\r\n\r\n'], None, WANTED, False, id="304 with a length"),
        pytest.param([CHUNKS + b"2\r\nok\r\n0\r\n\r\n"], None, WANTED, False, id="chunks, whole"),
        pytest.param([CHUNKS + b"2\r\nok\r\n", b"0\r\n\r\n"], None, WANTED, True, id="chunks in two pieces"),
        pytest.param([CHUNKS + b"2\r\nok\r\n0\r\nX: y\r\n\r\n"], None, WANTED, False, id="chunks with a trailer"),
        pytest.param([CHUNKS, b"zz\r\n"], "close", WANTED, True, id="broken chunks"),
        pytest.param([b"HTTP/1.1 200 OK\r\n\r\nok"], "close", WANTED, True, id="until the end"),
        pytest.param([b"HTTP/1.1 200 OK\r\n\r\nok"], "reset", WANTED, True, id="until a reset"),
        pytest.param([b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"], "close", WANTED, False, id="HTTP/1.0"),
        pytest.param([OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")], "close", WANTED, False, id="the last of its connection"),
        pytest.param([b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" + OK], None, WANTED, False, id="hints together with it"),
        pytest.param([b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n", OK], None, WANTED, False, id="hints before it"),
        pytest.param([b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n", MORE, b"cd"], None, WANTED, True, id="hints before pieces"),
        pytest.param([b"HTTP/1.1 100 Continue\r\n\r\n" + OK], None, WANTED, False, id="a 100 before it"),
        pytest.param([LARGE], None, WANTED, True, id="a megabyte"),
        pytest.param([OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"], None, WANTED, False, id="and another one behind it"),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"], None, WANTED, True, id="two lengths"),
        pytest.param([b"HTTP/1.1 200 OK\r\nX: a\n b\r\nContent-Length: 0\r\n\r\n"], None, WANTED, True, id="a malformed head"),
        pytest.param(
            [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"], None, WANTED, True, id="101 unasked"
        ),
        pytest.param([b"nonsense\r\n\r\n"], None, WANTED, True, id="no HTTP"),
        pytest.param([b"HTTP/1.1 200"], "close", WANTED, True, id="half a head"),
        pytest.param([b"HTTP/1.1 200"], "reset", WANTED, True, id="half a head and a reset"),
        pytest.param([MORE], "close", WANTED, True, id="half a body"),
        pytest.param([MORE], "reset", WANTED, True, id="half a body and a reset"),
        pytest.param(
            [OK.replace(b"200 OK\r\n", b"200 OK\r\nSet-Cookie: __Host-gateway=x\r\n")], None, WANTED, False, id="a cookie of ours"
        ),
    ],
)
async def test_an_answer_comes_down_as_it_does_on_the_long_way(world, pieces, ends, head, handed):
    here = await world()
    told = []
    for front in (here.with_it, here.without):
        here.app.pieces, here.app.ends = pieces, ends
        wire = await front.wire()
        here.app.heads_told = lambda wire=wire: wire.written.count(b"HTTP/1.1 ")
        wire.send(head)
        await front.settled(wire)
        if not wire.closing:
            wire.send(OTHER)
            await front.settled(wire)
        told.append((undated(bytes(wire.written)), wire.closing, wire.reset))
        wire.abort()
        await front.settled(wire)
        await here.at_rest() if front is here.with_it else None
    assert told[0] == told[1]
    assert here.with_it.short[0] == head.partition(b"\r\n")[0]
    assert (f"{head.split(b' ')[0].decode()} /wanted" in here.with_it.long) is handed
    assert here.app.seen[: len(here.app.seen) // 2] == here.app.seen[len(here.app.seen) // 2 :]


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_what_a_dead_connection_lost_is_sent_again_once(world, method):
    here = await world()
    here.app.pieces = [OK.removesuffix(b"ok")] if method == b"HEAD" else [OK]
    here.app.dead = {0}
    wire = await here.with_it.wire()
    wire.send(WANTED.replace(b"GET", method))
    assert wire.protocol._exchange is not None
    await here.with_it.settled(wire)
    assert b"HTTP/1.1 200 OK" in wire.written
    assert here.app.seen == [b"/wanted"]
    assert here.app.connections == 2
    await here.at_rest()


async def test_but_not_twice(world):
    here = await world()
    here.app.dead = {0, 1}
    wire = await here.with_it.wire()
    assert statuses(await here.with_it.ask(wire, WANTED)) == [502]
    assert here.app.connections == 2
    await here.at_rest()


async def test_an_exchange_under_way_has_neither_task_nor_request(world):
    here = await world()
    idle = await here.with_it.wire()
    before = asyncio.all_tasks()
    wire = await here.under_way()
    assert len(asyncio.all_tasks() - before) == 1  # aiohttp's own, which waits for requests
    assert here.with_it.long == []
    here.app.go.set()
    await here.with_it.settled(wire)
    assert said_in(bytes(wire.written))[0].body == b"ok"
    assert here.with_it.long == []
    assert idle.written == b""


async def test_a_caller_who_leaves_has_the_exchange_dropped(world):
    here = await world()
    wire = await here.under_way()
    assert here.pool.load == 1
    wire.abort()
    await here.with_it.settled(wire)
    await here.at_rest()
    here.app.go.set()
    await here.upstream.dropped()
    assert (wire.written, here.with_it.long) == (b"", [])
    assert here.pool.connections == 0


async def test_a_caller_who_leaves_after_it_was_handed_over_has_it_dropped_too(world):
    here = await world()
    for turns in range(6):
        wire = await here.under_way()
        here.app.seen.clear()
        wire.protocol.hand_over()
        for _ in range(turns):
            await asyncio.sleep(0)
        wire.abort()
        await here.with_it.settled(wire)
        await here.at_rest()
        assert wire.written == b""
        here.app.go.set()
        await here.with_it.warm(PAGE)


@pytest.mark.parametrize(
    ("more", "expected", "seen"),
    [
        pytest.param([OTHER], [200, 200], [b"/wanted", b"/other"], id="the next request"),
        pytest.param([OTHER, PAGE], [200] * 3, [b"/wanted", b"/other", b"/page"], id="the next two"),
        pytest.param([OTHER + PAGE], [200] * 3, [b"/wanted", b"/other", b"/page"], id="the next two in one piece"),
        pytest.param([OTHER[:9], OTHER[9:]], [200, 200], [b"/wanted", b"/other"], id="the next one in two pieces"),
        pytest.param(
            [b"POST /up HTTP/1.1\r\nHost: app.example\r\nContent-Length: 3\r\n\r\na", b"bc"],
            [200, 200],
            [b"/wanted", b"/up"],
            id="an upload",
        ),
        pytest.param([WANTED], [200, 200], [b"/wanted", b"/wanted"], id="the same once more"),
        pytest.param([b"\0nonsense\r\n\r\n"], [200, 400], [b"/wanted"], id="nonsense"),
        pytest.param([b"\r\n"], [200], [b"/wanted"], id="an empty line"),
        pytest.param([OTHER.replace(b"app.", b"evil.")], [200, 421], [b"/wanted"], id="a request for somebody else"),
    ],
)
async def test_a_caller_may_say_more_while_the_answer_is_awaited(world, more, expected, seen):
    here = await world()
    wire = await here.under_way()
    for piece in more:
        wire.send(piece)
        await asyncio.sleep(0)
    assert wire.protocol._exchange is None
    here.app.go.set()
    await here.with_it.settled(wire)
    assert statuses(bytes(wire.written)) == expected
    assert here.app.seen == seen
    await here.at_rest()


async def test_a_stop_while_the_answer_is_awaited_makes_it_the_last(world):
    here = await world()
    wire = await here.under_way()
    here.with_it.server.pre_shutdown()
    wire.send(OTHER)
    here.app.go.set()
    await until(lambda: wire.closing)
    (said,) = said_in(bytes(wire.written))
    assert (said.status, said.body, said.header(b"Connection")) == (200, b"ok", b"close")
    assert here.app.seen == [b"/wanted"]
    await here.at_rest()


async def test_a_stop_leaves_nothing_of_an_exchange(world):
    here = await world()
    wire = await here.under_way()
    await here.with_it.server.shutdown(0.1)
    await until(lambda: wire.closing)
    await here.at_rest()


async def test_an_answer_that_does_not_come_is_told_in_time(world):
    here = await world()
    wire = await here.under_way()
    now = asyncio.get_running_loop().time()
    wire.protocol.check(now + 1)
    assert wire.protocol._exchange is None
    for connection in tuple(here.pool._counted):
        connection.check(now + 1000)
    await here.with_it.settled(wire)
    assert statuses(bytes(wire.written)) == [504]
    await here.at_rest()


async def test_an_answer_that_does_not_come_is_told_also_before_anybody_looked(world):
    here = await world()
    wire = await here.under_way()
    for connection in tuple(here.pool._counted):
        connection.check(asyncio.get_running_loop().time() + 1000)
    await here.with_it.settled(wire)
    assert statuses(bytes(wire.written)) == [504]
    await here.at_rest()


async def test_where_every_connection_is_in_use_the_queue_is_the_long_ways(world):
    here = await world(route={"pool": {"connections": 1, "waiting": 1}})
    first = await here.under_way()
    waiting, refused = await here.with_it.wire(), await here.with_it.wire()
    waiting.send(OTHER)
    assert waiting.protocol._exchange is None
    await until(lambda: len(here.pool._waiters) == 1)
    assert statuses(await here.with_it.ask(refused, OTHER)) == [503]
    here.app.go.set()
    await here.with_it.settled(first)
    await here.with_it.settled(waiting)
    assert (statuses(bytes(first.written)), statuses(bytes(waiting.written))) == ([200], [200])
    assert here.app.seen == [b"/wanted", b"/other"]
    await here.at_rest()


async def test_who_reads_nothing_is_served_no_further(world):
    here = await world()
    wire = await here.with_it.wire()
    await here.with_it.ask(wire, OTHER)
    assert here.with_it.long == []
    wire.protocol.pause_writing()
    for _ in range(3):
        wire.send(OTHER)
    await until(lambda: here.app.seen.count(b"/other") == 2)
    for _ in range(100):
        await asyncio.sleep(0)
    assert here.app.seen.count(b"/other") == 2
    wire.protocol.resume_writing()
    await here.with_it.settled(wire)
    assert statuses(bytes(wire.written)) == [200] * 4
    assert len(here.with_it.short) == 1


async def test_an_idle_connection_ends_though_all_its_requests_went_the_short_way(world):
    here = await world()
    wire = await here.with_it.wire()
    wire.protocol._keepalive_timeout = 0.05
    wire.protocol._keepalive_handle.cancel()
    wire.protocol._keepalive_handle = None
    await here.with_it.ask(wire, OTHER)
    assert (len(here.with_it.short), here.with_it.long) == (1, [])
    async with asyncio.timeout(PATIENCE):
        while not wire.closing:
            await asyncio.sleep(0.01)


async def test_a_connection_that_waits_for_an_answer_is_not_idle(world):
    here = await world()
    wire = await here.with_it.wire()
    wire.protocol._keepalive_timeout = 0.05
    await here.with_it.ask(wire, OTHER)
    here.app.go.clear()
    wire.send(WANTED)
    assert wire.protocol._exchange is not None
    async with asyncio.timeout(PATIENCE):
        while wire.protocol._exchange is not None:
            wire.protocol._process_keepalive()
            await asyncio.sleep(0.02)
    assert not wire.closing
    here.app.go.set()
    await here.with_it.settled(wire)
    assert statuses(bytes(wire.written)) == [200, 200]


async def test_of_a_head_that_is_too_long_to_be_known_nothing_stays_with_its_connection(world):
    here = await world()
    wire = await here.with_it.wire()
    await here.with_it.ask(wire, PAGE.replace(b"app.example\r\n", b"evil.example\r\nX: %b\r\n" % (b"y" * 30_000)))
    assert wire.protocol._alone is None


async def test_each_gets_his_own_answer_over_the_same_connection_upstream(world):
    here = await world(route={"pool": {"connections": 2}})
    wires = [await here.with_it.wire() for _ in range(2)]
    for number in range(6):
        here.app.pieces = [OK.replace(b"ok", b"%02d" % number)]
        received = await here.with_it.ask(wires[number % 2], WANTED)
        assert [said.body for said in said_in(received)] == [b"%02d" % number]
    assert here.app.connections == 1
    assert json.dumps(here.with_it.long) == "[]"


async def test_sl_04_nothing_goes_the_short_way_while_connections_are_scarce(world):
    here = await world(route={"pool": {"connections": 8}})
    wires = [await here.with_it.wire("192.0.2.9") for _ in range(7)]
    here.app.go.clear()
    for wire in wires:
        wire.send(OTHER.replace(b"/other", b"/wanted?warm"))
    await until(lambda: here.pool.load == 6)
    assert here.pool.callers["192.0.2.9"].taken == 2
    short = len(here.with_it.short)
    other = await here.with_it.wire("192.0.2.10")
    other.send(WANTED)
    await until(lambda: here.pool.load == 7)
    assert here.pool.callers["192.0.2.10"].taken == 1
    assert len(here.with_it.short) == short
    here.app.go.set()
    for wire in (*wires, other):
        await here.with_it.settled(wire)
        assert statuses(bytes(wire.written)) == [200]
    assert here.pool.callers == {}
