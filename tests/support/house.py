"""A gateway inside the test's own process, with the memory store and the fake provider: for what a test must reach into.

Whole programs in processes of their own are in ``gateway_process``; this one is for states that only an insider can set up.
"""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.config.compiling import settings_from
from gateway.oidc.registration import Secret
from gateway.server.run import running
from tests.support.fake_provider import FakeProvider
from tests.support.mirror_app import MirrorApp, mirror_app
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.server.parts import Parts


@dataclass
class House:
    """``url`` is the public origin, ``admin`` the admin origin; ``parts`` are the gateway's own."""

    url: str
    admin: str
    parts: Parts
    provider: FakeProvider
    app: MirrorApp


@asynccontextmanager
async def house(**changes: Any) -> AsyncIterator[House]:
    """Run it all within this context. ``changes`` are merged into sections of the configuration, ``routes`` replaces them."""
    port, admin_port = free_port(), free_port()
    origin = f"http://127.0.0.1:{port}"
    async with FakeProvider() as provider, mirror_app() as app:
        configuration: dict[str, Any] = {
            "server": {"listen": f"127.0.0.1:{port}", "public_url": origin, "shutdown_grace": "5s"},
            "admin": {"listen": f"127.0.0.1:{admin_port}"},
            "providers": [{"issuer": provider.issuer, "client_id": provider.client_id, "client_secret": Secret(provider.client_secret)}],
            "session": {"store": "memory", "keys": [secrets.token_bytes(32)]},
            "routes": [
                {"path": "/public/", "upstream": app.url, "access": "public"},
                {"path": "/", "upstream": app.url, "access": "signed_in"},
            ],
        }
        for section, change in changes.items():
            configuration[section] = configuration[section] | change if isinstance(change, dict) else change
        async with running(settings_from(configuration)) as parts:
            yield House(origin, f"http://127.0.0.1:{admin_port}", parts, provider, app)
