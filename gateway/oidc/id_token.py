"""Who signed in: claims that leave this file have passed every check of OpenID Connect Core section 3.1.3.7."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.identity import JSONValue

_WITNESS: Final = object()


@dataclass(frozen=True, slots=True)
class VerifiedClaims:
    """The claims of an id_token that passed. Only ``verify_id_token`` makes one: a session is born from nothing else.

    ``claims`` holds every claim as JSON values; ``expires`` and ``auth_time`` are epoch seconds.
    """

    claims: Mapping[str, JSONValue] = field(repr=False)
    issuer: str
    subject: str = field(repr=False)
    sid: str | None = field(repr=False)
    auth_time: int | None
    expires: float
    witness: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.witness is not _WITNESS:
            raise TypeError("only verify_id_token makes VerifiedClaims")
