"""A worker whose loop does not turn, without any watchdog of systemd's: it is replaced, and a pause of everything is no hang."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp

from tests.support.gateway_process import gateway
from tests.support.mirror_app import mirror_app
from tests.support.processes import children, gone, until
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.gateway_process import GatewayProcess

SILENCE = 2.0
SUPERVISOR = f"""
import os, sys
from pathlib import Path
from gateway.config.compiling import load_settings
from gateway.server.sockets import open_listening
from gateway.server.systemd import Notifier
from gateway.server.workers import Supervisor
from gateway.telemetry import logs

def read():
    return load_settings(Path(sys.argv[-1]), environ=os.environ)[0]

logs.configure()
settings = read()
listening = open_listening(settings.server.listen, settings.admin.listen, workers=settings.server.workers)
sys.exit(Supervisor(settings, listening, read, Notifier(), silence={SILENCE}).run())
"""


@asynccontextmanager
async def two_workers(folder: Path) -> AsyncIterator[GatewayProcess]:
    async with (
        redis_server() as store,
        mirror_app() as app,
        gateway(
            folder,
            issuer="http://127.0.0.1:9",
            client_id="gateway",
            client_secret="a client secret that is long",
            store=store.url,
            upstream=app.url,
            server={"workers": 2},
            launcher=(sys.executable, "-c", SUPERVISOR),
        ) as running,
    ):
        yield running


async def test_a_worker_that_hangs_is_replaced(tmp_path: Path) -> None:
    async with two_workers(tmp_path) as running:
        hung = min(children(running.process.pid))
        os.kill(hung, signal.SIGSTOP)
        await until(lambda: gone(hung) and "worker.hung" in running.log)
        await until(lambda: len(children(running.process.pid)) == 2 and running.log.count('"worker.started"') == 3)
        for _ in range(10):
            async with (
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as client,
                client.get(running.url + "/public/x") as answer,
            ):
                assert answer.status == 200


async def test_nobody_is_replaced_when_all_of_it_stood_still(tmp_path: Path) -> None:
    """A container that was paused, a machine that slept."""
    async with two_workers(tmp_path) as running:
        workers = children(running.process.pid)
        everybody = (running.process.pid, *workers)
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        stopped = time.monotonic()
        while time.monotonic() < stopped + SILENCE * 1.5:
            await asyncio.sleep(0.1)
        for pid in everybody:
            os.kill(pid, signal.SIGCONT)
        running.hang_up()
        await until(lambda: running.log.count("secrets.reloaded") == 2)
        assert children(running.process.pid) == workers
        assert "worker.hung" not in running.log
