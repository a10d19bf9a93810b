"""How the gateway behaves towards Redis, whichever server an address leads to: names of keys, bounds, and the files that TLS needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PREFIX: Final = "gateway:"
MAX_CONNECTIONS: Final = 32
CONNECT_TIMEOUT: Final = 2.0
ANSWER_TIMEOUT: Final = 1.0
POOL_WAIT: Final = 1.0
"""Seconds a command waits for a free connection."""


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """``prefix`` begins the name of every key. ``connections`` bounds them for each server. Times are seconds, files paths of PEM."""

    prefix: str = PREFIX
    connections: int = MAX_CONNECTIONS
    connect_timeout: float = CONNECT_TIMEOUT
    timeout: float = ANSWER_TIMEOUT
    ca_file: str | None = None
    certificate: str | None = None
    key: str | None = None

    @property
    def patience(self) -> float:
        """Seconds that a caller waits at most, whatever the waits of pool, connecting and answers add up to."""
        return POOL_WAIT + self.connect_timeout + 2 * self.timeout
