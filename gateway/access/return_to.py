r"""Where a login or a logout may come back to: our own origin or an allowed one, as every browser reads it, or ``/``.

The one validator of return URLs. Answers open redirects (CWE-601): browsers take ``\\`` for ``/``, drop TAB and LF, skip blanks in front,
and resolve dot segments, none of which Python's ``urlsplit`` does. So nothing is parsed leniently, repaired or decoded: the string as it
came is a plain path of ours, or a URL of a known origin written plainly, or nothing. What passes is emitted unchanged, but for non-ASCII
characters (percent-encoded as UTF-8, as a browser would) and our own origin (taken off).

The gateway's own endpoints are no place to come back to, in no reading of the path: a logout would end the login that led there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import quote

from gateway.access.origins import DEFAULT_PORTS, Origin, split_authority
from gateway.access.target import canonical_target, is_own
from gateway.errors import TargetRefused

HOME = "/"
LONGEST_RETURN_URL = 2048

_ABSOLUTE = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#]++)(?P<rest>.*+)", re.IGNORECASE)
_NON_ASCII = re.compile(r"[^\x00-\x7f]++")
_FRAGMENT = re.compile(r'[!"$-~]*+')
_WILDCARD_LABEL = re.compile(r"(?!xn--)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")


@dataclass(frozen=True, slots=True)
class ReturnRules:
    """What one origin of ours lets a return URL name.

    ``origin`` is ours (``Origin.text``); ``allowed`` are origins besides it, where ``https://*.app.example`` stands for every name one
    label below ``app.example`` (as in a TLS certificate, RFC 6125 section 6.4.3), internationalised ones apart, and not for ``app.example``
    itself; ``prefix`` is our endpoints' (``/oauth2``). Raises ValueError in plain words for what is no origin.
    """

    origin: str
    allowed: tuple[str, ...]
    prefix: str
    _own: Origin = field(init=False, repr=False, compare=False)
    _exact: frozenset[Origin] = field(init=False, repr=False, compare=False)
    _below: frozenset[Origin] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Read the origins once."""
        exact, below = set(), set()
        for text in self.allowed:
            if "://*." in text:
                below.add(_domain(text))
            else:
                exact.add(Origin.parse(text))
        object.__setattr__(self, "_own", Origin.parse(self.origin))
        object.__setattr__(self, "_exact", frozenset(exact))
        object.__setattr__(self, "_below", frozenset(below))

    def is_ours(self, origin: Origin) -> bool:
        """Whether an origin is the one that these rules are for."""
        return origin == self._own

    def allows(self, origin: Origin) -> bool:
        """Whether another origin may be named."""
        label, _, domain = origin.host.partition(".")
        return origin in self._exact or (
            Origin(origin.scheme, domain, origin.port) in self._below and _WILDCARD_LABEL.fullmatch(label) is not None
        )


def return_target(raw: str | None, rules: ReturnRules) -> str:
    """A value for ``Location`` that is safe whatever ``raw`` is; never raises.

    ``raw`` is the parameter's value, decoded once as a form field is. The result is ``/path?query#fragment`` of our origin, an absolute URL
    of an allowed one, or ``/`` for everything else: printable ASCII, at most 2048 characters.
    """
    if not raw or len(raw) > LONGEST_RETURN_URL:
        return HOME
    place = raw
    origin = None
    if not raw.startswith("/"):
        origin, place = _split_absolute(raw)
        if origin is None or not (rules.is_ours(origin) or rules.allows(origin)):
            return HOME
    target = _plain_target(place, rules.prefix)
    if target is None:
        return HOME
    result = target if origin is None or rules.is_ours(origin) else origin.text + target
    return result if len(result) <= LONGEST_RETURN_URL else HOME


def _plain_target(place: str, prefix: str) -> str | None:
    """``/path?query#fragment`` in ASCII, or None when the path is not canonical or is one of ours to answer."""
    try:
        target, hash_sign, fragment = _NON_ASCII.sub(lambda text: quote(text[0]), place).partition("#")
    except UnicodeEncodeError:  # half of a surrogate pair: no character, so no UTF-8
        return None
    if _FRAGMENT.fullmatch(fragment) is None:
        return None
    try:
        if is_own(canonical_target(target), prefix):
            return None
    except TargetRefused:
        return None
    return target + hash_sign + fragment


def _split_absolute(raw: str) -> tuple[Origin | None, str]:
    """The origin of an absolute URL, and the rest of it with a path."""
    match = _ABSOLUTE.fullmatch(raw)
    host_and_port = None if match is None else split_authority(match["authority"])
    if match is None or host_and_port is None:
        return None, HOME
    host, port = host_and_port
    scheme = match["scheme"].lower()
    rest = match["rest"]
    origin = Origin(scheme, host, DEFAULT_PORTS[scheme] if port is None else port)
    return origin, rest if rest.startswith("/") else HOME + rest


def _domain(text: str) -> Origin:
    """The origin above a wildcard."""
    domain = Origin.parse(text.replace("://*.", "://", 1))
    last_label = domain.host.rpartition(".")[2]
    if "." not in domain.host or domain.host.startswith("[") or not last_label.strip("0123456789"):
        raise ValueError("a wildcard stands for one label below a name of at least two, such as https://*.app.example")
    return domain
