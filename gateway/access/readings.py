"""Every path that a server behind us could see in an accepted one, so that no reading of it escapes a rule.

Servers disagree on what a path says: some decode ``%2f`` before they split, some merge ``//``, servlet containers strip ``;params``,
careless ones end a path at a decoded ``?`` or ``#``, and Windows takes a backslash for a slash. A rule that holds for one reading only is
a hole (oauth2-proxy CVE-2025-54576, Pomerium CVE-2023-33189, Oathkeeper CVE-2026-33494). Nothing here changes what goes upstream: the bytes
that came are the bytes that go (RFC 9110 section 7.7); the readings are only asked whether they all lead to the same verdict.

Decoding happens once. ``%252e`` is ``%2e`` to the app, and an app that decodes again is out of every gateway's sight.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_SLASHES = re.compile("//+")
_PARAMETERS = re.compile(";[^/]*+")
_END_OF_PATH = re.compile(r"[?#].*+", re.DOTALL)

# A segment of one or two dots. Blanks and controls around the dots count as nothing: Windows drops them, and no name has them.
_DOT_SEGMENT = re.compile(r"/[\x00-\x20\x7f]*+\.\.?[\x00-\x20\x7f]*+(?=/|\Z)")

# ASCII in two to four bytes (RFC 3629 section 10): a decoder that does not check reads C0 AE as a dot and C0 AF as a slash.
_OVERLONG_ASCII = re.compile(r"%(?:C[01]|E0%8[01]|F0%80%8[01])%[89AB][0-9A-F]", re.IGNORECASE)


def readings(path: str) -> frozenset[str]:
    """The path itself and every other reading of it.

    ``path`` has valid escapes only. Decoded readings hold one character for each byte (Latin-1), since which encoding an app assumes is
    not known here and no rule names anything but ASCII.
    """
    as_sent = _closure((path,), (_merge_slashes, _strip_parameters))
    decoded = _closure(map(_decode, as_sent), (_backslash_as_slash, _cut_at_end_of_path, _merge_slashes, _strip_parameters))
    return as_sent | decoded


def has_dot_segment(reading: str) -> bool:
    """Whether one reading holds a segment ``.`` or ``..``, which some servers would resolve and others would not."""
    return _DOT_SEGMENT.search(reading) is not None


def has_overlong_ascii(path: str) -> bool:
    """Whether an accepted path encodes ASCII in more bytes than UTF-8 allows."""
    return _OVERLONG_ASCII.search(path) is not None


def is_below(path: str, prefix: str) -> bool:
    """Whether ``path`` is ``prefix`` (no slash at its end) or lies below it on a segment border."""
    return path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in {"", "/"}


def _closure(paths: Iterable[str], steps: tuple[Callable[[str], str], ...]) -> frozenset[str]:
    """All that the steps make of the paths, in any order. Each step applied twice changes nothing more, so this ends soon."""
    found = set(paths)
    fresh = list(found)
    while fresh:
        path = fresh.pop()
        for step in steps:
            read = step(path)
            if read not in found:
                found.add(read)
                fresh.append(read)
    return frozenset(found)


def _decode(path: str) -> str:
    return unquote_to_bytes(path).decode("latin-1")


def _merge_slashes(path: str) -> str:
    return _SLASHES.sub("/", path)


def _strip_parameters(path: str) -> str:
    return _PARAMETERS.sub("", path)


def _cut_at_end_of_path(path: str) -> str:
    return _END_OF_PATH.sub("", path)


def _backslash_as_slash(path: str) -> str:
    return path.replace("\\", "/")
