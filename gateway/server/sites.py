"""Which of our origins a request came to. A Host that is none of ours has no cookie, no redirect URI and no answer but 421."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.server.parts import Parts, Site


def site_of(parts: Parts, request: web.BaseRequest) -> Site:
    """The site of the request's Host.

    Raises:
        HostUnknown: the Host is none of ``server.public_url``.
        HeadersRefused: it is not a valid host.
    """
    return parts.sites[parts.settings.server.origins.for_host(request.headers.get("Host", ""))]
