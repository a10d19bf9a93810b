"""Everybody in turn, several times: a round is every peer once, so that a noisy minute hits all of them."""

from __future__ import annotations

import os
import platform
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import installing, scenarios
from bench.around import Around, surroundings
from bench.installing import Missing, Tool
from bench.processes import Cores, DidNotStart, free_port, running
from bench.results import Measurement, Report
from bench.signing_in import Browser, LoginFailed
from bench.wrk import LoadFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.peers.peer import Peer
    from bench.scenarios import Scenario

FEW = 2
"""Repeats of what hardly varies: memory of idle connections."""
_FAULTS = (LoadFailed, LoginFailed, DidNotStart, OSError)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run: ``seconds`` of load for each measurement."""

    cache: Path
    peers: Sequence[Peer]
    scenarios: Sequence[Scenario]
    repeats: int
    seconds: float


def run(plan: Plan) -> Report:
    """Run all of it. Raises ``SystemExit`` when nginx or wrk, without which nothing can be measured, are missing."""
    cores = Cores.here()
    plan.cache.mkdir(parents=True, exist_ok=True)
    wrk, nginx = _needed(installing.wrk(plan.cache), "wrk"), _needed(installing.nginx(plan.cache), "nginx")
    report = Report(machine=_machine(cores))
    tools: dict[str, Tool] = {}
    for peer in plan.peers:
        found = peer.install(plan.cache)
        if isinstance(found, Missing):
            report.missing[peer.name] = found.reason
        else:
            tools[peer.name] = found
            report.installed[peer.name] = f"{found.version}; {found.origin}"
    _raise_file_limit()
    os.sched_setaffinity(0, cores.load)
    with tempfile.TemporaryDirectory(prefix="bench-") as name, surroundings(_open(Path(name) / "around"), nginx, cores) as around:
        report.installed |= {"load": f"wrk {wrk.version}", "upstream": f"nginx {nginx.version}", "store": around.redis_version}
        running_all = _Run(plan, around, wrk, cores, report)
        for turn in range(plan.repeats):
            for number, peer in enumerate(plan.peers):
                if peer.name in tools:
                    running_all.round(peer, tools[peer.name], _open(Path(name) / f"{turn}-{number}"), turn)
    order = [one.name for one in plan.scenarios]
    named = [peer.name for peer in plan.peers]
    report.measurements.sort(key=lambda one: (order.index(one.scenario), named.index(one.peer)))
    return report


@dataclass(frozen=True, slots=True)
class _Run:
    """What stays the same for all rounds."""

    plan: Plan
    around: Around
    wrk: Tool
    cores: Cores
    report: Report

    def round(self, peer: Peer, tool: Tool, folder: Path, turn: int) -> None:
        """One peer, every scenario once; scenarios of one use share a process, but those that measure memory have one each."""
        groups: dict[object, list[Scenario]] = {}
        for scenario in self.plan.scenarios:
            if scenarios.possible(peer, scenario) and not (scenario.few and turn >= FEW):
                groups.setdefault(scenario.name if scenario.few else scenario.use, []).append(scenario)
        for group in groups.values():
            try:
                port = free_port()
                command = peer.render(folder, tool, self.around, port, group[0].use)
                with running(command, cores=self.cores.peer, ports=[port], log=folder / "output.log") as process:
                    cookie = _signed_in(port) if peer.signs_in else ""
                    target = scenarios.Target(peer, process.pid, port, cookie, self.around, self.wrk, self.cores, folder, self.plan.seconds)
                    for scenario in group:
                        self._measure(target, scenario, turn)
            except _FAULTS as fault:
                self._failed(f"{peer.name}, {group[0].use.value}: {fault}")

    def _measure(self, target: scenarios.Target, scenario: Scenario, turn: int) -> None:
        try:
            one = scenario.measure(target, scenario.name)
        except _FAULTS as fault:
            self._failed(f"{target.peer.name}, {scenario.name}: {fault}")
            return
        self.report.measurements.append(one)
        print(f"[{turn + 1}] {_line(one)}", file=sys.stderr, flush=True)

    def _failed(self, fault: str) -> None:
        print(f"failed: {fault}", file=sys.stderr, flush=True)
        self.report.failed.append(" ".join(fault.split())[:300])


def _line(one: Measurement) -> str:
    if one.cpu_us is not None:
        figure = f"{one.cpu_us:.1f} us CPU, {one.requests / one.seconds:.0f} a second"
    else:
        figure = f"{one.held_kib or 0:.1f} KiB a connection, {one.cpu / one.seconds * 100:.1f} % CPU"
    return f"{one.scenario:16} {one.peer:28} {figure}"


def _signed_in(port: int) -> str:
    """Cookies of somebody who is signed in at the peer, which may need a moment until it knows its provider."""
    until = time.monotonic() + 10
    while True:
        with Browser() as browser:
            try:
                browser.sign_in(f"http://127.0.0.1:{port}/")
                return browser.cookie_header(port)
            except (LoginFailed, OSError):
                if time.monotonic() > until:
                    raise
        time.sleep(0.3)


def _needed(found: Tool | Missing, name: str) -> Tool:
    if isinstance(found, Missing):
        raise SystemExit(f"{name} is missing, without which nothing can be measured: {found.reason}")
    return found


def _open(folder: Path) -> Path:
    """A folder that workers under another user may enter: started by root, nginx and Apache drop to theirs."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    folder.parent.chmod(0o711)
    return folder


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _machine(cores: Cores) -> dict[str, str]:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "?"
    )
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "processor": f"{model}, {os.cpu_count()} cores",
        "kernel": f"{platform.system()} {platform.release()}",
        "cores": f"peer on {_names(cores.peer)}, load, upstreams, Redis and provider on {_names(cores.load)}",
    }


def _names(cores: frozenset[int]) -> str:
    return "core " + ", ".join(map(str, sorted(cores)))
