"""The one place that chooses how an address is reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.session.store.redis_address import Kind
from gateway.session.store.redis_cluster import ClusterServers
from gateway.session.store.redis_sentinel import SentinelServers
from gateway.session.store.redis_server import OneServer

if TYPE_CHECKING:
    from gateway.session.store.redis_address import RedisAddress
    from gateway.session.store.servers import Servers


def open_servers(address: RedisAddress) -> Servers:
    """The servers at this address; nothing is connected yet."""
    match address.kind:
        case Kind.ONE:
            return OneServer(address)
        case Kind.SENTINEL:
            return SentinelServers(address)
        case Kind.CLUSTER:
            return ClusterServers(address)
