"""SM once more, before real servers: whatever a caller sends, an upstream takes it for at most the one request that was let through.

The table is that of ``test_sm_smuggling``, where an app of ours tells how we framed a request. Here the parsers of others read what we
send on: each writes down what it took for requests, and behind every case an innocent request has to get its own answer.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.support.hostile_house import hostile_house
from tests.support.mirror_app import mirror_app
from tests.support.raw_caller import answers, until_closed
from tests.support.recording_servers import KINDS, recording_server
from tests.support.smuggling import AFTER, BODIES, CHUNKED, CHUNKS, HEADS, LINES, SMUG, TRAILERS, UPGRADES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from tests.support.hostile_house import House
    from tests.support.raw_caller import Said
    from tests.support.recording_servers import RecordingServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

AT_ONCE = 8
"""Cases in flight at a time: their requests share the gateway's connections to the upstream."""


class Neighbour:
    """A house with a real upstream of some kind, and callers with somebody's session and without."""

    def __init__(self, house: House, upstream: RecordingServer, session: bytes) -> None:
        self.house, self.upstream, self.session = house, upstream, session
        self.number = itertools.count()
        self.sent: dict[str, str] = {}

    async def cases(self, cases: Iterable[tuple[str, bytes, bytes]], *, passed: bool | None) -> None:
        """Send (name, method, the rest of the request) each to a public path, and with somebody's session; judge what became of it."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(name: str, method: bytes, rest: bytes, public: bool) -> None:
            async with gate:
                path = f"{'/public' if public else ''}/p{next(self.number)}"
                cookie = b"" if public else self.session
                head = method + b" " + path.encode() + b" HTTP/1.1\r\nHost: app.example\r\n" + cookie
                await self.exchange(name, path, head + rest, passed=passed)

        async with asyncio.TaskGroup() as group:
            for name, method, rest in cases:
                for public in (True, False):
                    group.create_task(one(name, method, rest, public))
        await self.nothing_smuggled()

    async def exchange(self, name: str, path: str, request: bytes, *, passed: bool | None) -> list[Said]:
        """One connection: the case, then a request that ends it; then an innocent one, which gets its own answer."""
        self.sent[path] = name
        said = list(answers(await until_closed(self.house.listener, request, AFTER)))
        statuses = [answer.status for answer in said]
        assert said, name
        if passed is True:
            assert statuses[0] == 200, (name, statuses)
            assert json.loads(said[0].body)["target"] == path, name
        elif passed is False:
            assert len(statuses) == 1, (name, statuses)
            assert statuses[0] >= 400, (name, statuses)
        assert set(statuses[1:]) <= {401, 400}, (name, statuses)
        await self.innocent(name)
        taken = await self.taken(path)
        assert len(taken) <= 1, (name, taken)
        assert passed is None or len(taken) == passed, (name, taken)
        return said

    async def innocent(self, name: str) -> None:
        """A request of somebody else's gets the answer to it, and the upstream has read it as it is."""
        path = f"/public/ok{next(self.number)}"
        answer = await self.house.raw(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n\r\n")
        assert answer.status == 200, (name, answer.status)
        seen = json.loads(answer.body)
        assert (seen["method"], seen["target"], seen["body"]) == ("GET", path, ""), name
        await self.upstream.has_seen(path)

    async def taken(self, path: str) -> list[str]:
        return [line for line in self.upstream.seen() if path in line.split(" ")]

    async def nothing_smuggled(self) -> None:
        """The whole record: each request at most once, all of them ours, and nothing that was no request at all."""
        seen = self.upstream.seen()
        assert [line for line in seen if "smug" in line] == []
        assert [line for line in seen if not re.fullmatch(r"[A-Z-]+ (/public)?/(p|ok)\d+( HTTP/1\.1)?", line)] == []
        assert len(seen) == len(set(seen))


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=[pytest.param(kind, marks=pytest.mark.nginx if kind == "nginx" else ()) for kind in KINDS]
)
async def neighbour(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Neighbour]:
    folder = tmp_path_factory.mktemp("neighbour")
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(mirror_app())
        upstream = await stack.enter_async_context(recording_server(request.param, folder / "upstream", app.url))
        routes: list[dict[str, Any]] = [
            {"path": "/public/", "upstream": upstream.url, "access": "public"},
            {"path": "/", "upstream": upstream.url, "access": "signed_in"},
        ]
        house = await stack.enter_async_context(hostile_house(folder / "house", routes=routes))
        async with house.browser() as browser:
            session = f"Cookie: __Host-gateway={await house.signed_in(browser)}\r\n".encode()
        yield Neighbour(house, upstream, session)


async def test_heads_that_can_be_framed_in_two_ways_reach_nobody(neighbour: Neighbour) -> None:
    await neighbour.cases([(case.id, b"POST", case.values[0]) for case in HEADS], passed=False)


async def test_a_broken_chunk_is_never_a_whole_request(neighbour: Neighbour) -> None:
    """The upstream may have begun to read it; what it can not be is another request, or an answer of 200."""
    await neighbour.cases([(case.id, b"POST", CHUNKED + b"\r\n" + case.values[0] + SMUG) for case in CHUNKS], passed=None)


async def test_a_body_is_read_as_it_is_meant(neighbour: Neighbour) -> None:
    await neighbour.cases([(case.id, b"POST", case.values[0]) for case in BODIES], passed=True)


async def test_a_body_that_looks_like_a_request_is_a_body(neighbour: Neighbour) -> None:
    length = b"Content-Length: %d\r\n\r\n" % len(SMUG)
    chunked = CHUNKED + b"\r\n%x\r\n" % len(SMUG) + SMUG + b"\r\n0\r\n\r\n"
    methods = (b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS")
    await neighbour.cases(
        [
            (f"{method.decode()} {name}", method, rest)
            for method in methods
            for name, rest in (("length", length + SMUG), ("chunks", chunked))
        ],
        passed=True,
    )


async def test_trailers_reach_nobody(neighbour: Neighbour) -> None:
    cases = [(case.id, b"POST", CHUNKED + b"\r\n3\r\nabc\r\n0\r\n" + case.values[0] + b"\r\n\r\n") for case in TRAILERS]
    request_as_trailer = ("SM-44 a request in a trailer", b"POST", CHUNKED + b"\r\n0\r\nX: " + SMUG)
    await neighbour.cases([*cases, request_as_trailer], passed=None)


async def test_request_lines_that_we_do_not_speak_reach_nobody(neighbour: Neighbour) -> None:
    for case in LINES:
        line, _ = case.values
        for request in {line, line.replace(b"\r\n\r\n", b"\r\n" + neighbour.session + b"\r\n") if b"Host" in line else line}:
            said = list(answers(await until_closed(neighbour.house.listener, request + SMUG)))
            assert [answer.status >= 400 for answer in said] == [True], (case.id, said)
        await neighbour.innocent(str(case.id))
    await neighbour.nothing_smuggled()


async def test_behind_an_upgrade_that_is_not_made_nothing_is_tunnelled(neighbour: Neighbour) -> None:
    for case in UPGRADES:
        path, with_session, rest, first = case.values
        target = path.decode() + str(next(neighbour.number))
        head = b"GET " + target.encode() + b" HTTP/1.1\r\nHost: app.example\r\n" + (neighbour.session if with_session else b"")
        said = list(answers(await until_closed(neighbour.house.listener, head + rest + b"\r\n" + SMUG + AFTER)))
        assert said[0].status in {first, 200}, (case.id, said)  # 426 is a word of the app's: these know no WebSockets
        assert {answer.status for answer in said[1:]} <= {401}, (case.id, said)
        await neighbour.innocent(str(case.id))
        assert len(await neighbour.taken(target)) <= 1, case.id
    await neighbour.nothing_smuggled()
