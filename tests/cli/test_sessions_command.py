"""``gateway sessions`` as far as it gets without a store: command lines that are refused before anything is asked, and how it prints."""

from __future__ import annotations

import pytest
import structlog
from typer.testing import CliRunner

from gateway.cli import main
from gateway.cli.session_commands import _cell, _table
from tests.support.config_files import ENVIRON, STORE, VALID, damaged

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
        pytest.param(("end",), "name one of sub and sid", id="nobody to end"),
        pytest.param(("end", ID, "--user", "alice"), "not both", id="one and a person's"),
        pytest.param(("end", "--all"), "--yes", id="all without yes"),
        pytest.param(("end", "--all", "--yes", "--user", "bob"), "name one of sub and sid", id="all and a person's"),
        pytest.param(("end", "--all", "--yes", "--issuer", "https://x"), "issuer", id="all of an issuer"),
        pytest.param(("end", "--provider", "main"), "name one of sub and sid", id="a provider's without all"),
        pytest.param(("end", "--user", ""), "sub: 1 to", id="an empty person's"),
        pytest.param(("list", "--min-age", "soon"), "min_age", id="no duration"),
        pytest.param(("list", "--address", "somewhere"), "address", id="no address"),
        pytest.param(("list", "--sub", "a", "--sid", "b"), "sub, sid", id="sub and sid"),
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


def test_sessions_in_memory_are_for_the_api(runner):
    ran = runner("list", config="memory.yaml")
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "/sessions" in ran.stderr


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
