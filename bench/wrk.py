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
    tool: Tool, url: str, *, headers: Mapping[str, str], connections: int, seconds: float, cores: Cores, folder: Path, upload: int = 0
) -> Ran:
    """Keep ``connections`` busy for ``seconds`` (whole ones, at least one). Raises ``LoadFailed``."""
    script = folder / "wrk.lua"
    script.write_text(_SCRIPT)
    command = [str(tool.path), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s", "-s", str(script)]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    environment = os.environ | dict(tool.environment) | ({"BENCH_UPLOAD": str(upload)} if upload else {})
    ran = subprocess.run(
        pinned(cores.load, [*command, url]), capture_output=True, text=True, timeout=seconds + 60, check=False, env=environment
    )
    return parse(ran.stdout + ran.stderr)
