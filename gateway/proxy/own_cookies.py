"""The gateway's cookies stay between it and the browser: applications neither receive them nor set them.

Answers invariant 11 and the hostile cases IH-26 and IH-28. Names are compared as a forgiving application would read them (trimmed, any
case, a leading "=" skipped), which removes at least what anybody could take for ours; every other cookie stays byte for byte.

One of ours may go beside an application's answer (``with_own``), and never where a cache that serves several people could keep it (CK-29):
what stood in one person's answer would sign in the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.proxy.headers import MEMO_NAME_LENGTH, MEMO_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.proxy.answer import AnswerHead
    from gateway.proxy.headers import HeaderRules

_NOT_IN_NAMES = bytes([*range(0x21), *range(0x7F, 0x100)])
"""Controls, space and everything beyond ASCII: frameworks trim some of it, and RFC 6265 allows none of it in a name."""

_COMBINED = frozenset({206, 304})
"""Answers whose headers a cache lays over those of one that it keeps (RFC 9111 sections 3.2 and 3.4)."""
_OF_CERTAIN_CACHES = frozenset({b"surrogate-control", b"x-accel-expires", b"edge-control"})
"""Headers that some caches obey in the place of Cache-Control, as they do RFC 9213's, which all end in ``-cache-control``."""


def is_own(pair: bytes, rules: HeaderRules) -> bool:
    """Whether ``name=value`` (or what stands for it) is one of the gateway's cookies."""
    # Names are few and come again, so the answers are remembered (bounded). A pair that begins with "=" has its name behind it.
    before = pair[: pair.find(b"=") + 1]
    known = rules.own_cookies.get(before)
    if known is None:
        name = pair.lstrip(_NOT_IN_NAMES + b"=").partition(b"=")[0].strip(_NOT_IN_NAMES).lower()
        known = name in rules.own_exact or (bool(rules.own_prefixes) and name.startswith(rules.own_prefixes))
        if before.strip(_NOT_IN_NAMES + b"=") and len(before) <= MEMO_NAME_LENGTH:
            if len(rules.own_cookies) >= MEMO_NAMES:
                rules.own_cookies.clear()
            rules.own_cookies[before] = known
    return known


def without_own(value: bytes, rules: HeaderRules) -> bytes:
    """A Cookie header's value without the gateway's cookies; empty when none is left (RFC 6265 section 4.2.1)."""
    lower = value.lower()
    for name in rules.own_names:
        if name in lower:
            break
    else:
        return value
    pairs = value.split(b";")
    kept = [pair for pair in pairs if not is_own(pair, rules)]
    if len(kept) == len(pairs):
        return value
    left = b";".join(kept).strip(b" \t")
    return left if left.strip(b"; \t") else b""


def sets_own(value: bytes, rules: HeaderRules) -> bool:
    """Whether a Set-Cookie value would set or delete one of the gateway's cookies (RFC 6265 section 5.2)."""
    return is_own(value.partition(b";")[0], rules)


def with_own(head: bytes, answer: AnswerHead, cookie: Callable[[], str | None]) -> bytes:
    """The head for the caller with the Set-Cookie value that ``cookie`` gives at this moment; as it was when there is none.

    ``head`` is what ``response_head`` made of ``answer``. It stays as it was, too, where a shared cache may keep the answer in spite of a
    ``Cache-Control: private`` of ours; ``cookie`` is not called then.
    """
    # With headers that Connection nominates, what the caller gets is not what is read here.
    passes = answer.status >= 200 and answer.status not in _COMBINED and not answer.nominates  # noqa: PLR2004 - a status code
    caching = _caching(answer) if passes else None
    value = None if caching is None else cookie()
    if value is None or caching is None:
        return head
    return b"%bSet-Cookie: %b\r\n%b\r\n" % (head.removesuffix(b"\r\n"), value.encode("ascii"), caching)


def _caching(answer: AnswerHead) -> bytes | None:
    """The line that keeps this answer out of shared caches, empty where it says so itself; None where one could keep it all the same."""
    directives: set[bytes] = set()
    for name, value in answer.headers:
        lower = name.lower()
        if lower == b"cache-control":
            directives.update(directive.strip(b" \t").lower() for directive in value.split(b","))
        elif lower.endswith(b"-cache-control") or lower in _OF_CERTAIN_CACHES:
            return None
    # Quotes: only some fields are meant, or a list holds what is no directive.
    if any(b'"' in directive or directive.startswith((b"public", b"s-maxage")) for directive in directives):
        return None
    return b"" if directives & {b"private", b"no-store"} else b"Cache-Control: private\r\n"
