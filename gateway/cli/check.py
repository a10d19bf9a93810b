"""``gateway check``: would the gateway start with this file? Every fault at once, or what an operator should know, or "well".

Answers the deployment that fails at three in the morning: it reads as ``gateway serve`` does, secrets included, and contacts nobody. With
``--live`` it then looks at what the gateway depends on: the session store, its rights and what would lose sessions; the provider's metadata
and keys. What is written there is gone afterwards.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import TYPE_CHECKING

from gateway.config.compiling import load_settings
from gateway.errors import ConfigRefused, GatewayError
from gateway.oidc.provider import Provider
from gateway.session.store.inspection import inspect
from gateway.session.store.opening import address_of
from gateway.telemetry import logs

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config.settings import SessionSettings, Settings
    from gateway.oidc.registration import ProviderSettings


def run(config: Path, *, live: bool = False) -> int:
    """Check the file; the exit code: 0 when all is well (warnings go to stderr), 2 with a line for every fault."""
    try:
        settings, warnings = load_settings(config, environ=os.environ)
    except ConfigRefused as refused:
        _complain(*refused.faults)
        return 2
    _complain(*(f"warning: {warning}" for warning in warnings))
    print("The configuration is well.")  # noqa: T201 - the person at the terminal reads this
    if not live:
        return 0
    # What goes wrong is said here; the log of the parts would say it a second time.
    logs.configure(level=logging.CRITICAL)
    return 0 if asyncio.run(_look(settings)) else 2


async def _look(settings: Settings) -> bool:
    outcomes = await asyncio.gather(_look_at_store(settings.session), _look_at_provider(settings.provider))
    return all(outcomes)


async def _look_at_store(settings: SessionSettings) -> bool:
    address = address_of(settings.store, settings.redis)
    if address is None:
        _tell("session store: memory, of one process; its sessions end with it")
        return True
    seen = await inspect(address)
    _tell(*(f"session store: {fact}" for fact in seen.facts))
    _complain(*(f"warning: session store: {warning}" for warning in seen.warnings), *(f"session store: {fault}" for fault in seen.faults))
    return not seen.faults


async def _look_at_provider(settings: ProviderSettings) -> bool:
    provider = Provider(settings)
    try:
        await provider.metadata()
        await provider.keys()
    except GatewayError as failure:
        _complain(f"provider {settings.id}: {failure.detail}")
        return False
    finally:
        await provider.close()
    _tell(f"provider {settings.id}: metadata and keys are there")
    return True


def _tell(*lines: str) -> None:
    for line in lines:
        print(line)  # noqa: T201 - the person at the terminal reads this


def _complain(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr)  # noqa: T201 - the same
