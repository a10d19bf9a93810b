"""The few pages that people see from the gateway itself: one clear message, one way on, nothing that runs and nothing from elsewhere.

Answers script injection (all values are escaped, the policy allows no script and only our stylesheet), clickjacking (no framing, OWASP
CS-08), and leaks by Referer (RFC 9700 section 4.2.4). Pure rendering: values in, bytes out.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

_environment = Environment(
    loader=PackageLoader("gateway.server", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    auto_reload=False,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ERROR = _environment.get_template("error.html")
_SIGN_OUT = _environment.get_template("sign_out.html")
_SIGNED_OUT = _environment.get_template("signed_out.html")

_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_environment.get_template("page.css").render().encode()).digest()).decode()

PAGE_HEADERS: Final[dict[str, str]] = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    # form-action is left out on purpose: Chromium applies it to the redirect that follows a form's POST too, and signing out
    # is a POST that is redirected to the provider. default-src does not stand in for it.
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""What every page of ours is sent with."""

SIGN_OUT_PAGE_HEADERS: Final[dict[str, str]] = {
    **PAGE_HEADERS,
    # Under no-referrer a browser sends `Origin: null` with the form's POST (Fetch, "append a request Origin header"), and the
    # check that it comes from our own origin would refuse it.
    "Referrer-Policy": "same-origin",
}
"""What the page with the sign-out form is sent with."""


def error_page(*, title: str, text: str, code: str, way_on: tuple[str, str] | None, provider_said: str | None = None) -> bytes:
    """Render a failure: ``title`` and ``text`` are public constants, ``code`` the stable name, ``way_on`` a (label, href) or None.

    An empty href is the address shown now: trying again needs nothing of it (a code, a state) written into the page.
    """
    return _ERROR.render(title=title, text=text, code=code, way_on=_link(way_on), provider_said=provider_said).encode()


def sign_out_page(*, action: str, return_to: str | None, name: str | None) -> bytes:
    """Render the question before signing out, a form that POSTs to ``action`` with ``return_to`` as the field ``rd``.

    ``name`` is how the person knows their own account, or None. Send it with ``SIGN_OUT_PAGE_HEADERS``.
    """
    stay = return_to if return_to and _is_web_address(return_to) else "/"
    return _SIGN_OUT.render(title="Sign out?", action=action, return_to=return_to, name=name, stay=stay).encode()


def signed_out_page(*, way_on: tuple[str, str]) -> bytes:
    """Render the page after signing out; ``way_on`` is the (label, href) of its button."""
    return _SIGNED_OUT.render(title="You are signed out", way_on=_link(way_on)).encode()


def _link(way_on: tuple[str, str] | None) -> tuple[str, str] | None:
    # Callers give checked targets only. Escaping does not stop `javascript:`, so as a second wall such a page has no button.
    return way_on if way_on is not None and _is_web_address(way_on[1]) else None


def _is_web_address(href: str) -> bool:
    return href.startswith(("https://", "http://")) or not href or (href.startswith("/") and not href.startswith(("//", "/\\")))
