"""What every test shares: the leak sweep over the whole run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.leaks import sweep

if TYPE_CHECKING:
    import pytest


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Invariant 11 over everything that the gateways of this run printed and showed."""
    if sweep.leaks():
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
