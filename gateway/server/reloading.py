"""A reload that fails keeps what was there, says so, and ends nobody: an operator's mistake at night signs no one out.

Nor does one that succeeds. The workers of a gateway read a new key each at a moment of its own; what one of them sealed under it at once
would be nobody's to the next. So a key that comes just now opens at once, and seals ``SETTLING`` later.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gateway.errors import ConfigRefused
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.config.settings import Settings
    from gateway.session.sealing import Keyring

SETTLING: Final = 5.0
"""Seconds that all workers have to read what they are told to read at once."""

log = logs.get("server")


def read_anew(reload: Callable[[], Settings]) -> Settings | None:
    """The settings as they are written now; None, and a line in the log, when they cannot be had, whatever the reason."""
    try:
        return reload()
    except ConfigRefused as refused:
        log.warning("secrets.kept", faults=len(refused.faults), first=refused.faults[0] if refused.faults else "")
    except Exception as fault:  # noqa: BLE001 - whatever it is, the service goes on; its words may quote a secret
        log.warning("secrets.kept", fault=type(fault).__name__)
    return None


class KeyTurnover:
    """The session keys of this process, reload after reload. The log names keys by their ids, which tell nothing of them."""

    def __init__(self, keyring: Keyring, keys: Sequence[bytes], *, settling: float = SETTLING) -> None:
        self._keyring = keyring
        self._settling = settling
        self._known = tuple(keys)
        """Those that every process has had the time to read; the one that seals is the first."""
        self._timer: asyncio.TimerHandle | None = None

    def take(self, keys: Sequence[bytes]) -> None:
        """Open what any of these keys sealed, at once; seal under the first of them, as soon as it is known to everybody.

        Where none of those before is left, the first seals at once: there is nobody to wait for.
        """
        self.close()
        known = tuple(key for key in self._known if key in keys)
        if not known:
            known = tuple(keys)
        elif keys[0] in known:
            known = (keys[0], *(key for key in known if key != keys[0]))
        self._keyring.replace((known[0], *(key for key in keys if key != known[0])))
        self._known = known
        if len(known) < len(keys):
            self._timer = asyncio.get_running_loop().call_later(self._settling, self._settled, tuple(keys))

    def close(self) -> None:
        """Leave what has not settled unsettled."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _settled(self, keys: tuple[bytes, ...]) -> None:
        self._timer = None
        sealed = self._keyring.ids[0]
        self._known = keys
        self._keyring.replace(keys)
        if self._keyring.ids[0] != sealed:
            log.info("session_key.seals", key=self._keyring.ids[0])
