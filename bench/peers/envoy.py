"""Envoy with its oauth2 filter: one worker thread, tokens in cookies of the browser, nothing in Redis."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bench import installing
from bench.peers.peer import Peer, Use
from bench.processes import Command

if TYPE_CHECKING:
    from pathlib import Path

    from bench.around import Around
    from bench.installing import Tool

_TYPES = "type.googleapis.com/envoy.extensions"


def render(folder: Path, tool: Tool, around: Around, port: int, use: Use) -> Command:
    """A static bootstrap; the upstream gets the access token, which is how it learns who asks."""
    return _command(folder, tool, bootstrap(around, port), use)


def render_least(folder: Path, tool: Tool, around: Around, port: int, use: Use) -> Command:
    """The same, with cookies not encrypted (they are by default) and the upstream told nothing: the least that the filter can cost."""
    return _command(folder, tool, bootstrap(around, port, forward_bearer_token=False, disable_token_encryption=True), use)


def _command(folder: Path, tool: Tool, settings: dict[str, Any], use: Use) -> Command:
    del use
    config = folder / "envoy.yaml"
    config.write_text(json.dumps(settings, indent=1))  # JSON is YAML
    arguments = ["-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    return Command([str(tool.path), *arguments], tool.environment)


def bootstrap(around: Around, port: int, **changes: Any) -> dict[str, Any]:
    """The whole configuration; ``changes`` are settings of the filter."""
    provider = urlsplit(around.issuer).port or 80
    oauth2 = {
        "@type": f"{_TYPES}.filters.http.oauth2.v3.OAuth2",
        "config": {
            "token_endpoint": {"cluster": "provider", "uri": f"{around.issuer}/token", "timeout": "5s"},
            "authorization_endpoint": f"{around.issuer}/authorize",
            "redirect_uri": "http://%REQ(:authority)%/oauth2/callback",
            "redirect_path_matcher": {"path": {"exact": "/oauth2/callback"}},
            "signout_path": {"path": {"exact": "/oauth2/sign_out"}},
            "credentials": {"client_id": around.client_id, "token_secret": {"name": "token"}, "hmac_secret": {"name": "hmac"}},
            "auth_scopes": ["openid", "profile", "email"],
            "forward_bearer_token": True,
            **changes,
        },
    }
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "stream_idle_timeout": "600s",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {"match": {"path": "/upload"}, "route": {"cluster": "streams", "timeout": "0s"}},
                        {"match": {"path": "/ws"}, "route": {"cluster": "streams", "timeout": "0s"}},
                        {"match": {"prefix": "/"}, "route": {"cluster": "static", "timeout": "0s"}},
                    ],
                }
            ]
        },
        "http_filters": [
            {"name": "envoy.filters.http.oauth2", "typed_config": oauth2},
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{_TYPES}.filters.http.router.v3.Router"}},
        ],
    }
    listener = {
        "name": "bench",
        "address": _address(port),
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}],
    }
    hidden = {name: {"name": name, "generic_secret": {"secret": {"inline_string": value}}} for name, value in _secrets(around).items()}
    clusters = [_cluster("static", around.static), _cluster("streams", around.streams), _cluster("provider", provider)]
    return {"static_resources": {"secrets": list(hidden.values()), "listeners": [listener], "clusters": clusters}}


def _secrets(around: Around) -> dict[str, str]:
    return {"token": around.client_secret, "hmac": secrets.token_urlsafe(32)}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _cluster(name: str, port: int) -> dict[str, Any]:
    thresholds = [{"max_connections": 20000, "max_pending_requests": 20000, "max_requests": 20000}]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": thresholds},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}]},
    }


PEER = Peer(name="Envoy, oauth2 filter", sessions="cookies", install=installing.envoy, render=render)

LEAST = Peer(
    name="Envoy, the least it can cost",
    sessions="cookies, in clear",
    install=installing.envoy,
    render=render_least,
    scenarios=frozenset({"get-100", "get-16k", "get-100-new"}),
)
