"""What a session knows of its grant without its tokens: when they end, and whether there is a way to new ones.

Answers "a request costs no look at the tokens": these few numbers stand in the record, which every process keeps. They are facts; what they
mean for a session is judged by ``refresh_rules``, under the configuration of the moment.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gateway.oidc import base64url
from gateway.session.stored_json import read_stored

if TYPE_CHECKING:
    from gateway.identity import JSONValue
    from gateway.oidc.id_token import VerifiedClaims
    from gateway.oidc.provider import Refreshed
    from gateway.oidc.token_response import Tokens


@dataclass(frozen=True, slots=True)
class Grant:
    """All times are epoch seconds; None where nobody said. ``nonce`` is that of the login, ``id_issued`` the ``iat`` of the last id_token.

    ``id_renewed`` tells whether the last answer of the provider brought the id_token: where it did not, another is not worth asking for.
    """

    obtained: float
    access_expires: float | None
    refreshable: bool
    id_expires: float | None
    id_issued: float | None
    id_renewed: bool
    nonce: str | None = field(repr=False)


def grant_at_login(tokens: Tokens, claims: VerifiedClaims, *, now: float) -> Grant:
    """The facts of a sign-in."""
    return Grant(
        obtained=now,
        access_expires=tokens.expires_at,
        refreshable=tokens.refresh_token is not None,
        id_expires=claims.expires,
        id_issued=claims.issued,
        id_renewed=True,
        nonce=claims.nonce,
    )


def grant_after(refreshed: Refreshed, before: Grant, *, now: float) -> Grant:
    """The facts after a refresh; what did not come is as it was."""
    after = replace(
        before,
        obtained=now,
        access_expires=refreshed.tokens.expires_at,
        refreshable=refreshed.tokens.refresh_token is not None,
        id_renewed=refreshed.claims is not None,
    )
    claims = refreshed.claims
    return after if claims is None else replace(after, id_expires=claims.expires, id_issued=claims.issued)


def grant_of_kept(tokens: Tokens, *, created: float) -> Grant:
    """The facts of a session that was written before any of them were: from its tokens, whose id_token was verified at its login."""
    claims = _claims_of_verified(tokens.id_token)
    nonce = claims.get("nonce")
    return Grant(
        obtained=created,
        access_expires=tokens.expires_at,
        refreshable=tokens.refresh_token is not None,
        id_expires=_time(claims.get("exp")),
        id_issued=_time(claims.get("iat")),
        id_renewed=True,
        nonce=nonce if isinstance(nonce, str) else None,
    )


def grant_to_json(grant: Grant) -> JSONValue:
    """Members of a record; ``grant_from_json`` gives the equal value back."""
    return {
        "obtained": grant.obtained,
        "access_expires": grant.access_expires,
        "refreshable": grant.refreshable,
        "id_expires": grant.id_expires,
        "id_issued": grant.id_issued,
        "id_renewed": grant.id_renewed,
        "nonce": grant.nonce,
    }


def grant_from_json(value: object) -> Grant | None:
    """The facts that were written; None for anything else."""
    match value:
        case {
            "obtained": int() | float() as obtained,
            "access_expires": None | int() | float() as access_expires,
            "refreshable": bool(refreshable),
            "id_expires": None | int() | float() as id_expires,
            "id_issued": None | int() | float() as id_issued,
            "id_renewed": bool(id_renewed),
            "nonce": None | str() as nonce,
        }:
            return Grant(obtained, access_expires, refreshable, id_expires, id_issued, id_renewed, nonce)
    return None


def _claims_of_verified(id_token: str) -> dict[str, JSONValue]:
    try:
        payload = read_stored(base64url.decode(id_token.split(".")[1]))
    except (ValueError, IndexError):
        return {}
    return payload if isinstance(payload, dict) else {}


def _time(value: JSONValue) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
