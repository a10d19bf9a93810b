"""Load by wrk: one thread on the cores of the load, a fixed time, and its own figures as JSON."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.processes import Cores, pinned

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.installing import Tool

_SCRIPT = """
if os.getenv("BENCH_UPLOAD") then
  wrk.method = "POST"
  wrk.body = string.rep("x", tonumber(os.getenv("BENCH_UPLOAD")))
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\nBENCH {"requests": %d, "bytes": %d, "microseconds": %d, "errors": %d, "p50": %d, "p99": %d}\\n',
    summary.requests, summary.bytes, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


PAGES = 500
BROWSERS = 8
_PAGES = """
local whole, sent = {}, 0
function init(args)
  for page = 1, PAGES do
    local fill = function(text) return (text:gsub("{page}", page):gsub("{browser}", page % BROWSERS)) end
    local headers = {}
    for name, value in pairs(wrk.headers) do headers[name] = fill(value) end
    whole[page] = wrk.format(nil, fill(TARGET), headers)
  end
end
function request()
  sent = sent + 1
  local one = whole[sent % PAGES + 1]
  if SERIAL then return (one:gsub("{serial}", sent)) end
  return one
end
"""
"""Requests that differ as those of several people do: ``{page}``, ``{browser}`` and ``{serial}``, which no two requests have alike."""


def filled(text: str) -> str:
    """What the first request has in the place of ``{page}`` and the others."""
    return text.replace("{page}", "1").replace("{browser}", "1").replace("{serial}", "0")


@dataclass(frozen=True, slots=True)
class Ran:
    """What wrk saw: ``bytes`` received with heads, latencies in milliseconds."""

    requests: int
    received: int
    seconds: float
    errors: int
    p50: float
    p99: float


class LoadFailed(Exception):
    """Answers were wrong, or none came: such a run counts for nothing."""


def parse(printed: str) -> Ran:
    """Read the line that our script has wrk print."""
    line = next((line for line in printed.splitlines() if line.startswith("BENCH ")), None)
    if line is None:
        raise LoadFailed(f"wrk printed no figures: {printed[-300:]}")
    said = json.loads(line.removeprefix("BENCH "))
    return Ran(said["requests"], said["bytes"], said["microseconds"] / 1e6, said["errors"], said["p50"] / 1e3, said["p99"] / 1e3)


def run(
    tool: Tool,
    url: str,
    *,
    headers: Mapping[str, str],
    connections: int,
    seconds: float,
    cores: Cores,
    folder: Path,
    upload: int = 0,
    target: str | None = None,
) -> Ran:
    """Keep ``connections`` busy for ``seconds`` (whole ones, at least one). Raises ``LoadFailed``.

    ``target``, where it is given, is asked for in the place of the URL's path; in it and in ``headers`` what ``filled`` names differs.
    """
    script = folder / "wrk.lua"
    settings = ""
    if target is not None:
        serial = "true" if any("{serial}" in value for value in headers.values()) else "false"
        settings = f"local PAGES, BROWSERS, SERIAL, TARGET = {PAGES}, {BROWSERS}, {serial}, {json.dumps(target)}\n{_PAGES}"
    script.write_text(settings + _SCRIPT)
    command = [str(tool.path), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s", "-s", str(script)]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    environment = os.environ | dict(tool.environment) | ({"BENCH_UPLOAD": str(upload)} if upload else {})
    ran = subprocess.run(
        pinned(cores.load, [*command, url]), capture_output=True, text=True, timeout=seconds + 60, check=False, env=environment
    )
    return parse(ran.stdout + ran.stderr)
