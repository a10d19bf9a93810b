"""One attempt to renew the grant of one session: under a lock, written before it is used, and only over the tokens it was made from.

Answers RF-02, RF-04, RF-05, RF-10 and RF-11. The lock keeps a refresh token from being shown twice, which may end the sign-in; what makes a
write right is the fence, the sealed tokens that the grant came from: whatever becomes of the lock, no grant is written over a newer one.
``invalid_grant`` ends a session after a second look at the store alone; whatever else goes wrong rests, under the lock, so that every
replica keeps to it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from gateway.errors import (
    GrantRefused,
    IdTokenRefused,
    ProviderFailed,
    ProviderUnavailable,
    StoreUnavailable,
)
from gateway.oidc.id_token import Before
from gateway.session.grant import grant_of_kept
from gateway.session.grant_write import GrantWrite
from gateway.session.record import session_after
from gateway.session.refresh_rules import LONGEST_REST, rest_after
from gateway.session.sealed_values import open_session, open_tokens, seal_session, seal_tokens
from gateway.session.store.protocol import UnknownToReplicas
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from gateway.oidc.provider import Provider, Refreshed
    from gateway.oidc.token_response import Tokens
    from gateway.session.grant import Grant
    from gateway.session.handle import Handle
    from gateway.session.record import Session
    from gateway.session.refresh_rules import RefreshRules
    from gateway.session.store.protocol import SessionStore

LOCK_LIFETIME: Final = 10.0
"""Seconds after which a replica that was killed keeps nobody from going on."""
LOCK_KEPT_EVERY: Final = LOCK_LIFETIME / 3
LAST_WRITE: Final = 2.0
"""Seconds beyond the end of a process's grace for the write of a grant that is there: cut, it would be a sign-in."""
OWNER_BYTES: Final = 16
MOST_OWNERS: Final = 10_000

log = logs.get("session")


@dataclass(frozen=True, slots=True)
class Outcome:
    """``current``: there is a grant that is not due; ``over``: the session has ended; ``held``: another replica is at it, or lets it rest.

    ``seconds`` is how long that may last, how long to rest, or until it is due. ``provider`` tells what was learnt of the provider: None
    when it was not asked, else whether it is well. ``asked`` are the seconds that it wants to be left alone for.
    """

    kind: Literal["current", "over", "held", "failed"]
    seconds: float = 0.0
    provider: bool | None = None
    asked: float = 0.0


@dataclass(frozen=True, slots=True)
class _Look:
    """What the store has of a session: the grant that may be due, and the sealed tokens, which are the fence."""

    session: Session
    tokens: Tokens
    grant: Grant
    fence: bytes


class Renewal:
    """How the grants of sessions are renewed. ``end`` destroys a session."""

    def __init__(  # noqa: PLR0913 - its parts, and what tests put in the place of time and chance
        self,
        store: SessionStore,
        provider: Provider,
        rules: RefreshRules,
        *,
        wanted: frozenset[str],
        end: Callable[[Handle], Awaitable[object]],
        forget: Callable[[str], None],
        clock: Callable[[], float],
        randomness: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._write = GrantWrite(store)
        self._provider = provider
        self._rules = rules
        self._wanted = wanted
        self._end = end
        self._forget = forget
        self._clock = clock
        self._randomness = randomness
        self._owners: dict[str, bytes] = {}

    @property
    def patience(self) -> float:
        """Seconds after which an attempt is over, or the lock of one that was killed."""
        return max(LOCK_LIFETIME, self._provider.settings.total_timeout) + 2

    def close(self) -> None:
        """Let go of what has only to be made safer."""
        self._write.close()

    def chance(self) -> float:
        """A number from 0 to 1 that nobody can tell."""
        return int.from_bytes(self._randomness(4), "big") / 2**32

    async def is_settled(self, handle: Handle) -> bool:
        """Whether the store has a grant that is not due, or no session any more."""
        look = await self._look(handle)
        return look == "over" or (look != "unreadable" and self._clock() < self._rules.due_at(look.grant))

    async def attempt(self, handle: Handle, *, failures: int) -> Outcome:
        """Renew the grant if it is due and nobody else is at it; ``failures`` is how many attempts failed before this one.

        Raises:
            StoreUnavailable: before anything was asked of the provider, or after all attempts to write what it gave.
        """
        with suppress(ProviderFailed):
            # All that is needed of the provider beside the grant, before anybody is kept waiting; what fails is told when it is asked.
            await self._provider.metadata()
            await self._provider.keys()
        before = self._owners.pop(handle.key, None)
        owner = before or self._randomness(OWNER_BYTES)
        try:
            held = await self._store.lock(handle.key, owner=owner, lifetime=LOCK_LIFETIME)
            if held is not None and not (before and await self._store.extend(handle.key, owner=owner, lifetime=LOCK_LIFETIME)):
                return Outcome("held", held)
            outcome = await self._under_lock(handle, owner, failures)
        except StoreUnavailable:
            self._keep_owner(handle.key, owner)
            raise
        # The lock goes by itself where this is not heard.
        with suppress(StoreUnavailable):
            if outcome.kind == "failed":
                self._keep_owner(handle.key, owner)
                await self._store.extend(handle.key, owner=owner, lifetime=outcome.seconds)
            elif outcome.kind != "over":
                await self._store.unlock(handle.key, owner=owner)
        return outcome

    def _keep_owner(self, key: str, owner: bytes) -> None:
        """The lock may still be ours at the next attempt: a rest, or what a store did after nobody heard it any more."""
        self._owners[key] = owner
        if len(self._owners) > MOST_OWNERS:
            del self._owners[next(iter(self._owners))]

    async def _look(self, handle: Handle) -> _Look | Literal["over", "unreadable"]:
        """What there is. ``unreadable``: a record, and by a second look too no tokens of ours beside it."""
        for _ in range(2):
            # The tokens first: if they are replaced before the record is read, the fence does not hold.
            fence = await self._store.tokens(handle.key)
            record = (await self._store.read(handle.key)).record
            session = None if record is None else open_session(handle, record)
            if session is None:
                return "over"
            tokens = open_tokens(handle, fence)
            if fence is not None and tokens is not None:
                return _Look(session, tokens, session.grant or grant_of_kept(tokens, created=session.created), fence)
        return "unreadable"

    async def _under_lock(self, handle: Handle, owner: bytes, failures: int) -> Outcome:
        look = await self._look(handle)
        if look == "unreadable":
            # Evicted, or written over: nothing could renew it any more, and no app would get what it waits for (RD-08).
            await self._end(handle)
            log.error("session.ended", by="tokens_unreadable", key=handle.key)
            return Outcome("over")
        if look == "over":
            self._forget(handle.key)
            return Outcome("over")
        left = self._rules.due_at(look.grant) - self._clock()
        if left > 0:
            if look.session.grant is None:
                record = seal_session(handle, replace(look.session, grant=look.grant))
                with suppress(UnknownToReplicas):
                    await self._store.replace(handle.key, record=record, tokens=look.fence, fence=look.fence)
            self._forget(handle.key)
            return Outcome("current", left)
        if look.tokens.refresh_token is None:
            return Outcome("failed", LONGEST_REST)
        if look.session.provider != self._provider.settings.id:
            # Another id in the configuration signs everybody out: nobody can be asked any more whether they are still signed in.
            await self._end(handle)
            log.info("session.ended", by="provider_unknown", key=handle.key)
            return Outcome("over")
        return await self._asked(handle, owner, look, failures)

    async def _asked(self, handle: Handle, owner: bytes, look: _Look, failures: int) -> Outcome:
        """What the provider says of a grant that is due, and what that does to the session."""
        now = self._clock()
        try:
            refreshed = await self._granted(handle, owner, look)
        except GrantRefused as refused:
            return await self._second_look(handle, owner, look, refused)
        except IdTokenRefused as refused:
            return await self._ended(handle, refused)
        except ProviderFailed as failure:
            return self._failed(handle, failure, failures)
        return await _to_the_end(self._written(handle, look, refreshed, now))

    async def _granted(self, handle: Handle, owner: bytes, look: _Look) -> Refreshed:
        identity = look.session.identity
        before = Before(
            issuer=identity.issuer,
            subject=identity.subject,
            auth_time=look.session.auth_time,
            nonce=look.grant.nonce,
            issued=look.grant.id_issued,
        )
        keeping = asyncio.create_task(self._keep_lock(handle.key, owner))
        try:
            return await self._provider.refresh(look.tokens, before)
        finally:
            keeping.cancel()
            await asyncio.wait({keeping})

    async def _keep_lock(self, key: str, owner: bytes) -> None:
        """Keep the lock until the provider has answered, or has not in time: each of its steps is bounded."""
        while True:
            await asyncio.sleep(LOCK_KEPT_EVERY)
            with suppress(StoreUnavailable):
                await self._store.extend(key, owner=owner, lifetime=LOCK_LIFETIME)

    async def _second_look(self, handle: Handle, owner: bytes, look: _Look, refused: GrantRefused) -> Outcome:
        """What a refusal means: another replica was quicker, or is at it, or the provider has ended this sign-in."""
        if not await self._store.extend(handle.key, owner=owner, lifetime=LOCK_LIFETIME):
            # Whoever took the lock meanwhile may have used the same refresh token, and its answer may be on the way.
            held = await self._store.lock(handle.key, owner=owner, lifetime=LOCK_LIFETIME)
            if held is not None:
                return Outcome("held", held, provider=True)
        fence = await self._store.tokens(handle.key)
        if fence == look.fence:
            return await self._ended(handle, refused)
        self._forget(handle.key)
        return Outcome("over" if fence is None else "current", provider=True)

    async def _ended(self, handle: Handle, refused: GrantRefused | IdTokenRefused) -> Outcome:
        await self._end(handle)
        log.info("session.ended", by=refused.code, key=handle.key, detail=refused.detail)
        return Outcome("over", provider=True)

    def _failed(self, handle: Handle, failure: ProviderFailed, failures: int) -> Outcome:
        asked = failure.asked_wait if isinstance(failure, ProviderUnavailable) else 0.0
        seconds = rest_after(failures + 1, chance=self.chance(), asked=asked)
        log.warning("refresh.failed", key=handle.key, error=failure.code, detail=failure.detail, again_in=round(seconds, 1))
        return Outcome("failed", seconds, provider=False, asked=asked)

    async def _written(self, handle: Handle, look: _Look, refreshed: Refreshed, now: float) -> Outcome:
        session = self._after(look, refreshed, now)
        record, tokens = seal_session(handle, session), seal_tokens(handle, refreshed.tokens)
        written = await self._write.write(handle.key, record=record, tokens=tokens, fence=look.fence)
        self._forget(handle.key)
        if written:
            log.info("session.refreshed", key=handle.key, provider=session.provider)
            return Outcome("current", self._rules.due_at(session.grant) - self._clock(), provider=True)
        kept = await self._store.tokens(handle.key)
        if kept is None:
            # It ended while it was being renewed: nobody may use what the provider gave for it (RF-10).
            await self._provider.revoke(refreshed.tokens)
            return Outcome("over", provider=True)
        if kept != tokens:
            log.info("refresh.overtaken", key=handle.key)
        return Outcome("current", provider=True)

    def _after(self, look: _Look, refreshed: Refreshed, now: float) -> Session:
        try:
            return session_after(look.session, refreshed, look.grant, wanted=self._wanted, now=now)
        except IdTokenRefused as refused:
            log.warning("refresh.claims_refused", detail=refused.detail)
            return session_after(look.session, refreshed, look.grant, wanted=frozenset(), now=now)


async def _to_the_end(writing: Coroutine[object, object, Outcome]) -> Outcome:
    """Wait for it, and for a little longer when who waits is cancelled."""
    task = asyncio.ensure_future(writing)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(TimeoutError, StoreUnavailable):
            async with asyncio.timeout(LAST_WRITE):
                await task
        raise
