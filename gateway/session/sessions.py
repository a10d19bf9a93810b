"""Sessions: found by cookie, begun by a finished sign-in, ended for good. The only file of this room that waits for a store."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.identity import Identity
    from gateway.oidc.provider import SignedIn
    from gateway.oidc.token_response import Tokens
    from gateway.session.cookies import CookieNames
    from gateway.session.lifecycle import Lifetimes
    from gateway.session.record import Session
    from gateway.session.sealing import Keyring
    from gateway.session.store.protocol import SessionStore

AbsentReason = Literal["none", "unreadable", "ended", "idle", "expired", "ambiguous"]


@dataclass(frozen=True, slots=True)
class Handle:
    """What a cookie opens: the session's key in the store (a hash of its id) and the key of its values."""

    key: str
    data_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Found:
    """A live session. ``last_seen`` and ``idle_expires`` are epoch seconds."""

    session: Session
    handle: Handle
    last_seen: float
    idle_expires: float


@dataclass(frozen=True, slots=True)
class Absent:
    """No session, and why; ``presented`` tells that some cookie of that name came (so there is one to delete)."""

    reason: AbsentReason
    presented: bool


class Sessions:
    """All that the gateway does with sessions. Every method but ``replaced_by_next_login`` raises ``StoreUnavailable`` in an outage."""

    def __init__(
        self,
        keyring: Keyring,
        store: SessionStore,
        lifetimes: Lifetimes,
        *,
        clock: Callable[[], float] = time.time,
        randomness: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._keyring = keyring
        self._store = store
        self._lifetimes = lifetimes
        self._clock = clock
        self._randomness = randomness

    async def find(self, cookie_headers: Sequence[bytes], names: CookieNames) -> Found | Absent:
        """The one live session of these raw Cookie lines; ``HeadersRefused`` for lines that are no cookies (CK-17)."""
        raise NotImplementedError

    async def begin(self, signed_in: SignedIn, identity: Identity, names: CookieNames, *, replaces: str | None) -> tuple[str, Found]:
        """A session under a new id, and the value of its cookie; the session under the store key ``replaces`` is destroyed with it."""
        raise NotImplementedError

    async def end(self, handle: Handle) -> Tokens | None:
        """Destroy the session; its tokens, for revocation, to the first who ends it."""
        raise NotImplementedError

    async def tokens(self, handle: Handle) -> Tokens | None:
        """The tokens of a session, None when it has ended."""
        raise NotImplementedError

    async def claim_login(self, state: str) -> bool:
        """Whether this is the first callback with this ``state``, over all replicas (ST-05)."""
        raise NotImplementedError

    def replaced_by_next_login(self, found: Found) -> str:
        """What ``Login.replaces`` carries so that the next login destroys this session."""
        return found.handle.key

    async def ready(self) -> None:
        """Return when the store answers."""
        raise NotImplementedError

    async def close(self) -> None:
        """Let go of the store."""
        raise NotImplementedError
