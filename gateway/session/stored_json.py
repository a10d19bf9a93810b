"""JSON that we wrote ourselves, read back strictly: one meaning or none.

Answers the threat of a value that two readers understand in two ways: no member twice, no NaN or Infinity. What strangers send is read by
``oidc.strict_json``; these bytes were sealed by us, so the bounds are those of what was sealed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from gateway.identity import JSONValue


def read_stored(data: bytes) -> JSONValue:
    """The JSON value of UTF-8 ``data``, or None where it is none (JSON's own null reads as None too: nothing of ours is null)."""
    try:
        value: JSONValue = json.loads(data.decode("utf-8"), object_pairs_hook=_members, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return value


def write_stored(value: JSONValue) -> bytes:
    """Compact UTF-8 JSON; ``ValueError`` for NaN, Infinity and lone surrogates, which are no JSON."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member twice")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
