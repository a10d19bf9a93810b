"""oauth2-proxy with sessions in Redis."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from bench import installing
from bench.peers.peer import Check, Peer, Use
from bench.processes import Command

if TYPE_CHECKING:
    from pathlib import Path

    from bench.around import Around
    from bench.installing import Tool


def render(folder: Path, tool: Tool, around: Around, port: int, use: Use) -> Command:
    """Flags alone; PKCE on as for everybody. Asked by a front proxy it names the user in its answer, which costs, so only then."""
    origin = f"http://127.0.0.1:{port}"
    flags = {
        "http-address": f"127.0.0.1:{port}",
        "provider": "oidc",
        "oidc-issuer-url": around.issuer,
        "client-id": around.client_id,
        "client-secret": around.client_secret,
        "redirect-url": f"{origin}/oauth2/callback",
        "cookie-secret": secrets.token_hex(16),
        "cookie-secure": "false",
        "code-challenge-method": "S256",
        "email-domain": "*",
        "session-store-type": "redis",
        "redis-connection-url": f"redis://127.0.0.1:{around.redis_port}/0",
        "skip-provider-button": "true",
        "request-logging": "false",
        "auth-logging": "false",
        "reverse-proxy": "true" if use is Use.CHECKS else "false",
        "set-xauthrequest": "true" if use is Use.CHECKS else "false",
    }
    upstreams = [f"http://127.0.0.1:{around.static}/", *(f"http://127.0.0.1:{around.streams}/{name}" for name in ("upload", "ws"))]
    arguments = [*(f"--{name}={value}" for name, value in flags.items()), *(f"--upstream={url}" for url in upstreams)]
    return Command([str(tool.path), *arguments], tool.environment, folder)


PEER = Peer(
    name="oauth2-proxy",
    sessions="Redis",
    install=installing.oauth2_proxy,
    render=render,
    check=Check(
        "/oauth2/auth",
        202,
        {"X-Forwarded-Proto": "http", "X-Forwarded-Host": "{authority}", "X-Forwarded-Uri": "/100?page={page}"},
    ),
)
