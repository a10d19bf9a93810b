"""The login in flight lives in the browser that began it: one sealed cookie a login, nothing stored for people who are nobody yet.

Answers RFC 6749 section 10.12 (login CSRF), RFC 9700 section 4.7, invariants 5 and 15, CK-28 and ST-02 to ST-07: without the cookie of
this browser a ``state`` is worth nothing. ``state``, ``nonce`` and ``code_verifier`` derive from one secret under three labels, so the
cookie stays within 1 KiB whatever the target, and knowing the two that travel in URLs does not tell the third.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.errors import LoginExpired
from gateway.oidc import base64url
from gateway.session.cookies import cookie_pairs, cookie_values
from gateway.session.sealing import Purpose
from gateway.session.stored_json import read_stored, write_stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.identity import JSONValue
    from gateway.session.cookies import CookieNames
    from gateway.session.sealing import Keyring

MAX_LOGINS: Final = 5
"""Logins in flight in one browser; beginning one more drops the oldest."""
MAX_LOGIN_COOKIE: Final = 1024
"""Octets of the whole ``name=value``."""
SECRET_BYTES: Final = 32
CLOCK_SKEW: Final = 60.0
"""Seconds that another replica's clock may be ahead of ours."""

_MAX_CANDIDATES: Final = 8
_MAX_OPENED: Final = 16
_MAX_DELETED: Final = 16
_SUFFIX_LENGTH: Final = 16
_SUFFIX: Final = re.compile(rf"[A-Za-z0-9_-]{{{_SUFFIX_LENGTH}}}", re.ASCII)
_STATE: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Login:
    """One login in flight. ``started`` is epoch seconds, ``replaces`` the store key of the session that it would replace."""

    secret: bytes = field(repr=False)
    provider: str
    return_to: str
    started: int
    replaces: str | None

    @property
    def state(self) -> str:
        """43 characters base64url; travels in URLs."""
        return self._derived(b"state")

    @property
    def nonce(self) -> str:
        """43 characters base64url; travels in the authorization URL and comes back in the id_token."""
        return self._derived(b"nonce")

    @property
    def code_verifier(self) -> str:
        """43 characters base64url (RFC 7636 section 4.1); goes to the token endpoint alone."""
        return self._derived(b"code_verifier")

    @property
    def cookie_suffix(self) -> str:
        """The end of this login's cookie name: a hash of ``state``, so that the callback finds it."""
        return cookie_suffix(self.state)

    def _derived(self, label: bytes) -> str:
        return base64url.encode(hmac.digest(self.secret, b"gateway login\0" + label, "sha256"))


def begin_login(secret: bytes, *, provider: str, return_to: str, now: float, replaces: str | None = None) -> Login:
    """A new login from 32 random bytes of the caller. ``return_to`` is trusted here: ``access.return_to`` judged it."""
    if len(secret) != SECRET_BYTES:
        raise ValueError("a login's secret is 32 bytes")
    return Login(secret=secret, provider=provider, return_to=return_to, started=int(now), replaces=replaces)


def cookie_suffix(state: str) -> str:
    """16 characters base64url of a hash of ``state`` (whatever a caller sent as one)."""
    digest = hashlib.sha256(b"gateway login cookie\0" + state.encode("utf-8", "surrogatepass")).digest()
    return base64url.encode(digest)[:_SUFFIX_LENGTH]


def login_cookie_name(names: CookieNames, state: str) -> str:
    """The name of the cookie that holds the login of this ``state``."""
    return names.login_prefix + cookie_suffix(state)


def seal_login(keyring: Keyring, login: Login, names: CookieNames) -> str:
    """The cookie's value. Where name and value would be more than 1 KiB, the way back becomes "/"."""
    name = login_cookie_name(names, login.state)
    for return_to in (login.return_to, "/"):
        members: JSONValue = [base64url.encode(login.secret), login.provider, return_to, login.started, login.replaces]
        value = keyring.seal(Purpose.LOGIN_COOKIE, write_stored(members), bound_to=names.binding(name))
        if len(name) + 1 + len(value) <= MAX_LOGIN_COOKIE:
            return value
    raise ValueError("the provider's id is too long for a login cookie")


def open_login(  # noqa: PLR0913  # what opens it, where it is, which it is, and when
    keyring: Keyring, cookie_headers: Sequence[bytes], names: CookieNames, state: str, *, now: float, lifetime: float
) -> Login:
    """The login of this browser that ``state`` belongs to; ``LoginExpired`` where there is none younger than ``lifetime`` seconds."""
    if not _STATE.fullmatch(state):
        raise LoginExpired("state is not one of ours")
    name = login_cookie_name(names, state)
    candidates = list(dict.fromkeys(cookie_values(cookie_headers, name.encode())))
    if not candidates:
        raise LoginExpired("no login cookie for this state")
    for value in candidates[:_MAX_CANDIDATES]:
        login = _read(keyring, names, name, value)
        if login is not None and hmac.compare_digest(login.state, state):
            if not login.started - CLOCK_SKEW <= now < login.started + lifetime:
                raise LoginExpired("the login took too long", return_to=login.return_to)
            return login
    raise LoginExpired("the login cookie does not open")


def surplus_logins(cookie_headers: Sequence[bytes], names: CookieNames, keyring: Keyring, *, keep: int) -> list[str]:
    """Names of login cookies to delete so that at most ``keep`` stay: those that do not open first, then the oldest (CK-28).

    To set one more pass ``keep=MAX_LOGINS - 1``. At most 16 at once, so that a planted jar does not become a large answer; and no more
    than the first 16 are opened, so that it does not become work: we never let a browser hold that many, so the rest goes unread.
    """
    started: dict[str, int] = {}
    opened = 0
    for raw_name, value in cookie_pairs(cookie_headers):
        name = raw_name.decode("latin-1")
        # Only a name that we could have set may go into a Set-Cookie of ours.
        if not name.startswith(names.login_prefix) or not _SUFFIX.fullmatch(name[len(names.login_prefix) :]):
            continue
        login = _read(keyring, names, name, value) if opened < _MAX_OPENED else None
        opened += 1
        started[name] = max(started.get(name, -1), -1 if login is None else login.started)
    in_order = sorted(started, key=lambda name: started[name])
    return in_order[: max(0, min(len(in_order) - keep, _MAX_DELETED))]


def _read(keyring: Keyring, names: CookieNames, name: str, value: bytes) -> Login | None:
    if len(value) > MAX_LOGIN_COOKIE:
        return None
    plaintext = keyring.open(Purpose.LOGIN_COOKIE, value, bound_to=names.binding(name))
    members = None if plaintext is None else read_stored(plaintext)
    match members:
        case [str(secret), str(provider), str(return_to), int(started), None | str() as replaces]:
            return Login(secret=base64url.decode(secret), provider=provider, return_to=return_to, started=started, replaces=replaces)
    return None
