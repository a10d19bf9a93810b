"""The small values that an operator writes: durations, names, choices, scopes. A value is read in one way or refused with its remedy.

Answers invariants 11 and 16: no text in here holds the value it refuses, and what the gateway has not learned yet is never ignored.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gateway.config.faults import did_you_mean, one_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_DURATION = re.compile(r"(0|[1-9][0-9]{0,8})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_PROVIDER_ID = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,30}[a-z0-9])?")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,128}")
"""RFC 6749 section 3.3."""
_VSCHAR = re.compile(r"[\x20-\x7e]{1,512}")
"""RFC 6749 appendix A.1."""
_PARAMETER = re.compile(r"[A-Za-z0-9._~-]{1,64}")

OUR_PARAMETERS: Final = frozenset({
    "state", "nonce", "redirect_uri", "scope", "response_type", "client_id", "code_challenge", "code_challenge_method", "response_mode",
    "request", "request_uri", "client_secret", "client_assertion", "client_assertion_type",
})  # fmt: skip
"""Parameters of an authorization request that bind it to this gateway and this browser; the last three would put a secret in a URL."""


def text(value: object) -> str:
    """A string, and a number is none: ``client_id: 0123`` would have lost its zero to YAML.

    Raises:
        ValueError: with what is wrong and what to write.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, int)):
        raise ValueError("has to be text; put it in quotes")  # noqa: TRY004 - pydantic takes ValueError alone for a refusal
    raise ValueError("has to be text")


def duration(at_least: str, at_most: str) -> Callable[[object], float]:
    """A reader of durations within bounds: ``30s``, ``10m``, ``12h``, ``1d`` or a whole number of seconds."""
    lower, upper = _seconds(at_least), _seconds(at_most)

    def read(value: object) -> float:
        seconds = float(value) if isinstance(value, int) and not isinstance(value, bool) else _seconds(value)
        if not lower <= seconds <= upper:
            raise ValueError(f"out of bounds; write a duration from {at_least} to {at_most}")
        return seconds

    return read


def choice(built: Collection[str], *, later: Collection[str] = (), otherwise: str = "") -> Callable[[object], str]:
    """A reader of one word out of ``built``; words in ``later`` (and, with ``otherwise``, any mapping) are known and not built yet."""

    def read(value: object) -> str:
        if isinstance(value, dict) and otherwise:
            raise ValueError(f"{otherwise} is not built yet; write {one_of(built)}")
        if not isinstance(value, str):
            raise ValueError(f"has to be {one_of(built)}")  # noqa: TRY004 - as above
        if value in built:
            return value
        if value in later:
            raise ValueError(f"this is not built yet; write {one_of(built)}")
        near = did_you_mean(value, built)
        raise ValueError(f"not a value of this key; did you mean {near}?" if near else f"not a value of this key; write {one_of(built)}")

    return read


def provider_id(value: object) -> str:
    """A provider's name in logs and sessions. ValueError with the remedy."""
    if _PROVIDER_ID.fullmatch(word := text(value)):
        return word
    raise ValueError("not a provider's id; write up to 32 lower-case letters, digits, - and _, such as main")


def client_id(value: object) -> str:
    """RFC 6749 appendix A.1. ValueError with the remedy."""
    if _VSCHAR.fullmatch(word := text(value)):
        return word
    raise ValueError("has to be 1 to 512 printable ASCII characters; copy it from the provider")


def scope(value: object) -> str:
    """One scope token (RFC 6749 section 3.3). ValueError with the remedy."""
    if _SCOPE.fullmatch(word := text(value)):
        return word
    raise ValueError("not a scope; write each scope as an item of its own, such as [openid, profile, email]")


def scopes(values: list[str]) -> list[str]:
    """All scopes: ``openid`` among them, none twice. ValueError with the remedy."""
    if "openid" not in values:
        raise ValueError("without openid there is no id_token and nobody can be signed in; add openid")
    if len(set(values)) < len(values):
        raise ValueError("a scope stands here twice; keep one")
    return values


def distinct(values: list[str]) -> list[str]:
    """ValueError when a value stands in the list twice."""
    if len(set(values)) < len(values):
        raise ValueError("a value stands here twice; keep one")
    return values


def check_parameter(name: str, value: str) -> None:
    """One further parameter of the authorization request, never one of ours. ValueError with the remedy."""
    if name.lower() in OUR_PARAMETERS:
        raise ValueError("the gateway sets this parameter itself, or it would be in a URL; remove it")
    if not _PARAMETER.fullmatch(name):
        raise ValueError("a parameter's name has letters, digits and . _ ~ - alone; correct it")
    if not value.isprintable() or len(value) > 1024:  # noqa: PLR2004 - the whole URL stays within what servers take
        raise ValueError("a parameter's value is printable text of at most 1024 characters; correct it")


def _seconds(written: object) -> float:
    match = _DURATION.fullmatch(written) if isinstance(written, str) else None
    if match is None:
        raise ValueError("not a duration; write 30s, 10m, 12h, 1d or a whole number of seconds")
    return float(int(match[1]) * _SECONDS[match[2]])
