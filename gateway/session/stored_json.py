"""JSON that we wrote ourselves, read back as strictly as what strangers send: one meaning or none.

Answers the threat of a value that two readers understand in two ways; the reader is that of the back channel (``oidc.strict_json``).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from gateway.oidc.strict_json import MAX_DEPTH, JSONError, parse

if TYPE_CHECKING:
    from gateway.identity import JSONValue

_MAX_DEPTH: Final = MAX_DEPTH + 1
"""Claims stand one level deeper in a record than in the id_token that they came in."""


def read_stored(data: bytes) -> JSONValue:
    """The JSON value of UTF-8 ``data``, or None where it is none (JSON's own null reads as None too: nothing of ours is null)."""
    try:
        return parse(data, max_depth=_MAX_DEPTH)
    except JSONError:
        return None


def write_stored(value: JSONValue) -> bytes:
    """Compact UTF-8 JSON; ``ValueError`` for NaN, Infinity and lone surrogates, which are no JSON."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")
