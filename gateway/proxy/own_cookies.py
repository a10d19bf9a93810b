"""The gateway's cookies stay between it and the browser: applications neither receive them nor set them.

Answers invariant 11 and the hostile cases IH-26 and IH-28. Names are compared as a forgiving application would read them (trimmed, any
case, a leading "=" skipped), which removes at least what anybody could take for ours; every other cookie stays byte for byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.proxy.headers import HeaderRules

_NOT_IN_NAMES = bytes([*range(0x21), *range(0x7F, 0x100)])
"""Controls, space and everything beyond ASCII: frameworks trim some of it, and RFC 6265 allows none of it in a name."""


def is_own(pair: bytes, rules: HeaderRules) -> bool:
    """Whether ``name=value`` (or what stands for it) is one of the gateway's cookies."""
    name = pair.lstrip(_NOT_IN_NAMES + b"=").partition(b"=")[0].strip(_NOT_IN_NAMES).lower()
    return name in rules.own_exact or (bool(rules.own_prefixes) and name.startswith(rules.own_prefixes))


def without_own(value: bytes, rules: HeaderRules) -> bytes:
    """A Cookie header's value without the gateway's cookies; empty when none is left (RFC 6265 section 4.2.1)."""
    pairs = value.split(b";")
    kept = [pair for pair in pairs if not is_own(pair, rules)]
    if len(kept) == len(pairs):
        return value
    left = b";".join(kept).strip(b" \t")
    return left if left.strip(b"; \t") else b""


def sets_own(value: bytes, rules: HeaderRules) -> bool:
    """Whether a Set-Cookie value would set or delete one of the gateway's cookies (RFC 6265 section 5.2)."""
    return is_own(value.partition(b";")[0], rules)
