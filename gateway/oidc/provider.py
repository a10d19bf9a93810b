"""One provider, kept fresh: its metadata and keys, and the exchanges that need them.

Answers OpenID Connect Discovery section 4 and Core section 10.1.1 (a new kid: fetch the keys again, at a bounded rate). The gateway starts
while the provider is down; what was known goes on being used while it is fetched anew; a provider that fails is left alone for a while; and
a caller that goes away takes nothing from those who wait beside it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeVar

from gateway.errors import IdTokenRefused, ProviderFailed
from gateway.oidc.client import BackChannel
from gateway.oidc.end_session import end_session_url
from gateway.oidc.id_token import RefreshedClaims, VerifiedClaims, WrongTime, refuse_unsigned, verify_id_token, verify_refreshed_id_token
from gateway.oidc.jwks import KeySet, read_jwks
from gateway.oidc.jws import UnknownKey
from gateway.oidc.kept import Kept
from gateway.oidc.metadata import Metadata, discovery_url, read_metadata
from gateway.oidc.refresh_request import refresh_request
from gateway.oidc.revoking import Revoking
from gateway.oidc.token_request import token_request
from gateway.oidc.token_response import Tokens, read_refresh_response, read_token_response
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.oidc.callback import ValidatedCallback
    from gateway.oidc.id_token import Before
    from gateway.oidc.registration import ProviderSettings, Secret

METADATA_FRESH: Final = 3600.0
KEYS_FRESH: Final = 1800.0
KEYS_USABLE: Final = 3600.0

T = TypeVar("T")
log = logs.get("oidc")


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A finished handshake: what the provider granted, who signed in, and the id of the provider in the configuration."""

    tokens: Tokens
    claims: VerifiedClaims
    provider: str


@dataclass(frozen=True, slots=True)
class Refreshed:
    """A refreshed grant; ``claims`` are those of a new id_token, None when there is none, and ``tokens`` has the one before then."""

    tokens: Tokens
    claims: RefreshedClaims | None


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
        self._channel = BackChannel(settings)
        self._revoking = Revoking(self._channel, settings=lambda: self.settings, metadata=self.metadata, sleep=sleep)
        self._metadata = Kept(self._fetch_metadata, monotonic, fresh=METADATA_FRESH, usable=float("inf"), name="metadata")
        self._keys = Kept(self._fetch_keys, monotonic, fresh=KEYS_FRESH, usable=KEYS_USABLE, name="keys")

    def replace_secret(self, secret: Secret) -> None:
        """Use another client secret from the next request on."""
        self.settings = replace(self.settings, client_secret=secret)

    async def metadata(self) -> Metadata:
        """The provider's metadata, with the keys on their way; raises a leaf of ``ProviderFailed`` when there is none yet."""
        metadata = await self._metadata.get()
        if self._keys.value is None:
            self._keys.refresh_if_due()
        return metadata

    async def keys(self) -> KeySet:
        """The provider's keys; raises a leaf of ``ProviderFailed`` when there are none yet."""
        return await self._keys.get()

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

        return SignedIn(tokens=tokens, claims=await self._by_any_key(verified, keys), provider=settings.id)

    async def refresh(self, tokens: Tokens, before: Before) -> Refreshed:
        """Exchange a refresh token, once, and verify that a new id_token is about the same sign-in; ``tokens`` has a refresh token.

        Raises:
            GrantRefused: the provider does not accept the refresh token.
            IdTokenRefused: the new id_token is of another sign-in or of nobody; what was granted with it is being revoked.
            ProviderUnavailable: it cannot be reached, or asks to be left alone; the refresh token is spent or not, as with the next two.
            ProviderTimeout: no answer in time.
            ProviderFailed: any other answer that is not a usable one, ``invalid_client`` among them.
        """
        assert tokens.refresh_token is not None
        metadata = await self.metadata()
        keys = await self._keys.get()
        settings = self.settings
        request = refresh_request(tokens.refresh_token, settings, metadata)
        sent_at = self._clock()
        answer = await self._channel.post_form(request, "token endpoint", total_timeout=settings.refresh_timeout)
        granted, id_token = read_refresh_response(
            answer.status, answer.document, retry_after=answer.retry_after, before=tokens, now=sent_at, provider=settings.id
        )
        if id_token is None:
            return Refreshed(tokens=granted, claims=None)

        def verified(keys: KeySet) -> RefreshedClaims:
            return verify_refreshed_id_token(
                id_token,
                keys=keys,
                settings=settings,
                metadata=metadata,
                before=before,
                access_token=granted.access_token,
                now=self._clock(),
            )

        try:
            try:
                claims = await self._by_any_key(verified, keys)
            except (UnknownKey, ProviderFailed) as failure:
                # It cannot be told who signed it, for the moment. The tokens came from the provider itself (Core section 3.1.3.7, step 6)
                # and are kept, or keys that are late would cost every grant that is due meanwhile; nothing is believed of the id_token.
                refuse_unsigned(id_token, settings=settings, metadata=metadata, before=before, access_token=granted.access_token)
                log.warning("refresh.id_token_unread", provider=settings.id, reason=failure.detail)
                return Refreshed(tokens=granted, claims=None)
        except WrongTime as refused:
            # It is about this sign-in, and a clock is wrong, maybe ours: that must not end what one clock alone finds fault with.
            log.error("refresh.id_token_out_of_time", provider=settings.id, reason=refused.detail)  # noqa: TRY400 - where is known
            return Refreshed(tokens=granted, claims=None)
        except IdTokenRefused:
            self._revoking.begin(granted)
            raise
        return Refreshed(tokens=replace(granted, id_token=id_token), claims=claims)

    async def _by_any_key(self, verified: Callable[[KeySet], T], keys: KeySet) -> T:
        """What ``verified`` makes of the keys, or of newer ones where none of these fits.

        Raises:
            ProviderFailed: newer ones cannot be had.
            UnknownKey: there are none, or none of them fits.
            IdTokenRefused: anything else that ``verified`` refuses.
        """
        try:
            return verified(keys)
        except UnknownKey:
            newer = await self._keys.newer(keys)
            if newer is None:
                raise UnknownKey("no key of the provider fits, and the keys were fetched again just now") from None
            return verified(newer)

    async def revoke(self, tokens: Tokens) -> None:
        """Revoke what was granted: two seconds a token, and never an error, since nobody is kept signed in by it.

        What the provider puts off or does not answer is tried again beside everything else, so many times and until ``close``.
        """
        await self._revoking.revoke(tokens)

    def end_session_url(
        self, metadata: Metadata, *, id_token_hint: str | None, post_logout_redirect_uri: str, state: str | None
    ) -> str | None:
        """Where to send the browser to sign out at the provider too; None when the provider has no such endpoint."""
        return end_session_url(
            metadata, self.settings, id_token_hint=id_token_hint, post_logout_redirect_uri=post_logout_redirect_uri, state=state
        )

    async def close(self) -> None:
        """End what is under way and close the connections; what is asked later and needs one raises ``ProviderUnavailable``."""
        await self._revoking.close()
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
