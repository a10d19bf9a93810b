"""The demo's configuration: what an operator would write in YAML, as a mapping, through the same schema and compiler as a file.

So the demo shows the real program: nothing but the cookie's name differs, which carries the port, since cookies ignore ports and
several demos on one machine would sign each other out.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.config.compiling import settings_from
from gateway.oidc.registration import Secret

if TYPE_CHECKING:
    from gateway.config.compiling import Settings
    from gateway.demo.provider import DemoProvider


def origins_of(port: int) -> list[str]:
    """The origins that people may type for a gateway on ``port``; the first is the one to print."""
    return [f"http://127.0.0.1:{port}", f"http://localhost:{port}"]


def demo_settings(*, port: int, admin_port: int, provider: DemoProvider, app: str) -> Settings:
    """Settings for a gateway between ``provider`` and the app at ``app`` (a base URL), with a fresh session key and the in-memory store."""
    settings = settings_from(
        {
            "server": {"listen": f"127.0.0.1:{port}", "public_url": origins_of(port), "shutdown_grace": "1s"},
            "admin": {"listen": f"127.0.0.1:{admin_port}"},
            "providers": [
                {
                    "id": "demo",
                    "issuer": provider.issuer,
                    "client_id": provider.client_id,
                    "client_secret": Secret(provider.client_secret),
                }
            ],
            "session": {"store": "memory", "keys": [secrets.token_bytes(32)]},
            "routes": [
                {"path": "/public/", "upstream": app, "access": "public"},
                {"path": "/", "upstream": app, "access": "signed_in"},
            ],
        }
    )
    return replace(settings, server=replace(settings.server, cookie_suffix=f"-{port}"))
