"""A real Redis Cluster on loopback: three primaries, with replicas if wanted, made by the cluster's own commands.

async with redis_cluster() as cluster:
    store = open_store(cluster.url)
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import redis as redis_py

from tests.support.redis_servers import RedisServer, server_binaries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.support.certificates import Certificates

SLOTS: Final = 16384
PRIMARIES: Final = 3
PATIENCE: Final = 30.0


@dataclass
class RedisCluster:
    """The nodes, primaries of the beginning first."""

    binary: Path
    replicas: int = 0
    password: str | None = None
    acl: str | None = None
    tls: Certificates | None = None
    nodes: list[RedisServer] = field(default_factory=list)

    @property
    def url(self) -> str:
        user = f":{self.password}@" if self.password else ""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:2])
        return f"rediss+cluster://{user}{hosts}?{self.tls.options}" if self.tls else f"redis+cluster://{user}{hosts}"

    @property
    def urls(self) -> list[str]:
        return [node.url for node in self.primaries()]

    async def start(self) -> None:
        """Start all nodes and return when each of them says that the cluster is well."""
        for _ in range(PRIMARIES + self.replicas):
            extra = ("--tls-cluster", "yes", "--tls-replication", "yes") if self.tls else ()
            self.nodes.append(
                RedisServer(binary=self.binary, password=self.password, acl=self.acl, clustered=True, tls=self.tls, extra=extra)
            )
        await asyncio.gather(*(asyncio.to_thread(node.start) for node in self.nodes))
        for number, node in enumerate(self.nodes):
            node.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number < PRIMARIES:
                first, after = SLOTS * number // PRIMARIES, SLOTS * (number + 1) // PRIMARIES
                assert node.command("CLUSTER", "ADDSLOTS", *range(first, after)) == b"+OK\r\n"
            node.command("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        await self.until(lambda: all(len(self.known(node)) == len(self.nodes) for node in self.nodes))
        for number, node in enumerate(self.nodes[PRIMARIES:]):
            primary = self.node_id(self.nodes[number % PRIMARIES])
            assert node.command("CLUSTER", "REPLICATE", primary) == b"+OK\r\n"
        await self.until(lambda: self.is_well() and self._all_know_replicas())

    async def close(self) -> None:
        for node in self.nodes:
            await asyncio.to_thread(node.close)

    async def until(self, happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not await asyncio.to_thread(happened):
                await asyncio.sleep(0.02)

    def is_well(self) -> bool:
        """Whether every running node says so, and is in step with its primary if it has one."""
        running = [node for node in self.nodes if node.running]
        return all(
            b"cluster_state:ok" in node.command("CLUSTER", "INFO") and b"master_link_status:down" not in node.command("INFO", "replication")
            for node in running
        )

    def _all_know_replicas(self) -> bool:
        return all(sum("slave" in line for line in self.known(node)) == self.replicas for node in self.nodes)

    def known(self, node: RedisServer) -> list[str]:
        """What a node knows of the others: a line each, without those of whom it only heard."""
        lines = node.command("CLUSTER", "NODES").decode().split("\n")
        return [line for line in lines if "connected" in line and "handshake" not in line]

    def node_id(self, node: RedisServer) -> str:
        found = re.search(rb"[0-9a-f]{40}", node.command("CLUSTER", "MYID"))
        assert found is not None
        return found[0].decode()

    def primaries(self) -> list[RedisServer]:
        """The running nodes that are primaries now."""
        return [node for node in self.nodes if node.running and b"role:master" in node.command("INFO", "replication")]

    def primary_of(self, key: str) -> RedisServer:
        """The running primary that serves this key, as itself says."""
        slot = self.slot(key)
        for node in self.primaries():
            for line in self.known(node):
                if "myself" in line:
                    for part in line.split()[8:]:
                        first, _, last = part.partition("-")
                        if first.isdigit() and int(first) <= slot <= int(last or first):
                            return node
        raise AssertionError("nobody serves this slot")

    def slot(self, key: str) -> int:
        return int(self.nodes[0].command("CLUSTER", "KEYSLOT", key)[1:-2])

    def begin_move(self, slot: int, *, source: RedisServer, target: RedisServer) -> None:
        """Open a slot for moving: keys that are not in the source any more are asked for at the target (ASK)."""
        assert target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", self.node_id(source)) == b"+OK\r\n"
        assert source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", self.node_id(target)) == b"+OK\r\n"

    def move_keys(self, slot: int, *, source: RedisServer, target: RedisServer) -> None:
        with redis_py.Redis(port=source.port, password=self.password) as client:
            for key in client.execute_command("CLUSTER GETKEYSINSLOT", slot, 1000):
                login = ("AUTH", self.password) if self.password else ()
                client.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, *login, "KEYS", key)

    def finish_move(self, slot: int, *, target: RedisServer) -> None:
        for node in (target, *(node for node in self.primaries() if node is not target)):
            assert node.command("CLUSTER", "SETSLOT", slot, "NODE", self.node_id(target)) == b"+OK\r\n"


@asynccontextmanager
async def redis_cluster(
    binary: Path | None = None,
    *,
    replicas: int = 0,
    password: str | None = None,
    acl: str | None = None,
    tls: Certificates | None = None,
) -> AsyncIterator[RedisCluster]:
    """A cluster that is well, ended on the way out."""
    cluster = RedisCluster(binary or server_binaries()[0], replicas=replicas, password=password, acl=acl, tls=tls)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.close()
