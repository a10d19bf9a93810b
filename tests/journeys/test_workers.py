"""Several processes on one port, and the end of one or all of them: what people notice of it, which should be nothing."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from tests.support.gateway_process import GatewayProcess, configuration, gateway, new_key_file, secret_file
from tests.support.mock_provider import MockProvider, mock_provider
from tests.support.ports import free_port
from tests.support.processes import children, connections, gone, until
from tests.support.redis_servers import redis_server
from tests.support.user_agent import FETCH, UserAgent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECRET = "a client secret that is long"
MANY = 40
"""New connections, of which the kernel gives each of two sockets some."""
BOTH = [pytest.param(1, id="a process alone"), pytest.param(2, id="two workers")]


@dataclass
class PatientApp:
    """An app whose answers below /public/slow wait for ``go``; it echoes what comes through a WebSocket."""

    url: str = ""
    go: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if "Upgrade" in request.headers:
            channel = web.WebSocketResponse()
            await channel.prepare(request)
            async for message in channel:
                await channel.send_str(message.data)
            return channel
        if request.path.startswith("/public/endless"):
            endless = web.StreamResponse()
            await endless.prepare(request)
            await endless.write(b"begun\n")
            self.waiting += 1
            await self.go.wait()
            return endless
        if request.path.startswith("/public/slow"):
            self.waiting += 1
            await self.go.wait()
        return web.Response(text="answered")


@dataclass
class World:
    """A gateway and what is around it."""

    gateway: GatewayProcess
    app: PatientApp
    provider: MockProvider

    @property
    def port(self) -> int:
        return int(self.gateway.url.rpartition(":")[2])

    @property
    def pid(self) -> int:
        return self.gateway.process.pid

    def workers(self) -> set[int]:
        return children(self.pid)

    async def refuses(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except ConnectionRefusedError:
            return True
        writer.close()
        return False


@asynccontextmanager
async def patient_app() -> AsyncIterator[PatientApp]:
    app = PatientApp()
    runner = web.ServerRunner(web.Server(app.answer), shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    app.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield app
    finally:
        app.go.set()
        await runner.cleanup()


@asynccontextmanager
async def world(folder: Path, *, workers: int = 2, **changes: Any) -> AsyncIterator[World]:
    changes.setdefault("server", {}).update(workers=workers)
    async with AsyncExitStack() as stack:
        provider = stack.enter_context(mock_provider())
        store = await stack.enter_async_context(redis_server())
        app = await stack.enter_async_context(patient_app())
        running = await stack.enter_async_context(
            gateway(
                folder,
                issuer=provider.issuer,
                client_id="gateway",
                client_secret=SECRET,
                store=store.url,
                upstream=app.url,
                **changes,
            )
        )
        yield World(running, app, provider)


def fresh_client() -> aiohttp.ClientSession:
    """Each request on a connection of its own."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))


async def missing(client: aiohttp.ClientSession, home: World) -> list[str]:
    async with client.get(home.gateway.admin + "/readyz") as answer:
        told = await answer.json()
        assert (answer.status == 503) == bool(told["missing"])
        return told["missing"]


async def drains(home: World) -> None:
    """Wait until the probes say so, whichever worker answers."""
    async with fresh_client() as client, asyncio.timeout(60):
        while await missing(client, home) != ["draining"]:
            await asyncio.sleep(0.02)


async def test_all_workers_serve(tmp_path: Path) -> None:
    async with world(tmp_path, workers=2) as home, AsyncExitStack() as stack:
        for _ in range(MANY):
            client = await stack.enter_async_context(aiohttp.ClientSession())
            answer = await stack.enter_async_context(client.get(home.gateway.url + "/public/x"))
            assert answer.status == 200
        shares = [connections(pid, home.port) for pid in home.workers()]
        assert len(shares) == 2
        assert all(shares)
        assert sum(shares) == MANY
        assert home.gateway.log.count("worker.started") == 2
        assert home.gateway.log.count("gateway.started") == 1


async def test_a_crashed_worker_is_replaced_and_no_new_connection_fails(tmp_path: Path) -> None:
    async with world(tmp_path, workers=2) as home, fresh_client() as client:
        for _ in range(2):
            before = home.workers()
            lost = before.pop()
            os.kill(lost, signal.SIGKILL)
            for _ in range(MANY):
                async with client.get(home.gateway.url + "/public/x") as answer:
                    assert answer.status == 200
                async with client.get(home.gateway.admin + "/livez") as answer:
                    assert answer.status == 200
            await until(lambda: len(home.workers()) == 2)
            assert before < home.workers()
            assert lost not in home.workers()
        events = [json.loads(line) for line in home.gateway.log.splitlines() if '"worker.restarted"' in line]
        assert [event["ended"] for event in events] == ["signal 9", "signal 9"]
        assert await home.gateway.stop() == 0


async def test_a_worker_told_to_stop_by_itself_drains_and_is_replaced(tmp_path: Path) -> None:
    async with world(tmp_path, workers=2) as home, fresh_client() as client:
        before = home.workers()
        told = max(before)
        os.kill(told, signal.SIGTERM)
        for _ in range(MANY):
            async with client.get(home.gateway.url + "/public/x") as answer:
                assert answer.status == 200
        await until(lambda: gone(told) and len(home.workers()) == 2)
        await until(lambda: '"ended": "exit 0"' in home.gateway.log)


@pytest.mark.parametrize("workers", BOTH)
async def test_a_stop_answers_what_is_in_flight_and_accepts_nothing_new(tmp_path: Path, workers: int) -> None:
    async with (
        world(tmp_path, workers=workers, server={"shutdown_grace": "5s"}) as home,
        fresh_client() as probe,
        AsyncExitStack() as stack,
    ):
        clients = [await stack.enter_async_context(aiohttp.ClientSession()) for _ in range(8)]
        idle = clients[0]
        async with idle.get(home.gateway.url + "/public/x") as answer:
            assert answer.status == 200
        slow = [asyncio.ensure_future(client.get(home.gateway.url + "/public/slow")) for client in clients[1:]]
        await until(lambda: home.app.waiting == len(slow))

        home.gateway.process.terminate()
        async with asyncio.timeout(60):
            while not await home.refuses():
                await asyncio.sleep(0.02)
        assert await missing(probe, home) == ["draining"]
        with pytest.raises(aiohttp.ClientConnectionError):
            await idle.get(home.gateway.url + "/public/x")
        assert not any(request.done() for request in slow)

        home.app.go.set()
        for answer in await asyncio.gather(*slow):
            assert (answer.status, await answer.text()) == (200, "answered")
            assert answer.headers["Connection"].lower() == "close"
        assert await home.gateway.process.wait() == 0
        assert "drain.cut" not in home.gateway.log


@pytest.mark.parametrize("workers", BOTH)
async def test_readiness_is_down_before_the_port_is(tmp_path: Path, workers: int) -> None:
    async with world(tmp_path, workers=workers, server={"shutdown_delay": "5m"}) as home, fresh_client() as client:
        home.gateway.process.terminate()
        await until(lambda: home.gateway.log.count(".draining") >= workers)
        await drains(home)
        for _ in range(MANY):
            assert await missing(client, home) == ["draining"]
            async with client.get(home.gateway.url + "/public/x") as answer:
                assert answer.status == 200

        # A second signal does not wait any more.
        home.gateway.process.send_signal(signal.SIGINT)
        assert await home.gateway.process.wait() == 1
        assert "Traceback" not in home.gateway.log


@pytest.mark.parametrize("workers", BOTH)
async def test_what_outlasts_the_grace_is_broken_off_visibly(tmp_path: Path, workers: int) -> None:
    async with world(tmp_path, workers=workers, server={"shutdown_grace": "1s"}) as home:
        reader, writer = await asyncio.open_connection("127.0.0.1", home.port)
        # To HTTP/1.0 the end of an answer without a length is the end of its connection: this one must not look like that.
        writer.write(f"GET /public/endless HTTP/1.0\r\nHost: 127.0.0.1:{home.port}\r\n\r\n".encode())
        await reader.readuntil(b"begun\n")
        home.gateway.process.terminate()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        assert await home.gateway.process.wait() == 0
        assert "drain.cut" in home.gateway.log


@pytest.mark.parametrize("workers", BOTH)
async def test_a_stop_tells_websockets_that_it_goes_away(tmp_path: Path, workers: int) -> None:
    async with world(tmp_path, workers=workers, server={"shutdown_grace": "1h"}) as home, fresh_client() as client:
        origin = home.gateway.url
        async with client.ws_connect(origin + "/public/socket", origin=origin) as one, client.ws_connect(origin + "/public/x") as other:
            for channel in (one, other):
                await channel.send_str("hello")
                assert (await channel.receive()).data == "hello"
            home.gateway.process.terminate()
            for channel in (one, other):
                # The frame says so; what the library keeps of it depends on how soon the connection ends after it.
                told = await channel.receive()
                assert (told.type, told.data) == (aiohttp.WSMsgType.CLOSE, aiohttp.WSCloseCode.GOING_AWAY)
        assert await home.gateway.process.wait() == 0
        assert "drain.cut" not in home.gateway.log


async def test_no_grace_is_no_wait(tmp_path: Path) -> None:
    async with world(tmp_path, workers=1, server={"shutdown_grace": "0s"}) as home, aiohttp.ClientSession() as client:
        answer = await client.get(home.gateway.url + "/public/endless")
        assert await answer.content.readline() == b"begun\n"
        assert await home.gateway.stop() == 0


@pytest.mark.parametrize(
    ("spare", "says"),
    [
        pytest.param(0, "worker.not_started", id="nothing to tell a new worker by"),
        pytest.param(2, "worker.failed", id="a new worker that can open nothing"),
    ],
)
async def test_a_supervisor_that_cannot_start_a_worker_tries_again(tmp_path: Path, spare: int, says: str) -> None:
    async with world(tmp_path, workers=2) as home, fresh_client() as client:
        limits = resource.prlimit(home.pid, resource.RLIMIT_NOFILE)
        # The lowest free number is where the lost worker's line was.
        lost = max(home.workers())
        taken = {int(entry.name) for entry in Path(f"/proc/{home.pid}/fd").iterdir()}
        highest = max(taken) + spare
        resource.prlimit(home.pid, resource.RLIMIT_NOFILE, (highest, limits[1]))
        os.kill(lost, signal.SIGKILL)
        await until(lambda: home.gateway.log.count(says) > 1)
        resource.prlimit(home.pid, resource.RLIMIT_NOFILE, limits)
        await until(lambda: len(home.workers()) == 2 and home.gateway.log.count("worker.started") == 3)
        async with client.get(home.gateway.url + "/public/x") as answer:
            assert answer.status == 200
        assert await home.gateway.stop() == 0


async def test_a_worker_that_does_not_drain_is_killed_in_the_end(tmp_path: Path) -> None:
    async with world(tmp_path, workers=2, server={"shutdown_grace": "0s"}) as home:
        os.kill(min(home.workers()), signal.SIGSTOP)
        assert await home.gateway.stop() == 1
        assert '"ended": "signal 9"' in home.gateway.log


async def test_a_supervisor_that_is_killed_takes_its_workers_along(tmp_path: Path) -> None:
    async with world(tmp_path, workers=2) as home:
        workers = home.workers()
        home.gateway.process.kill()
        await until(lambda: all(gone(pid) for pid in workers))
        assert await home.refuses()


@pytest.mark.parametrize("workers", BOTH)
@pytest.mark.parametrize("shared", [pytest.param(False, id="by somebody"), pytest.param(True, id="by somebody who would share it")])
def test_an_address_that_is_taken_is_one_line_and_1(tmp_path: Path, workers: int, shared: bool) -> None:
    with socket.socket() as taken:
        if shared:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = configuration(
            port=port,
            admin_port=free_port(),
            issuer="http://127.0.0.1:9",
            client_id="gateway",
            client_secret_file=secret_file(tmp_path, "client_secret", SECRET),
            key_files=[new_key_file(tmp_path)],
            store="redis://127.0.0.1:9/0",
            upstream="http://127.0.0.1:9",
            # A shorter grace than a refresh may take would be a second line: a warning.
            server={"workers": workers, "shutdown_grace": "30s"},
        )
        path = tmp_path / "gateway.yaml"
        path.write_text(yaml.safe_dump(settings))
        done = subprocess.run(
            [sys.executable, "-m", "gateway", "serve", "--config", str(path)], capture_output=True, text=True, check=False, timeout=60
        )
    assert done.returncode == 1
    (line,) = (done.stdout + done.stderr).splitlines()
    assert json.loads(line)["event"] == "listen.failed"
    assert json.loads(line)["detail"] == f"127.0.0.1:{port}: Address already in use"


async def test_new_keys_reach_every_worker_and_those_that_come_later(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    first = new_key_file(keys, "first")
    async with world(tmp_path, workers=2, key_files=[first]) as home, UserAgent(home.gateway.url) as browser, fresh_client() as anybody:
        running = home.gateway

        async def statuses(headers: dict[str, str]) -> set[int]:
            found = set()
            for _ in range(MANY):
                async with anybody.get(running.url + "/", headers=headers) as answer:
                    found.add(answer.status)
            return found

        async def write_keys(text: str, times: int) -> None:
            running.config.write_text(text)
            running.hang_up()
            await until(lambda: running.log.count("secrets.reloaded") == times)

        text = running.config.read_text()
        await home.provider.sign_in(browser, running.url + "/", "alice")
        old = FETCH | {"Cookie": "; ".join(f"{cookie.key}={cookie.value}" for cookie in browser.cookies)}
        assert await statuses(old) == {200}

        second = new_key_file(keys, "second")
        await write_keys(text.replace(f"  - file: {first}", f"  - file: {second}\n  - file: {first}"), times=2)
        assert await statuses(old) == {200}
        await until(lambda: running.log.count("session_key.seals") == 2)
        async with UserAgent(running.url) as later:
            await home.provider.sign_in(later, running.url + "/", "bob")
            new = FETCH | {"Cookie": "; ".join(f"{cookie.key}={cookie.value}" for cookie in later.cookies)}
        await write_keys(text.replace(f"  - file: {first}", f"  - file: {second}"), times=4)
        assert await statuses(old) == {401}
        assert await statuses(new) == {200}

        # Whoever comes later has the new ones as well, whatever the file says by then.
        running.config.write_text("session: broken\n")
        running.hang_up()
        await until(lambda: "secrets.kept" in running.log)
        lost = min(home.workers())
        os.kill(lost, signal.SIGKILL)
        await until(lambda: gone(lost) and len(home.workers()) == 2)
        assert await statuses(old) == {401}
        assert await statuses(new) == {200}
        assert running.log.count("secrets.kept") == 1


async def test_an_admin_token_that_was_replaced_comes_back_with_no_worker(tmp_path: Path) -> None:
    token = secret_file(tmp_path, "admin_token", "the-old-token-that-leaked")
    async with world(tmp_path, workers=2, admin={"token": {"file": str(token)}}) as home, fresh_client() as anybody:

        async def statuses(sent: str) -> set[int]:
            found = set()
            for _ in range(MANY):
                async with anybody.get(home.gateway.admin + "/sessions", headers={"Authorization": f"Bearer {sent}"}) as answer:
                    found.add(answer.status)
            return found

        assert await statuses("the-old-token-that-leaked") == {200}
        token.write_text("the-new-token-of-operators")
        home.gateway.hang_up()
        await until(lambda: home.gateway.log.count("secrets.reloaded") == 2)
        for lost in home.workers():
            os.kill(lost, signal.SIGKILL)
            await until(lambda lost=lost: gone(lost) and len(home.workers()) == 2)
        await until(lambda: home.gateway.log.count("worker.started") == 4)
        assert await statuses("the-old-token-that-leaked") == {401}
        assert await statuses("the-new-token-of-operators") == {200}
