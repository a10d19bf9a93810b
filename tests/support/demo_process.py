"""A real ``gateway demo`` process on free ports, and what it printed."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.leaks import sweep
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_ATTEMPTS = 600
"""Looks at what was printed, 50 ms apart: a hang must end the test."""


@dataclass(frozen=True)
class DemoProcess:
    """A running demo; ``output`` holds what it prints."""

    port: int
    provider_port: int
    admin_port: int
    output: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def provider(self) -> str:
        return f"http://127.0.0.1:{self.provider_port}"

    @property
    def printed(self) -> str:
        return self.output.read_text(errors="replace")


@contextmanager
def demo_process(folder: Path) -> Iterator[DemoProcess]:
    """Start the demo, wait until it says that it is ready; at the end stop it and hand what it printed to the leak sweep."""
    ports = free_port(), free_port(), free_port()
    options = zip(("--port", "--provider-port", "--admin-port"), map(str, ports), strict=True)
    output = folder / "demo.log"
    with output.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "demo", *(part for option in options for part in option)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    running = DemoProcess(*ports, output, process)
    try:
        for _ in range(START_ATTEMPTS):
            if "The demo is ready" in running.printed:
                break
            assert process.poll() is None, f"the demo ended with {process.returncode}: {running.printed}"
            time.sleep(0.05)
        else:
            raise AssertionError(f"the demo did not start: {running.printed}")
        yield running
    finally:
        process.terminate()
        process.wait()
        sweep.output(running.printed, "demo log")
        sweep.gateways += 1
