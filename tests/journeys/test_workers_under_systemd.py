"""What a service manager does to a gateway, done by the test: sockets passed in, words heard, a watchdog, a reload, a terminal's Ctrl+C."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.support.gateway_process import gateway
from tests.support.mirror_app import mirror_app
from tests.support.processes import children, gone, until
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import Any

BOTH = [pytest.param(1, id="a process alone"), pytest.param(2, id="two workers")]
SOMEBODY: dict[str, Any] = {"issuer": "http://127.0.0.1:9", "client_id": "gateway", "client_secret": "a client secret that is long"}
"""A provider that is down: nobody signs in here."""


class Heard:
    """A service manager's end of NOTIFY_SOCKET."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self.words: list[str] = []

    def has(self, word: str, times: int = 1) -> bool:
        while True:
            try:
                self.words += self._channel.recv(4096).decode().split("\n")
            except BlockingIOError:
                return self.words.count(word) >= times

    def states(self) -> list[str]:
        return [word for word in self.words if not word.startswith(("MONOTONIC_USEC=", "WATCHDOG="))]


@contextmanager
def service_manager(folder: Path) -> Iterator[tuple[str, Heard]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        path = str(folder / "notify")
        channel.bind(path)
        channel.setblocking(False)  # noqa: FBT003 - the name of the method says it
        yield path, Heard(channel)


def activated(sockets: Sequence[socket.socket], names: str | None = None) -> dict[str, Any]:
    """Options that start a gateway with ``sockets`` as descriptors from 3 on, meant for its own process id."""
    numbers = [sock.fileno() for sock in sockets]
    # By way of high numbers, so that none is overwritten before it was moved.
    moves = [f"exec {3 + at}>&{50 + at} {50 + at}>&-" for at in range(len(numbers))]
    saves = [f"exec {50 + at}>&{number}" for at, number in enumerate(numbers)]
    variables = f"LISTEN_PID=$$ LISTEN_FDS={len(sockets)}" + ("" if names is None else f" LISTEN_FDNAMES={names}")
    script = "; ".join([*saves, *moves, f'exec env {variables} "$@"'])
    return {"launcher": ("bash", "-c", script, "bash"), "pass_fds": numbers}


async def status(url: str, host: str) -> int:
    async with aiohttp.ClientSession() as client, client.get(url, headers={"Host": host}) as answer:
        return answer.status


@pytest.mark.parametrize("workers", BOTH)
async def test_sockets_that_were_passed_in_are_used_and_the_configured_addresses_are_not(tmp_path: Path, workers: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as public, socket.create_server(("127.0.0.1", 0)) as second:
        async with redis_server() as store, mirror_app() as app:
            options = activated([public, second], names="public:public")
            async with gateway(tmp_path, store=store.url, upstream=app.url, server={"workers": workers}, **options, **SOMEBODY) as running:
                host = running.url.removeprefix("http://")
                for sock in (public, second):
                    assert await status(f"http://127.0.0.1:{sock.getsockname()[1]}/public/x", host) == 200
                with pytest.raises(aiohttp.ClientConnectorError):
                    await status(running.url + "/public/x", host)
                assert await running.stop() == 0

            # Whoever holds the socket loses no connection over a restart: this one waits for the next gateway.
            waiting = asyncio.ensure_future(status(f"http://127.0.0.1:{public.getsockname()[1]}/public/x", host))
            async with gateway(
                tmp_path, port=int(host.rpartition(":")[2]), store=store.url, upstream=app.url, **activated([public]), **SOMEBODY
            ):
                assert await waiting == 200


async def test_a_socket_named_admin_answers_probes_alone(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probes:
        options = activated([probes], names="admin") | {"admin_port": probes.getsockname()[1]}
        async with mirror_app() as app, gateway(tmp_path, store="memory", upstream=app.url, **options, **SOMEBODY) as running:
            host = running.url.removeprefix("http://")
            assert await status(running.admin + "/livez", host) == 200
            assert await status(running.admin + "/public/x", host) == 404
            assert await status(running.url + "/public/x", host) == 200
            assert await status(running.url + "/livez", host) == 401


@pytest.mark.parametrize("workers", BOTH)
async def test_systemd_hears_of_the_start_a_reload_and_the_end(tmp_path: Path, workers: int) -> None:
    with service_manager(tmp_path) as (path, heard):
        async with (
            redis_server() as store,
            mirror_app() as app,
            gateway(
                tmp_path, store=store.url, upstream=app.url, server={"workers": workers}, environ={"NOTIFY_SOCKET": path}, **SOMEBODY
            ) as running,
        ):
            await until(lambda: heard.has("READY=1"))
            running.hang_up()
            await until(lambda: heard.has("READY=1", times=2))
            running.config.write_text("session: broken\n")
            running.hang_up()
            await until(lambda: heard.has("READY=1", times=3))
            assert await running.stop() == 0
            await until(lambda: heard.has("STOPPING=1"))
            assert heard.states() == ["READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]
            assert running.log.count("secrets.kept") == 1


@pytest.mark.parametrize("workers", BOTH)
async def test_the_watchdog_hears_from_a_gateway_that_turns(tmp_path: Path, workers: int) -> None:
    with service_manager(tmp_path) as (path, heard):
        environ = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "3000000"}
        async with (
            redis_server() as store,
            mirror_app() as app,
            gateway(tmp_path, store=store.url, upstream=app.url, server={"workers": workers}, environ=environ, **SOMEBODY) as running,
        ):
            await until(lambda: heard.has("WATCHDOG=1", times=3))
            if workers > 1:
                hung = min(children(running.process.pid))
                os.kill(hung, signal.SIGSTOP)
                await until(lambda: gone(hung) and "worker.hung" in running.log)
                await until(lambda: len(children(running.process.pid)) == workers)


async def test_one_signal_to_everybody_is_one_stop(tmp_path: Path) -> None:
    """A terminal's Ctrl+C reaches every process of the group, and the workers hear of it from their supervisor again."""
    async with (
        redis_server() as store,
        mirror_app() as app,
        gateway(tmp_path, store=store.url, upstream=app.url, server={"workers": 2, "shutdown_delay": "1s"}, **SOMEBODY) as running,
    ):
        for pid in (running.process.pid, *children(running.process.pid)):
            os.kill(pid, signal.SIGINT)
        assert await running.process.wait() == 0
        assert running.log.count("worker.stopped") == 2
        assert "Traceback" not in running.log


async def test_workers_share_a_unix_socket_and_outlive_each_other(tmp_path: Path) -> None:
    path = tmp_path / "gateway.sock"
    async with (
        redis_server() as store,
        mirror_app() as app,
        gateway(tmp_path, store=store.url, upstream=app.url, server={"workers": 2, "listen": f"unix:{path}"}, **SOMEBODY) as running,
    ):
        for _ in range(2):
            async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path), force_close=True)) as client:
                for _ in range(10):
                    async with client.get(running.url + "/public/x") as answer:
                        assert answer.status == 200
            lost = min(children(running.process.pid))
            os.kill(lost, signal.SIGKILL)
            await until(lambda: gone(lost) and len(children(running.process.pid)) == 2)  # noqa: B023 - used up in this round


@pytest.mark.parametrize("workers", BOTH)
async def test_a_hang_up_never_ends_it(tmp_path: Path, workers: int) -> None:
    """Not even at a moment when there is no handler yet."""
    async with (
        redis_server() as store,
        mirror_app() as app,
        gateway(tmp_path, store=store.url, upstream=app.url, server={"workers": workers}, **SOMEBODY) as running,
    ):
        for _ in range(20):
            running.hang_up()
            for pid in children(running.process.pid):
                os.kill(pid, signal.SIGHUP)
        if workers > 1:
            lost = min(children(running.process.pid))
            os.kill(lost, signal.SIGKILL)
            for _ in range(50):
                running.hang_up()
                await asyncio.sleep(0.005)
            await until(lambda: gone(lost) and len(children(running.process.pid)) == workers)
        assert await status(running.url + "/public/x", running.url.removeprefix("http://")) == 200
        assert "signal 1" not in running.log
