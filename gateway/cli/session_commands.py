"""The work of ``gateway sessions``: straight through the store, with the keys of the configuration, as the session API would do it.

Answers three in the morning: it needs no running gateway, no token and no client secret, only the file on the host and what its session
section names. Every use is a line in the log (standard error) as with the API. What a provider calls somebody is printed without anything
that a terminal would obey.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import pwd
import re
import signal
import time
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

from typing_extensions import override

from gateway.cli.standard_streams import complain, note, prepare, say
from gateway.config.compiling import load_store_access
from gateway.errors import ConfigRefused, GatewayError, RequestRefused
from gateway.server.session_api_acts import Acts, key_of
from gateway.server.session_api_query import ALL, LARGEST_PAGE, LISTING
from gateway.session.card import LONGEST_NAME
from gateway.session.sealing import Keyring
from gateway.session.sessions import Sessions
from gateway.session.store.opening import open_store
from gateway.session.store.protocol import UnknownToReplicas
from gateway.telemetry import logs
from gateway.telemetry.audit import Actor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
    from pathlib import Path

DONE: Final = 0
UNAVAILABLE: Final = 1
REFUSED: Final = 2
MISSING: Final = 3
STOPPED: Final = 128
"""More the signal's number, as shells have it."""

NO_ID: Final = "This is no id: copy it whole from the list, s_ and 43 characters."
NO_SESSION: Final = "There is no session of this id."
NOBODY: Final = {
    "sub": "There is no session of this sub, which is taken exactly. By a part of a name: gateway sessions list --user.",
    "sid": "There is no session of this sid, which is taken exactly.",
    "confirm": "There was none to end: the store lists no session. If you know of one, look at session.store and session.redis.",
}
COLUMNS: Final = {"id": "ID", "sub": "USER", "name": "NAME", "address": "FROM", "created": "SIGNED IN", "last_seen": "LAST SEEN"}
TIMES: Final = frozenset({"created", "last_seen", "expires", "idle_expires", "auth_time"})


def list_(config: Path, asked: dict[str, str], *, limit: int, as_json: bool) -> int:
    """Print up to ``limit`` sessions that match, the newest first; the exit code."""

    async def work(acts: Acts, actor: Actor) -> int:
        found: dict[str, dict[str, Any]] = {}
        unreadable, cursor = 0, None
        while True:
            page = asked | {"limit": str(min(limit - len(found), LARGEST_PAGE))} | ({} if cursor is None else {"cursor": cursor})
            told = await acts.list(actor, page)
            found |= {one["id"]: one for one in told["sessions"]}
            unreadable += told["unreadable"]
            cursor = told["next"]
            if cursor is None or len(found) >= limit:
                break
        ordered = sorted(found.values(), key=lambda one: one["created"], reverse=True)
        if as_json:
            return _told(json.dumps({"sessions": ordered, "more": cursor is not None, "unreadable": unreadable}))
        code = _told("\n".join(_table(ordered)))
        if cursor is not None:
            complain(f"There are more than {limit}: narrow the search, or raise --limit.")
        if unreadable:
            complain(f"{unreadable} more cannot be read: their cards are lost, or no key here opens them. end --all ends them too.")
        return code

    return _run(config, work, options={"sub": "--sub"})


def show(config: Path, session: str, *, as_json: bool) -> int:
    """Print one session; the exit code."""

    async def work(acts: Acts, actor: Actor) -> int:
        told = await acts.show(actor, session)
        if told is None:
            complain(NO_SESSION if key_of(session) else NO_ID)
            return MISSING
        width = max(map(len, told))
        return _told(json.dumps(told) if as_json else "\n".join(f"{name:<{width}}  {_cell(name, value)}" for name, value in told.items()))

    return _run(config, work)


def end(config: Path, session: str | None, asked: dict[str, str], *, yes: bool, as_json: bool) -> int:
    """End sessions and print how many; the exit code."""
    if session is not None and asked:
        return _refuse("Name a session, or whose to end: not both.")
    wanted = [name for name in NOBODY if name in asked]
    if session is None and len(wanted) != 1:
        return _refuse(f"{'Only one of these' if wanted else 'Say which to end'}: an ID, --user SUB, --sid SID, or --all.")
    if wanted == ["confirm"] and not yes:
        return _refuse("This ends every session: say --yes as well.")

    async def work(acts: Acts, actor: Actor) -> int:
        outcome = await (acts.end(actor, session) if session is not None else acts.end_several(actor, asked))
        # What was done is done, whether anybody can read it or not.
        say(json.dumps({"ended": outcome.ended}) if as_json else f"Ended {outcome.ended}.")
        if isinstance(outcome.failure, UnknownToReplicas):
            complain(f"A failover of the store would bring them back ({outcome.failure.detail}): end them again.")
            return UNAVAILABLE
        if outcome.failure is not None:
            complain(f"Not all: the session store gave no answer ({outcome.failure.detail}). End them again.")
            return UNAVAILABLE
        if not outcome.ended:
            complain(NOBODY[wanted[0]] if session is None else NO_SESSION if key_of(session) else NO_ID)
        return DONE if outcome.ended or wanted == ["confirm"] else MISSING

    return _run(config, work, options={"sub": "--user"})


def _run(
    config: Path, work: Callable[[Acts, Actor], Coroutine[Any, Any, int]], *, options: Mapping[str, str] = MappingProxyType({})
) -> int:
    prepare()
    logs.configure(stream=cast("TextIO", _AtOnce()))
    stopped: list[int] = []

    async def run() -> int:
        _stop_at_signals(stopped)
        async with _opened(config) as acts:
            return await work(acts, Actor(_user(), via="command", address="local", sudo_user=_sudo_user()))

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        if not stopped:
            raise
        complain("Stopped halfway.")
        return STOPPED + stopped[0]
    except ConfigRefused as refused:
        return _refuse("\n".join(refused.faults))
    except RequestRefused as refused:
        return _refuse(_in_options(refused.detail, options))
    except GatewayError as failure:
        complain(f"{failure.detail}: the session store gave no answer.")
        return UNAVAILABLE


def _stop_at_signals(stopped: list[int]) -> None:
    """Have what is under way broken off, and told, where a signal would have ended the process without a word."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def stop(number: int) -> None:
        stopped.append(number)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Whoever started it may have wanted it left alone, as nohup does.
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, stop, number)


def _in_options(detail: str, options: Mapping[str, str]) -> str:
    """A refusal in the API's words, in those of the command line, where parameters are options."""
    names, colon, rest = detail.partition(": ")
    if colon and all(name in LISTING for name in names.split(", ")):
        names = ", ".join(_option(name, options) for name in names.split(", "))
    rest = rest.replace(f"confirm={ALL}", "--all")
    return names + colon + re.sub(r"\b(?:sub|sid)\b", lambda name: _option(name[0], options), rest)


def _option(name: str, options: Mapping[str, str]) -> str:
    return options.get(name, f"--{name.replace('_', '-')}")


@asynccontextmanager
async def _opened(config: Path) -> AsyncIterator[Acts]:
    settings, providers = load_store_access(config, environ=os.environ)
    sessions = Sessions(Keyring(settings.keys), open_store(settings.store, settings.redis), settings.lifetimes)
    try:
        yield Acts(sessions.index, providers, clock=time.time)
    finally:
        await sessions.close()


class _AtOnce(io.TextIOBase):
    """Standard error without its descriptor: its lines are waited for. One of the audit that is late would be none."""

    @override
    def write(self, text: str, /) -> int:
        note(text)
        return len(text)


def _table(told: Sequence[dict[str, Any]]) -> list[str]:
    rows = [[*COLUMNS.values()], *([_cell(name, one[name]) for name in COLUMNS] for one in told)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cell(name: str, value: object) -> str:
    if value is None:
        return "-"
    if name in TIMES and isinstance(value, int):
        return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(value))
    return "".join(character if character.isprintable() else "?" for character in str(value))


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _sudo_user() -> str | None:
    """Who is behind the user of the machine, as sudo has left it in the environment."""
    return os.environ.get("SUDO_USER", "")[:LONGEST_NAME] or None


def _told(text: str) -> int:
    """Print what was asked for; the exit code."""
    if say(text):
        return DONE
    complain("Standard output cannot be written.")
    return UNAVAILABLE


def _refuse(text: str) -> int:
    complain(text)
    return REFUSED
