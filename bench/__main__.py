"""``python -m bench``: see ``--help``."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from bench import chart, peers, scenarios, table
from bench.around import ROOT
from bench.peers import gateway
from bench.running import Plan, run


def main() -> None:
    """Run, print the table, and write JSON, Markdown and chart."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="The gateway beside its peers, in one run.")
    parser.add_argument("--quick", action="store_true", help="one repeat of two seconds: to see that everything works")
    parser.add_argument("--only", action="append", default=[], metavar="PEER", help="a part of a peer's name; may be repeated")
    parser.add_argument("--scenario", action="append", default=[], metavar="NAME", choices=[one.name for one in scenarios.ALL])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of load for each measurement")
    parser.add_argument("--cache", type=Path, default=ROOT / ".bench", help="where peers are built and kept")
    parser.add_argument("--out", type=Path, default=ROOT / ".bench" / "results", help="where to write; docs is where the page is")
    parser.add_argument("--gateway", type=Path, metavar="FOLDER", help="another checkout of the gateway to measure, such as an older one")
    asked = parser.parse_args()
    if asked.gateway is not None:
        os.environ[gateway.SOURCE] = str(asked.gateway.resolve())
    plan = Plan(
        cache=asked.cache.resolve(),
        peers=[peer for peer in peers.ALL if not asked.only or any(part.lower() in peer.name.lower() for part in asked.only)],
        scenarios=[one for one in scenarios.ALL if not asked.scenario or one.name in asked.scenario],
        repeats=1 if asked.quick else max(1, asked.repeats),
        seconds=2.0 if asked.quick else max(1.0, asked.seconds),
    )
    report = run(plan)
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "benchmarks.json").write_text(json.dumps(report.as_json(), indent=1) + "\n")
    (asked.out / "benchmarks.svg").write_text(chart.render(report))
    block = table.render(report)
    table.write_into(asked.out / "benchmarks.md", block)
    print(block)


if __name__ == "__main__":
    main()
