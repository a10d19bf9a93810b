"""The results as one Markdown table, with what was installed, what is missing, and how the targets came out."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from bench import scenarios
from bench.results import Measurement, Row, medians

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.results import Report

BEGIN, END = "<!-- results: written by python -m bench -->", "<!-- end of results -->"
_HEAD = (
    "Scenario",
    "Program",
    "CPU µs a request",
    "lowest",
    "requests a CPU-second",
    "MB a CPU-second",
    "p50 ms",
    "p99 ms",
    "memory MiB",
    "KiB a connection",
    "spread",
    "Redis µs",
)
GATEWAY, NGINX, PROXY = "this gateway", "nginx, bare proxy", "oauth2-proxy"
ENVOY, LEAST = "Envoy, oauth2 filter", "Envoy, the least it can cost"


def render(report: Report) -> str:
    """Machine, table, targets, programs."""
    rows = medians(report.measurements)
    parts = [_facts(report), table(rows), targets(report.measurements), _programs(report)]
    return "\n\n".join(part for part in parts if part)


def table(rows: Sequence[Row]) -> str:
    """One row a scenario and program; a figure that a scenario does not have is a dash."""
    lines = [_line(_HEAD), "|---|---|" + "---:|" * (len(_HEAD) - 2)]
    titles = {one.name: one.title for one in scenarios.ALL}
    before = ""
    for row in rows:
        lines.append(
            _line(
                (
                    titles.get(row.scenario, row.scenario) if row.scenario != before else "",
                    f"**{row.peer}**" if row.peer == GATEWAY else row.peer,
                    number(row.cpu_us),
                    number(row.lowest),
                    number(row.per_cpu_second),
                    number(row.megabytes_per_cpu_second if (row.megabytes_per_cpu_second or 0) >= 1 else None),
                    number(row.p50),
                    number(row.p99),
                    number(row.memory / 2**20),
                    number(row.held_kib),
                    "-" if row.spread is None else f"{row.spread * 100:.0f} %",
                    number(row.redis_us),
                )
            )
        )
        before = row.scenario
    return "\n".join(lines)


def targets(measurements: Sequence[Measurement]) -> str:
    """The ratios that the project holds itself to, where the run has both sides of them: medians of the ratios within each round."""
    rows = {(row.scenario, row.peer): row for row in medians(measurements)}
    lines = []
    for scenario, other, wanted in (("get-100", ENVOY, 1.0), ("get-100", LEAST, 1.0), ("get-100", PROXY, 3.5), ("check", PROXY, 3.0)):
        costs = _by_turn(measurements, scenario, "cpu_us")
        ratios = [turn[other] / turn[GATEWAY] for turn in costs if other in turn and GATEWAY in turn]
        lines += _judged(scenario, f"CPU of {other} over ours", ratios, at_least=wanted)
    ratios = [turn[GATEWAY] / turn[NGINX] for turn in _by_turn(measurements, "get-100", "cpu_us") if NGINX in turn and GATEWAY in turn]
    lines += _judged("get-100", "our CPU over bare nginx's", ratios, at_most=2.5)
    for scenario in ("download-10m", "upload-10m"):
        speeds = _by_turn(measurements, scenario, "megabytes_per_cpu_second")
        ratios = [turn.pop(GATEWAY) / max(turn.values()) for turn in speeds if GATEWAY in turn and len(turn) > 1]
        lines += _judged(scenario, "our MB a CPU-second over the best other's", ratios, at_least=1.2)
    for scenario, most in (("idle-1000", 20), ("idle-10000", 20), ("websockets-1000", 40)):
        row = rows.get((scenario, GATEWAY))
        if row and row.held_kib is not None:
            lines += _judged(scenario, "our KiB a connection", [row.held_kib], at_most=most)
    if not lines:
        return ""
    return "\n".join([_line(("Scenario", "Figure", "Target", "Measured", "")), "|---|---|---|---:|---|", *lines])


def _by_turn(measurements: Sequence[Measurement], scenario: str, figure: str) -> list[dict[str, float]]:
    """A figure of every peer, a mapping a round."""
    turns: dict[int, dict[str, float]] = {}
    for one in measurements:
        if one.scenario == scenario and (value := getattr(one, figure)) is not None:
            turns.setdefault(one.turn, {})[one.peer] = value
    return [turns[turn] for turn in sorted(turns)]


def _judged(
    scenario: str, what: str, figures: Sequence[float], *, at_least: float | None = None, at_most: float | None = None
) -> list[str]:
    if not figures:
        return []
    middle = statistics.median(figures)
    met = middle >= at_least if at_least is not None else at_most is not None and middle <= at_most
    wanted = f"at least {at_least:g}" if at_least is not None else f"at most {at_most:g}"
    return [_line((_title(scenario), what, wanted, f"{middle:.2f}", "met" if met else "**missed**"))]


def number(value: float | None) -> str:
    """Three digits that count, thousands apart; a dash for none."""
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def write_into(page: Path, block: str) -> None:
    """Put ``block`` between the markers of a page, or make a page of it."""
    marked = f"{BEGIN}\n\n{block}\n\n{END}"
    text = page.read_text() if page.exists() else ""
    before, found, rest = text.partition(BEGIN)
    page.write_text(before + marked + rest.partition(END)[2] if found else text + marked + "\n")


def _facts(report: Report) -> str:
    repeats = max((row.repeats for row in medians(report.measurements)), default=0)
    machine = report.machine
    most = max((one.connections for one in report.measurements if one.scenario == "idle-10000"), default=10_000)
    fewer = f" Of 10,000 idle connections, {most:,}: the limit of open files allows no more here." if most < 10_000 else ""
    return (
        f"Run of {machine['date']} on {machine['processor']}, {machine['kernel']}; {machine['cores']}. "
        f"Medians of {repeats} repeats. Spread is (highest - lowest) / median of the CPU time a request.{fewer}"
    )


def _programs(report: Report) -> str:
    lines = [f"- {name}: {version}" for name, version in report.installed.items()]
    lines += [f"- **missing**: {name}: {reason}" for name, reason in report.missing.items()]
    lines += [f"- **failed**: {fault}" for fault in report.failed]
    return "\n".join(lines)


def _title(scenario: str) -> str:
    return next((one.title for one in scenarios.ALL if one.name == scenario), scenario)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
