"""A real Sentinel on loopback: a master, its replica, and sentinels that agree on a failover within a second or two.

async with redis_sentinel() as house:
    store = open_store(house.url)
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import redis as redis_py
from redis.exceptions import RedisError

from tests.support.ports import free_port
from tests.support.redis_servers import RedisServer, server_binaries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.certificates import Certificates

SERVICE: Final = "sessions"
PATIENCE: Final = 30.0


@dataclass
class SentinelProcess:
    """One sentinel. It rewrites its own configuration, so it has a folder."""

    binary: Path
    master_port: int
    quorum: int
    password: str | None = None
    acl: str | None = None
    tls: Certificates | None = None
    port: int = 0
    _folder: tempfile.TemporaryDirectory[str] = field(default_factory=lambda: tempfile.TemporaryDirectory(prefix="gateway-sentinel-"))
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, or start again with what it knew."""
        path = Path(self._folder.name) / "sentinel.conf"
        if not path.exists():
            self.port = free_port()
            lines = [
                *self._listen(),
                "bind 127.0.0.1",
                f"dir {self._folder.name}",
                f"sentinel monitor {SERVICE} 127.0.0.1 {self.master_port} {self.quorum}",
                f"sentinel down-after-milliseconds {SERVICE} 700",
                f"sentinel failover-timeout {SERVICE} 3000",
                f"sentinel parallel-syncs {SERVICE} 1",
            ]
            if self.password:
                lines += [f"sentinel auth-pass {SERVICE} {self.password}", f"requirepass {self.password}"]
            if self.acl:
                (Path(self._folder.name) / "users.acl").write_text(self.acl)
                lines.append(f"aclfile {self._folder.name}/users.acl")
            path.write_text("\n".join(lines) + "\n")
        log = (Path(self._folder.name) / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [self.binary, str(path), "--sentinel"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _listen(self) -> list[str]:
        if self.tls is None:
            return [f"port {self.port}"]
        certificate, key = self.tls.server
        files = (f"tls-cert-file {certificate}", f"tls-key-file {key}", f"tls-ca-cert-file {self.tls.authority}")
        return ["port 0", f"tls-port {self.port}", "tls-replication yes", "tls-auth-clients yes", *files]

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def close(self) -> None:
        self.kill()
        self._folder.cleanup()

    def command(self, *words: str | int) -> object:
        files: dict[str, Any] = {}
        if self.tls:
            certificate, key = self.tls.client_files
            files = {"ssl": True, "ssl_ca_certs": str(self.tls.authority), "ssl_certfile": str(certificate), "ssl_keyfile": str(key)}
        with redis_py.Redis(port=self.port, password=self.password, socket_timeout=2, **files) as client:
            return client.execute_command(*words)

    def master_port_now(self) -> int | None:
        """Where the sentinel believes the master to be."""
        try:
            answer = self.command("SENTINEL GET-MASTER-ADDR-BY-NAME", SERVICE)
        except (RedisError, OSError):
            return None
        return int(answer[1]) if isinstance(answer, tuple | list) else None


@dataclass
class SentinelHouse:
    """Two servers, of which one is the master, and the sentinels that watch them."""

    binary: Path
    quorum: int = 1
    password: str | None = None
    acls: tuple[str, str] | None = None
    """The users of the servers, and those of the sentinels."""
    tls: Certificates | None = None
    servers: list[RedisServer] = field(default_factory=list)
    sentinels: list[SentinelProcess] = field(default_factory=list)

    def __post_init__(self) -> None:
        extra = ("--repl-diskless-sync-delay", "0", *(("--tls-replication", "yes") if self.tls else ()))
        of_servers, of_sentinels = self.acls or (None, None)
        self.servers = [
            RedisServer(binary=self.binary, password=self.password, extra=extra, acl=of_servers, tls=self.tls) for _ in range(2)
        ]
        self.sentinels = [
            SentinelProcess(self.binary, 0, self.quorum, password=self.password, acl=of_sentinels, tls=self.tls) for _ in range(2)
        ]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        login = f":{self.password}@" if self.password else ""
        options = "&".join([*([f"sentinel_password={self.password}"] if self.password else ()), *([self.tls.options] if self.tls else ())])
        return f"redis{'s' if self.tls else ''}+sentinel://{login}{hosts}/{SERVICE}/0{'?' if options else ''}{options}"

    @property
    def urls(self) -> list[str]:
        return [self.master.url]

    @property
    def master(self) -> RedisServer:
        """Whom the first running sentinel names."""
        ports = [port for sentinel in self.sentinels if (port := sentinel.master_port_now()) is not None]
        return next(server for server in self.servers if server.port == ports[0])

    async def start(self) -> None:
        for server in self.servers:
            await asyncio.to_thread(server.start)
        master, *replicas = self.servers
        for replica in replicas:
            assert replica.command("REPLICAOF", "127.0.0.1", master.port) == b"+OK\r\n"
        await self.until(lambda: all(b"master_link_status:up" in replica.command("INFO", "replication") for replica in replicas))
        for sentinel in self.sentinels:
            sentinel.master_port = master.port
            await asyncio.to_thread(sentinel.start)
        await self.until(lambda: all(self._knows(sentinel) for sentinel in self.sentinels))

    def _knows(self, sentinel: SentinelProcess) -> bool:
        try:
            found = sentinel.command("SENTINEL MASTER", SERVICE)
        except (RedisError, OSError):
            return False
        assert isinstance(found, dict)
        return found["num-slaves"] == len(self.servers) - 1 and found["num-other-sentinels"] == len(self.sentinels) - 1

    async def failed_over(self, *, away_from: RedisServer) -> RedisServer:
        """Return the new master when every sentinel names it and it takes writes."""

        def done() -> bool:
            ports = {sentinel.master_port_now() for sentinel in self.sentinels}
            return len(ports) == 1 and None not in ports and ports != {away_from.port} and self._is_master(self.master)

        await self.until(done)
        return self.master

    def _is_master(self, server: RedisServer) -> bool:
        return b"role:master" in server.command("INFO", "replication")

    async def until(self, happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not await asyncio.to_thread(happened):
                await asyncio.sleep(0.02)

    async def close(self) -> None:
        for each in (*self.sentinels, *self.servers):
            await asyncio.to_thread(each.close)


@asynccontextmanager
async def redis_sentinel(
    binary: Path | None = None,
    *,
    quorum: int = 1,
    password: str | None = None,
    acls: tuple[str, str] | None = None,
    tls: Certificates | None = None,
) -> AsyncIterator[SentinelHouse]:
    """A master, a replica and two sentinels that know them and each other, ended on the way out."""
    house = SentinelHouse(binary or server_binaries()[0], quorum=quorum, password=password, acls=acls, tls=tls)
    try:
        await house.start()
        yield house
    finally:
        await house.close()
