"""Who looked at or ended whose sessions, by which way in and with what outcome: a line of the log for every use, in the room ``audit``.

Answers "who ended them, and who was looking": each line names the actor, never a token. A session is named by its id, which is its key in
the store, a hash of random bytes: it opens nothing, and tells nothing of the cookie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMED: Final = 20
"""Sessions that one line names; it counts all of them."""

log = logs.get("audit")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: ``admin`` by the API, which knows a token and no names, or a user of the machine by the command; and from where.

    ``sudo_user`` is who became that user by sudo, as the environment says.
    """

    name: str
    via: str
    address: str
    sudo_user: str | None = None

    def looked(self, *, asked: Mapping[str, str], sessions: int, outcome: str = "done") -> None:
        """A list or a search: what was asked for, and how many sessions were shown."""
        self._tell("sessions.listed", outcome, asked=dict(asked), sessions=sessions)

    def looked_at(self, session: str, *, outcome: str = "done") -> None:
        """One session was shown; ``outcome`` ``missing`` when there was none."""
        self._tell("session.shown", outcome, session=session)

    def ended(self, sessions: list[str], *, asked: Mapping[str, str], outcome: str = "done", user: str | None = None) -> None:
        """These sessions were ended. ``user`` is whose it was where it was one."""
        told = {} if user is None else {"user": user}
        self._tell("sessions.ended", outcome, asked=dict(asked), sessions=len(sessions), ended=sessions[:NAMED], **told)

    def refused(self, reason: str) -> None:
        """Somebody asked without the right to, or for what there is not. What anybody can cause is limited by ``logs``."""
        log.info("admin.refused", error=reason, via=self.via, address=self.address)

    def _tell(self, event: str, outcome: str, **told: object) -> None:
        if self.sudo_user is not None:
            told["sudo_user"] = self.sudo_user
        log.info(event, actor=self.name, via=self.via, address=self.address, outcome=outcome, **told)
