"""A request as the gateway reads it, before anybody is believed: one canonical target, and its headers, read once.

Raw, because ``request.cookies`` of aiohttp trims what browsers do not and reads one Cookie line only (CK-08, CK-13).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.access.target import canonical_target
from gateway.proxy.request_headers import read_request_headers
from gateway.server.guard import check_request_line, origin_form

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.access.target import Target
    from gateway.proxy.headers import HeaderRules
    from gateway.proxy.request_headers import RequestHeaders


class Asked:
    """What was asked for: ``target`` canonical, ``host`` the one Host line as sent, ``headers`` what there is besides."""

    __slots__ = ("headers", "host", "target")

    def __init__(self, target: Target, host: str, headers: RequestHeaders) -> None:
        self.target = target
        self.host = host
        self.headers = headers


def read_request(request: web.BaseRequest, rules: HeaderRules) -> Asked:
    """Read a request once, or refuse it.

    Raises:
        MethodRefused, VersionRefused: as ``guard.check_request_line``.
        HeadersRefused, HeadersTooLarge, ExpectationRefused: as ``read_request_headers``.
        TargetRefused: a request-target that is not canonical, or absolute and of another host than Host names.
    """
    method, version = request.method, request.version
    check_request_line(method, version)
    headers = read_request_headers(request.raw_headers, rules, method=method, http10=version[1] == 0)
    host = headers.host.decode("latin-1")
    target = request.raw_path
    if target[:1] != "/":
        target = origin_form(target, host)
    return Asked(canonical_target(target), host, headers)
