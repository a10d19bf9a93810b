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


def open_store(address: str | Secret, options: RedisOptions | None = None, *, clock: Callable[[], float] = time.time) -> SessionStore:
    """The store at ``memory`` or at an address of Redis (``redis_address``); nothing is connected yet.

    ``ValueError``, with a text that holds no part of a URL, for any other address.
    """
    url = address if isinstance(address, str) else address.reveal()
    if url == "memory":
        return MemoryStore(clock=clock)
    return RedisStore(parse_redis_address(url, options or RedisOptions()))
