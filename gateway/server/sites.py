"""Which of our origins a request came to. A Host that is none of ours has no cookie, no redirect URI and no answer but 421."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import CrossSiteRefused

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.server.parts import Parts, Site


def site_of(parts: Parts, request: web.BaseRequest) -> Site:
    """The site of the request's Host.

    Raises:
        HostUnknown: the Host is none of ``server.public_url``.
        HeadersRefused: it is not a valid host.
    """
    return parts.site_for_host(request.headers.get("Host", ""))


def check_origin(request: web.BaseRequest, site: Site) -> None:
    """RFC 6455 section 10.2: a WebSocket with somebody's session is opened by our own pages alone.

    Raises:
        CrossSiteRefused: there is no Origin, more than one, or another than that of ``site``.
    """
    origins = request.headers.getall("Origin", ())
    if len(origins) != 1 or origins[0].lower() != site.origin.text:
        raise CrossSiteRefused("a WebSocket with a session, but Origin is not the origin it came to")
