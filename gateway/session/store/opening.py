"""From the one line an operator writes (``session.store``) to a store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.oidc.registration import Secret
    from gateway.session.store.protocol import SessionStore


def open_store(address: str | Secret, *, prefix: str = "gateway:", clock: Callable[[], float] = time.time) -> SessionStore:
    """The store at ``memory`` or a ``redis://``, ``rediss://`` or ``unix://`` URL; nothing is connected yet.

    ``ValueError``, with a text that never holds the URL, for any other address.
    """
    raise NotImplementedError
