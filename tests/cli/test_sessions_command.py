"""``gateway sessions`` as far as it gets without a store: command lines that are refused before anything is asked, and how it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner

from gateway.cli import main
from gateway.cli.session_commands import _cell, _table
from tests.support.config_files import ADMIN_LISTEN, ENVIRON, STORE, VALID, damaged

ID = "s_" + "n" * 43


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """Runs a command line in a folder with a ``gateway.yaml`` whose store nobody reaches, and without the client secret."""
    (tmp_path / "gateway.yaml").write_text(damaged({STORE: "  store: redis://127.0.0.1:1/0\n"}))
    (tmp_path / "memory.yaml").write_text(VALID)
    (tmp_path / "broken.yaml").write_text(damaged({STORE: "  store: nonsense\n"}))
    monkeypatch.chdir(tmp_path)
    before = structlog.get_config()

    def run(*arguments, config="gateway.yaml"):
        environ = {name: value for name, value in ENVIRON.items() if name != "CLIENT_SECRET"} | {"CLIENT_SECRET": None}
        return CliRunner().invoke(main, ["sessions", *arguments, "--config", config], env=environ)

    yield run
    structlog.configure(**before)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(("end",), "Say which to end: an ID, --user SUB, --sid SID, or --all.", id="nobody to end"),
        pytest.param(("end", ID, "--user", "alice"), "not both", id="one and a person's"),
        pytest.param(("end", "--all"), "--yes", id="all without yes"),
        pytest.param(("end", "--all", "--yes", "--user", "bob"), "Only one of these: an ID, --user", id="all and a person's"),
        pytest.param(
            ("end", "--all", "--yes", "--issuer", "https://x"), "--issuer: goes with --user or --sid, not with --all", id="all of an issuer"
        ),
        pytest.param(("end", "--provider", "main"), "Say which to end", id="a provider's without all"),
        pytest.param(("end", "--user", ""), "--user: 1 to", id="an empty person's"),
        pytest.param(("list", "--min-age", "soon"), "--min-age: a duration", id="no duration"),
        pytest.param(("list", "--address", "somewhere"), "--address: an IP", id="no address"),
        pytest.param(("list", "--sub", "a", "--sid", "b"), "--sub, --sid: only one", id="sub and sid"),
        pytest.param(("list", "--limit", "0"), "limit", id="none at all"),
        pytest.param(("list", "--colour"), "colour", id="an unknown option"),
        pytest.param(("show",), "ID", id="nothing to show"),
    ],
)
def test_a_command_line_that_is_not_clear_ends_with_2_and_asks_nothing(runner, arguments, told):
    ran = runner(*arguments)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert told in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_configuration_that_is_refused_ends_with_2(runner):
    ran = runner("list", config="broken.yaml")
    assert ran.exit_code == 2
    assert "session.store" in ran.stderr


@pytest.mark.parametrize(
    ("admin", "told"),
    [
        pytest.param(
            "  listen: 127.0.0.1:60253\n", "http://127.0.0.1:60253/sessions, with admin.token, once you have set it", id="no token"
        ),
        pytest.param("  listen: 127.0.0.1:60253\n  token: {env: NOT_SET}\n", "with admin.token (memory.yaml:6)", id="a token"),
        pytest.param("  listen: '[::]:60253'\n", "http://[::1]:60253/sessions", id="every address"),
        pytest.param("  listen: unix:/run/admin.sock\n", "/sessions at the socket /run/admin.sock", id="a socket"),
        pytest.param("  listen: none\n", "set admin.listen and admin.token", id="no listener"),
    ],
)
def test_sessions_in_memory_are_for_the_api(runner, admin, told):
    Path("memory.yaml").write_text(damaged({ADMIN_LISTEN: admin}))
    ran = runner("list", config="memory.yaml")
    assert (ran.exit_code, ran.stdout) == (2, "")
    line = 1 + Path("memory.yaml").read_text().splitlines().index(STORE.rstrip("\n"))
    assert ran.stderr.startswith(f"memory.yaml:{line}:")
    assert "session.store: these sessions live in the memory of the running gateway" in ran.stderr
    assert told in ran.stderr


@pytest.mark.parametrize("sudo", [pytest.param("alice", id="by sudo"), pytest.param(None, id="by oneself")])
def test_the_audit_names_who_became_root(runner, monkeypatch, sudo):
    monkeypatch.delenv("SUDO_USER", raising=False)
    if sudo:
        monkeypatch.setenv("SUDO_USER", sudo)
    line = json.loads(runner("show", ID).stderr.splitlines()[0])
    assert (line["via"], line.get("sudo_user")) == ("command", sudo)


def test_a_store_that_gives_no_answer_ends_with_1(runner):
    ran = runner("show", ID)
    assert ran.exit_code == 1
    assert "127.0.0.1:1" in ran.stderr
    assert '"outcome": "store_unavailable"' in ran.stderr


@pytest.mark.parametrize(
    ("name", "value", "cell"),
    [
        pytest.param("name", None, "-", id="nothing"),
        pytest.param("name", "Jürgen 李", "Jürgen 李", id="letters"),
        pytest.param("name", "a\x9b31mb\u202ec\u2028d", "a?31mb?c?d", id="what a terminal would obey"),
        pytest.param("created", 1_700_000_000, "2023-11-14 22:13:20Z", id="a time"),
        pytest.param("expires_in", 60, "60", id="seconds left"),
    ],
)
def test_how_a_value_is_printed(name, value, cell):
    assert _cell(name, value) == cell


def test_a_table_without_sessions_is_its_head():
    assert len(_table([])) == 1
