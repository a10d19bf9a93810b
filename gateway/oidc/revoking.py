"""Revocations, sent: two seconds a token, beside everything else, and tried again where the provider put one off.

Answers RFC 7009 section 2.2.1. What ``revocation`` builds and reads goes over the back channel here; nobody waits for a provider that is
slow, and an outage of it piles nothing up.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gateway.errors import GatewayError
from gateway.oidc.retry_after import asked_wait
from gateway.oidc.revocation import LONGEST_WAIT, Doomed, doomed_tokens, is_put_off, revocation_request
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from gateway.oidc.client import BackChannel
    from gateway.oidc.metadata import Metadata
    from gateway.oidc.registration import ProviderSettings
    from gateway.oidc.token_response import Tokens

REVOCATION_TIMEOUT: Final = 2.0
REVOCATION_PAUSES: Final = (2.0, 10.0)
"""Seconds before each further try at a revocation that the provider put off or did not answer."""
MAX_PUT_OFF: Final = 100
"""Revocations that may wait for another try at one time; an outage of the provider does not pile them up."""

log = logs.get("oidc")


class Revoking:
    """The revocations of one provider. ``settings`` and ``metadata`` give those of the moment; ``sleep`` waits between two tries."""

    def __init__(
        self,
        channel: BackChannel,
        *,
        settings: Callable[[], ProviderSettings],
        metadata: Callable[[], Awaitable[Metadata]],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._channel = channel
        self._settings = settings
        self._metadata = metadata
        self._sleep = sleep
        self._put_off: set[asyncio.Task[None]] = set()
        self._closed = False

    async def revoke(self, tokens: Tokens) -> None:
        """See ``Provider.revoke``."""
        left, wait = await self._revoke_once(doomed_tokens(tokens))
        if left:
            again = () if self._closed or len(self._put_off) >= MAX_PUT_OFF else REVOCATION_PAUSES
            self._hold(self._revoke_again(left, wait, again))

    def begin(self, tokens: Tokens) -> None:
        """Revoke beside everything else."""
        self._hold(self.revoke(tokens))

    def _hold(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work, name="revoke")
        self._put_off.add(task)
        task.add_done_callback(self._put_off.discard)

    async def _revoke_again(self, left: tuple[Doomed, ...], wait: float, pauses: tuple[float, ...]) -> None:
        for pause in pauses:
            await self._sleep(max(pause, wait))
            left, wait = await self._revoke_once(left)
            if not left:
                return
        log.warning("revocation.given_up", provider=self._settings().id, tokens=len(left))

    async def _revoke_once(self, doomed: tuple[Doomed, ...]) -> tuple[tuple[Doomed, ...], float]:
        """Try each token; those that are worth another try, and the seconds that the provider wants to be left alone for."""
        left, wait = list[Doomed](), 0.0
        for each in doomed:
            try:
                async with asyncio.timeout(REVOCATION_TIMEOUT):
                    request = revocation_request(each, self._settings(), await self._metadata())
                    if request is None:
                        return (), 0.0
                    answer = await self._channel.post_unread(request, "revocation endpoint")
            except Exception as failure:  # noqa: BLE001 - whatever went wrong, the other token is still to be revoked
                reason = failure.detail if isinstance(failure, GatewayError) else type(failure).__name__
                log.warning("revocation.failed", provider=self._settings().id, reason=reason)
                left.append(each)
                continue
            if answer.status != 200:  # noqa: PLR2004 - RFC 7009 section 2.2 names this one status
                log.warning("revocation.refused", provider=self._settings().id, status=answer.status)
            if is_put_off(answer.status):
                left.append(each)
                wait = max(wait, asked_wait(answer.retry_after, longest=LONGEST_WAIT))
        return tuple(left), wait

    async def close(self) -> None:
        """Give up what waits for another try."""
        self._closed = True
        for task in self._put_off:
            task.cancel()
        await asyncio.gather(*self._put_off, return_exceptions=True)
