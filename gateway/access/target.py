"""The request-target is read once, and judged, matched and sent upstream as the same bytes.

Answers path confusion: ``/public/../admin`` in its many spellings, ``//host``, absolute targets, ``#`` and backslashes that one server
takes for a path and the next one does not (RFC 9112 section 3.2, RFC 3986 sections 3.3 and 6.2). What could be read in two ways that
matter is refused, never repaired: a repaired target is one that the app did not get from its caller.

Accepted in a path are RFC 3986's ``pchar`` and what browsers leave raw there: ``|``, ``[``, ``]`` and, in all but the newest, ``^`` (the
path percent-encode set of the URL standard). Space, double quote, ``<``, ``>``, backquote, ``{`` and ``}`` always come encoded from a
browser, so a raw one is refused. A query is opaque: every printable ASCII character but ``#``, byte for byte.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from gateway.access.readings import has_dot_segment, has_overlong_ascii, is_below, readings
from gateway.errors import TargetRefused, TargetTooLong

_PLAIN_SEGMENT_CHARACTERS = r"A-Za-z0-9\-._~!$&'()*+,=:@|^\[\]"
_QUERY = r"(?:\?(?P<query>[!\"$-~]*+))?"

# Without escapes and parameters; what of it still needs a second look is told by two substrings.
_PLAIN = re.compile(rf"(?P<path>/[{_PLAIN_SEGMENT_CHARACTERS}/]*+){_QUERY}")
_ACCEPTED = re.compile(rf"(?P<path>/(?:[{_PLAIN_SEGMENT_CHARACTERS};/]|%[0-9A-Fa-f]{{2}})*){_QUERY}")

# What can make one path into several. No honest path has many of them, and each one costs a look at every reading.
_READ_DIFFERENTLY = re.compile(r"//|;|%2f|%5c|%3b|%3f|%23", re.IGNORECASE)
_MOST_READ_DIFFERENTLY = 64

_NO_OTHER_READINGS: frozenset[str] = frozenset()


class Target(NamedTuple):
    """An accepted origin-form target; only ``canonical_target`` makes it.

    ``raw`` is ``path`` and, where ``query`` is not None, ``"?" + query``, exactly as sent. ``other_readings`` are the paths that a server
    may see in ``path`` besides itself; a rule that does not hold for each of them does not hold.
    """

    raw: str
    path: str
    query: str | None
    other_readings: frozenset[str]


LONGEST_PATH = 8192
LONGEST_TARGET = 16_000
"""Characters. A query may be longer than a path: a provider's answer with a long code and a long explanation comes back in one."""


def canonical_target(raw: str) -> Target:
    """Read an origin-form request-target.

    Raises TargetTooLong beyond ``LONGEST_TARGET`` or with a path beyond ``LONGEST_PATH``; TargetRefused for any other form, for characters
    that no browser sends, escapes that are none, ``%00``, a leading ``//``, and for dot segments in any reading of the path (``%2e``,
    ``..;x``, ``..%2f``, ``..%5c``, ``%c0%ae``).
    """
    if len(raw) > LONGEST_PATH and (len(raw) > LONGEST_TARGET or len(raw.partition("?")[0]) > LONGEST_PATH):
        raise TargetTooLong(f"a target of {len(raw)} characters")
    plain = _PLAIN.fullmatch(raw)
    if plain is not None:
        path, query = plain.groups()
        if "/." not in path and "//" not in path:
            return Target(raw, path, query, _NO_OTHER_READINGS)
    return _target_with_readings(raw)


def is_own(target: Target, prefix: str) -> bool:
    """Whether the target is one of the gateway's own endpoints, below ``prefix`` (``/oauth2``).

    Raises TargetRefused when only another reading of the path is: a proxy or an app that sees it otherwise must not reach our endpoints
    under a rule made for the apps, nor the other way round.
    """
    if is_below(target.path, prefix):
        return True
    if target.other_readings and any(is_below(reading, prefix) for reading in target.other_readings):
        raise TargetRefused("a path that only another reading puts below the gateway's own prefix")
    return False


def _target_with_readings(raw: str) -> Target:
    accepted = _ACCEPTED.fullmatch(raw)
    if accepted is None:
        raise TargetRefused(_why_not_accepted(raw))
    path, query = accepted.groups()
    if path.startswith("//"):
        raise TargetRefused("a target that begins with two slashes")
    if "%00" in path:
        raise TargetRefused("an encoded NUL in the path")
    if len(_READ_DIFFERENTLY.findall(path)) > _MOST_READ_DIFFERENTLY:
        raise TargetRefused(f"more than {_MOST_READ_DIFFERENTLY} places in the path that servers read differently")
    if has_overlong_ascii(path):
        raise TargetRefused("ASCII in overlong UTF-8 in the path")
    every_reading = readings(path)
    if any(map(has_dot_segment, every_reading)):
        raise TargetRefused("a dot segment in the path, or in another reading of it")
    return Target(raw, path, query, every_reading - {path})


def _why_not_accepted(raw: str) -> str:
    """The reason for the log: a character's number, never the target itself, whose query may hold secrets."""
    if not raw.startswith("/"):
        return "a target that is not in origin-form"
    path, _, query = raw.partition("?")
    for part, name, allowed in ((path, "path", rf"[{_PLAIN_SEGMENT_CHARACTERS};/%]"), (query, "query", r'[!"$-~]')):
        odd = re.sub(allowed, "", part)
        if odd:
            return f"a character in the {name} that has to be percent-encoded (U+{ord(odd[0]):04X})"
    return "a percent sign without two hexadecimal digits in the path"
