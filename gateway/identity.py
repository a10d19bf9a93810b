"""Who somebody is: the frozen value that a session gives and a route judges.

A person is (issuer, subject) and nothing else: an e-mail address or a user name is a claim, never a key (OpenID Connect Core 5.7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, Union

# Names in quotes have no other union than this one at run time.
JSONValue: TypeAlias = Union[str, int, float, bool, Sequence["JSONValue"], Mapping[str, "JSONValue"], None]  # noqa: UP007


@dataclass(frozen=True, slots=True)
class Identity:
    """A person, as one provider knows them.

    ``claims`` holds the verified claims that the configuration can use (always ``sub``), as JSON values.
    """

    issuer: str
    subject: str
    claims: Mapping[str, JSONValue]
