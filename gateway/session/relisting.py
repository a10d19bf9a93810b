"""Before a cookie outlives the key that sealed it, its session is listed under the newest key, with a card that this key opens.

Answers "ended here means ended everywhere" over a turn of keys: a session whose cookie is good under the newest key is found under it, by
user and by the provider's ``sid``, whatever becomes of the others. Names under other keys stay: a replica may look for it there. None of it
is waited for; the cookie comes when it is done.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from gateway.errors import StoreUnavailable
from gateway.session.card import card_of, open_card, seal_card
from gateway.session.index_names import newest_names
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gateway.session.found import Found
    from gateway.session.sealing import Keyring
    from gateway.session.store.protocol import SessionStore

AT_ONCE: Final = 16
"""Sessions that are listed anew at one time; whoever comes meanwhile comes again."""
REMEMBERED: Final = 10_000
"""Sessions of which it is known; one that is forgotten is looked at again."""
UNKNOWN: Final = "unknown"
"""The address of a client that nothing told (RFC 7239 section 6.2)."""

log = logs.get("session")


class Relisting:
    """Lists sessions under the newest key of ``keyring``, one session at a time. ``clock`` gives epoch seconds."""

    def __init__(self, keyring: Keyring, store: SessionStore, *, clock: Callable[[], float]) -> None:
        self._keyring = keyring
        self._store = store
        self._clock = clock
        self._under_way: set[str] = set()
        self._known: OrderedDict[str, tuple[str, bool]] = OrderedDict()
        """By store key: the id of the key that was the newest when it was looked at, and whether it is listed under that."""

    def is_done(self, found: Found, spawn: Callable[[Coroutine[object, object, None]], None]) -> bool:
        """Whether this live session is listed under the newest key. If that is not known it is seen to, by work that ``spawn`` runs."""
        key, newest = found.handle.key, self._keyring.ids[0]
        known = self._known.get(key)
        if known is not None and known[0] == newest:
            return known[1]
        if key not in self._under_way and len(self._under_way) < AT_ONCE:
            self._under_way.add(key)
            spawn(self._relist(found))
        return False

    async def _relist(self, found: Found) -> None:
        key = found.handle.key
        try:
            (shown,) = await self._store.show([key])
            newest = self._keyring.ids[0]
            if shown.there:
                listed = shown.card is not None and await self._listed(found, shown.card)
                self._remember(key, newest, listed=listed)
        except StoreUnavailable as outage:
            log.warning("session.not_relisted", key=key, detail=outage.detail)
        finally:
            self._under_way.discard(key)

    async def _listed(self, found: Found, sealed: bytes) -> bool:
        """Whether it is listed now, and there. What no key opens any more is written anew, but for the client's address."""
        key, now = found.handle.key, self._clock()
        card = open_card(self._keyring, sealed, key=key)
        if card is not None and self._keyring.is_newest(sealed):
            return True
        card = card or card_of(found.session, address=UNKNOWN)
        names = newest_names(self._keyring, card)
        again = seal_card(self._keyring, card, key=key)
        if await self._store.relist(key, card=again, indexes=names, now=int(now * 1000), lifetime=card.expires - now):
            return True
        await self._store.unlist(key, names)
        return False

    def _remember(self, key: str, newest: str, *, listed: bool) -> None:
        self._known[key] = (newest, listed)
        self._known.move_to_end(key)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
