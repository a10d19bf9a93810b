"""JSON that can be read in one way only, within bounds known before it is read.

Answers RFC 8259 section 4 (duplicate members are read differently by different parsers), RFC 7519 section 4 (a JWT with duplicate members
is rejected) and the parsers' own limits: recursion, integers of a million digits, numbers that overflow, lone surrogates.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Final, NoReturn, cast

if TYPE_CHECKING:
    from gateway.identity import JSONValue

MAX_DEPTH: Final = 32
MAX_NUMBER_LENGTH: Final = 32
"""Characters: a 64-bit integer and a double printed in full both fit."""

_AS_LISTS: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_ESCAPED_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


class JSONError(ValueError):
    """The bytes are not JSON that can be read in one way only. The text names the reason and never quotes the input."""


def parse(data: bytes, *, max_depth: int = MAX_DEPTH) -> JSONValue:
    """Read UTF-8 JSON. The caller bounds its length.

    Raises:
        JSONError: not UTF-8, a byte order mark, not JSON, a duplicate member at any depth, NaN or Infinity, a number that is too long
            or overflows, nesting deeper than ``max_depth``, or a string that holds half a surrogate pair.
    """
    try:
        text = data.decode("utf-8", "strict")
    except UnicodeDecodeError:
        raise JSONError("not UTF-8") from None
    _check_depth(data, max_depth)
    try:
        value = json.loads(
            text, object_pairs_hook=_members, parse_constant=_refuse_constant, parse_int=_bounded_int, parse_float=_finite_float
        )
    except JSONError:
        raise
    except (ValueError, RecursionError):
        # The library's text quotes nothing, but names positions that mean nothing to an operator.
        raise JSONError("not JSON") from None
    if _ESCAPED_SURROGATE.search(text):
        _check_surrogates(value)
    return cast("JSONValue", value)


def parse_object(data: bytes) -> dict[str, JSONValue]:
    """Read UTF-8 JSON whose outermost value is an object; raises ``JSONError`` as ``parse`` does, and for any other value."""
    value = parse(data)
    if not isinstance(value, dict):
        raise JSONError("not a JSON object")
    return value


def _check_depth(data: bytes, max_depth: int) -> None:
    """Refuse brackets that are nested deeper, or that do not match, in a few passes over the bytes and no step of ours a character.

    Without escapes every second piece between quotes is outside strings; where that fails the text is no JSON, and the reader stops there.
    Of those pieces the brackets are left; each turn takes away the pairs that enclose nothing, and with them one level.
    """
    outside = b"".join(data.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    brackets = outside.translate(_AS_LISTS, _NO_BRACKETS)
    for _ in range(max_depth):
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        raise JSONError(f"nested deeper than {max_depth}, or brackets without their pair")


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise JSONError("a member twice in one object")
    return members


def _refuse_constant(_name: str) -> NoReturn:
    raise JSONError("NaN or Infinity")


def _bounded_int(digits: str) -> int:
    if len(digits) > MAX_NUMBER_LENGTH:
        raise JSONError("a number too long")
    return int(digits)


def _finite_float(digits: str) -> float:
    if len(digits) > MAX_NUMBER_LENGTH:
        raise JSONError("a number too long")
    value = float(digits)
    if not math.isfinite(value):
        raise JSONError("a number too large")
    return value


def _check_surrogates(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8", "strict")
    except UnicodeEncodeError:
        raise JSONError("half a surrogate pair") from None
