"""``gateway keys new`` as an operator runs it: a key that the configuration takes, in nobody else's hands, and never over another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.config.secrets import session_key
from gateway.session.sealing import Keyring
from tests.support.leaks import sweep

if TYPE_CHECKING:
    from collections.abc import Callable


def keys_new(*arguments: str, umask: int = 0o022) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", "keys", "new", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, umask=umask)


def test_the_key_alone_is_on_standard_output() -> None:
    ran, other = keys_new(), keys_new()
    assert ran.returncode == 0
    line = ran.stdout.removesuffix("\n")
    sweep.secret(line, "session key")
    key = session_key(line)
    assert f"The log calls this key {Keyring([key]).ids[0]}." in ran.stderr
    assert "Next: list it in session.keys" in ran.stderr
    assert line not in ran.stderr
    assert other.stdout != ran.stdout


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_a_file_is_written_for_its_owner_alone(tmp_path: Path, umask: int) -> None:
    file = tmp_path / "session_key"
    ran = keys_new("--file", str(file), umask=umask)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert file.stat().st_mode & 0o7777 == 0o600
    written = file.read_text()
    key = session_key(written.removesuffix("\n"))
    assert written.strip() not in ran.stdout
    assert f"The log calls this key {Keyring([key]).ids[0]}." in ran.stdout
    assert "Next: list it in session.keys" in ran.stdout


def test_a_key_that_nobody_can_have_is_none() -> None:
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run([sys.executable, "-m", "gateway", "keys", "new"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr == "Standard output cannot be written, so there is no key.\n"


def _file(path: Path) -> None:
    path.write_text("the key in use")


def _link(path: Path) -> None:
    path.symlink_to(path.parent / "elsewhere")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(_file, "is there already", id="a file"),
        pytest.param(_link, "is there already", id="a link that leads nowhere"),
        pytest.param(os.mkdir, "is a folder", id="a folder"),
    ],
)
def test_nothing_is_written_over(tmp_path: Path, make: Callable[[Path], None], said: str) -> None:
    path = tmp_path / "session_key"
    make(path)
    ran = keys_new("-f", str(path))
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert said in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == [path]
    assert not path.is_file() or path.read_text() == "the key in use"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("--file", "/nowhere/session_key"), id="no such folder"),
        pytest.param(("--file", "/dev/full/x"), id="no folder"),
        pytest.param(("--file", ""), id="no name"),
        pytest.param(("--file", "."), id="this folder"),
        pytest.param(("session_key",), id="a path without its option"),
    ],
)
def test_a_mistake_ends_with_2_and_no_traceback(arguments: tuple[str, ...]) -> None:
    ran = keys_new(*arguments)
    assert ran.returncode == 2
    assert ran.stderr
    assert "Traceback" not in ran.stderr
