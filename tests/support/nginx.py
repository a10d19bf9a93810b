"""Debian's nginx with the documented recipe ``deploy/nginx/gateway.conf``, so that the file people copy is the file that was tried.

Only the lines that the recipe marks with "change" are replaced: three addresses and the server's name.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.requirements import need

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

RECIPE = Path(__file__).parents[2] / "deploy" / "nginx" / "gateway.conf"
GROUP = "nginx"
START_ATTEMPTS = 200
"""Looks at the port, 50 ms apart: a hang must end the test."""


@dataclass(frozen=True, slots=True)
class Nginx:
    """A running nginx; ``origin`` is what the browser sees, for example ``http://127.0.0.1:40123``."""

    origin: str
    port: int
    error_log: Path


def rendered(recipe: str, *, gateway_port: int, app_port: int, public_port: int) -> str:
    """The recipe with this test's addresses. Each marked line must stand in it exactly once."""
    for line, replacement in (
        ("server 127.0.0.1:8080;", f"server 127.0.0.1:{gateway_port};"),
        ("server 127.0.0.1:3000;", f"server 127.0.0.1:{app_port};"),
        ("listen 80;", f"listen 127.0.0.1:{public_port};"),
        ("server_name apps.example.org;", "server_name 127.0.0.1;"),
    ):
        assert recipe.count(line) == 1, f"the recipe has no single line {line!r}"
        recipe = recipe.replace(line, replacement)
    return recipe


@contextlib.asynccontextmanager
async def nginx_in_front(*, gateway_port: int, app_port: int, public_port: int) -> AsyncIterator[Nginx]:
    """Nginx on ``public_port`` of loopback, asking the gateway on ``gateway_port``, forwarding to the app on ``app_port``.

    The gateway's ``public_url`` must be the yielded ``origin``, and ``trusted_proxies`` must hold ``127.0.0.1/32``.
    """
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    need(GROUP, program is not None, "nginx on PATH (Debian package nginx-light)")
    assert program is not None
    with tempfile.TemporaryDirectory(prefix="nginx-") as name:
        folder = Path(name)
        recipe = rendered(RECIPE.read_text(), gateway_port=gateway_port, app_port=app_port, public_port=public_port)
        (folder / "gateway.conf").write_text(recipe)
        (folder / "nginx.conf").write_text(_main(folder))
        process = await asyncio.create_subprocess_exec(
            program,
            *("-p", name, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")),
            stdin=asyncio.subprocess.DEVNULL,
        )
        try:
            await _listening(process, public_port, folder / "error.log")
            yield Nginx(f"http://127.0.0.1:{public_port}", public_port, folder / "error.log")
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


def _main(folder: Path) -> str:
    """The least main configuration: one process in the foreground that writes below ``folder`` only."""
    temporary = "\n".join(f"    {kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return f"""
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 256; }}
http {{
    access_log off;
{temporary}
    include {folder}/gateway.conf;
}}
"""


async def _listening(process: asyncio.subprocess.Process, port: int, error_log: Path) -> None:
    for _ in range(START_ATTEMPTS):
        if process.returncode is not None:
            raise _failed(f"nginx ended with {process.returncode}", error_log)
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.05)
    raise _failed("nginx did not listen", error_log)


def _failed(what: str, error_log: Path) -> RuntimeError:
    return RuntimeError(f"{what}: {error_log.read_text() if error_log.exists() else 'no error log'}")
