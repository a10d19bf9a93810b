"""What all peers share: the provider, Redis, and two upstreams; all on the cores of the load, so that a peer has its core alone.

nginx serves fixed answers (``/`` and ``/100`` of 100 bytes, ``/16k``, ``/10m``; the same below ``/public``); a small server of ours takes
uploads (``/upload``) and echoes WebSockets (``/ws``).
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.processes import Command, Cores, free_port, running
from tests.support.redis_servers import RedisServer, server_binaries, server_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.installing import Tool

ROOT = Path(__file__).parents[1]
SIZES = {"100": 100, "16k": 16 * 1024, "10m": 10 * 1024 * 1024}
UPLOAD_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Around:
    """Where everything is. ``static`` and ``streams`` are ports of the upstreams."""

    issuer: str
    client_id: str
    client_secret: str
    redis_port: int
    redis_pid: int
    redis_version: str
    static: int
    streams: int


@contextmanager
def surroundings(folder: Path, nginx: Tool, cores: Cores) -> Iterator[Around]:
    """Start all of it, and end it with the block."""
    static, streams, provider = free_port(), free_port(), free_port()
    client_id, client_secret = "bench", "bench-client-secret"
    folder.mkdir(parents=True, exist_ok=True)
    for name, size in SIZES.items():
        (folder / name).write_bytes(b"x" * size)
    config = folder / "upstream.conf"
    config.write_text(upstream_config(folder, static))
    python = {"PYTHONPATH": str(ROOT)}
    with ExitStack() as stack:
        redis = RedisServer(server_binaries()[0])
        stack.callback(redis.close)
        redis.start()
        os.sched_setaffinity(redis.pid, cores.load)
        for name, command, port in (
            ("upstream", Command([str(nginx.path), "-c", str(config), "-p", str(folder)], nginx.environment), static),
            ("streams", Command([sys.executable, "-m", "bench.streams", str(streams)], python, ROOT), streams),
            (
                "provider",
                Command([sys.executable, "-m", "bench.provider", str(provider), client_id, client_secret], python, ROOT),
                provider,
            ),
        ):
            stack.enter_context(running(command, cores=cores.load, ports=[port], log=folder / f"{name}.log"))
        yield Around(
            issuer=f"http://127.0.0.1:{provider}",
            client_id=client_id,
            client_secret=client_secret,
            redis_port=redis.port,
            redis_pid=redis.pid,
            redis_version=server_id(redis.binary),
            static=static,
            streams=streams,
        )


def upstream_config(folder: Path, port: int) -> str:
    """An nginx that answers from files and stays out of the way."""
    places = "\n".join(f"    location = {prefix}/{name} {{ alias {folder}/{name}; }}" for prefix in ("", "/public") for name in SIZES)
    return f"""daemon off;
worker_processes 1;
pid {folder}/upstream.pid;
error_log stderr crit;
worker_rlimit_nofile 20000;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 100000000;
  keepalive_timeout 600s;
  open_file_cache max=100;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  default_type application/octet-stream;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = / {{ rewrite ^ /100 last; }}
{places}
  }}
}}
"""
