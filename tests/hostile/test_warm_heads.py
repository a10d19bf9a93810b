"""On connections whose heads are known: who asks, from where and with which session is judged anew each time, on every replica.

A session that ended is nobody's with the next request, a cookie is of whom it is, and what one peer is believed is no word of another's.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.support.gateway_process import new_key_file, secret_file
from tests.support.hostile_house import PATIENCE, PUBLIC, SESSION, SIGN_OUT, hostile_house
from tests.support.mirror_app import values
from tests.support.raw_caller import Said, answers
from tests.support.several_gateways import several
from tests.support.user_agent import NAVIGATION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.support.hostile_house import House
    from tests.support.several_gateways import Several

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMIN_TOKEN = "operators-token-0123456789abcdef"
ASKED = "X-Original-Method: GET\r\nX-Original-URL: https://app.example/public/x\r\n"
OFTEN = 4
"""So often a head comes until it is known and was met."""


class Caller:
    """One connection, on which one request follows another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, path: str, headers: str = "", *, host: str = "app.example") -> None:
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n".encode("latin-1"))
        await self.writer.drain()

    async def answer(self) -> Said:
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readuntil(b"\r\n\r\n")
            (said,) = answers(head)
            return Said(said.status, said.head, await self.reader.readexactly(int(said.header(b"Content-Length") or 0)))

    async def ask(self, path: str, headers: str = "", *, host: str = "app.example") -> Said:
        await self.send(path, headers, host=host)
        return await self.answer()

    async def who(self, cookies: str, path: str = "/page", *, host: str = "app.example") -> str | int:
        """Who one is to the app with these cookies; the status for nobody."""
        said = await self.ask(path, f"Cookie: {cookies}\r\n" if cookies else "", host=host)
        if said.status != 200:
            return said.status
        named = values(json.loads(said.body)["headers"], "X-Forwarded-User")
        assert len(named) <= 1
        return named[0] if named else ""


@asynccontextmanager
async def caller(house: House, preface: str = "") -> AsyncIterator[Caller]:
    parts = urlsplit(house.listener)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=2**20)
    writer.write(preface.encode())
    try:
        yield Caller(reader, writer)
    finally:
        writer.close()


async def signed_in(house: House, user: str = "alice") -> str:
    house.provider.misbehaviour.expires_in = 3600
    async with house.browser() as browser:
        return f"{SESSION}={await house.signed_in(browser, user)}"


async def sign_out(pair: Several, cookie: str) -> None:
    async with pair.one.browser() as browser:
        browser.jar[SESSION] = cookie.partition("=")[2]
        asked = NAVIGATION | {"Origin": PUBLIC, "Sec-Fetch-Site": "same-origin"}
        assert (await browser.ask(SIGN_OUT, method="POST", headers=asked)).status == 303


async def end_by_an_operator(pair: Several, _: str) -> None:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}) as client:
        async with client.get(f"{pair.one.gateway.admin}/sessions?user=alice") as answer:
            (listed,) = (await answer.json())["sessions"]
        async with client.delete(f"{pair.one.gateway.admin}/sessions/{listed['id']}") as answer:
            assert answer.status == 200


async def delete_in_the_store(pair: Several, _: str) -> None:
    for key in await pair.one.keys():
        if ":s:" in key:
            await pair.one.redis.delete(key)


async def test_a_session_that_ended_is_nobodys_with_the_next_request(tmp_path: Path) -> None:
    """On the replica that ended it at once, on the other when it heard; and the other person's session on the same connections stays."""
    admin = {"token": {"file": str(secret_file(tmp_path, "admin_token", ADMIN_TOKEN))}}
    async with several(tmp_path, admin=admin) as pair, caller(pair.one) as here, caller(pair.other) as there:
        for end, at_once in ((sign_out, True), (end_by_an_operator, True), (delete_in_the_store, False)):
            cookie = await signed_in(pair.one)
            for _ in range(OFTEN):
                assert [await one.who(cookie) for one in (here, there)] == ["alice-sub"] * 2
            await end(pair, cookie)
            if at_once:
                assert await here.who(cookie) == 401
            async with asyncio.timeout(PATIENCE):
                while (said := [await one.who(cookie) for one in (here, there)]) != [401, 401]:
                    assert set(said) <= {"alice-sub", 401}
            reached = len(pair.one.app.requests)
            for _ in range(OFTEN):
                assert [await one.who(cookie) for one in (here, there)] == [401, 401]
            assert len(pair.one.app.requests) == reached


async def test_each_cookie_is_of_whom_it_is_on_one_connection(tmp_path: Path) -> None:
    async with hostile_house(tmp_path) as house, caller(house) as one:
        alice, bob = await signed_in(house), await signed_in(house, "bob")
        rows = (
            (alice, "/page", "alice-sub"),
            (bob, "/page", "bob-sub"),
            ("", "/page", 401),
            (f"{alice}; {bob}", "/page", 401),
            (f"{alice[:-4]}AAAA", "/page", 401),
            (f"{alice}; app=1", "/page", "alice-sub"),
            (alice, "/open/x", "alice-sub"),
            (f"{alice}; {bob}", "/open/x", ""),
            ("", "/open/x", ""),
            (bob, "/public/x", ""),
            (alice, "/public/x", ""),
        )
        for _ in range(OFTEN):
            for cookies, path, who in rows:
                assert await one.who(cookies, path) == who, (cookies.count("="), path)
        for _ in range(2):
            for cookies, path, who in reversed(rows):
                assert await one.who(cookies, path) == who, (cookies.count("="), path)
        assert not any("__Host-gateway" in value for headers in house.app.headers for value in values(headers, "Cookie"))


async def test_a_cookie_of_one_origin_is_none_of_another(tmp_path: Path) -> None:
    async with hostile_house(tmp_path, server={"public_url": [PUBLIC, "https://two.example"]}) as house, caller(house) as one:
        cookie = await signed_in(house)
        for _ in range(OFTEN):
            assert await one.who(cookie) == "alice-sub"
            assert await one.who(cookie, host="two.example") == 401
            assert await one.who(cookie, host="evil.example") == 421


@pytest.mark.parametrize(
    ("limits", "uses"),
    [pytest.param({"idle": "1s"}, False, id="nobody used it"), pytest.param({"idle": "2s", "lifetime": "2s"}, True, id="its lifetime")],
)
async def test_a_session_ends_by_time_on_a_warm_connection(tmp_path: Path, limits: dict[str, str], uses: bool) -> None:
    async with hostile_house(tmp_path, session=limits) as house, caller(house) as one:
        cookie = await signed_in(house)
        for _ in range(OFTEN):
            assert await one.who(cookie) == "alice-sub"
        if uses:
            async with asyncio.timeout(PATIENCE):
                while await one.who(cookie) == "alice-sub":
                    await asyncio.sleep(0.02)
        else:
            last = time.time()
            while time.time() <= last + 1.05:
                await asyncio.sleep(0.05)
        for _ in range(OFTEN):
            assert await one.who(cookie) == 401


async def test_what_a_trusted_peer_may_tell_no_other_may_with_the_same_head(tmp_path: Path) -> None:
    """Three connections whose heads are the same: a proxy's, a stranger's, and one that a balancer does not name."""
    async with hostile_house(tmp_path, server={"trusted_proxies": ["127.0.0.1/32"], "proxy_protocol": True}) as house:
        rows: tuple[tuple[str, int, str], ...] = (
            ("PROXY TCP4 127.0.0.1 192.0.2.1 1 443\r\n", 202, "203.0.113.9"),
            ("PROXY TCP4 198.51.100.7 192.0.2.1 1 443\r\n", 400, "198.51.100.7"),
            ("PROXY UNKNOWN\r\n", 400, "127.0.0.1"),
        )
        for _ in range(OFTEN):
            for preface, status, client in (*rows, *reversed(rows)):
                async with caller(house, preface) as one:
                    for _ in range(2):
                        said = await one.ask("/public/x", "X-Forwarded-For: 203.0.113.9\r\n")
                        assert values(json.loads(said.body)["headers"], "X-Forwarded-For") == [client]
                async with caller(house, preface) as one:
                    assert (await one.ask("/oauth2/auth", ASKED)).status == status


async def test_a_check_of_somebody_is_let_in_by_session_and_by_path(tmp_path: Path) -> None:
    async with hostile_house(tmp_path, server={"trusted_proxies": ["127.0.0.1/32"]}) as house, caller(house) as one:
        alice, bob = await signed_in(house), await signed_in(house, "bob")
        rows = (
            (alice, "/page", 202, b"alice-sub"),
            (bob, "/page", 202, b"bob-sub"),
            (f"{alice}; {bob}", "/page", 401, None),
            ("", "/page", 401, None),
            (alice, "/public/x", 202, None),
            (alice, "/public/../page", 403, None),
        )
        for _ in range(OFTEN):
            for cookies, path, status, who in rows:
                told = ASKED.replace("/public/x", path) + (f"Cookie: {cookies}\r\n" if cookies else "")
                said = await one.ask("/oauth2/auth", told)
                assert (said.status, said.header(b"X-Auth-Request-User")) == (status, who)
        assert house.app.requests == []


async def test_keys_are_turned_over_on_a_warm_connection(tmp_path: Path) -> None:
    """CK-19: whose key is gone is nobody with the next request; whose key is listed goes on."""
    old, new = new_key_file(tmp_path, "old"), new_key_file(tmp_path, "new")
    async with hostile_house(tmp_path / "house", key_files=[old]) as house, caller(house) as one:
        cookie = await signed_in(house)
        for times, keys, who in ((0, [old], "alice-sub"), (1, [new, old], "alice-sub"), (2, [new], 401)):
            if times:
                written = "".join(f"  - file: {key}\n" for key in keys)
                text = house.gateway.config.read_text()
                house.gateway.config.write_text(re.sub(r"(?<=  keys:\n)(  - file: .*\n)+", written, text))
                house.gateway.hang_up()
                await _until(lambda times=times: len(house.logged("secrets.reloaded")) == times)
            for _ in range(OFTEN):
                assert await one.who(cookie) == who


async def test_a_route_with_a_token_sends_the_newest(tmp_path: Path) -> None:
    async with several(tmp_path, 1) as alone, caller(alone.one) as one:
        cookie = await alone.sign_in()
        async with asyncio.timeout(PATIENCE):
            while alone.provider.refreshes < 1:
                assert (await one.ask("/tok/x", f"Cookie: {cookie}\r\n")).status == 200
                await asyncio.sleep(0.05)
        await _until(lambda: len(alone.provider.tokens_issued) > 1)
        newest = alone.provider.tokens_issued[-1]["access_token"]
        async with asyncio.timeout(PATIENCE):
            while (await _token(one, cookie)) != newest:
                await asyncio.sleep(0.02)
        for _ in range(OFTEN):
            assert await _token(one, cookie) == newest


async def test_a_stop_while_an_answer_is_awaited_lets_it_arrive_as_the_last(tmp_path: Path) -> None:
    async with hostile_house(tmp_path) as house, caller(house) as one:
        cookie = await signed_in(house)
        for _ in range(OFTEN):
            assert await one.who(cookie) == "alice-sub"
        house.app.held = asyncio.Event()
        reached = len(house.app.requests)
        await one.send("/slow", f"Cookie: {cookie}\r\n")
        await _until(lambda: len(house.app.requests) > reached)
        stopping = asyncio.create_task(house.gateway.stop())
        await _until(lambda: _refuses(house))
        house.app.held.set()
        said = await one.answer()
        assert (said.status, said.header(b"Connection")) == (200, b"close")
        assert await one.reader.read() == b""
        assert await stopping == 0


async def _token(one: Caller, cookie: str) -> str:
    said = await one.ask("/tok/x", f"Cookie: {cookie}\r\n")
    (token,) = values(json.loads(said.body)["headers"], "X-Forwarded-Access-Token")
    return token


def _refuses(house: House) -> bool:
    """Whether nobody is let in any more."""
    parts = urlsplit(house.listener)
    with socket.socket() as probe:
        return probe.connect_ex((parts.hostname, parts.port)) != 0


async def _until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not happened():
            await asyncio.sleep(0.02)
