"""Whether the caller is a person whose browser can be sent to sign in, or a program that needs a plain 401.

It decides on the form of an answer (303 or 401) and never on access, so a caller that pretends gains nothing (Fetch Metadata, W3C; RFC 9110
section 15.5.2). Answers login loops: a page fetch, a frame of another site, a prefetch or a WebSocket that is sent to the provider can only
come back with nothing, and try again.

A frame is sent to sign in only by a page of the same site. In another site's frame the browser keeps our ``SameSite=Lax`` cookies back, so
that a sign-in would end where it began; and since a frame that comes back from the provider counts as cross-site, a sign-in that did not
hold ends in a 401 instead of a second round. ``<object>`` and ``<embed>`` never are.
"""

from __future__ import annotations

from typing import Protocol


class HeaderLookup(Protocol):
    """The headers of a request by lower-case name: aiohttp's ``request.headers``, or a dict with lower-case keys."""

    def get(self, name: str, /) -> str | None:
        """The (first) value of a header, None without it."""


def is_navigation(method: str, headers: HeaderLookup) -> bool:
    """Whether a redirect to the provider would reach a person: a GET or HEAD for a page, now, in a window of its own.

    In forward-auth ``method`` is the original request's. Browsers leave Sec-Fetch-* out on plain http and before 2023; there, a wish for
    ``text/html`` and no sign of a script count.
    """
    if method not in {"GET", "HEAD"} or headers.get("upgrade") is not None or _is_prefetch(headers):
        return False
    accept = (headers.get("accept") or "").lower()
    if "text/event-stream" in accept:
        return False
    mode = headers.get("sec-fetch-mode")
    if mode is None:
        return "text/html" in accept and headers.get("x-requested-with") is None
    return mode == "navigate" and _shows_a_page(headers)


def _shows_a_page(headers: HeaderLookup) -> bool:
    match headers.get("sec-fetch-dest"):
        case "document":
            return True
        case "iframe" | "frame":
            return headers.get("sec-fetch-site") in {"same-origin", "same-site"}
        case _:
            return False


def _is_prefetch(headers: HeaderLookup) -> bool:
    """Whether a browser asks ahead of the person (``Sec-Purpose: prefetch;prerender``; older ones say ``Purpose`` or ``X-Moz``)."""
    return any((headers.get(name) or "").lower().startswith(("prefetch", "prerender")) for name in ("sec-purpose", "purpose", "x-moz"))
