"""The response headers of the demo's pages: their one stylesheet and their one script may run by hash, and nothing else may.

Answers the question that a reader of the demo asks first: what would a careful app behind the gateway send?
"""

from __future__ import annotations

import base64
import hashlib


def page_headers(*, style: str, script: str | None = None) -> dict[str, str]:
    """Headers for an HTML page that carries ``style``, and perhaps ``script``, inline and byte for byte.

    A page with a script may talk to its own origin (fetch and WebSocket). form-action is left out, since Chromium applies it to the
    redirect that follows a POST, and the provider's forms are redirected back to the gateway.
    """
    policy = ["default-src 'none'", f"style-src {_source(style)}", "base-uri 'none'", "frame-ancestors 'none'"]
    if script is not None:
        policy += [f"script-src {_source(script)}", "connect-src 'self'"]
    return {
        "Cache-Control": "no-store",
        "Content-Security-Policy": "; ".join(policy),
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
