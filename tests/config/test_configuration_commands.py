"""``gateway check`` and ``gateway schema`` as an operator runs them: exit codes, lines, never a traceback, and nothing loaded in vain."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from gateway import __version__
from tests.support.config_files import ADMIN_LISTEN, CLIENT_SECRET, ENVIRON, LISTEN, VALID, damaged


def gateway(*arguments, folder, environ=ENVIRON):
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=folder,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_good_configuration_ends_with_0(tmp_path):
    (tmp_path / "gateway.yaml").write_text(VALID)
    ran = gateway("check", "--config", "gateway.yaml", folder=tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "The configuration is well.\n", "")


def test_warnings_are_shown_and_end_with_0(tmp_path):
    (tmp_path / "gateway.yaml").write_text(damaged({ADMIN_LISTEN: "  listen: 0.0.0.0:9090\n"}))
    ran = gateway("check", "-c", "gateway.yaml", folder=tmp_path)
    assert ran.returncode == 0
    assert ran.stderr.startswith("warning: gateway.yaml:5:11 admin.listen: reachable beyond this machine")


def test_every_fault_is_a_line_and_they_end_with_2(tmp_path):
    (tmp_path / "gateway.yaml").write_text(damaged({LISTEN: "  listn: x\n", CLIENT_SECRET: "    client_secret: hunter2\n"}))
    ran = gateway("check", "--config", "gateway.yaml", folder=tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert [line.partition(": ")[0] for line in ran.stderr.splitlines()] == [
        "gateway.yaml:2:3 server.listn",
        "gateway.yaml:10:20 providers[0].client_secret",
    ]
    assert "hunter2" not in ran.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("check", "--config", "nowhere.yaml"), id="no such file"),
        pytest.param(("check", "--config", "."), id="a folder"),
        pytest.param(("check",), id="no file named"),
        pytest.param(("chekc",), id="no such command"),
    ],
)
def test_an_operators_mistake_ends_with_2_and_no_traceback(tmp_path, arguments):
    ran = gateway(*arguments, folder=tmp_path)
    assert ran.returncode == 2
    assert ran.stderr
    assert "Traceback" not in ran.stderr + ran.stdout


def test_the_schema_is_json(tmp_path):
    ran = gateway("schema", folder=tmp_path)
    assert ran.returncode == 0
    assert json.loads(ran.stdout)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_version(tmp_path):
    assert gateway("--version", folder=tmp_path).stdout == f"gateway {__version__}\n"


def test_the_command_line_loads_no_command_before_it_runs(tmp_path):
    program = (
        "import sys, gateway.cli; print([name for name in sys.modules if name.split('.')[0] in {'pydantic', 'aiohttp', 'yaml', 'redis'}"
    )
    program += " or name.startswith(('gateway.cli.', 'gateway.demo', 'gateway.server', 'gateway.config'))])"
    ran = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    # What may be written after ``sessions`` is a file of its own; it loads nothing either.
    assert ran.stdout == "['gateway.cli.sessions']\n"


def test_checking_a_configuration_loads_no_demo(tmp_path):
    program = "import sys, gateway.cli.check, gateway.cli.schema; print([name for name in sys.modules if name.startswith('gateway.demo')])"
    ran = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
