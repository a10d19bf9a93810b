"""Everybody in turn, several times: a round is every peer once, so that a noisy minute hits all of them."""

from __future__ import annotations

import os
import platform
import resource
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench import installing, scenarios
from bench.around import Around, surroundings
from bench.installing import Missing, Tool
from bench.peers.peer import Use
from bench.processes import Cores, DidNotStart, free_port, running
from bench.results import Measurement, Report
from bench.signing_in import Browser, LoginFailed
from bench.wrk import LoadFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.peers.peer import Peer
    from bench.scenarios import Scenario

_FILES = 65536
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
    _raise_file_limit()
    report = Report(machine=_machine(cores))
    tools: dict[str, Tool] = {}
    for peer in plan.peers:
        found = peer.install(plan.cache)
        if isinstance(found, Missing):
            report.missing[peer.name] = found.reason
        else:
            tools[peer.name] = found
            report.installed[peer.name] = f"{found.version}; {found.origin}"
    os.sched_setaffinity(0, cores.load)
    with tempfile.TemporaryDirectory(prefix="bench-") as name, surroundings(_open(Path(name) / "around"), nginx, cores) as around:
        report.installed |= {"load": f"wrk {wrk.version}", "upstream": f"nginx {nginx.version}", "store": around.redis_version}
        rounds = _Rounds(plan, tools, around, wrk, cores, report)
        for turn in range(plan.repeats):
            rounds.all_requests(_open(Path(name) / f"{turn}-requests"), turn)
            if turn < FEW:
                rounds.all_memory(_open(Path(name) / f"{turn}-memory"), turn)
    order = [one.name for one in plan.scenarios]
    named = [peer.name for peer in plan.peers]
    report.measurements.sort(key=lambda one: (order.index(one.scenario), named.index(one.peer)))
    return report


@dataclass(frozen=True, slots=True)
class _Rounds:
    """What stays the same for all rounds."""

    plan: Plan
    tools: Mapping[str, Tool]
    around: Around
    wrk: Tool
    cores: Cores
    report: Report

    def all_requests(self, folder: Path, turn: int) -> None:
        """Every peer starts and waits, and each scenario goes round all of them: what is compared was measured within a minute."""
        for use in Use:
            wanted = [one for one in self.plan.scenarios if one.use is use and not one.few]
            if not wanted:
                continue
            with ExitStack() as started:
                able = [peer for peer in self._installed() if any(scenarios.possible(peer, one) for one in wanted)]
                targets = [self._start(started, peer, folder / f"{use.value}-{number}", use) for number, peer in enumerate(able)]
                for scenario in wanted:
                    for target in targets:
                        if target is not None and scenarios.possible(target.peer, scenario):
                            self._measure(target, scenario, turn)

    def all_memory(self, folder: Path, turn: int) -> None:
        """Every peer in every scenario of memory alone, each in a fresh process: memory that was given back would hide what is taken."""
        for scenario in (one for one in self.plan.scenarios if one.few):
            for number, peer in enumerate(self._installed()):
                if scenarios.possible(peer, scenario):
                    with ExitStack() as started:
                        target = self._start(started, peer, folder / f"{scenario.name}-{number}", scenario.use)
                        if target is not None:
                            self._measure(target, scenario, turn)

    def _installed(self) -> list[Peer]:
        return [peer for peer in self.plan.peers if peer.name in self.tools]

    def _start(self, started: ExitStack, peer: Peer, folder: Path, use: Use) -> scenarios.Target | None:
        """The peer, running until ``started`` ends, with somebody signed in; None when that fails, and the report says why."""
        tool, port = self.tools[peer.name], free_port()
        try:
            command = peer.render(_open(folder), tool, self.around, port, use)
            process = started.enter_context(running(command, cores=self.cores.peer, ports=[port], log=folder / "output.log"))
            cookie = _signed_in(port) if peer.signs_in else ""
        except _FAULTS as fault:
            self._failed(f"{peer.name}, {use.value}: {fault}")
            return None
        return scenarios.Target(peer, process.pid, port, cookie, self.around, self.wrk, self.cores, folder, self.plan.seconds)

    def _measure(self, target: scenarios.Target, scenario: Scenario, turn: int) -> None:
        try:
            one = scenario.measure(target, scenario.name)
        except _FAULTS as fault:
            self._failed(f"{target.peer.name}, {scenario.name}: {fault}")
            return
        self.report.measurements.append(replace(one, turn=turn))
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
    """As far as we may: a proxy of 10,000 connections may need two descriptors for each."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (_FILES, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, max(limit, hard)))
        except (OSError, ValueError):
            continue
        return


def _machine(cores: Cores) -> dict[str, str]:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "?"
    )
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "processor": f"{model}, {os.cpu_count()} cores",
        "kernel": f"{platform.system()} {platform.release()}",
        "open files": f"at most {resource.getrlimit(resource.RLIMIT_NOFILE)[1]}",
        "cores": f"peer on {_names(cores.peer)}, load, upstreams, Redis and provider on {_names(cores.load)}",
    }


def _names(cores: frozenset[int]) -> str:
    return "core " + ", ".join(map(str, sorted(cores)))
