"""The leak sweep of a parallel run: real runs of pytest with this tree's conftest over a few tests that tell what they saw."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.leaks import SHORTEST, Sweep

ROOT = Path(__file__).parents[2]
SECRET = "0123456789-abcdef"
CONFTEST = "from tests.conftest import *  # what the sweep hangs on\n"
TOLD = """
import os
from tests.support.leaks import sweep

def test_{name}():
    sweep.{call}("{value}", "what {name} saw in " + os.environ.get("PYTEST_XDIST_WORKER", "the one process"))
    sweep.gateways += 1
"""
DYING = """
import os

class Dying:
    def pytest_sessionfinish(self):
        os._exit(7)

def pytest_configure(config):
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(Dying())
"""
SUMMARY = "leak sweep: {} leaks; 1 secrets held against 1 outputs of 2 gateway processes"


def run(folder: Path, *options: str, secret: str = SECRET, shown: str, conftest: str = CONFTEST) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(conftest)
    (folder / "test_one.py").write_text(TOLD.format(name="one", call="secret", value=secret))
    (folder / "test_two.py").write_text(TOLD.format(name="two", call="output", value=shown))
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder), "-p", "no:cacheprovider"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV", "_COV"))}
    return subprocess.run([*command, *options, str(folder)], cwd=ROOT, env=kept, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("options", "leak"),
    [
        pytest.param(("-n", "2"), "LEAK: what one saw in gw0 in what two saw in gw1", id="in the output of another worker"),
        pytest.param(("-n", "0"), "LEAK: what one saw in the one process in what two saw in the one process", id="without workers"),
    ],
)
def test_a_secret_that_was_shown_fails_a_run_whose_tests_pass(tmp_path, options, leak):
    ended = run(tmp_path, *options, shown=f"it was {SECRET}.")
    assert "2 passed" in ended.stdout, ended.stdout
    assert SUMMARY.format(1) in ended.stdout
    assert leak in ended.stdout.splitlines()
    assert SECRET not in ended.stdout
    assert ended.returncode == 1


def test_what_every_worker_saw_is_counted_once(tmp_path):
    ended = run(tmp_path, "-n", "2", shown="nothing of that kind")
    assert SUMMARY.format(0) in ended.stdout, ended.stdout
    assert ended.returncode == 0


def test_a_worker_that_ends_without_telling_fails_the_run(tmp_path):
    ended = run(tmp_path, "-n", "2", "--max-worker-restart", "0", shown="nothing of that kind", conftest=CONFTEST + DYING)
    assert "LEAK: whatever worker gw0 saw: it ended without telling" in ended.stdout.splitlines(), ended.stdout
    assert ended.returncode == 1


@given(
    before=st.text("ab", max_size=3 * SHORTEST),
    value=st.text("ab", min_size=SHORTEST, max_size=4 * SHORTEST),
    after=st.text("ab", max_size=3 * SHORTEST),
    others=st.lists(st.text("ab", min_size=SHORTEST, max_size=3 * SHORTEST), max_size=4),
)
def test_a_secret_is_found_wherever_it_stands_and_no_other(before, value, after, others):
    sweep, text = Sweep(), before + value + after
    for number, secret in enumerate(dict.fromkeys([value, *others])):
        sweep.secret(secret, f"secret {number}")
    sweep.output(text, "a log")
    assert "secret 0 in a log" in sweep.leaks()
    assert sweep.leaks() == sorted(f"{kind} in a log" for secret, kind in sweep.secrets.items() if secret in text)


def test_what_is_too_short_is_no_secret():
    sweep = Sweep()
    sweep.secret("a" * (SHORTEST - 1), "word")
    assert sweep.secrets == {}
