"""A provider's endpoint: an absolute URL that we are willing to send to, and how parameters are added to one.

Answers OpenID Connect Discovery section 3 (https), RFC 6749 sections 3.1 and 3.2 (no fragment; a query of the endpoint's own is retained)
and invariant 8: redirects and secrets go to what the provider's metadata names, and to nothing that two parsers could read in two ways.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, urlencode

from gateway.errors import ProviderFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.oidc.registration import ProviderSettings

MAX_URL_LENGTH: Final = 2048

# RFC 3986: printable ASCII without the characters that parsers disagree about. No "@": an endpoint has no user information.
_ABSOLUTE: Final = re.compile(
    r"https?://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?(?P<rest>[/?][!$-;=?-Z_a-z~\[\]]*)?\Z"
)

_NAME: Final = re.compile(r"(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?\Z")
# WHATWG URL section 3.5: what ends in a number is an IPv4 address or no host; resolvers read 127.1 and 0x7f000001 as one, others do not.
_ENDS_IN_A_NUMBER: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?\Z")


def check_endpoint(name: str, value: object, settings: ProviderSettings) -> str:
    """One endpoint of the metadata, as it is.

    https always passes; http only where the issuer itself is http, and then on loopback or with ``insecure_http``.

    Raises:
        ProviderFailed: not an absolute URL of that kind; ``name`` is in the detail.
    """
    if not isinstance(value, str) or len(value) > MAX_URL_LENGTH:
        raise ProviderFailed(f"provider {settings.id}: {name} in the metadata is missing or no URL")
    match = _ABSOLUTE.match(value)
    if match is None or int(match["port"] or 1) not in range(1, 65536):
        raise ProviderFailed(f"provider {settings.id}: {name} in the metadata is no absolute URL without user information and fragment")
    try:
        loopback = _is_loopback(match["host"])
    except ValueError:
        raise ProviderFailed(f"provider {settings.id}: {name} in the metadata names no host that can be read in one way") from None
    if value.startswith("http://") and not (settings.issuer.startswith("http://") and (settings.insecure_http or loopback)):
        raise ProviderFailed(f"provider {settings.id}: {name} in the metadata is plain http")
    return value


def with_parameters(endpoint: str, parameters: Mapping[str, str], settings: ProviderSettings) -> str:
    """The endpoint with parameters after the query that it may have of its own (RFC 6749 section 3.1).

    Raises:
        ProviderFailed: the endpoint's own query holds one of the parameters already, so that it would be there twice.
    """
    base, mark, query = endpoint.partition("?")
    if mark and not parameters.keys().isdisjoint(name for name, _ in parse_qsl(query, keep_blank_values=True)):
        raise ProviderFailed(f"provider {settings.id}: an endpoint in the metadata has a parameter of ours in its query")
    added = urlencode(parameters, quote_via=quote, safe="")
    return f"{base}?{query}&{added}" if query else f"{base}?{added}"


def _is_loopback(host: str) -> bool:
    """Whether a host names this machine; ``ValueError`` for what is neither an address nor a name (RFC 3986 section 3.2.2)."""
    if host.startswith("["):
        return ipaddress.IPv6Address(host[1:-1]).is_loopback
    if _ENDS_IN_A_NUMBER.match(host):
        return ipaddress.IPv4Address(host).is_loopback
    if not _NAME.match(host):
        raise ValueError("not a name")
    name = host.lower()
    return name == "localhost" or name.endswith(".localhost")
