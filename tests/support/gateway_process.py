"""A real ``gateway serve`` process with a YAML file of the test's own, and what it printed."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import secrets
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import yaml

from tests.support.leaks import sweep
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

START_SECONDS = 30.0
FAULTS_OF_OURS = re.compile(
    r'^.*"(?:AttributeError|NameError|UnboundLocalError|TypeError|KeyError|IndexError|AssertionError)[ "].*$', re.MULTILINE
)
"""Lines of the log that name a mistake in the program, whatever else the test is about."""


@dataclass
class GatewayProcess:
    """A running gateway: ``url`` is its public origin, ``admin`` the admin origin, ``config`` its file."""

    url: str
    admin: str
    config: Path
    process: asyncio.subprocess.Process
    printed: bytearray

    @property
    def log(self) -> str:
        return self.printed.decode("utf-8", "replace")

    def hang_up(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    async def stop(self) -> int:
        """SIGTERM, then wait; the exit code."""
        if self.process.returncode is None:
            self.process.terminate()
        return await self.process.wait()


def configuration(
    *,
    port: int,
    admin_port: int,
    issuer: str,
    client_id: str,
    client_secret_file: Path,
    key_files: Sequence[Path],
    store: str,
    upstream: str | None,
    **changes: Any,
) -> dict[str, Any]:
    """The contract's YAML as a mapping; ``changes`` replace or extend whole sections, a mapping key by key."""
    settings: dict[str, Any] = {
        "server": {"listen": f"127.0.0.1:{port}", "public_url": f"http://127.0.0.1:{port}", "shutdown_grace": "5s"},
        "admin": {"listen": f"127.0.0.1:{admin_port}"},
        "providers": [{"id": "main", "issuer": issuer, "client_id": client_id, "client_secret": {"file": str(client_secret_file)}}],
        "session": {"store": store, "keys": [{"file": str(path)} for path in key_files]},
        "routes": [
            {"path": "/public/", "upstream": upstream, "access": "public"},
            {"path": "/open/", "upstream": upstream, "access": "optional"},
            {"path": "/", "upstream": upstream, "access": "signed_in"},
        ],
    }
    for section, change in changes.items():
        if section == "provider":
            settings["providers"][0] |= change
        elif isinstance(change, dict):
            settings[section] |= change
        else:
            settings[section] = change
    return settings


def new_key_file(folder: Path, name: str = "session_key") -> Path:
    """A fresh session key, as the documentation tells operators to make one."""
    path = folder / name
    value = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    path.write_text(value + "\n")
    path.chmod(0o600)
    sweep.secret(value, "session key")
    return path


def secret_file(folder: Path, name: str, value: str) -> Path:
    path = folder / name
    path.write_text(value)
    path.chmod(0o600)
    sweep.secret(value, name)
    return path


@asynccontextmanager
async def gateway(
    folder: Path,
    *,
    issuer: str,
    client_id: str,
    client_secret: str,
    store: str,
    upstream: str | None,
    port: int | None = None,
    admin_port: int | None = None,
    key_files: Sequence[Path] | None = None,
    environ: Mapping[str, str] | None = None,
    launcher: Sequence[str] = (),
    pass_fds: Sequence[int] = (),
    **changes: Any,
) -> AsyncIterator[GatewayProcess]:
    """Write the file, start the process, wait until it listens; at the end stop it and hand what it printed to the leak sweep.

    ``launcher`` is a command that ends by running its arguments as itself; ``pass_fds`` are descriptors for it to inherit.
    """
    port = port or free_port()
    admin_port = admin_port or free_port()
    settings = configuration(
        port=port,
        admin_port=admin_port,
        issuer=issuer,
        client_id=client_id,
        client_secret_file=secret_file(folder, "client_secret", client_secret),
        key_files=key_files or [new_key_file(folder)],
        store=store,
        upstream=upstream,
        **changes,
    )
    path = folder / "gateway.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    process = await asyncio.create_subprocess_exec(
        *launcher,
        sys.executable,
        "-m",
        "gateway",
        "serve",
        "--config",
        str(path),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | dict(environ or {}),
        pass_fds=pass_fds,
    )
    printed = bytearray()
    reader = asyncio.ensure_future(_collect(process, printed))
    running = GatewayProcess(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin_port}", path, process, printed)
    try:
        await _wait_until_alive(running)
        yield running
    finally:
        await running.stop()
        await reader
        sweep.output(running.log, "gateway log")
        sweep.gateways += 1
        assert not (faults := FAULTS_OF_OURS.findall(running.log)), f"a fault of the gateway's own: {faults[0]}"


async def _collect(process: asyncio.subprocess.Process, printed: bytearray) -> None:
    assert process.stdout is not None
    while chunk := await process.stdout.read(65536):
        printed.extend(chunk)


async def _wait_until_alive(running: GatewayProcess) -> None:
    async with aiohttp.ClientSession() as client, asyncio.timeout(START_SECONDS):
        while True:
            if running.process.returncode is not None:
                raise AssertionError(f"gateway ended with {running.process.returncode}: {running.log}")
            try:
                async with client.get(running.admin + "/livez") as answer:
                    if answer.status == 200 and "gateway.started" in running.log:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)
