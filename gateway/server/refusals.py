"""The one place that turns a failure into an answer: a page for a navigation, JSON for everything else, always with a way on.

Answers spec-requirements "error mapping" and invariant 11: what is shown are the error tree's constants and nothing that a caller or a
provider sent; what is logged is the failure's detail.
"""

from __future__ import annotations

import json
import traceback
from typing import TYPE_CHECKING
from urllib.parse import quote

from aiohttp import web

from gateway.access.caller import is_navigation
from gateway.errors import Blame, GatewayFailed, MethodRefused, WayOn
from gateway.proxy.downstream import Relayed
from gateway.server.guard import REFUSED_METHODS
from gateway.server.pages import PAGE_HEADERS, error_page
from gateway.telemetry import logs

if TYPE_CHECKING:
    from gateway.errors import GatewayError, VersionRefused

log = logs.get("server")

PLAIN_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Server": "gateway",
}
"""On every answer of ours: never cached, never a Referer, no version banner."""

IN_DOUBT = frozenset({400, 408, 414, 417, 431})
"""Refusals of a request that was not read as a whole, or not in one way: what follows on its connection is anybody's guess."""

FRAMES_TOLD = 6
"""The innermost places of a fault that its log line names."""

TITLES = {
    400: "This did not work",
    403: "Not allowed",
    404: "Nothing here",
    405: "This did not work",
    413: "Too large",
    421: "Nothing here",
    500: "Something here is not working",
    502: "Something behind us is not working",
    503: "Please try again shortly",
    504: "This is taking too long",
}


def respond(
    request: web.BaseRequest, failure: GatewayError, *, prefix: str, return_to: str = "/", provider_said: str | None = None
) -> web.Response:
    """The answer to ``failure``, and its line in the log.

    ``prefix`` is the gateway's own, for the link that signs in and then goes to ``return_to`` (checked already). ``provider_said`` is
    the provider's error as ``ValidatedCallback`` lets it be shown: filtered, bounded, and labelled as its words. The connection is
    closed where the request may have a body that nobody will read, or where its framing is in doubt.
    """
    _tell(failure)
    headers = dict(PLAIN_HEADERS)
    if failure.retry_after is not None:
        headers["Retry-After"] = str(failure.retry_after)
    if isinstance(failure, MethodRefused) and failure.allow:
        headers["Allow"] = ", ".join(failure.allow)
    if is_navigation(request.method, request.headers) or _reads_pages(request):
        headers.update(PAGE_HEADERS)
        body = error_page(
            title=TITLES.get(failure.status, "This did not work"),
            text=failure.public,
            code=failure.code,
            way_on=_link(failure.way_on, prefix, return_to),
            provider_said=provider_said,
        )
    else:
        headers["Content-Type"] = "application/json"
        body = json.dumps({"error": failure.code, "message": failure.public}).encode()
    response = web.Response(status=failure.status, body=body, headers=headers)
    if ends_connection(request) or (failure.blame is Blame.CALLER and failure.status in IN_DOUBT):
        response.force_close()
    return response


def ends_connection(request: web.BaseRequest) -> bool:
    """Whether nothing can follow this request once it is answered without being forwarded.

    Nobody reads its body (RFC 9112 section 9.3), or bytes behind it were kept back for a protocol that is not spoken (SM-62 to SM-65).
    """
    return request.body_exists or "Upgrade" in request.headers or request.method in REFUSED_METHODS


def respond_in_our_version(request: web.BaseRequest, failure: VersionRefused) -> web.StreamResponse:
    """The answer to a request line of another HTTP version: aiohttp would answer in that version, so the bytes are ours."""
    _tell(failure)
    if request.transport is not None:
        request.transport.write(
            f"HTTP/1.1 {failure.status} HTTP Version Not Supported\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
    return Relayed(failure.status, body_length=0, keep_alive=False)


def fault_of_ours(fault: Exception) -> GatewayFailed:
    """What nobody foresaw, as a failure of the tree. Where it happened is told; its message is not: it may quote what was sent."""
    frames = traceback.extract_tb(fault.__traceback__)[-FRAMES_TOLD:]
    where = " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in reversed(frames))
    return GatewayFailed(f"{type(fault).__name__} at {where}")


def _reads_pages(request: web.BaseRequest) -> bool:
    """A browser that posted a form reads pages too, though its request is no navigation that we would send to the provider."""
    return request.headers.get("Sec-Fetch-Mode") == "navigate"


def _link(way_on: WayOn, prefix: str, return_to: str) -> tuple[str, str] | None:
    match way_on:
        case WayOn.NONE:
            return None
        case WayOn.HOME:
            return ("Go to the start page", "/")
        case WayOn.SIGN_IN:
            return ("Sign in", f"{prefix}/start?rd={quote(return_to, safe='/')}")
        case WayOn.RETRY:
            # An empty reference is the address shown now: nothing of it (a code, a state) is written into the page.
            return ("Try again", "")


def _tell(failure: GatewayError) -> None:
    if failure.blame is Blame.CALLER:
        log.info("request.refused", error=failure.code, status=failure.status, detail=failure.detail)
    else:
        log.warning("request.failed", error=failure.code, status=failure.status, blame=failure.blame.value, detail=failure.detail)
