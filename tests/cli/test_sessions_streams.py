"""``gateway sessions`` with a real store, where what it prints finds no taker, or a signal comes: what was done is done, and is told."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from gateway.session.card import Card, seal_card
from gateway.session.handle import store_key
from gateway.session.index_names import newest_names
from gateway.session.sealing import Keyring
from gateway.session.store.opening import open_store
from gateway.session.store.protocol import NewSession
from tests.support.config_files import ENVIRON, KEY, STORE, damaged
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.redis_servers import RedisServer

ISSUER = "https://id.example.org"
COMMAND = f"{sys.executable} -m gateway sessions"


@dataclass
class Host:
    """A folder with a configuration, and the store that it names."""

    folder: Path
    server: RedisServer

    async def sign_in(self, *names: str) -> list[str]:
        """Sessions of these people; their ids."""
        keyring, store, now = Keyring([KEY]), open_store(self.server.url), int(time.time())
        ids = []
        for name in names:
            key = store_key(secrets.token_bytes(32))
            card = Card("main", ISSUER, f"{name}-sub", None, name, None, "192.0.2.1", now, now + 3600, None)
            sealed, lists = seal_card(keyring, card, key=key), newest_names(keyring, card)
            await store.create(NewSession(key, b"record", b"tokens", now * 1000, 3600.0, 1800.0, sealed, lists), replaces=())
            ids.append(f"s_{key}")
        await store.close()
        return ids

    def started(self, line: str, **environ: str) -> subprocess.Popen[str]:
        """A line of a shell in this folder, ``gateway sessions`` where it says ``$S``."""
        return subprocess.Popen(
            ["bash", "-c", re.sub(r"\$S (\w+)", rf"{COMMAND} \1 -c gateway.yaml", line)],
            cwd=self.folder,
            env=os.environ | ENVIRON | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="latin-1",
        )

    async def ran(self, line: str, **environ: str) -> tuple[int, str, str]:
        process = self.started(line, **environ)
        out, err = await asyncio.to_thread(process.communicate)
        assert "Traceback" not in err
        assert "rror" not in re.sub(r'"level": "\w+"', "", err)
        return process.returncode, out, err


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    async with redis_server() as server:
        (tmp_path / "gateway.yaml").write_text(damaged({STORE: f"  store: {server.url}\n"}))
        yield Host(tmp_path, server)


def audit(err: str) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, filter(lambda line: line.startswith("{"), err.splitlines())) if line["room"] == "audit"]


@pytest.mark.parametrize(
    ("streams", "told"),
    [
        pytest.param("2>/dev/full", ("Ended 1.\n", 0), id="an error stream that is full"),
        pytest.param("2>&-", ("Ended 1.\n", 0), id="no error stream"),
        pytest.param(">/dev/full", ("", 1), id="an output that is full"),
        pytest.param(">&-", ("", 1), id="no output"),
        pytest.param("</dev/null >&- 2>&-", ("", 0), id="neither"),
        pytest.param("| true", ("", 1), id="an output that nobody reads"),
    ],
)
async def test_an_end_is_an_end_whoever_reads_of_it(host: Host, streams: str, told: tuple[str, int]) -> None:
    await host.sign_in("alice", "bob")
    code, out, err = await host.ran(f"set -o pipefail; $S end --user alice-sub {streams}")
    assert (code, out, len(audit(err))) == (0, *told)
    code, out, _ = await host.ran("$S list --json")
    assert [one["sub"] for one in json.loads(out)["sessions"]] == ["bob-sub"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        pytest.param("$S list | head -1", 0, id="a list of which the head is enough"),
        pytest.param("$S list 2>&-", 0, id="a list without an error stream"),
        pytest.param("$S list 2>/dev/full", 0, id="a list whose error stream is full"),
        pytest.param("$S list --json >/dev/full", 1, id="a list that could not be written"),
        pytest.param("$S show ID >/dev/full", 1, id="a session that could not be shown"),
    ],
)
async def test_what_was_to_be_seen_was_written_or_is_told_to_be_lost(host: Host, line: str, code: int) -> None:
    (one, *_) = await host.sign_in(*["alice"] * 200)
    assert (await host.ran("set -o pipefail; " + line.replace("ID", one)))[0] == code


async def test_a_name_that_the_terminal_has_no_letters_for_stops_no_list(host: Host) -> None:
    await host.sign_in("é中", "bob")
    code, out, _ = await host.ran("$S list", PYTHONIOENCODING="latin-1")
    assert (code, len(out.splitlines()), "  é?  " in out) == (0, 3, True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_halfway_leaves_the_line_of_what_had_ended(host: Host, number: signal.Signals) -> None:
    await host.sign_in("alice", "bob")
    # Writes stand still while reads go on: it has begun to end them, and cannot.
    host.server.command("CLIENT", "PAUSE", "60000", "WRITE")
    # Tests that run in the background hear no SIGINT, and nor would what they start.
    process = host.started("exec env --default-signal=INT $S end --all --yes")
    async with asyncio.timeout(30):
        while b"cmd=eval" not in host.server.command("CLIENT", "LIST"):
            await asyncio.sleep(0.01)
    process.send_signal(number)
    host.server.command("CLIENT", "UNPAUSE")
    out, err = await asyncio.to_thread(process.communicate)
    assert (process.returncode, out) == (128 + number, "")
    (line,) = audit(err)
    assert (line["event"], line["outcome"], line["asked"]) == ("sessions.ended", "cancelled", {"confirm": "all"})
    assert err.splitlines()[-1] == "Stopped halfway."


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        pytest.param("$S end --user alice", 3, "There is no session of this sub, which is taken exactly.", id="a part of a sub"),
        pytest.param("$S end --sid x", 3, "There is no session of this sid", id="a sid of nobody"),
        pytest.param("$S end s_abc", 3, "This is no id", id="a cut-off id"),
        pytest.param("$S end ''", 3, "This is no id", id="an empty id"),
        pytest.param("$S show s_abc", 3, "This is no id", id="a cut-off id to show"),
        pytest.param(f"$S end s_{'n' * 43}", 3, "There is no session of this id.", id="an id of nobody"),
        pytest.param("$S end --all --yes --provider other", 0, "There was none to end", id="all of a provider without any"),
    ],
)
async def test_an_end_of_nobody_says_why(host: Host, line: str, code: int, said: str) -> None:
    await host.sign_in("alice")
    ran, out, err = await host.ran(line)
    assert (ran, out) == (code, "" if " show" in line else "Ended 0.\n")
    assert said in err.splitlines()[-1]
