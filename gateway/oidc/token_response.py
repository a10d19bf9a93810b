"""What a token endpoint answered, read once and strictly.

Answers RFC 6749 section 5 and OpenID Connect Core section 3.1.3.3: tokens are taken from a 200 alone, an answer that mixes success and
error is no success, and a token that could split a header is no token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from gateway.errors import CodeRefused, GrantRefused, ProviderFailed, ProviderUnavailable
from gateway.oidc.retry_after import asked_wait

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.identity import JSONValue

MAX_TOKEN_LENGTH: Final = 16384
"""Characters of an access or refresh token. The id_token has a bound of its own where it is read."""

MAX_SCOPE_LENGTH: Final = 4096
MAX_LIFETIME: Final = 365 * 86400
"""Seconds; what a provider promises beyond is cut to this."""
LONGEST_WAIT: Final = 300.0
"""Seconds of a Retry-After that are kept to."""

_VISIBLE: Final = re.compile(r"[\x21-\x7e]+\Z")
_SCOPE: Final = re.compile(r"[\x20-\x7e]*\Z")
_ERROR_CODE: Final = re.compile(r"[a-z0-9_]{1,64}\Z")
_NUMERIC: Final = re.compile(r"[0-9]{1,15}\Z")
_TOO_MANY_REQUESTS: Final = 429
_SERVER_ERROR: Final = 500


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one grant; ``repr`` shows none of them.

    ``expires_at`` is epoch seconds, None when the provider did not say. ``scope`` is what was granted, None when as asked.
    """

    access_token: str = field(repr=False)
    token_type: str
    expires_at: float | None
    refresh_token: str | None = field(repr=False)
    id_token: str = field(repr=False)
    scope: str | None


def read_token_response(status: int, document: Mapping[str, JSONValue] | None, *, now: float, provider: str) -> Tokens:
    """The tokens in a token endpoint's answer to a code; ``document`` is None when the body was no JSON object.

    ``provider`` is the id in the configuration, for the details of errors.

    Raises:
        CodeRefused: 4xx with ``invalid_grant``.
        ProviderUnavailable: 5xx or 429; the code may be spent or not, and is not sent again.
        ProviderFailed: anything else that is not a whole, unambiguous success.
    """
    granted = _success(status, document, provider, refused=CodeRefused)
    id_token = granted.get("id_token")
    if not isinstance(id_token, str) or not id_token:
        raise ProviderFailed(
            f"provider {provider}: the token endpoint answered without an id_token; does this client have the openid scope?"
        )
    lifetime = _lifetime(granted.get("expires_in"))
    return Tokens(
        access_token=_access_token(granted, provider),
        token_type="Bearer",  # noqa: S106 - the name of a type
        expires_at=None if lifetime is None else now + lifetime,
        refresh_token=_token(granted, "refresh_token", provider),
        id_token=id_token,
        scope=_scope(granted.get("scope"), provider),
    )


def read_refresh_response(  # noqa: PLR0913 - the answer, what it adds to, and when
    status: int,
    document: Mapping[str, JSONValue] | None,
    *,
    retry_after: str | None,
    before: Tokens,
    now: float,
    provider: str,
) -> tuple[Tokens, str | None]:
    """The tokens after a refresh (RFC 6749 section 6, Core section 12.2), and the new id_token in it, unverified; None for none.

    The tokens are those of the answer; the refresh token of ``before`` stays where none came, and so do its scope and its id_token. ``now``
    is when the request was sent: a token that was long on its way lives no longer for it.

    Raises:
        GrantRefused: 4xx with ``invalid_grant``.
        ProviderUnavailable: 5xx or 429, with the wait that was asked for; the refresh token may be spent or not.
        ProviderFailed: anything else that is not a whole, unambiguous success.
    """
    granted = _success(status, document, provider, refused=GrantRefused, retry_after=retry_after)
    id_token = granted.get("id_token")
    if id_token is not None and not isinstance(id_token, str):
        raise ProviderFailed(f"provider {provider}: the token endpoint answered with an id_token that is no string")
    lifetime = _lifetime(granted.get("expires_in"))
    tokens = replace(
        before,
        access_token=_access_token(granted, provider),
        expires_at=None if lifetime is None else now + lifetime,
        refresh_token=_token(granted, "refresh_token", provider) or before.refresh_token,
        scope=_scope(granted.get("scope"), provider) or before.scope,
    )
    return tokens, id_token or None


def _success(
    status: int,
    document: Mapping[str, JSONValue] | None,
    provider: str,
    *,
    refused: type[CodeRefused | GrantRefused],
    retry_after: str | None = None,
) -> Mapping[str, JSONValue]:
    """The document of a whole success (RFC 6749 section 5.1); anything else raises. ``refused`` is what ``invalid_grant`` means here."""
    if status != 200:  # noqa: PLR2004 - RFC 6749 section 5.1 names this one status
        raise _refusal(status, document, provider, refused, retry_after)
    if document is None:
        raise ProviderFailed(f"provider {provider}: the token endpoint answered 200 without a JSON object")
    if "error" in document:
        raise ProviderFailed(f"provider {provider}: the token endpoint answered 200 with an error in it")
    token_type = document.get("token_type")
    if not isinstance(token_type, str) or token_type.lower() != "bearer":
        # RFC 6749 section 7.1: "The client MUST NOT use an access token if it does not understand the token type".
        raise ProviderFailed(f"provider {provider}: the token_type is not Bearer")
    return document


def _refusal(
    status: int,
    document: Mapping[str, JSONValue] | None,
    provider: str,
    refused: type[CodeRefused | GrantRefused],
    retry_after: str | None,
) -> Exception:
    if status == _TOO_MANY_REQUESTS or status >= _SERVER_ERROR:
        wait = asked_wait(retry_after, longest=LONGEST_WAIT)
        failure = ProviderUnavailable(f"provider {provider}: the token endpoint answered {status}")
        failure.asked_wait = wait
        return failure
    error = document.get("error") if document is not None else None
    code = error if isinstance(error, str) and _ERROR_CODE.match(error) else "no error code"
    if code == "invalid_grant":
        return refused(f"provider {provider}: the token endpoint answered invalid_grant")
    if code == "invalid_client":
        return ProviderFailed(
            f"provider {provider}: the token endpoint answered invalid_client; check client_id, client_secret and client_auth"
        )
    return ProviderFailed(f"provider {provider}: the token endpoint answered {status} with {code}")


def _access_token(document: Mapping[str, JSONValue], provider: str) -> str:
    access_token = _token(document, "access_token", provider)
    if access_token is None:
        raise ProviderFailed(f"provider {provider}: the token endpoint answered without an access_token")
    return access_token


def _token(document: Mapping[str, JSONValue], name: str, provider: str) -> str | None:
    value = document.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > MAX_TOKEN_LENGTH or not _VISIBLE.match(value):
        raise ProviderFailed(f"provider {provider}: {name} is no printable string of at most {MAX_TOKEN_LENGTH} characters")
    return value


def _lifetime(expires_in: JSONValue) -> float | None:
    """Seconds from now, between zero and a year; None when the provider did not say, or said something that is no number."""
    if isinstance(expires_in, str) and _NUMERIC.match(expires_in):
        expires_in = int(expires_in)
    if isinstance(expires_in, bool) or not isinstance(expires_in, (int, float)):
        return None
    return float(min(max(expires_in, 0), MAX_LIFETIME))


def _scope(scope: JSONValue, provider: str) -> str | None:
    if scope is None:
        return None
    if not isinstance(scope, str) or len(scope) > MAX_SCOPE_LENGTH or not _SCOPE.match(scope):
        raise ProviderFailed(f"provider {provider}: the scope granted is no printable string of at most {MAX_SCOPE_LENGTH} characters")
    return scope
