"""The authorization response: read without ambiguity, then bound to the login that this browser began.

Answers RFC 6749 sections 3.1 (no parameter twice, empty means absent), 4.1.2 and 10.12 (state), and RFC 9207 (iss, against mix-up).
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from gateway.errors import CallbackRefused, LoginDenied, ProviderRefused

if TYPE_CHECKING:
    from gateway.oidc.metadata import Metadata

MAX_QUERY_LENGTH: Final = 32768
MAX_PARAMETERS: Final = 64
_BOUNDS: Final = {"state": 512, "code": 8192, "error": 256, "error_description": 16384, "error_uri": 2048, "iss": 2048}
"""The parameters of the answer that we know, and how many characters each may have once decoded."""
_FOR_PEOPLE: Final = ("error_description", "error_uri")
"""Nothing is decided on these, so one that cannot be read is left out."""

_VISIBLE: Final = re.compile(r"[\x21-\x7e]*\Z")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_NOT_SHOWN: Final = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")
"""RFC 6749 section 4.1.2.1: error and error_description "MUST NOT include characters outside the set %x20-21 / %x23-5B / %x5D-7E"."""

_WITNESS: Final = object()


@dataclass(frozen=True, slots=True)
class CallbackParameters:
    """The parameters as sent, decoded once; nothing is believed yet. Exactly one of ``code`` and ``error`` is there."""

    state: str = field(repr=False)
    code: str | None = field(repr=False)
    error: str | None = field(repr=False)
    error_description: str | None = field(repr=False)
    iss: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class ValidatedCallback:
    """An answer to a login of this browser, from the provider it went to. Only ``validate_callback`` makes one.

    Exactly one of ``code`` and ``error`` is there; ``issuer`` is the provider that this login began at.
    """

    issuer: str
    code: str | None = field(repr=False)
    error: str | None = field(repr=False)
    error_description: str | None = field(repr=False)
    witness: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.witness is not _WITNESS:
            raise TypeError("only validate_callback makes a ValidatedCallback")

    def require_code(self) -> str:
        """The code to exchange.

        Raises:
            LoginDenied: the provider answered ``access_denied``.
            ProviderRefused: it answered any other error; none starts a new login by itself.
        """
        if self.error is not None:
            if self.error == "access_denied":
                raise LoginDenied("the provider answered access_denied")
            raise ProviderRefused(f"the provider answered the error {self.shown_error}")
        assert self.code is not None
        return self.code

    @property
    def shown_error(self) -> str | None:
        """The error code for people and logs: the RFC's characters alone, 64 at most; None when the answer is a code. Escape it in HTML."""
        return None if self.error is None else _NOT_SHOWN.sub("", self.error)[:64]

    @property
    def shown_description(self) -> str | None:
        """The provider's explanation for people: the RFC's characters alone, 200 at most; None when there is none. Escape it in HTML."""
        if self.error is None or self.error_description is None:
            return None
        return _NOT_SHOWN.sub("", self.error_description)[:200].strip() or None


def read_callback(query: str) -> CallbackParameters:
    """The parameters in a raw query string (without the "?"). Parameters that we do not know are ignored, as RFC 6749 asks.

    Raises:
        CallbackRefused: too long, not ASCII, a wrong percent-escape, a parameter twice, no state, both a code and an error, or neither.
    """
    found = _known_parameters(query)
    # RFC 6749 section 3.1: "Parameters sent without a value MUST be treated as if they were omitted".
    state, code, error = found.get("state") or None, found.get("code") or None, found.get("error") or None
    if state is None:
        raise CallbackRefused("no state")
    if (code is None) == (error is None):
        raise CallbackRefused("neither a code nor an error" if code is None else "both a code and an error")
    return CallbackParameters(
        state=state, code=code, error=error, error_description=found.get("error_description") or None, iss=found.get("iss") or None
    )


def _known_parameters(query: str) -> dict[str, str]:
    """The parameters of the answer that we know, each there once, decoded once and within its bound."""
    if len(query) > MAX_QUERY_LENGTH or not _VISIBLE.match(query):
        raise CallbackRefused("the query is too long or not printable ASCII")
    pieces = query.split("&") if query else []
    if len(pieces) > MAX_PARAMETERS:
        raise CallbackRefused(f"more than {MAX_PARAMETERS} parameters")
    found: dict[str, str] = {}
    for piece in pieces:
        raw_name, _, raw_value = piece.partition("=")
        name = _decoded(raw_name)
        if name not in _BOUNDS:
            continue
        if name in found:
            raise CallbackRefused(f"{name} is there twice")
        value = _decoded(raw_value)
        if value is None or len(value) > _BOUNDS[name]:
            if name in _FOR_PEOPLE:
                found[name] = ""
                continue
            raise CallbackRefused(f"{name} is too long or not UTF-8")
        if name in ("state", "code", "iss") and _CONTROL.search(value):
            raise CallbackRefused(f"{name} holds a control character")
        found[name] = value
    return found


def validate_callback(params: CallbackParameters, *, expected_state: str, metadata: Metadata) -> ValidatedCallback:
    """Bind the answer to the login that this browser began, at the provider that it began it at.

    ``expected_state`` comes from the login cookie, ``metadata`` is that of the provider named in it. Error answers are held to the same.

    Raises:
        CallbackRefused: another state (compared in constant time), another ``iss``, or no ``iss`` from a provider that promises one.
    """
    if not expected_state or not hmac.compare_digest(params.state.encode("utf-8"), expected_state.encode("utf-8")):
        raise CallbackRefused("state is not that of this login")
    if params.iss is None:
        if metadata.iss_parameter_supported:
            raise CallbackRefused("no iss, though the provider's metadata promises one")
    elif params.iss != metadata.issuer:
        # RFC 9207 section 2.4: simple string comparison; "If the value does not match the expected issuer identifier, clients MUST reject".
        raise CallbackRefused("iss is not the issuer that this login went to")
    return ValidatedCallback(
        issuer=metadata.issuer,
        code=params.code,
        error=params.error,
        error_description=params.error_description,
        witness=_WITNESS,
    )


def _decoded(raw: str) -> str | None:
    """One decoding of application/x-www-form-urlencoded; None when an escape is wrong or the bytes are not UTF-8."""
    if _BAD_ESCAPE.search(raw):
        return None
    try:
        return unquote_to_bytes(raw.replace("+", " ")).decode("utf-8", "strict")
    except UnicodeDecodeError:
        return None
