"""The results as one Markdown table, with what was installed, what is missing, and how the targets came out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import scenarios
from bench.results import Row, medians

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.results import Report

BEGIN, END = "<!-- results: written by python -m bench -->", "<!-- end of results -->"
_HEAD = (
    "Scenario",
    "Program",
    "CPU µs a request",
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
    parts = [_facts(report), table(rows), targets(rows), _programs(report)]
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


def targets(rows: Sequence[Row]) -> str:
    """The ratios that the project holds itself to, where the run has both sides of them."""
    found = {(row.scenario, row.peer): row for row in rows}
    lines = []
    for scenario, other, wanted in (("get-100", ENVOY, 1.0), ("get-100", LEAST, 1.0), ("get-100", PROXY, 3.5), ("check", PROXY, 3.0)):
        mine, theirs = found.get((scenario, GATEWAY)), found.get((scenario, other))
        if mine and theirs and mine.cpu_us and theirs.cpu_us:
            ratio = theirs.cpu_us / mine.cpu_us
            lines.append((_title(scenario), f"{other}'s CPU over ours", f"at least {wanted:g}", f"{ratio:.2f}", _met(ratio >= wanted)))
    mine, floor = found.get(("get-100", GATEWAY)), found.get(("get-100", NGINX))
    if mine and floor and mine.cpu_us and floor.cpu_us:
        ratio = mine.cpu_us / floor.cpu_us
        lines.append((_title("get-100"), "our CPU over bare nginx's", "at most 2.5", f"{ratio:.2f}", _met(ratio <= 2.5)))
    for scenario in ("download-10m", "upload-10m"):
        speeds = {row.peer: row.megabytes_per_cpu_second for row in rows if row.scenario == scenario and row.megabytes_per_cpu_second}
        if GATEWAY in speeds and len(speeds) > 1:
            ratio = speeds[GATEWAY] / max(speed for peer, speed in speeds.items() if peer != GATEWAY)
            lines.append(
                (_title(scenario), "our MB a CPU-second over the best other's", "at least 1.2", f"{ratio:.2f}", _met(ratio >= 1.2))
            )
    for scenario, most in (("idle-1000", 20), ("idle-10000", 20), ("websockets-1000", 40)):
        row = found.get((scenario, GATEWAY))
        if row and row.held_kib is not None:
            lines.append((_title(scenario), "our KiB a connection", f"at most {most}", f"{row.held_kib:.1f}", _met(row.held_kib <= most)))
    if not lines:
        return ""
    return "\n".join([_line(("Scenario", "Ratio", "Target", "Measured", "")), "|---|---|---|---:|---|", *map(_line, lines)])


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
    return (
        f"Run of {machine['date']} on {machine['processor']}, {machine['kernel']}; {machine['cores']}. "
        f"Medians of {repeats} repeats. Spread is (highest - lowest) / median of the CPU time a request."
    )


def _programs(report: Report) -> str:
    lines = [f"- {name}: {version}" for name, version in report.installed.items()]
    lines += [f"- **missing**: {name}: {reason}" for name, reason in report.missing.items()]
    lines += [f"- **failed**: {fault}" for fault in report.failed]
    return "\n".join(lines)


def _title(scenario: str) -> str:
    return next((one.title for one in scenarios.ALL if one.name == scenario), scenario)


def _met(yes: bool) -> str:
    return "met" if yes else "**missed**"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
