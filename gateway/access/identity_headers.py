"""The claims that an app gets, as header values that cannot split, and that stand for one claim value each.

Answers header injection through claims (a ``preferred_username`` with CR LF in it, a group named ``a,admin``) and two people with one name:
a string is its UTF-8, percent-encoded wherever it is not printable ASCII, so that an app may decode it and no two strings look alike
(RFC 3986 section 2.1; RFC 9110 section 5.5). Spaces inside stay; at either end they are encoded, since parsers drop them there.

A list of strings is its members, comma-separated, with a comma inside a member as ``%2C``. Numbers and booleans are as in JSON. What an
app could mistake is not sent at all: null, an empty string, an object, a list with anything but non-empty strings in it. The names that
are not sent here are still taken from the caller's headers, so an absent header is absent at the app.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes

from gateway.errors import RequestTooLarge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.identity import Identity, JSONValue

LONGEST_IDENTITY = 16 * 1024
"""Bytes of all identity header lines of a request together, line ends included."""

_AS_IT_IS = re.compile(r"[!-$&-~]++(?: ++[!-$&-~]++)*")
_PRINTABLE = bytes(range(0x20, 0x7F)).replace(b"%", b"")
_TOKEN = re.compile(r"[!-~]+")


def identity_headers(
    identity: Identity | None, mapping: Sequence[tuple[str, str]], tokens: tuple[str | None, str | None] | None
) -> tuple[tuple[bytes, bytes], ...]:
    """Header lines for a route's ``identity`` mapping, in its order; none without an identity.

    ``tokens`` is (access token, id_token), None where no route asks for one. A token is sent as it is or, should it hold anything but
    visible ASCII, not at all. Raises RequestTooLarge above 16 KiB: the claims were bounded when they were accepted, so this is a token
    that no app's server would take, and half an identity is worse than none.
    """
    if identity is None:
        return ()
    lines = []
    size = 0
    for name, source in mapping:
        value = _token(source, tokens) if source.startswith("token:") else header_value(identity.claims.get(source))
        if value is not None:
            lines.append((name.encode("ascii"), value))
            size += len(name) + len(value) + 4
    if size > LONGEST_IDENTITY:
        raise RequestTooLarge(f"identity headers of {size} bytes, more than {LONGEST_IDENTITY}")
    return tuple(lines)


def header_value(claim: JSONValue) -> bytes | None:
    """One claim as a header's value, None when there is nothing to send."""
    match claim:
        case str():
            return _text(claim) if claim else None
        case None | {}:
            return None
        case bool() | int() | float():
            return _number(claim)
        case [*members] if members:
            texts = [_text(member).replace(b",", b"%2C") for member in members if isinstance(member, str) and member]
            return b",".join(texts) if len(texts) == len(members) else None
        case _:
            return None


def _text(value: str) -> bytes:
    if _AS_IT_IS.fullmatch(value) is not None:
        return value.encode("ascii")
    # JSON can write half a surrogate pair; encoded like any other character it stays one value among others.
    encoded = quote_from_bytes(value.encode("utf-8", "surrogatepass"), safe=_PRINTABLE)
    inner = encoded.strip(" ")
    before = len(encoded) - len(encoded.lstrip(" "))
    after = len(encoded) - len(inner) - before
    return f"{'%20' * before}{inner}{'%20' * after}".encode("ascii")


def _number(value: float) -> bytes | None:
    try:
        return json.dumps(value, allow_nan=False).encode("ascii")
    except ValueError:  # NaN and infinity, which JSON has not, and integers of thousands of digits
        return None


def _token(source: str, tokens: tuple[str | None, str | None] | None) -> bytes | None:
    access_token, id_token = tokens or (None, None)
    token = {"token:access": access_token, "token:id": id_token}.get(source)
    return token.encode("ascii") if token and _TOKEN.fullmatch(token) is not None else None
