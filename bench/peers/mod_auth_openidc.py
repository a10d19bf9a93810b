"""Apache with mod_auth_openidc, sessions in Redis: event MPM, one process."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from bench import installing
from bench.peers.peer import Peer, Use
from bench.processes import Command

if TYPE_CHECKING:
    from pathlib import Path

    from bench.around import Around
    from bench.installing import Tool

_MODULES = ("mpm_event", "authn_core", "authz_core", "authz_user", "proxy", "proxy_http", "auth_openidc")


def render(folder: Path, tool: Tool, around: Around, port: int, use: Use) -> Command:
    """A WebSocket holds a thread for its life, so there are more threads where those are measured."""
    threads = 1200 if use is Use.WEBSOCKETS else 64
    modules = "\n".join(f"LoadModule {name}_module {tool.modules}/mod_{name}.so" for name in _MODULES)
    config = folder / "apache.conf"
    config.write_text(f"""ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/apache.pid
ServerName 127.0.0.1:{port}
Listen 127.0.0.1:{port}
ListenBacklog 4096
ErrorLog {folder}/apache.log
LogLevel error
{modules}
User www-data
Group www-data
ServerLimit 1
StartServers 1
ThreadLimit {threads}
ThreadsPerChild {threads}
MaxRequestWorkers {threads}
AsyncRequestWorkerFactor 400
MaxConnectionsPerChild 0
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 600
Timeout 600

OIDCProviderMetadataURL {around.issuer}/.well-known/openid-configuration
OIDCClientID {around.client_id}
OIDCClientSecret {around.client_secret}
OIDCRedirectURI http://127.0.0.1:{port}/oauth2/callback
OIDCCryptoPassphrase {secrets.token_hex(16)}
OIDCScope "openid profile email"
OIDCPKCEMethod S256
OIDCSessionType server-cache
OIDCCacheType redis
OIDCRedisCacheServer 127.0.0.1:{around.redis_port}

<Location />
  AuthType openid-connect
  Require valid-user
</Location>
ProxyPass /upload http://127.0.0.1:{around.streams}/upload
ProxyPass /ws http://127.0.0.1:{around.streams}/ws upgrade=websocket
ProxyPass /oauth2/ !
ProxyPass / http://127.0.0.1:{around.static}/ keepalive=On
""")
    return Command([str(tool.path), "-DFOREGROUND", "-f", str(config)], tool.environment, folder)


PEER = Peer(name="mod_auth_openidc", sessions="Redis", install=installing.apache, render=render)
