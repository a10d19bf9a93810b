"""The authorization response: read without ambiguity, then bound to the login that this browser began.

Answers RFC 6749 sections 3.1 (no parameter twice), 4.1.2 and 10.12 (state), and RFC 9207 (iss against mix-up).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

_WITNESS: Final = object()


@dataclass(frozen=True, slots=True)
class CallbackParameters:
    """The parameters as sent, decoded once; nothing is believed yet. Exactly one of ``code`` and ``error`` is there."""

    state: str = field(repr=False)
    code: str | None = field(repr=False)
    error: str | None
    error_description: str | None = field(repr=False)
    iss: str | None


@dataclass(frozen=True, slots=True)
class ValidatedCallback:
    """An answer to a login of this browser, from the provider it went to. Only ``validate_callback`` makes one."""

    code: str | None = field(repr=False)
    error: str | None
    error_description: str | None = field(repr=False)
    witness: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.witness is not _WITNESS:
            raise TypeError("only validate_callback makes a ValidatedCallback")
