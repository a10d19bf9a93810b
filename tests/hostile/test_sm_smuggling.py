"""SM: whatever two servers could frame in two ways is refused, and a second request on a connection is judged on its own.

Every case is sent to a real gateway before a real app: to a public path by nobody, and with somebody's session; and both again on a
connection whose requests were answered before as known heads, in one piece and in two. What would be smuggled asks for ``/smug``, which
nobody without a session gets; so it reaches the app only if it was not judged.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from tests.support.hostile_house import every_row_has_its_place
from tests.support.mirror_app import values
from tests.support.raw_caller import PATIENCE, answers, in_two, until_closed
from tests.support.smuggling import AFTER, BODIES, CHUNKED, CHUNKS, HEADS, LAST, LINES, SMUG, SOMETHING, TRAILERS, UPGRADES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.hostile_house import House
    from tests.support.raw_caller import Said

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Sender:
    """Somebody who sends raw requests: to ``path``, with ``cookie`` or without; ``warm`` after others that had their heads known.

    ``cut`` is where the first piece is cut in two.
    """

    def __init__(self, house: House, path: bytes, cookie: bytes, *, warm: bool = False, cut: int | None = None) -> None:
        self.house, self.path, self.cookie = house, path, cookie
        self.first = [self.head(b"GET") + b"\r\n"] * 4 if warm else []
        self.cut = cut

    def head(self, method: bytes = b"POST") -> bytes:
        return method + b" " + self.path + b" HTTP/1.1\r\nHost: app.example\r\n" + self.cookie

    async def send(self, *pieces: bytes) -> list[Said]:
        """The answers on one connection, which the gateway closed. Nothing smuggled reached the app, and others are still served."""
        if self.cut is not None:
            pieces = tuple(in_two(pieces, self.cut))
        said = list(answers(await until_closed(self.house.listener, *pieces, first=self.first, begins=self._forget)))
        self.seen = [*self.house.app.requests]
        assert not [target for _, target in self.seen if "smug" in target]
        assert (await self.house.raw(b"GET /public/ok HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n\r\n")).status == 200
        for answer in said:
            assert b"Traceback" not in answer.body
        return said

    def _forget(self) -> None:
        self.house.app.requests.clear()
        self.house.app.headers.clear()

    async def refused(self, *pieces: bytes, statuses: frozenset[int] = frozenset({400})) -> None:
        """One refusal, then the end; no byte reached the app."""
        said = await self.send(*pieces)
        assert [answer.status in statuses for answer in said] == [True], [answer.status for answer in said]
        assert self.seen == []

    async def accepted(self, *pieces: bytes, method: str = "POST", status: int = 200) -> dict[str, object]:
        """One request, as the app saw it; what followed on the connection was judged on its own, or not at all."""
        said = await self.send(*pieces, AFTER)
        assert said[0].status == status
        assert [answer.status for answer in said[1:]] in ([], [401]), [answer.status for answer in said]
        assert self.seen == [(method, self.path.decode())]
        return json.loads(said[0].body)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def session(standing_house: House) -> AsyncIterator[bytes]:
    await standing_house.reset()
    async with standing_house.browser() as browser:
        yield f"Cookie: __Host-gateway={await standing_house.signed_in(browser)}\r\n".encode()


_LINE = len(b"POST /p HTTP/1.1\r\n")


@pytest.fixture(
    params=[
        pytest.param((False, False, None), id="nobody, public path"),
        pytest.param((True, False, None), id="somebody's session"),
        pytest.param((False, True, None), id="nobody, warm"),
        pytest.param((True, True, None), id="somebody, warm"),
        pytest.param((True, True, 1), id="somebody, warm, a byte first"),
        pytest.param((True, True, _LINE - 1), id="somebody, warm, cut in the end of a line"),
        pytest.param((True, True, _LINE), id="somebody, warm, cut behind a line"),
        pytest.param((True, True, -1), id="somebody, warm, a byte last"),
    ]
)
def sender(request: pytest.FixtureRequest, standing_house: House, session: bytes) -> Sender:
    with_session, warm, cut = request.param
    path, cookie = (b"/p", session) if with_session else (b"/public/p", b"")
    return Sender(standing_house, path, cookie, warm=warm, cut=cut)


@pytest.mark.parametrize("rest", HEADS)
async def test_a_head_that_can_be_framed_in_two_ways_is_refused(sender: Sender, rest: bytes) -> None:
    await sender.refused(sender.head() + rest)


@pytest.mark.parametrize("body", CHUNKS)
async def test_a_broken_chunk_ends_the_request(sender: Sender, body: bytes) -> None:
    said = await sender.send(sender.head() + CHUNKED + b"\r\n" + body, SMUG)

    assert said
    assert {answer.status for answer in said} <= {400}, [answer.status for answer in said]


@pytest.mark.parametrize(("rest", "body"), BODIES)
async def test_a_body_is_framed_anew(sender: Sender, rest: bytes, body: str) -> None:
    seen = await sender.accepted(sender.head() + rest)

    assert seen["body"] == body
    coding, length = (values(seen["headers"], name) for name in ("Transfer-Encoding", "Content-Length"))
    assert (coding, length) in ((["chunked"], []), ([], [str(len(body))]))
    assert not values(seen["headers"], "X-T")


async def test_sm_29_the_body_of_a_get_goes_with_its_length(sender: Sender) -> None:
    """SM-29: a GET with a body that looks like a request."""
    seen = await sender.accepted(sender.head(b"GET") + b"Content-Length: %d\r\n\r\n" % len(SMUG) + SMUG, method="GET")

    assert seen["body"] == SMUG.decode()
    assert values(seen["headers"], "Content-Length") == [str(len(SMUG))]


@pytest.mark.parametrize("trailer", TRAILERS)
async def test_trailers_are_never_merged(sender: Sender, trailer: bytes) -> None:
    said = await sender.send(sender.head() + CHUNKED + b"\r\n3\r\nabc\r\n0\r\n" + trailer + b"\r\n\r\n", AFTER)

    assert said[0].status in {200, 400}
    name = trailer.partition(b":")[0].decode()
    value = trailer.partition(b": ")[2].decode()
    for headers in sender.house.app.headers:
        assert value not in values(headers, name)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    "trailer",
    [
        pytest.param(b"Cookie: __Host-gateway=planted\r\n", id="SM-43 a cookie"),
        pytest.param(b"X: 1\r\nX-Leaked: 1\r\n", id="SM-43 the last of two"),
        pytest.param(b"0: 0\r\n", id="SM-43 what looks like an end"),
        pytest.param(b"X-Leaked: \r\n", id="SM-43 an empty one"),
    ],
)
async def test_a_trailer_is_never_a_header_of_the_next_request(sender: Sender, trailer: bytes, apart: bool) -> None:
    body = sender.head() + CHUNKED + b"\r\n3\r\nabc\r\n0\r\n" + trailer + b"\r\n"
    following = b"GET /public/next HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n\r\n"
    said = await sender.send(*((body, following) if apart else (body + following,)))

    assert [answer.status for answer in said] == [200]
    assert said[0].header(b"Connection") == b"close"
    assert len(sender.house.app.headers) == 1 + 1  # and the one by which ``send`` sees that others are served


async def test_a_connection_goes_on_after_a_chunked_body_without_trailers(sender: Sender) -> None:
    following = b"GET /public/next HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n\r\n"
    parts = urlsplit(sender.house.listener)
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        for pieces in ((SOMETHING,), (SOMETHING[:8], LAST), tuple(bytes([byte]) for byte in SOMETHING)):
            for piece in (sender.head() + CHUNKED + b"\r\n", *pieces):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert b"Connection: close" not in head
            seen = json.loads(await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])))
            assert seen["body"] == "abc"
        writer.write(following)
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_sm_44_a_request_in_a_trailer_is_a_trailer(sender: Sender) -> None:
    """SM-44: the last chunk, then a request where a trailer's value is."""
    request = sender.head() + CHUNKED + b"\r\n0\r\nX: " + SMUG
    alone = await sender.send(request)
    assert [answer.status for answer in alone] == [200]
    assert sender.seen == [("POST", sender.path.decode())]
    # What follows at once finds the trailer's Host before its own, which the parser refuses.
    followed = await sender.send(request + AFTER)
    assert {answer.status for answer in followed} <= {200, 400}


async def test_sm_55_two_spaces_are_sent_on_as_one(sender: Sender) -> None:
    """SM-55: a leniency of the parser in a request line; nothing in it can be read in two ways."""
    head = sender.head(b"GET").replace(b"GET ", b"GET   ")
    await sender.accepted(head + b"\r\n", method="GET")


@pytest.mark.parametrize(("method", "protocol"), [(b"GET", b"RTSP/1.1"), (b"SOURCE", b"ICE/1.1")])
async def test_sm_55_another_protocols_name_is_read_and_sent_on_as_http(sender: Sender, method: bytes, protocol: bytes) -> None:
    """SM-55: the other one. What the app sees is the request that was judged."""
    head = sender.head(method).replace(b"HTTP/1.1", protocol, 1)
    await sender.accepted(head + b"\r\n", method=method.decode())


@pytest.mark.parametrize("piece", [b"1;" + b"e" * 100 + b"\r\nx\r\n"])
async def test_sm_40_many_small_chunks_with_long_extensions_pass_or_end(sender: Sender, piece: bytes) -> None:
    """SM-40: twenty thousand chunks of one byte, each with a hundred bytes of extension, and one extension of a megabyte."""
    seen = await sender.accepted(sender.head() + CHUNKED + b"\r\n" + piece * 20_000 + LAST)
    assert len(str(seen["body"])) == 20_000

    said = await sender.send(sender.head() + CHUNKED + b"\r\n1;" + b"e" * 2**20 + b"\r\nx\r\n" + LAST, AFTER)
    assert said[0].status in {200, 400, 413}


@pytest.mark.parametrize(("request_line", "statuses"), LINES)
async def test_a_request_line_that_we_do_not_speak(standing_house: House, session: bytes, request_line: bytes, statuses: set[int]) -> None:
    with_session = request_line.replace(b"\r\n\r\n", b"\r\n" + session + b"\r\n") if b"Host" in request_line else request_line
    for line in (request_line, with_session):
        await Sender(standing_house, b"", b"").refused(line + SMUG, statuses=frozenset(statuses))


@pytest.mark.parametrize(
    "method", [pytest.param(method, id=f"SM-59 {method}") for method in ("PROPFIND", "PURGE", "M-SEARCH", "PATCH", "OPTIONS")]
)
async def test_extension_methods_pass(sender: Sender, method: str) -> None:
    await sender.accepted(sender.head(method.encode()) + b"\r\n", method=method)


async def test_sm_59_a_method_that_the_parser_does_not_know_is_refused_for_everybody(sender: Sender) -> None:
    """SM-59: QUERY is known to some parsers and not to others; either way it is one answer for every caller."""
    said = await sender.send(sender.head(b"QUERY") + b"Connection: close\r\n\r\n")
    assert [answer.status for answer in said] in ([200], [400])


@pytest.mark.parametrize("scheme", [b"http", b"HTTP", b"https"])
async def test_sm_52_an_absolute_target_of_our_own_host_becomes_its_path(sender: Sender, scheme: bytes) -> None:
    """SM-52: what agrees with Host goes on in origin-form (RFC 9112 section 3.2.2)."""
    line = b"GET " + scheme + b"://App.example" + sender.path + b"?a=b HTTP/1.1\r\nHost: app.example\r\n" + sender.cookie + b"\r\n"
    said = await sender.send(line, AFTER)

    assert [answer.status for answer in said] == [200, 401]
    assert sender.seen == [("GET", sender.path.decode() + "?a=b")]


async def test_sm_61_nothing_follows_close(sender: Sender) -> None:
    """SM-61: bytes behind a request that said close are nobody's request."""
    said = await sender.send(sender.head(b"GET") + b"Connection: close\r\n\r\n" + SMUG)
    assert {answer.status for answer in said} <= {200, 400}


@pytest.mark.parametrize(("path", "with_session", "rest", "first"), UPGRADES)
async def test_behind_an_upgrade_that_is_not_made_nothing_is_tunnelled(  # noqa: PLR0917 - the fixtures that it needs
    standing_house: House, session: bytes, path: bytes, with_session: bool, rest: bytes, first: int
) -> None:
    sender = Sender(standing_house, path, session if with_session else b"")
    said = await sender.send(sender.head(b"GET") + rest + b"\r\n" + SMUG + AFTER)

    assert said[0].status == first
    assert {answer.status for answer in said[1:]} <= {401}
    for headers in standing_house.app.headers:
        assert not values(headers, "Upgrade")
        assert not values(headers, "HTTP2-Settings")


@pytest.mark.parametrize(
    ("accept", "status"),
    [pytest.param(b"", 401, id="SM-67 for a script"), pytest.param(b"Accept: text/html\r\n", 303, id="SM-67 for a page load")],
)
async def test_nobody_is_asked_for_a_body_that_is_not_wanted(standing_house: House, accept: bytes, status: int) -> None:
    head = b"GET /p HTTP/1.1\r\nHost: app.example\r\nExpect: 100-continue\r\nContent-Length: 1073741824\r\n" + accept + b"\r\n"
    received = await until_closed(standing_house.listener, head)

    assert b" 100 " not in received.partition(b"\r\n")[0]
    assert [answer.status for answer in answers(received)] == [status]


async def test_sm_67_an_allowed_body_is_asked_for_once(sender: Sender) -> None:
    """SM-67: 100 Continue comes when the request was allowed."""
    received = await until_closed(
        sender.house.listener, sender.head() + b"Expect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\n", b"abc"
    )
    assert received.count(b"HTTP/1.1 100 ") <= 1
    assert json.loads(answers(received)[0].body)["body"] == "abc"
    assert not values(json.loads(answers(received)[0].body)["headers"], "Expect")


@pytest.mark.parametrize(
    "value", [pytest.param(b"200-ok", id="SM-68 another"), pytest.param(b"y 100-continue", id="SM-68 something in front")]
)
async def test_other_expectations_are_refused(sender: Sender, value: bytes) -> None:
    body = [b"abc"] if sender.first else []  # it is not waited for once it is here, which saves each row two seconds
    await sender.refused(sender.head() + b"Expect: " + value + b"\r\nContent-Length: 3\r\n\r\n", *body, statuses=frozenset({417}))


async def test_sm_70_empty_lines_in_front_are_passed_over(sender: Sender) -> None:
    """SM-70: RFC 9112 section 2.2."""
    await sender.accepted(b"\r\n\r\n" + sender.head(b"GET") + b"\r\n", method="GET")


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        pytest.param(b"X: " + b"a" * 32769 + b"\r\n\r\n", 431, id="SM-73 a long line"),
        pytest.param(b"".join(b"X-%d: y\r\n" % number for number in range(129)) + b"\r\n", 431, id="SM-73 many lines"),
        pytest.param(b"".join(b"X-%d: %b\r\n" % (number, b"y" * 8000) for number in range(9)) + b"\r\n", 431, id="SM-73 64 KiB together"),
        pytest.param(b"Cookie: a=" + b"b" * 32768 + b"\r\n\r\n", 431, id="SM-73 a long cookie"),
        pytest.param(b"X: " + b"a" * 2**20, 431, id="SM-73 a megabyte without an end"),
        pytest.param(b"".join(b"X-%d: %b\r\n" % (number, b"y" * 8000) for number in range(20)), 431, id="SM-73 no end of headers"),
    ],
)
async def test_a_head_is_no_larger_than_anybody_needs(sender: Sender, rest: bytes, status: int) -> None:
    if not rest.endswith(b"\r\n\r\n"):
        sender.first = []  # where it may be read before the last answer is quite over, the wait for its end is what bounds it
    await sender.refused(sender.head(b"GET") + rest, statuses=frozenset({status}))


async def test_sm_73_what_the_limits_allow_passes(sender: Sender) -> None:
    """SM-73: just below each bound."""
    lines = b"".join(b"X-%d: %b\r\n" % (number, b"y" * 900) for number in range(60))
    seen = await sender.accepted(sender.head(b"GET") + lines + b"X: " + b"a" * 8000 + b"\r\n\r\n", method="GET")
    assert len(values(seen["headers"], "X")[0]) == 8000


async def test_every_row_of_the_corpus_has_its_place() -> None:
    every_row_has_its_place(
        "SM",
        "01 02 04 05 07 08 10 11 13 14 16 17 19 20 22 23 25 26 28 29 31 32 34 35 37 38 40 41 43 44 46 47 49 50 52 53 55 56 58 59 61 62 64 "
        "65 67 68 70 71 73 74",
        globals(),
        {"SM-74": "the response side is tests/proxy/test_upstream_faults.py and test_answer_heads.py"},
    )
