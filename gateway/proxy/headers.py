"""Which header names pass: no name that an application could take for the gateway's word goes through, under any spelling.

Answers invariant 3 and the hostile cases IH. A CGI-like application reads ``X_Forwarded_User``, ``X.Forwarded.User`` and
``x-forwarded-user`` as one variable, so names are compared folded: letters and digits only. What the default list holds is documented for
operators in ``docs/reference/headers.md``, and a test compares the two.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_NOT_ALPHANUMERIC = bytes(byte for byte in range(256) if not chr(byte).isalnum() or byte > 127)  # noqa: PLR2004 - ASCII ends there
MEMO_NAMES = 2048
MEMO_NAME_LENGTH = 64


class Treatment(Enum):
    """What happens to a header of this name on its way to the application."""

    PASS = "pass"  # noqa: S105 - no password
    DROP = "drop"
    TOLD = "told"
    """Dropped as well, and kept for whoever believes what a proxy in front of us tells."""
    REFUSE = "refuse"
    ONCE = "once"
    HOST = "host"
    CONTENT_LENGTH = "content-length"
    TRANSFER_ENCODING = "transfer-encoding"
    CONNECTION = "connection"
    COOKIE = "cookie"
    EXPECT = "expect"
    MAX_FORWARDS = "max-forwards"
    UPGRADE = "upgrade"
    VIA = "via"


@dataclass(frozen=True)
class HeaderRules:
    """What never passes between a caller and an application; made once from the configuration."""

    reserved: frozenset[bytes]
    """Folded names (see ``fold``) of every header by which the gateway speaks of identity, on any route."""
    cookie_names: frozenset[bytes]
    """The gateway's session cookies, of every origin, as bytes."""
    cookie_prefixes: tuple[bytes, ...] = ()
    """What the names of its login cookies begin with, of every origin."""
    own_exact: frozenset[bytes] = field(init=False, repr=False, compare=False)
    own_prefixes: tuple[bytes, ...] = field(init=False, repr=False, compare=False)
    own_names: tuple[bytes, ...] = field(init=False, repr=False, compare=False)
    """What stands in every Cookie line that holds one of ours: the names, less those that another one begins."""
    treatments: dict[bytes, Treatment] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What ``treatment`` said, by name as it was written."""
    answer_lines: dict[bytes, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What lines of answers' headers say, by their bytes; ``answer_lines`` keeps it."""
    own_cookies: dict[bytes, bool] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Whether a cookie is ours, by what stands before its value; ``own_cookies`` keeps it."""

    def __post_init__(self) -> None:
        """Derive the lower-cased names of the own cookies: browsers tell their case apart, applications often do not."""
        object.__setattr__(self, "own_exact", frozenset(name.lower() for name in self.cookie_names))
        object.__setattr__(self, "own_prefixes", tuple(prefix.lower() for prefix in self.cookie_prefixes))
        names = {*self.own_exact, *self.own_prefixes}
        object.__setattr__(self, "own_names", tuple(name for name in names if not any(name != one and one in name for one in names)))

    def treatment(self, name: bytes) -> Treatment:
        """What happens to a request header called ``name``. Names are few and come again, so the answers are remembered (bounded)."""
        known = self.treatments.get(name)
        if known is not None:
            return known
        found = _treatment(name, self.reserved)
        if len(name) <= MEMO_NAME_LENGTH:
            if len(self.treatments) >= MEMO_NAMES:
                self.treatments.clear()
            self.treatments[name] = found
        return found


def fold(name: bytes) -> bytes:
    """A header name as the most forgiving application would read it: ASCII letters and digits only, in lower case."""
    return name.translate(None, _NOT_ALPHANUMERIC).lower()


_SPECIAL = {
    b"host": Treatment.HOST,
    b"content-length": Treatment.CONTENT_LENGTH,
    b"transfer-encoding": Treatment.TRANSFER_ENCODING,
    b"connection": Treatment.CONNECTION,
    b"cookie": Treatment.COOKIE,
    b"authorization": Treatment.ONCE,
    b"expect": Treatment.EXPECT,
    b"max-forwards": Treatment.MAX_FORWARDS,
    b"upgrade": Treatment.UPGRADE,
    b"via": Treatment.VIA,
    # hop-by-hop: they speak of this connection, not of the message (RFC 9110 section 7.6.1)
    b"keep-alive": Treatment.DROP,
    b"te": Treatment.DROP,
    b"trailer": Treatment.DROP,
    b"http2-settings": Treatment.DROP,
}
_TOLD = frozenset(
    b"x-forwarded-for x-forwarded-method x-forwarded-proto x-forwarded-host x-forwarded-uri x-original-method x-original-url".split()
)
_ALWAYS_OURS = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade"})
"""No configuration can make these identity headers: framing and routing come first."""
_SPECIAL_FOLDED = frozenset(fold(name) for name in _SPECIAL)
_FRAMING_FOLDED = frozenset({b"contentlength", b"transferencoding"})

DENIED = frozenset(
    fold(name)
    for name in (
        b"Forwarded X-Real-IP X-Client-IP X-Cluster-Client-IP True-Client-IP CF-Connecting-IP Fastly-Client-IP X-Envoy-External-Address "
        b"X-Rewrite-URL X-Envoy-Original-Path Remote-User Remote-Name Remote-Email Remote-Group Remote-Groups X-ARR-ClientCert"
    ).split()
)
"""Folded names that are dropped besides the configured ones."""
DENIED_PREFIXES = tuple(
    fold(name)
    for name in (
        b"X-Forwarded- X-Original- X-Auth-Request- X-Authenticated- X-Remote- X-WEBAUTH- OIDC- X-Amzn-Oidc- X-Goog-Authenticated-User- "
        b"X-Goog-IAP- X-MS-Client-Principal X-MS-Token- Cf-Access- Tailscale-User- X-Authentik- X-Pomerium- X-Vouch- Ssl-Client- X-SSL- "
        b"X-Client-Cert Client-Cert Proxy"
    ).split()
)
"""Folded beginnings of names that are dropped besides the configured ones."""


def _treatment(name: bytes, reserved: frozenset[bytes]) -> Treatment:  # noqa: PLR0911 - one return a rule, in order
    if not _TOKEN.fullmatch(name):
        return Treatment.REFUSE
    lower = name.lower()
    special = _SPECIAL.get(lower)
    if special is not None and lower in _ALWAYS_OURS:
        return special
    if lower in _TOLD:
        return Treatment.TOLD
    folded = fold(name)
    if folded in reserved:
        return Treatment.DROP
    if special is not None:
        return special
    if folded in _FRAMING_FOLDED:
        return Treatment.REFUSE  # Transfer_Encoding: some servers would frame the body by it
    if folded in _SPECIAL_FOLDED or folded in DENIED or folded.startswith(DENIED_PREFIXES):
        return Treatment.DROP
    return Treatment.PASS
