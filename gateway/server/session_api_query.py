"""What operators may ask of the session API and of ``gateway sessions``: parameters, each read in one way or refused by its name.

Answers the mistyped filter that ends or shows more than was meant: an unknown, doubled or empty parameter is refused, and "all" has to be
said. No text here repeats a value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from gateway.config.values import duration, provider_id
from gateway.errors import RequestRefused
from gateway.session.index_names import OfEverybody, OfProvider, OfProviderSession, OfUser
from gateway.session.search import Search

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from gateway.session.index_names import Listing

    Providers = Sequence[tuple[str, str]]
    """Id and issuer of each configured provider."""

WHOSE: Final = ("sub", "sid", "issuer", "provider")
LISTING: Final = (*WHOSE, "user", "address", "min_age", "max_age", "limit", "cursor")
ENDING: Final = (*WHOSE, "confirm")
ALL: Final = "all"
"""What ``confirm`` has to say to end every session."""
EVERYBODY: Final = (OfEverybody(),)
LONGEST_VALUE: Final = 1024
PAGE: Final = 100
LARGEST_PAGE: Final = 1000

_LIMIT: Final = re.compile(r"[1-9][0-9]{0,3}")
_AGE: Final = duration("0s", "90d")


@dataclass(frozen=True, slots=True)
class Asked:
    """One page of a search."""

    listings: tuple[Listing, ...]
    search: Search
    limit: int
    cursor: str | None


def read_query(query: str | None, known: Sequence[str]) -> dict[str, str]:
    """The parameters of a raw query string.

    Raises:
        RequestRefused: one that is not ``known``, is there twice, has no value, or is no UTF-8.
    """
    if not query:
        return {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, max_num_fields=len(LISTING), errors="strict")
    except ValueError:
        raise RequestRefused("the query is not name=value&name=value in UTF-8") from None
    asked = dict(pairs)
    if not asked.keys() <= set(known):
        raise RequestRefused(f"an unknown parameter; here are {', '.join(known)}" if known else "a parameter beside an id: it takes none")
    if len(asked) < len(pairs):
        raise RequestRefused("a parameter stands twice")
    return asked


def read_listing(asked: Mapping[str, str], providers: Providers) -> Asked:
    """What is to be listed; without ``sub``, ``sid`` and ``provider`` that is every session, whatever is configured by now.

    Raises:
        RequestRefused: with the parameter's name and what it takes.
    """
    _check_values(asked)
    limit = asked.get("limit", str(PAGE))
    if not _LIMIT.fullmatch(limit) or int(limit) > LARGEST_PAGE:
        raise RequestRefused(f"limit: a whole number from 1 to {LARGEST_PAGE}")
    search = Search(
        user=asked.get("user"),
        address=_read(asked, "address", ip_network, "an IP address, or a network such as 192.0.2.0/24"),
        min_age=_read(asked, "min_age", _AGE, "a duration up to 90d, such as 30m or 12h") or 0.0,
        max_age=_read(asked, "max_age", _AGE, "a duration up to 90d, such as 30m or 12h"),
    )
    return Asked(_whose(asked, providers) or EVERYBODY, search, int(limit), asked.get("cursor"))


def read_ending(asked: Mapping[str, str], providers: Providers) -> tuple[Listing, ...]:
    """Whose sessions are to be ended: those of one ``sub`` or ``sid``, or with ``confirm=all`` every one (of ``provider``, if it is named).

    Raises:
        RequestRefused: as above; nothing was named, or something besides all.
    """
    _check_values(asked)
    wanted = [name for name in ("sub", "sid", "confirm") if name in asked]
    if len(wanted) != 1:
        raise RequestRefused(f"name one of sub and sid, or say confirm={ALL} to end every session")
    if wanted == ["confirm"]:
        if asked["confirm"] != ALL:
            raise RequestRefused(f"confirm: {ALL}, and nothing else")
        if "issuer" in asked:
            raise RequestRefused(f"issuer: goes with sub or sid, not with confirm={ALL}")
    return _whose(asked, providers) or EVERYBODY


def _check_values(asked: Mapping[str, str]) -> None:
    for name, value in asked.items():
        if not value or len(value) > LONGEST_VALUE:
            raise RequestRefused(f"{name}: 1 to {LONGEST_VALUE} characters")


def _whose(asked: Mapping[str, str], providers: Providers) -> tuple[Listing, ...]:
    provider = _read(asked, "provider", provider_id, "a provider's id")
    if "sub" in asked and "sid" in asked:
        raise RequestRefused("sub, sid: only one of them")
    if "sub" not in asked and "sid" not in asked:
        if "issuer" in asked:
            raise RequestRefused("issuer: goes with sub or sid")
        return () if provider is None else (OfProvider(provider),)
    if "issuer" in asked and provider is not None:
        raise RequestRefused("issuer, provider: only one of them")
    issuers = [asked["issuer"]] if "issuer" in asked else [issuer for id_, issuer in providers if provider in (None, id_)]
    if not issuers:
        raise RequestRefused("provider: none of this id is configured; write its issuer instead")
    if "sub" in asked:
        return tuple(OfUser(issuer, asked["sub"]) for issuer in issuers)
    return tuple(OfProviderSession(issuer, asked["sid"]) for issuer in issuers)


def _read(asked: Mapping[str, str], name: str, read: Callable[[str], Any], form: str) -> Any:
    if name not in asked:
        return None
    try:
        return read(asked[name])
    except ValueError:
        raise RequestRefused(f"{name}: {form}") from None
