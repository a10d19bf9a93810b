"""Connections to Redis as the store relies on them, whatever an address or a library's default says.

Answers RD-05, RD-13 and RD-14: bytes undecoded, nothing sent twice, a bounded pool with a bounded wait, TLS that verifies, no maintenance
notifications that would move a connection elsewhere. A connection to a server that takes no writes any more is not used again: after a
failover the next command finds the new primary, whether a name, an address or a sentinel leads there.

The options below are redis-py's of 8.1; ``pyproject.toml`` pins it.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, MasterDownError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import ConnectionError as Disconnected
from redis.maint_notifications import MaintNotificationsConfig
from typing_extensions import override

from gateway.session.store.redis_options import POOL_WAIT
from gateway.session.store.redis_tls import TlsContext

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.session.store.redis_address import HostPort, Login, RedisAddress

    Find = Callable[[], Awaitable[HostPort]]

COMMANDS: Final = 2
"""RESP's version for commands."""
PUSHES: Final = 3
"""RESP's version for the connection on which the server speaks unasked."""


class NotPrimary(RedisError):
    """Who answers is a replica: what it knows may be old, and it takes no writes."""


class _Renewed(AbstractConnection):
    """Not used again once its server said that it is no primary, or none yet. However a connection fails, that is a ``RedisError``."""

    @override
    async def send_packed_command(self, *arguments: Any, **options: Any) -> None:
        task = asyncio.current_task()
        before = task.cancelling() if task else 0
        try:
            await super().send_packed_command(*arguments, **options)
        except RuntimeError as error:
            # uvloop's word for a transport that has closed, where asyncio says nothing or ConnectionError.
            raise Disconnected("it closed before anything was sent") from error
        if task and task.cancelling() > before:
            # wait_for of Python 3.11 drops a cancellation that comes when its work is done: who was to stop would go on for ever.
            await self.disconnect(nowait=True)
            raise asyncio.CancelledError

    @override
    async def read_response(self, *arguments: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*arguments, **options)
        except (ReadOnlyError, MasterDownError, BusyLoadingError):
            self.mark_for_reconnect()  # type: ignore[no-untyped-call]  # redis-py gives it no types
            raise
        except ResponseError as error:
            # Redis before 7 tells what a script met within its own words.
            if "READONLY" in str(error):
                self.mark_for_reconnect()  # type: ignore[no-untyped-call]  # the same
            raise


class _Found(_Renewed, Connection):
    """Asks where the primary is whenever it connects, and believes only a server that says it is one."""

    def __init__(self, *, find: Find, **options: Any) -> None:
        super().__init__(**options)
        self._find = find

    @override
    async def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:
        if self.is_connected:
            return
        self.host, self.port = await self._find()
        await super().connect_check_health(check_health, retry_socket_connect)
        await self.send_command("ROLE", check_health=False)
        role = await self.read_response()
        if not is_primary(role):
            await self.disconnect()
            raise NotPrimary("who should be the primary is a replica")


class _TcpConnection(_Renewed, Connection):
    pass


class _Verified(SSLConnection):
    """TLS by a context of ours."""

    def __init__(self, *, tls: TlsContext, **options: Any) -> None:
        super().__init__(**options)
        self._tls = tls

    @override
    def _connection_arguments(self) -> dict[str, Any]:
        return {"host": self.host, "port": self.port, "ssl": self._tls.current()}


class _TlsConnection(_Renewed, _Verified):
    pass


class _SocketConnection(_Renewed, UnixDomainSocketConnection):
    pass


class _FoundTlsConnection(_Found, _Verified):
    pass


class Pool(BlockingConnectionPool):
    """A bounded pool whose connections can be given up all at once."""

    def renew(self) -> None:
        """Use no connection of before for another command; those in use end theirs."""
        for connection in chain(self._available_connections, self._in_use_connections):
            connection.mark_for_reconnect()  # type: ignore[no-untyped-call]  # the same

    @override
    async def ensure_connection(self, connection: AbstractConnection) -> None:
        if connection.should_reconnect():  # type: ignore[no-untyped-call]  # the same
            await connection.disconnect()
        await super().ensure_connection(connection)


def connection_pool(  # noqa: PLR0913 - what differs between one server, a primary to be found, a sentinel and a connection for pushes
    address: RedisAddress,
    *,
    host: HostPort | None = None,
    find: Find | None = None,
    login: Login | None = None,
    protocol: int = COMMANDS,
    connections: int | None = None,
) -> Pool:
    """A pool of connections to ``host`` (the address's only one unless given), or to where ``find`` leads at each connecting."""
    options: dict[str, Any] = {
        "max_connections": address.options.connections if connections is None else connections,
        "timeout": POOL_WAIT,
        "db": address.database,
        "socket_connect_timeout": address.options.connect_timeout,
        "socket_timeout": address.options.timeout,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "protocol": protocol,
        "decode_responses": False,
        "driver_info": None,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    who = address.login if login is None else login
    options |= {"username": who.username, "password": who.password}
    if address.path:
        return Pool(connection_class=_SocketConnection, path=address.path, **options)
    options["socket_keepalive"] = True
    if address.tls:
        options["tls"] = TlsContext(address.options)
    if find is not None:
        return Pool(connection_class=_FoundTlsConnection if address.tls else _Found, find=find, **options)
    options["host"], options["port"] = address.hosts[0] if host is None else host
    return Pool(connection_class=_TlsConnection if address.tls else _TcpConnection, **options)


def sentinel_pool(address: RedisAddress, host: HostPort) -> Pool:
    """A pool of one connection to one sentinel: no database there, and a login of its own."""
    return connection_pool(replace(address, database=0), host=host, login=address.sentinel_login, connections=1)


def is_primary(role: object) -> bool:
    """Whether this answer to ROLE is a primary's."""
    return isinstance(role, list) and bool(role) and role[0] == b"master"
