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
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

from typing_extensions import override

from gateway.config.compiling import load_store_access
from gateway.errors import ConfigRefused, GatewayError, RequestRefused
from gateway.server.session_api_acts import Acts
from gateway.server.session_api_query import ALL, LARGEST_PAGE
from gateway.session.sealing import Keyring
from gateway.session.sessions import Sessions
from gateway.session.store.opening import open_store
from gateway.telemetry import logs
from gateway.telemetry.audit import Actor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
    from pathlib import Path

DONE: Final = 0
UNAVAILABLE: Final = 1
REFUSED: Final = 2
MISSING: Final = 3

MEMORY: Final = (
    "These sessions live in the memory of the running gateway, where no other process reads them. Ask its session API:\n"
    "curl -H 'Authorization: Bearer ...' http://127.0.0.1:9090/sessions"
)
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
            _say(json.dumps({"sessions": ordered, "more": cursor is not None, "unreadable": unreadable}))
            return DONE
        _say("\n".join(_table(ordered)))
        if cursor is not None:
            _complain(f"There are more than {limit}: narrow the search, or raise --limit.")
        if unreadable:
            _complain(f"{unreadable} more cannot be read: no key of this configuration opens their cards.")
        return DONE

    return _run(config, work)


def show(config: Path, session: str, *, as_json: bool) -> int:
    """Print one session; the exit code."""

    async def work(acts: Acts, actor: Actor) -> int:
        told = await acts.show(actor, session)
        if told is None:
            _complain("There is no session of this id.")
            return MISSING
        width = max(map(len, told))
        _say(json.dumps(told) if as_json else "\n".join(f"{name:<{width}}  {_cell(name, value)}" for name, value in told.items()))
        return DONE

    return _run(config, work)


def end(config: Path, session: str | None, asked: dict[str, str], *, yes: bool, as_json: bool) -> int:
    """End sessions and print how many; the exit code."""
    if session is not None and asked:
        return _refuse("Name a session, or whose to end: not both.")
    if asked.get("confirm") == ALL and not yes:
        return _refuse("This ends every session: say --yes as well.")

    async def work(acts: Acts, actor: Actor) -> int:
        outcome = await (acts.end(actor, session) if session is not None else acts.end_several(actor, asked))
        _say(json.dumps({"ended": outcome.ended}) if as_json else f"Ended {outcome.ended}.")
        if outcome.failure is not None:
            _complain(f"Then the session store gave no answer ({outcome.failure.detail}): end them again.")
            return UNAVAILABLE
        return DONE if outcome.ended or asked.get("confirm") == ALL else MISSING

    return _run(config, work)


def _run(config: Path, work: Callable[[Acts, Actor], Coroutine[Any, Any, int]]) -> int:
    logs.configure(stream=cast("TextIO", _AtOnce()))

    async def run() -> int:
        async with _opened(config) as acts:
            return await work(acts, Actor(_user(), via="command", address="local"))

    try:
        return asyncio.run(run())
    except ConfigRefused as refused:
        return _refuse("\n".join(refused.faults))
    except RequestRefused as refused:
        return _refuse(refused.detail)
    except GatewayError as failure:
        _complain(f"{failure.detail}: the session store gave no answer.")
        return UNAVAILABLE


@asynccontextmanager
async def _opened(config: Path) -> AsyncIterator[Acts]:
    settings, providers = load_store_access(config, environ=os.environ)
    store = settings.store if isinstance(settings.store, str) else settings.store.reveal()
    if store == "memory":
        raise ConfigRefused((MEMORY,))
    sessions = Sessions(Keyring(settings.keys), open_store(settings.store, settings.redis), settings.lifetimes)
    try:
        yield Acts(sessions.index, providers, clock=time.time)
    finally:
        await sessions.close()


class _AtOnce(io.TextIOBase):
    """Standard error without its descriptor: its lines are waited for. One of the audit that is late would be none."""

    @override
    def write(self, text: str, /) -> int:
        return sys.stderr.write(text)

    @override
    def flush(self) -> None:
        sys.stderr.flush()


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


def _refuse(text: str) -> int:
    _complain(text)
    return REFUSED


def _say(text: str) -> None:
    print(text)  # noqa: T201 - the person at the terminal reads this


def _complain(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201 - the same
