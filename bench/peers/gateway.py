"""This gateway: one worker, sessions in Redis, uvloop."""

from __future__ import annotations

import base64
import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from bench import installing
from bench.peers.peer import Check, Peer, Use
from bench.processes import Command, free_port

if TYPE_CHECKING:
    from bench.around import Around
    from bench.installing import Tool

SOURCE = "BENCH_GATEWAY"
"""The environment variable that names another checkout to measure; without it, it is this one."""


def render(folder: Path, tool: Tool, around: Around, port: int, use: Use) -> Command:
    """Its YAML (JSON is YAML), with the defaults wherever there is one; the load is a trusted proxy, as forward-auth needs."""
    del use
    _secret(folder / "client_secret", around.client_secret)
    _secret(folder / "session_key", base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("="))
    static, streams = f"http://127.0.0.1:{around.static}", f"http://127.0.0.1:{around.streams}"
    config = folder / "gateway.yaml"
    settings = {
        "server": {"listen": f"127.0.0.1:{port}", "public_url": f"http://127.0.0.1:{port}", "trusted_proxies": ["127.0.0.1/32"]},
        "admin": {"listen": f"127.0.0.1:{free_port()}"},
        "providers": [
            {"issuer": around.issuer, "client_id": around.client_id, "client_secret": {"file": str(folder / "client_secret")}},
        ],
        "session": {"store": f"redis://127.0.0.1:{around.redis_port}/0", "keys": [{"file": str(folder / "session_key")}]},
        "routes": [
            {"path": "/public/", "upstream": static, "access": "public"},
            {"path": "/upload", "upstream": streams},
            {"path": "/ws", "upstream": streams},
            {"path": "/", "upstream": static},
        ],
    }
    config.write_text(json.dumps(settings, indent=1))
    return Command(
        [str(tool.path), "-m", "gateway", "serve", "--config", str(config)],
        folder=Path(os.environ.get(SOURCE) or Path(__file__).parents[2]),
    )


def _secret(path: Path, value: str) -> None:
    path.write_text(value + "\n")
    path.chmod(0o600)


PEER = Peer(
    name="this gateway",
    sessions="Redis",
    install=installing.ours,
    render=render,
    check=Check(
        "/oauth2/auth",
        202,
        {
            "X-Forwarded-Method": "GET",
            "X-Forwarded-Proto": "http",
            "X-Forwarded-Host": "{authority}",
            "X-Forwarded-Uri": "/100?page={page}",
        },
    ),
)

PUBLIC = Peer(
    name="this gateway, public route",
    sessions="none read",
    install=installing.ours,
    render=render,
    signs_in=False,
    prefix="/public",
    scenarios=frozenset({"get-100", "get-16k", "get-100-new"}),
)
"""The same program on a route without a session: the difference is what finding the session costs."""
