"""A log that cannot be written holds nobody up: refused requests are answered, crashed workers replaced, and a stop ends with 0."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
import yaml

from tests.support.gateway_process import configuration, new_key_file, secret_file
from tests.support.ports import free_port
from tests.support.processes import SECONDS, children, until
from tests.support.raw_caller import until_closed
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOWHERE = "http://127.0.0.1:9"
FULL = 1 << 20
"""Bytes of a log file that may not grow."""
BOTH = [pytest.param(1, id="a process alone"), pytest.param(2, id="two workers")]


@dataclass
class Mute:
    """A gateway of which nobody hears anything."""

    url: str
    admin: str
    process: asyncio.subprocess.Process
    workers: int

    async def refuses(self) -> int:
        """The status of a request for a host that is not ours, on a connection of its own."""
        answer = await until_closed(self.url, b"GET / HTTP/1.1\r\nHost: elsewhere.example\r\nConnection: close\r\n\r\n")
        return int(answer.split()[1])

    async def serves(self) -> bool:
        try:
            async with aiohttp.ClientSession() as client, client.get(self.admin + "/livez") as answer:
                return answer.status == 200 and (self.workers == 1 or len(children(self.process.pid)) == self.workers)
        except aiohttp.ClientError:
            return False

    async def stop(self) -> int:
        self.process.terminate()
        async with asyncio.timeout(SECONDS):
            return await self.process.wait()


@asynccontextmanager
async def mute(folder: Path, workers: int, stderr: int, *, launcher: tuple[str, ...] = ()) -> AsyncIterator[Mute]:
    async with AsyncExitStack() as stack:
        store = "memory" if workers == 1 else (await stack.enter_async_context(redis_server())).url
        port, admin_port = free_port(), free_port()
        path = folder / "gateway.yaml"
        settings = configuration(
            port=port,
            admin_port=admin_port,
            issuer=NOWHERE,
            client_id="gateway",
            client_secret_file=secret_file(folder, "client_secret", "a client secret that is long"),
            key_files=[new_key_file(folder)],
            store=store,
            upstream=NOWHERE,
            server={"workers": workers},
        )
        path.write_text(yaml.safe_dump(settings))
        process = await asyncio.create_subprocess_exec(
            *launcher, sys.executable, "-m", "gateway", "serve", "--config", str(path), stdin=asyncio.subprocess.DEVNULL, stderr=stderr
        )
        gateway = Mute(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin_port}", process, workers)
        try:
            async with asyncio.timeout(SECONDS):
                while not await gateway.serves():
                    assert process.returncode is None
                    await asyncio.sleep(0.05)
            yield gateway
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def replaces_a_crashed_worker(gateway: Mute) -> None:
    if gateway.workers == 1:
        return
    before = children(gateway.process.pid)
    lost = min(before)
    os.kill(lost, signal.SIGKILL)
    await until(lambda: len(now := children(gateway.process.pid)) == gateway.workers and lost not in now)


@pytest.mark.parametrize("workers", BOTH)
async def test_a_pipe_that_nobody_reads_holds_nobody_up(tmp_path: Path, workers: int) -> None:
    reading, writing = os.pipe()
    try:
        # It is full already, so that the very first line finds no room.
        os.set_blocking(writing, False)
        with suppress(BlockingIOError):
            while True:
                os.write(writing, b"\n" * 4096)
        os.set_blocking(writing, True)
        async with mute(tmp_path, workers, writing) as gateway:
            for _ in range(40):
                assert set(await asyncio.gather(*(gateway.refuses() for _ in range(50)))) == {421}
            await replaces_a_crashed_worker(gateway)
            assert await gateway.refuses() == 421
            assert await gateway.stop() == 0
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("workers", BOTH)
@pytest.mark.parametrize(
    "closing", [pytest.param('exec "$@" 2>&-', id="stderr closed"), pytest.param('exec "$@" 0<&- >&- 2>&-', id="all three closed")]
)
async def test_a_log_that_was_closed_before_the_start(tmp_path: Path, workers: int, closing: str) -> None:
    async with mute(tmp_path, workers, asyncio.subprocess.DEVNULL, launcher=("sh", "-c", closing, "sh")) as gateway:
        assert [await gateway.refuses() for _ in range(5)] == [421] * 5
        await replaces_a_crashed_worker(gateway)
        assert await gateway.refuses() == 421
        for pid in {gateway.process.pid, *children(gateway.process.pid)}:
            assert Path(f"/proc/{pid}/fd/2").readlink() == Path("/dev/null"), "no connection has the number of stderr"
        assert await gateway.stop() == 0


@pytest.mark.parametrize("workers", BOTH)
async def test_a_log_file_that_may_not_grow(tmp_path: Path, workers: int) -> None:
    log = os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        os.truncate(log, FULL)
        limiting = f'ulimit -f {FULL // 512}; exec "$@"'
        async with mute(tmp_path, workers, log, launcher=("sh", "-c", limiting, "sh")) as gateway:
            assert resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE)[0] == FULL
            assert [await gateway.refuses() for _ in range(30)] == [421] * 30
            await replaces_a_crashed_worker(gateway)
            assert await gateway.refuses() == 421
            assert await gateway.stop() == 0
        assert (tmp_path / "log").stat().st_size == FULL
    finally:
        os.close(log)
