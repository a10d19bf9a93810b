"""Bare nginx as reverse proxy: no authentication at all, the floor of what a proxy costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import installing
from bench.peers.peer import Peer, Use
from bench.processes import Command

if TYPE_CHECKING:
    from pathlib import Path

    from bench.around import Around
    from bench.installing import Tool


def render(folder: Path, tool: Tool, around: Around, port: int, use: Use) -> Command:
    """One worker, kept connections to the upstreams, bodies streamed and never written to disk."""
    del use
    config = folder / "nginx.conf"
    config.write_text(f"""daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr crit;
worker_rlimit_nofile 20000;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  keepalive_timeout 600s;
  client_max_body_size 0;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  upstream static {{ server 127.0.0.1:{around.static}; keepalive 128; keepalive_requests 100000000; }}
  upstream streams {{ server 127.0.0.1:{around.streams}; keepalive 128; keepalive_requests 100000000; }}
  proxy_http_version 1.1;
  proxy_set_header Host $http_host;
  proxy_request_buffering off;
  proxy_max_temp_file_size 0;
  proxy_read_timeout 600s;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ proxy_pass http://static; proxy_set_header Host $http_host; proxy_set_header Connection ""; }}
    location = /upload {{ proxy_pass http://streams; proxy_set_header Host $http_host; proxy_set_header Connection ""; }}
    location = /ws {{
      proxy_pass http://streams; proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";
    }}
  }}
}}
""")
    return Command([str(tool.path), "-c", str(config), "-p", str(folder)], tool.environment)


PEER = Peer(name="nginx, bare proxy", sessions="none", install=installing.nginx, render=render, signs_in=False)
