"""Two gateway processes, one Redis, one provider: an operator lists sessions at either, ends them at either or from the host, and they have
ended at both, with all that they held open, and at the provider.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import redis.asyncio as redis

from tests.support.fake_provider import FakeProvider
from tests.support.gateway_process import gateway, new_key_file, secret_file
from tests.support.ports import free_port
from tests.support.redis_servers import redis_server
from tests.support.streaming_app import streaming_app
from tests.support.user_agent import FETCH, NAVIGATION, UserAgent, forms

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.support.gateway_process import GatewayProcess
    from tests.support.redis_servers import RedisServer
    from tests.support.streaming_app import StreamingApp

PATIENCE = 30.0
"""Seconds after which something that has to happen counts as never."""
TOKEN = "token-of-the-operators-4711"


@dataclass
class House:
    """``one`` is where the browser's origin leads; ``other`` listens elsewhere under the same origin."""

    one: GatewayProcess
    other: GatewayProcess
    provider: FakeProvider
    store: RedisServer
    app: StreamingApp

    def headers_at_the_other(self, browser: UserAgent) -> dict[str, str]:
        cookies = "; ".join(f"{cookie.key}={cookie.value}" for cookie in browser.cookies)
        return FETCH | {"Host": self.one.url.removeprefix("http://"), "Cookie": cookies, "Origin": self.one.url}

    async def statuses(self, browser: UserAgent) -> tuple[int, int]:
        """What the browser gets at either gateway."""
        here = await browser.ask(self.one.url + "/", headers=FETCH)
        there = await browser.ask(self.other.url + "/", headers=self.headers_at_the_other(browser))
        return here.status, there.status

    async def asked(self, at: GatewayProcess, path: str, *, method: str = "GET", token: str = TOKEN) -> tuple[int, dict[str, Any]]:
        async with (
            aiohttp.ClientSession() as client,
            client.request(method, at.admin + path, headers={"Authorization": f"Bearer {token}"}) as answer,
        ):
            return answer.status, await answer.json()

    async def keys(self) -> dict[bytes, bytes]:
        """All that is in Redis: the values of strings, and the members of sets."""
        client = redis.Redis.from_url(self.store.url)
        try:
            return {
                key: b"\n".join(await client.zrange(key, 0, -1)) if await client.type(key) == b"zset" else await client.get(key) or b""
                for key in await client.keys("*")
            }
        finally:
            await client.aclose()

    def refresh_tokens(self) -> list[str]:
        return [issued["refresh_token"] for issued in self.provider.tokens_issued]


@asynccontextmanager
async def running_house(folder: Path) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(FakeProvider())
        store = await stack.enter_async_context(redis_server())
        app = await stack.enter_async_context(streaming_app())
        ports = free_port(), free_port()
        key = new_key_file(folder)
        token = secret_file(folder, "admin_token", TOKEN)
        gateways = []
        for index, port in enumerate(ports):
            home = folder / str(index)
            home.mkdir()
            running = gateway(
                home,
                issuer=provider.issuer,
                client_id=provider.client_id,
                client_secret=provider.client_secret,
                store=store.url,
                upstream=app.url,
                port=port,
                key_files=[key],
                server={"public_url": f"http://127.0.0.1:{ports[0]}"},
                admin={"token": {"file": str(token)}},
            )
            gateways.append(await stack.enter_async_context(running))
        await until(lambda: all("tracking.up" in one.log for one in gateways))
        yield House(*gateways, provider, store, app)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with running_house(tmp_path) as inside:
        yield inside


@asynccontextmanager
async def signed_in(house: House, name: str) -> AsyncIterator[UserAgent]:
    """Somebody with a session that both gateways know."""
    house.provider.login_as = name
    async with UserAgent(house.one.url, house.other.url) as browser:
        assert (await browser.open(house.one.url + "/")).status == 200
        for _ in range(3):  # the news of the session's own birth may have come between
            assert await house.statuses(browser) == (200, 200)
        yield browser


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not happened():
            await asyncio.sleep(0.02)


async def until_out(house: House, browser: UserAgent) -> None:
    async def both() -> bool:
        return await house.statuses(browser) == (401, 401)

    await until_async(both)


async def until_async(happened: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await happened():
            await asyncio.sleep(0.02)


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def told(self) -> Any:
        return json.loads(self.out)

    @property
    def audit(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.err.splitlines() if line.startswith("{")]
        return [line for line in lines if line["room"] == "audit"]


async def command(*arguments: str, config: Path) -> Ran:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "sessions", *arguments, "--config", str(config)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"COLUMNS": "200"},
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


async def test_an_end_at_one_gateway_closes_all_that_is_open_at_the_other_and_reaches_the_provider_once(house: House) -> None:
    async with signed_in(house, "alice") as alice, signed_in(house, "bob") as bob:
        hers, his = house.headers_at_the_other(alice), house.headers_at_the_other(bob)
        async with (
            alice.websocket(house.other.url + "/socket", headers=hers) as socket,
            alice.client.get(house.other.url + "/events", headers=hers) as events,
            alice.client.get(house.other.url + "/download", headers=hers) as download,
            bob.websocket(house.other.url + "/socket", headers=his) as spared,
        ):
            await events.content.readexactly(12)
            await download.content.readexactly(1024)
            await socket.send_str("here")
            assert await socket.receive_str() == "here"
            for at in (house.one, house.other):
                status, page = await house.asked(at, "/sessions")
                assert (status, sorted(one["sub"] for one in page["sessions"])) == (200, ["alice-sub", "bob-sub"])
            (one,) = (await house.asked(house.one, "/sessions?user=alice"))[1]["sessions"]
            assert one["address"] == "127.0.0.1"
            assert one["sid"] == "alice-sid"

            assert await house.asked(house.one, f"/sessions/{one['id']}", method="DELETE") == (200, {"ended": 1})
            async with asyncio.timeout(PATIENCE):
                message = await socket.receive()
                assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1008)
                for answer in (events, download):
                    with pytest.raises(aiohttp.ClientError):
                        await answer.read()
            await until_out(house, alice)
            await spared.send_str("still there?")
            assert await spared.receive_str() == "still there?"
            assert await house.statuses(bob) == (200, 200)
        her_token = house.refresh_tokens()[0]
        await until(lambda: her_token in house.provider.revoked)
        assert house.provider.revoked.count(her_token) == 1
        assert house.refresh_tokens()[1] not in house.provider.revoked
        assert (await house.asked(house.other, f"/sessions/{one['id']}"))[0] == 404
        assert '"room": "audit"' in house.one.log
        assert TOKEN not in house.one.log


async def test_a_users_sessions_and_everybodys_end_at_both(house: House) -> None:
    async with signed_in(house, "alice") as one, signed_in(house, "alice") as two, signed_in(house, "bob") as bob:
        assert await house.asked(house.other, "/sessions?sub=alice-sub", method="DELETE") == (200, {"ended": 2})
        await until_out(house, one)
        await until_out(house, two)
        assert await house.statuses(bob) == (200, 200)
        assert await house.asked(house.one, "/sessions?confirm=all", method="DELETE") == (200, {"ended": 1})
        await until_out(house, bob)
        await until(lambda: set(house.refresh_tokens()) <= set(house.provider.revoked))
        assert len(house.provider.revoked) == len(set(house.provider.revoked)), "each token once"


async def test_what_is_in_redis_tells_nothing_and_is_gone_with_the_session(house: House) -> None:
    async with signed_in(house, "alice") as alice:
        everything = await house.keys()
        assert {key[: len("gateway:x:")] for key in everything} == {f"gateway:{kind}:".encode() for kind in "stilcx"}
        assert sum(key.startswith(b"gateway:x:") for key in everything) == 4
        dump = b"\n".join(key + b"=" + value for key, value in everything.items())
        issued = house.provider.tokens_issued[0]
        for telling in ("alice", "example.org", house.provider.issuer, "127.0.0.1", "main", *issued.values()):
            if isinstance(telling, str) and len(telling) > 3 and telling != "Bearer":
                assert telling.encode() not in dump
        # Whatever is in there opens no session as a cookie.
        async with UserAgent(house.one.url) as thief:
            name = next(iter(alice.cookies)).key
            for stolen in {value for value in everything.values() if value.isascii() and b"\n" not in value}:
                for at in (house.one, house.other):
                    headers = FETCH | {"Host": house.one.url.removeprefix("http://"), "Cookie": f"{name}={stolen.decode()}"}
                    assert (await thief.ask(at.url + "/", headers=headers)).status == 401

        (form,) = forms(await alice.open(house.one.url + "/oauth2/sign_out"))
        answer = await alice.ask(form.action, method="POST", headers=NAVIGATION | {"Sec-Fetch-Site": "same-origin"}, data={})
        assert answer.status == 303
        assert {key[: len("gateway:x:")] for key in await house.keys()} <= {b"gateway:l:"}, "nothing but the claim of the login's state"


async def test_the_host_lists_shows_and_ends_with_the_file_alone(house: House) -> None:
    config = house.one.config
    (config.parent / "client_secret").unlink()
    async with signed_in(house, "alice") as one, signed_in(house, "alice") as two, signed_in(house, "bob") as bob:
        ran = await command("list", "--json", config=config)
        assert ran.code == 0
        assert sorted(each["sub"] for each in ran.told["sessions"]) == ["alice-sub", "alice-sub", "bob-sub"]
        assert (ran.told["more"], ran.told["unreadable"]) == (False, 0)
        (line,) = ran.audit
        assert (line["event"], line["via"], line["sessions"]) == ("sessions.listed", "command", 3)

        table = await command("list", "--user", "ALICE@", config=config)
        assert table.out.splitlines()[0].split() == ["ID", "USER", "NAME", "FROM", "SIGNED", "IN", "LAST", "SEEN"]
        assert len(table.out.splitlines()) == 3
        first = table.out.splitlines()[1].split()[0]
        shown = await command("show", first, config=config)
        assert shown.code == 0
        assert ["sub", "alice-sub"] in [line.split() for line in shown.out.splitlines()]

        ended = await command("end", first, config=config)
        assert (ended.code, ended.out) == (0, "Ended 1.\n")
        (line,) = ended.audit
        assert (line["event"], line["ended"], line["user"], line["outcome"]) == ("sessions.ended", [first], "alice-sub", "done")
        assert (await command("end", first, config=config)).code == 3
        await until(lambda: len(house.provider.revoked) > 0)
        ended = await command("end", "--user", "alice-sub", "--json", config=config)
        assert (ended.code, ended.told) == (0, {"ended": 1})
        await until_out(house, one)
        await until_out(house, two)
        assert await house.statuses(bob) == (200, 200)
        assert (await command("end", "--user", "alice", config=config)).code == 3, "a sub is a sub, whole"

        ended = await command("end", "--all", "--yes", config=config)
        assert (ended.code, ended.out) == (0, "Ended 1.\n")
        await until_out(house, bob)

        house.store.kill()
        for arguments in (("list",), ("end", "--user", "bob-sub")):
            down = await command(*arguments, config=config)
            assert down.code == 1, arguments
            assert "Traceback" not in down.err
            assert [line["outcome"] for line in down.audit] == ["store_unavailable"], (arguments, down.err)


async def test_sessions_in_memory_are_the_running_gateways_alone(tmp_path: Path) -> None:
    async with FakeProvider() as provider, streaming_app() as app:
        token = secret_file(tmp_path, "admin_token", TOKEN)
        async with gateway(
            tmp_path,
            issuer=provider.issuer,
            client_id=provider.client_id,
            client_secret=provider.client_secret,
            store="memory",
            upstream=app.url,
            admin={"token": {"file": str(token)}},
        ) as running:
            house = House(running, running, provider, None, app)  # type: ignore[arg-type]
            async with signed_in(house, "alice") as alice:
                ran = await command("list", config=running.config)
                assert (ran.code, ran.out) == (2, "")
                assert "/sessions" in ran.err
                (one,) = (await house.asked(running, "/sessions"))[1]["sessions"]
                assert (await house.asked(running, f"/sessions/{one['id']}", method="DELETE")) == (200, {"ended": 1})
                assert await house.statuses(alice) == (401, 401)
                await until(lambda: house.refresh_tokens()[0] in provider.revoked)

            token.write_text("another-token-of-the-operators")
            running.hang_up()
            await until(lambda: "secrets.reloaded" in running.log)
            assert (await house.asked(running, "/sessions"))[0] == 401
            assert (await house.asked(running, "/sessions", token="another-token-of-the-operators"))[0] == 200


async def test_a_stop_halfway_through_an_end_leaves_its_line(tmp_path: Path) -> None:
    token = secret_file(tmp_path, "admin_token", TOKEN)
    async with (
        FakeProvider() as provider,
        streaming_app() as app,
        redis_server() as store,
        gateway(
            tmp_path,
            issuer=provider.issuer,
            client_id=provider.client_id,
            client_secret=provider.client_secret,
            store=store.url,
            upstream=app.url,
            server={"shutdown_grace": "0s"},
            admin={"token": {"file": str(token)}},
        ) as running,
    ):
        house = House(running, running, provider, store, app)
        async with signed_in(house, "alice"), signed_in(house, "bob"):
            # Writes stand still while reads go on: it has begun to end them, and cannot.
            store.command("CLIENT", "PAUSE", "60000", "WRITE")
            asking = asyncio.create_task(house.asked(running, "/sessions?confirm=all", method="DELETE"))
            async with asyncio.timeout(PATIENCE):
                while b"blocked_clients:0" in store.command("INFO", "clients"):
                    await asyncio.sleep(0.01)
            stopping = asyncio.create_task(running.stop())
            await until(lambda: '"sessions.ended"' in running.log)
            store.command("CLIENT", "UNPAUSE")
            await stopping
            await asyncio.gather(asking, return_exceptions=True)
        # The client may have asked again when its connection was cut.
        line, *_ = [line for line in map(json.loads, running.log.splitlines()) if line["event"] == "sessions.ended"]
        assert (line["outcome"], line["asked"]) == ("cancelled", {"confirm": "all"})
