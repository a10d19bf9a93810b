"""A request as the gateway reads it, before anybody is believed: one Host, one canonical target, the raw Cookie lines.

Raw, because ``request.cookies`` of aiohttp trims what browsers do not and reads one Cookie line only (CK-08, CK-13).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.access.target import canonical_target
from gateway.server.guard import check_request_line, origin_form, read_head

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.access.target import Target


class Asked:
    """What was asked for: ``target`` canonical, ``host`` the one Host line as sent, ``cookies`` the raw Cookie lines in order."""

    __slots__ = ("cookies", "host", "target")

    def __init__(self, *, target: Target, host: str, cookies: tuple[bytes, ...]) -> None:
        self.target = target
        self.host = host
        self.cookies = cookies


def read_request(request: web.BaseRequest) -> Asked:
    """Read a request once, or refuse it.

    Raises:
        MethodRefused, VersionRefused: as ``guard.check_request_line``.
        HeadersRefused, HeadersTooLarge, ExpectationRefused: as ``guard.read_head``.
        TargetRefused: a request-target that is not canonical, or absolute and of another host than Host names.
    """
    check_request_line(request.method, request.version)
    head = read_head(request.raw_headers, http10=request.version == (1, 0))
    host = head.host.decode("latin-1")
    target = request.raw_path
    if target[:1] != "/":
        target = origin_form(target, host)
    return Asked(target=canonical_target(target), host=host, cookies=head.cookies)
