"""However the same bytes come: with the short way and without it, the application gets the same and the caller is told the same."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.raw_upstream import raw_upstream
from tests.support.short_way import Front, fronts, undated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.raw_upstream import Connection

HOST = b"Host: app.example\r\n"
PAGE = b"GET /page HTTP/1.1\r\n" + HOST + b"\r\n"
OTHER_PAGE = PAGE.replace(b"/page", b"/other?a=b")
REFERRED = b"GET /page HTTP/1.1\r\n" + HOST + b"Referer: https://app.example/a\r\n\r\n"
OTHER_REFERRED = REFERRED.replace(b"/a\r\n", b"/b\r\n")
HEAD = b"HEAD /page HTTP/1.1\r\n" + HOST + b"\r\n"
CHECK = b"GET /oauth2/auth HTTP/1.1\r\n" + HOST + b"X-Original-Method: GET\r\nX-Original-URL: https://app.example/page\r\n\r\n"
OTHER_CHECK = CHECK.replace(b"example/page", b"example/other")
REFUSED_CHECK = CHECK.replace(b"example/page", b"example/in/x")
LONG = PAGE.replace(b"\r\n\r\n", b"\r\nX: %b\r\n\r\n" % (b"y" * 8300))
WARM = (PAGE, REFERRED, CHECK)
KNOWN = (PAGE, OTHER_PAGE, REFERRED, OTHER_REFERRED, HEAD, CHECK, OTHER_CHECK)
CHUNKED = b"POST /up HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"


def upload(body: bytes, method: bytes = b"POST") -> bytes:
    return method + b" /up HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(body) + body


def in_chunks(*pieces: bytes, end: bytes = b"\r\n") -> bytes:
    return CHUNKED + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + end


class App:
    """An application that answers each request with what it got; ``seen`` are the requests, whole."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    async def __call__(self, connection: Connection) -> None:
        while True:
            head = await connection.head()
            request = head + await connection.body(head)
            self.seen.append(request)
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request)
            await connection.send(answer if head.startswith(b"HEAD ") else answer + request)


class World:
    """Both listeners before one application, on a loop that runs when it is asked to."""

    def __init__(self, runner: asyncio.Runner, app: App, with_it: Front, without: Front) -> None:
        self.runner, self.app, self.with_it, self.without = runner, app, with_it, without

    def told(self, front: Front, pieces: list[tuple[bytes, bool]]) -> tuple[bytes, list[bytes], bool]:
        """What the caller is told and what the application gets of ``pieces``, and whether the connection ends.

        A piece comes with whether everything is over before the next one is sent.
        """
        return self.runner.run(self._told(front, pieces))

    async def _told(self, front: Front, pieces: list[tuple[bytes, bool]]) -> tuple[bytes, list[bytes], bool]:
        self.app.seen.clear()
        wire = await front.wire()
        for piece, waits in pieces:
            wire.send(piece)
            if waits:
                await front.settled(wire)
        await front.settled(wire)
        ended = wire.closing
        wire.abort()
        await front.settled(wire)
        return undated(bytes(wire.written)), list(self.app.seen), ended


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    async def begin() -> World:
        app = App()
        upstream = await stack.enter_async_context(raw_upstream(app))
        with_it, without = await stack.enter_async_context(fronts(upstream.url))
        await with_it.warm(*WARM)
        return World(runner, app, with_it, without)

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        stack = AsyncExitStack()
        yield runner.run(begin())
        runner.run(stack.aclose())


UNKNOWN = st.integers(0, 2**32).map(lambda number: b"GET /new HTTP/1.1\r\n" + HOST + b"X-New: %d\r\n\r\n" % number)
BODIES = st.one_of(st.binary(max_size=8), st.sampled_from((*KNOWN, PAGE + PAGE, b"0\r\n\r\n" + PAGE)))
MESSAGES = st.one_of(
    st.sampled_from(KNOWN),
    st.sampled_from(KNOWN),
    UNKNOWN,
    BODIES.map(upload),
    BODIES.map(lambda body: upload(body, b"GET")),
    st.lists(BODIES.filter(bool), max_size=3).map(lambda pieces: in_chunks(*pieces)),
    st.lists(BODIES.filter(bool), max_size=2).map(lambda pieces: in_chunks(*pieces, end=b"X-Trailer: a\r\n\r\n")),
    st.sampled_from(
        (
            REFUSED_CHECK,
            PAGE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
            PAGE.replace(b"1.1", b"1.0"),
            PAGE.replace(b"1.1\r\n", b"1.0\r\nConnection: keep-alive\r\n"),
            PAGE.replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\n\r\n"),
            PAGE.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"),
            PAGE.replace(b"/page", b"http://app.example/page"),
            PAGE.replace(b"/page", b"/../page"),
            PAGE.replace(b"GET", b"OPTIONS"),
            PAGE.replace(b"app", b"other"),
            upload(b"abc").replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"),
            *(b"\r\n", b"\r\n\r\n", b"\n", b"x", b"\0", b"GET", PAGE[:-2], PAGE[:-1], CHUNKED + b"3\r\nab", upload(b"abc")[:-1]),
        )
    ),
)


@st.composite
def conversations(draw: st.DrawFn) -> list[tuple[bytes, bool]]:
    """Requests one after another, cut into pieces wherever it may be: mostly between two of them."""
    messages = draw(st.lists(MESSAGES, min_size=1, max_size=6))
    stream = b"".join(messages)
    between = [sum(map(len, messages[:count])) for count in range(1, len(messages))]
    joined = draw(st.sets(st.sampled_from(between), max_size=2)) if between else set()
    cuts = sorted({0, *between, *draw(st.lists(st.integers(1, len(stream)), max_size=3)), len(stream)} - joined)
    pieces = [stream[start:end] for start, end in pairwise(cuts)]
    waits = draw(st.lists(st.sampled_from((True, True, True, False)), min_size=len(pieces), max_size=len(pieces)))
    return list(zip(pieces, waits, strict=True))


@given(conversations())
def test_however_bytes_come_the_short_way_makes_no_difference(world: World, pieces: list[tuple[bytes, bool]]) -> None:
    assert world.told(world.with_it, pieces) == world.told(world.without, pieces)


# controls: where the short way is taken, and where it is not


def ways(world: World, *pieces: bytes) -> tuple[list[str], list[str]]:
    """The targets that were answered on the short way, and those that aiohttp had the handler answer."""
    front = world.with_it
    front.short.clear()
    front.long.clear()
    world.told(front, [(piece, True) for piece in pieces])
    return [line.split(b" ")[1].decode() for line in front.short], [line.split(" ")[1] for line in front.long]


@pytest.mark.parametrize(
    ("pieces", "short", "long"),
    [
        pytest.param([PAGE, OTHER_PAGE], ["/page", "/other?a=b"], [], id="known heads, also at once on a new connection"),
        pytest.param([HEAD], ["/page"], [], id="HEAD"),
        pytest.param([REFERRED, OTHER_REFERRED], ["/page", "/page"], [], id="another Referer"),
        pytest.param([CHECK, OTHER_CHECK], ["/oauth2/auth"] * 2, [], id="a check"),
        pytest.param([REFUSED_CHECK], [], ["/oauth2/auth"], id="a check that is not let in"),
        pytest.param([PAGE.replace(b"/page", b"/in/x")], [], ["/in/x"], id="nobody where somebody has to be"),
        pytest.param([upload(b"abc"), PAGE], ["/page"], ["/up"], id="behind a body"),
        pytest.param([upload(b"abc")[:-1], b"c", PAGE], ["/page"], ["/up"], id="behind a body in two pieces"),
        pytest.param([in_chunks(b"abc"), PAGE], [], ["/up", "/page"], id="behind chunks the rest is the parser's"),
        pytest.param([in_chunks(b"abc")[:-3], b"\n\r\n", PAGE], [], ["/up", "/page"], id="behind chunks in two pieces too"),
        pytest.param([PAGE[:9], PAGE[9:], PAGE], ["/page"], ["/page"], id="a head in two pieces, and the next one"),
        pytest.param([PAGE + PAGE, PAGE], [], ["/page"] * 3, id="two at once leave the rest to the parser"),
        pytest.param([upload(b"abc") + PAGE, PAGE], [], ["/up", "/page", "/page"], id="one right behind a body"),
        pytest.param([upload(b"abc")[:-1], b"c" + PAGE, PAGE], [], ["/up", "/page", "/page"], id="one with the end of a body"),
        pytest.param([PAGE[:-1], b"\n" + PAGE, PAGE], [], ["/page"] * 3, id="one with the end of a head"),
        pytest.param([in_chunks(b"abc", end=b"X: y\r\n\r\n"), PAGE], [], ["/up"], id="behind trailers nothing"),
        pytest.param([b"\r\n", PAGE, PAGE], ["/page"], ["/page"], id="behind an empty line"),
        pytest.param([b"\r\n\r\n" + PAGE, PAGE], [], ["/page"] * 2, id="behind empty lines that could be the end of a head"),
        pytest.param([LONG, PAGE], ["/page"], ["/page"], id="behind a head that is too long to be known"),
        pytest.param([LONG[:8200], LONG[8200:], PAGE], [], ["/page"] * 2, id="behind one in pieces the rest is the parser's"),
    ],
)
def test_the_short_way_is_open_to_one_whole_head_where_a_message_ended(
    world: World, pieces: list[bytes], short: list[str], long: list[str]
) -> None:
    assert ways(world, *pieces) == (short, long)
