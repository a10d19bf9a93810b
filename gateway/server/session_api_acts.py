"""What operators do with sessions: list, show, end. The API and the command come here both, so both do the same, audited in the same way.

Answers "every use is audited": no act ends without its line, however it ends: an outage or an end of the process halfway through included.
What is refused before it began is for the caller to tell.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import GatewayError, RequestRefused, StoreUnavailable
from gateway.server.session_api_query import read_ending, read_listing
from gateway.session.store.protocol import UnknownToReplicas

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gateway.server.session_api_query import Providers
    from gateway.session.index import Listed, SessionIndex
    from gateway.telemetry.audit import Actor

_ID: Final = re.compile(r"(?:s_)?([A-Za-z0-9_-]{43})")


def public_id(key: str) -> str:
    """What operators call a session: its key in the store, in a form that no command line takes for an option."""
    return f"s_{key}"


def key_of(session: str) -> str | None:
    """The key behind an id, or a key as the log and the store have it; None for what can be neither."""
    named = _ID.fullmatch(session)
    return None if named is None else named[1]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far an ending came: how many sessions ended, and what broke it off, if anything did."""

    ended: int
    failure: StoreUnavailable | None = None


class Acts:
    """``providers`` are those of the configuration, ``clock`` gives epoch seconds."""

    def __init__(self, index: SessionIndex, providers: Providers, *, clock: Callable[[], float]) -> None:
        self._index = index
        self._providers = providers
        self._clock = clock

    async def list(self, actor: Actor, asked: Mapping[str, str]) -> dict[str, Any]:
        """One page: ``sessions``, ``next`` (the cursor, null at the end) and ``unreadable``, ready to be JSON.

        Raises:
            RequestRefused: a parameter is none that ``read_listing`` takes, or the cursor is none of this search.
            StoreUnavailable: the store gives no answer.
        """
        what = read_listing(asked, self._providers)
        shown: list[Listed] = []
        with _audited(lambda outcome: actor.looked(asked=asked, sessions=len(shown), outcome=outcome)):
            page = await self._index.page(what.listings, what.search, cursor=what.cursor, limit=what.limit)
            shown += page.sessions
        return {"sessions": [self._told(one) for one in shown], "next": page.cursor, "unreadable": page.unreadable}

    async def show(self, actor: Actor, session: str) -> dict[str, Any] | None:
        """One session by its id, ready to be JSON; None when there is none. Raises StoreUnavailable."""
        key, listed = key_of(session), None
        with _audited(lambda outcome: actor.looked_at(_named(key), outcome=_missing(outcome, there=listed is not None))):
            listed = None if key is None else await self._index.find(key)
        return None if listed is None else self._told(listed)

    async def end(self, actor: Actor, session: str) -> Outcome:
        """End one session by its id, on every replica."""
        key, user = key_of(session), None
        ended: list[str] = []

        def audit(outcome: str) -> None:
            actor.ended([*map(public_id, ended)], asked={"session": _named(key)}, outcome=_missing(outcome, there=bool(ended)), user=user)

        try:
            with _audited(audit):
                if key is not None:
                    listed = await self._index.find(key)
                    user = None if listed is None else listed.card.subject
                    await _end(self._index, key, ended)
        except StoreUnavailable as failure:
            return Outcome(len(ended), failure)
        return Outcome(len(ended))

    async def end_several(self, actor: Actor, asked: Mapping[str, str]) -> Outcome:
        """End a user's sessions, those of one session at the provider, or all.

        Raises:
            RequestRefused: a parameter is none that ``read_ending`` takes; nothing was ended.
        """
        listings = read_ending(asked, self._providers)
        ended: list[str] = []
        try:
            with _audited(lambda outcome: actor.ended([*map(public_id, ended)], asked=asked, outcome=outcome)):
                await self._index.end_all(listings, ended)
        except StoreUnavailable as failure:
            return Outcome(len(ended), failure)
        return Outcome(len(ended))

    def _told(self, one: Listed) -> dict[str, Any]:
        """A session in the field names of the API; all times are epoch seconds, and those that are left in seconds."""
        now = self._clock()
        return {
            "id": public_id(one.key),
            "provider": one.card.provider,
            "issuer": one.card.issuer,
            "sub": one.card.subject,
            "sid": one.card.sid,
            "name": one.card.name,
            "email": one.card.email,
            "address": one.card.address,
            "created": one.card.created,
            "auth_time": one.card.auth_time,
            "last_seen": int(one.last_seen),
            "expires": one.card.expires,
            "expires_in": max(0, int(one.card.expires - now)),
            "idle_expires": int(one.idle_expires),
            "idle_expires_in": max(0, int(one.idle_expires - now)),
        }


async def _end(index: SessionIndex, key: str, ended: list[str]) -> None:
    try:
        there = await index.end(key)
    except UnknownToReplicas as late:
        if late.ended:
            ended.append(key)
        raise
    if there:
        ended.append(key)


@contextmanager
def _audited(tell: Callable[[str], None]) -> Iterator[None]:
    """Have ``tell`` called with the outcome of what is done within: ``done``, a failure's code, ``cancelled`` or ``failed``."""
    outcome = "cancelled"
    try:
        yield
        outcome = "done"
    except RequestRefused:
        outcome = ""
        raise
    except GatewayError as failure:
        outcome = failure.code
        raise
    except Exception:
        outcome = "failed"
        raise
    finally:
        if outcome:
            tell(outcome)


def _missing(outcome: str, *, there: bool) -> str:
    return "missing" if outcome == "done" and not there else outcome


def _named(key: str | None) -> str:
    """For the audit: what is no id is not repeated."""
    return "" if key is None else public_id(key)
