"""What every test shares: how many workers a run has, and the leak sweep over all of them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.leaks import sweep

WORKERS = 4
"""Of a whole run. Most of its time goes into waiting for other processes, so that two cores have work for more than two."""
_TOLD = "leak_sweep"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Workers for a run of everything; none (as ``-n 0``) where files are named, which is over sooner than they have started."""
    return WORKERS if config.args_source is not pytest.Config.ArgsSource.ARGS else 0


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker has ended, in order or not."""
    sweep.hear(getattr(node, "workeroutput", {}).get(_TOLD), node.gateway.id)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Invariant 11 over everything that the gateways of this run printed and showed."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[_TOLD] = sweep.told()
    elif sweep.leaks():
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    leaks = sweep.leaks()
    terminalreporter.write_sep(
        "-",
        f"leak sweep: {len(leaks)} leaks; {len(sweep.secrets)} secrets held against {len(sweep.outputs)} outputs "
        f"of {sweep.gateways} gateway processes",
    )
    for leak in leaks:
        terminalreporter.write_line(f"LEAK: {leak}", red=True)
