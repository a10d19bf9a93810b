"""The chart as SVG, written by hand: a panel a scenario, a bar a program, shorter is better."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from bench import scenarios
from bench.results import Row, medians
from bench.table import GATEWAY, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.results import Report

_WIDTH, _NAMES, _BAR, _GAP, _HEAD = 760, 200, 18, 6, 34
_PANELS = ("get-100", "get-16k", "check", "download-10m", "upload-10m", "echo", "logins", "idle-1000", "websockets-1000")


def render(report: Report) -> str:
    """The whole picture; scenarios without results are left out."""
    rows = medians(report.measurements)
    titles = {one.name: one.title for one in scenarios.ALL}
    parts, top = [], 10
    for name in _PANELS:
        shown = [row for row in rows if row.scenario == name and _value(row) is not None]
        if shown:
            parts.append(_panel(titles[name], shown, top))
            top += _HEAD + len(shown) * (_BAR + _GAP) + 14
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top}" viewBox="0 0 {_WIDTH} {top}" '
        f'font-family="sans-serif" font-size="13" role="img" aria-label="CPU time and memory of the gateway and its peers">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _panel(title: str, rows: Sequence[Row], top: int) -> str:
    kept = rows[0].cpu_us is None
    unit = "KiB a connection" if kept else "CPU µs"
    longest = max(_value(row) or 0.0 for row in rows) or 1.0
    parts = [f'<text x="10" y="{top + 16}" font-weight="bold" fill="#1f2328">{escape(title)} ({unit}, shorter is better)</text>']
    for index, row in enumerate(rows):
        value = _value(row) or 0.0
        y = top + _HEAD + index * (_BAR + _GAP)
        width = max(1.0, max(value, 0.0) / longest * (_WIDTH - _NAMES - 100))
        colour = "#0969da" if row.peer == GATEWAY else "#8c959f"
        parts += [
            f'<text x="{_NAMES}" y="{y + 13}" text-anchor="end" fill="#1f2328">{escape(row.peer)}</text>',
            f'<rect x="{_NAMES + 8}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="{colour}"/>',
            f'<text x="{_NAMES + 14 + width:.1f}" y="{y + 13}" fill="#1f2328">{number(value)}</text>',
        ]
    return "\n".join(parts)


def _value(row: Row) -> float | None:
    return row.cpu_us if row.cpu_us is not None else row.held_kib
