"""One provider, kept fresh: its metadata and keys, and the exchanges that need them.

Answers OpenID Connect Discovery section 4 and Core section 10.1.1 (a new kid: fetch the keys again, at a bounded rate). The gateway starts
while the provider is down; what was known goes on being used while it is fetched anew; a provider that fails is left alone for a while; and
a caller that goes away takes nothing from those who wait beside it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from gateway.errors import GatewayError, IdTokenRefused, ProviderFailed, ProviderUnavailable
from gateway.oidc.client import BackChannel
from gateway.oidc.end_session import end_session_url
from gateway.oidc.id_token import VerifiedClaims, verify_id_token
from gateway.oidc.jwks import KeySet, read_jwks
from gateway.oidc.jws import UnknownKey
from gateway.oidc.metadata import Metadata, discovery_url, read_metadata
from gateway.oidc.revocation import Doomed, asked_wait, doomed_tokens, is_put_off, revocation_request
from gateway.oidc.token_request import token_request
from gateway.oidc.token_response import Tokens, read_token_response
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.oidc.callback import ValidatedCallback
    from gateway.oidc.registration import ProviderSettings, Secret

METADATA_FRESH: Final = 3600.0
KEYS_FRESH: Final = 1800.0
KEYS_USABLE: Final = 3600.0
UNKNOWN_KEY_INTERVAL: Final = 10.0
"""Seconds between two fetches of the keys that a token asked for by naming a key we do not have."""

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
REVOCATION_TIMEOUT: Final = 2.0
REVOCATION_PAUSES: Final = (2.0, 10.0)
"""Seconds before each further try at a revocation that the provider put off or did not answer."""
MAX_PUT_OFF: Final = 100
"""Revocations that may wait for another try at one time; an outage of the provider does not pile them up."""

T = TypeVar("T")
log = logs.get("oidc")


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A finished handshake: what the provider granted, who signed in, and the id of the provider in the configuration."""

    tokens: Tokens
    claims: VerifiedClaims
    provider: str


class _Kept(Generic[T]):
    """A document of the provider: fetched when first needed, by one task for all who wait; the old one serves until it is replaced.

    Up to ``fresh`` seconds of age it is simply used; from then on it is used and fetched anew in the background; from ``usable`` on it is
    waited for. After a failure nothing is fetched for a pause that doubles from ``FIRST_PAUSE`` to ``LONGEST_PAUSE``. All of it is measured
    by ``now``, a monotonic clock: a wall clock that is set makes nothing old and nothing young.
    """

    def __init__(self, fetch: Callable[[], Awaitable[T]], now: Callable[[], float], *, fresh: float, usable: float, name: str) -> None:
        self._fetch, self._now, self._fresh, self._usable, self._name = fetch, now, fresh, usable, name
        self.value: T | None = None
        self._closed = False
        self._fetched_at = 0.0
        self._task: asyncio.Task[T | ProviderFailed] | None = None
        self._failures, self._failed_at = 0, 0.0
        self._failure: ProviderFailed | None = None
        self._asked_at: float | None = None

    async def get(self) -> T:
        """The document; raises the ``ProviderFailed`` leaf of the last attempt when there is none that may be used."""
        age = self._now() - self._fetched_at
        if self.value is not None and age < self._usable:
            if age >= self._fresh:
                self.refresh_if_due()
            return self.value
        self.refresh_if_due()
        return await self._wait()

    def refresh_if_due(self) -> None:
        """Start a fetch, unless one is under way or the last one failed just now."""
        if self._task is None and not self._closed and not self._pausing():
            self._task = asyncio.create_task(self._attempt(), name=f"fetch {self._name}")

    async def newer(self, than: T) -> T | None:
        """A document that was fetched after ``than``; None when one was asked for in this way just now and did not help.

        Raises:
            ProviderFailed: the fetch failed.
        """
        if self.value is not None and self.value is not than:
            return self.value
        now = self._now()
        if self._task is None:
            if self._asked_at is not None and now - self._asked_at < UNKNOWN_KEY_INTERVAL:
                return None
            self._asked_at = now
            self.refresh_if_due()
        return await self._wait()

    async def close(self) -> None:
        """End a fetch that is under way, and begin none any more; those who wait for one get ``ProviderUnavailable``."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _wait(self) -> T:
        outcome: T | ProviderFailed | None = None if self._closed else self._failure
        if (task := self._task) is not None:
            # Not awaited itself: whoever goes away leaves the fetch to those who stay.
            await asyncio.wait({task})
            outcome = None if task.cancelled() else task.result()
        if outcome is None:
            raise ProviderUnavailable(f"the {self._name} is fetched no more: the gateway stops")
        if isinstance(outcome, ProviderFailed):
            # A new one for each caller: an exception that is raised twice gathers the tracebacks of strangers.
            raise type(outcome)(outcome.detail)
        return outcome

    async def _attempt(self) -> T | ProviderFailed:
        try:
            value = await self._fetch()
        except Exception as fault:  # noqa: BLE001 - whatever went wrong, the pause holds, and nobody waits for an exception that nobody takes
            failure = fault if isinstance(fault, ProviderFailed) else ProviderFailed(f"the {self._name} broke off: {type(fault).__name__}")
            self._failures += 1
            self._failed_at, self._failure = self._now(), failure
            log.warning("document.failed", document=self._name, reason=failure.detail, error=failure.code, attempts=self._failures)
            return failure
        else:
            self.value, self._fetched_at = value, self._now()
            self._failures, self._failure = 0, None
            return value
        finally:
            self._task = None

    def _pausing(self) -> bool:
        pause = min(FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10), LONGEST_PAUSE)
        return self._failure is not None and self._now() - self._failed_at < pause


class Provider:
    """One provider of the configuration. Make it inside the running loop or outside; it connects when first asked.

    ``clock`` gives epoch seconds and judges tokens alone; ``monotonic`` tells how old metadata and keys are, and when to ask again;
    ``sleep`` waits between two tries at a revocation.
    """

    def __init__(
        self,
        settings: ProviderSettings,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._sleep = sleep
        self._put_off: set[asyncio.Task[None]] = set()
        self._closed = False
        self._channel = BackChannel(settings)
        self._metadata = _Kept(self._fetch_metadata, monotonic, fresh=METADATA_FRESH, usable=float("inf"), name="metadata")
        self._keys = _Kept(self._fetch_keys, monotonic, fresh=KEYS_FRESH, usable=KEYS_USABLE, name="keys")

    def replace_secret(self, secret: Secret) -> None:
        """Use another client secret from the next request on."""
        self.settings = replace(self.settings, client_secret=secret)

    async def metadata(self) -> Metadata:
        """The provider's metadata, with the keys on their way; raises a leaf of ``ProviderFailed`` when there is none yet."""
        metadata = await self._metadata.get()
        if self._keys.value is None:
            self._keys.refresh_if_due()
        return metadata

    async def redeem(self, callback: ValidatedCallback, *, code_verifier: str, nonce: str, redirect_uri: str) -> SignedIn:
        """Exchange the code of a callback, once, and verify who signed in.

        The keys come first, so that a code is not spent on a provider whose tokens cannot be verified.

        Raises:
            LoginDenied, ProviderRefused: the callback carries an error instead of a code.
            CodeRefused: the provider does not accept the code.
            ProviderFailed: or a leaf of it: the provider did not give a usable answer.
            IdTokenRefused: the id_token did not pass; the tokens are dropped.
        """
        code = callback.require_code()
        metadata = await self.metadata()
        keys = await self._keys.get()
        settings = self.settings
        request = token_request(callback, settings, metadata, redirect_uri=redirect_uri, code_verifier=code_verifier)
        answer = await self._channel.post_form(request, "token endpoint")
        tokens = read_token_response(answer.status, answer.document, now=self._clock(), provider=settings.id)

        def verified(keys: KeySet) -> VerifiedClaims:
            return verify_id_token(
                tokens.id_token,
                keys=keys,
                settings=settings,
                metadata=metadata,
                nonce=nonce,
                access_token=tokens.access_token,
                now=self._clock(),
                code=code,
            )

        try:
            claims = verified(keys)
        except UnknownKey:
            newer = await self._keys.newer(keys)
            if newer is None:
                raise IdTokenRefused("no key of the provider fits, and the keys were fetched again just now") from None
            claims = verified(newer)
        return SignedIn(tokens=tokens, claims=claims, provider=settings.id)

    async def revoke(self, tokens: Tokens) -> None:
        """Revoke what was granted: two seconds a token, and never an error, since nobody is kept signed in by it.

        What the provider puts off or does not answer is tried again beside everything else, so many times and until ``close``.
        """
        left, wait = await self._revoke_once(doomed_tokens(tokens))
        if left:
            again = () if self._closed or len(self._put_off) >= MAX_PUT_OFF else REVOCATION_PAUSES
            task = asyncio.create_task(self._revoke_again(left, wait, again), name="revoke again")
            self._put_off.add(task)
            task.add_done_callback(self._put_off.discard)

    async def _revoke_again(self, left: tuple[Doomed, ...], wait: float, pauses: tuple[float, ...]) -> None:
        for pause in pauses:
            await self._sleep(max(pause, wait))
            left, wait = await self._revoke_once(left)
            if not left:
                return
        log.warning("revocation.given_up", provider=self.settings.id, tokens=len(left))

    async def _revoke_once(self, doomed: tuple[Doomed, ...]) -> tuple[tuple[Doomed, ...], float]:
        """Try each token; those that are worth another try, and the seconds that the provider wants to be left alone for."""
        left, wait = list[Doomed](), 0.0
        for each in doomed:
            try:
                async with asyncio.timeout(REVOCATION_TIMEOUT):
                    request = revocation_request(each, self.settings, await self.metadata())
                    if request is None:
                        return (), 0.0
                    answer = await self._channel.post_unread(request, "revocation endpoint")
            except Exception as failure:  # noqa: BLE001 - whatever went wrong, the other token is still to be revoked
                reason = failure.detail if isinstance(failure, GatewayError) else type(failure).__name__
                log.warning("revocation.failed", provider=self.settings.id, reason=reason)
                left.append(each)
                continue
            if answer.status != 200:  # noqa: PLR2004 - RFC 7009 section 2.2 names this one status
                log.warning("revocation.refused", provider=self.settings.id, status=answer.status)
            if is_put_off(answer.status):
                left.append(each)
                wait = max(wait, asked_wait(answer.retry_after))
        return tuple(left), wait

    def end_session_url(
        self, metadata: Metadata, *, id_token_hint: str | None, post_logout_redirect_uri: str, state: str | None
    ) -> str | None:
        """Where to send the browser to sign out at the provider too; None when the provider has no such endpoint."""
        return end_session_url(
            metadata, self.settings, id_token_hint=id_token_hint, post_logout_redirect_uri=post_logout_redirect_uri, state=state
        )

    async def close(self) -> None:
        """End what is under way and close the connections; what is asked later and needs one raises ``ProviderUnavailable``."""
        self._closed = True
        for task in self._put_off:
            task.cancel()
        await asyncio.gather(*self._put_off, return_exceptions=True)
        await self._metadata.close()
        await self._keys.close()
        await self._channel.close()

    async def _fetch_metadata(self) -> Metadata:
        document = await self._channel.get_json(discovery_url(self.settings.issuer), "metadata document")
        metadata = read_metadata(document, self.settings)
        if (known := self._metadata.value) is not None and known.hosts != metadata.hosts:
            log.warning("metadata.hosts_changed", provider=self.settings.id, before=known.hosts, after=metadata.hosts)
        offered = metadata.id_token_signing_alg_values_supported
        if offered is not None and not set(offered) & set(self.settings.id_token_algs):
            log.warning("metadata.no_common_alg", provider=self.settings.id, pinned=self.settings.id_token_algs, offered=offered)
        return metadata

    async def _fetch_keys(self) -> KeySet:
        metadata = await self._metadata.get()
        media_types = frozenset({"application/json", "application/jwk-set+json"})
        document = await self._channel.get_json(metadata.jwks_uri, "JWK set", media_types=media_types)
        return read_jwks(document, provider=self.settings.id)
