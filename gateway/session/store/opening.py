"""From the one line an operator writes (``session.store``) to a store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.session.store.memory import MemoryStore
from gateway.session.store.redis import RedisStore
from gateway.session.store.redis_address import parse_redis_address
from gateway.session.store.redis_options import RedisOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.oidc.registration import Secret
    from gateway.session.store.protocol import SessionStore
    from gateway.session.store.redis_address import RedisAddress


def open_store(address: str | Secret, options: RedisOptions | None = None, *, clock: Callable[[], float] = time.time) -> SessionStore:
    """The store at ``memory`` or at an address of Redis (``redis_address``); nothing is connected yet.

    ``ValueError``, with a text that holds no part of a URL, for any other address.
    """
    servers = address_of(address, options)
    return MemoryStore(clock=clock) if servers is None else RedisStore(servers)


def address_of(address: str | Secret, options: RedisOptions | None = None) -> RedisAddress | None:
    """Where the store is; None for ``memory``. ``ValueError`` as by ``open_store``."""
    url = address if isinstance(address, str) else address.reveal()
    return None if url == "memory" else parse_redis_address(url, options or RedisOptions())
