"""A session cookie that an older key sealed is given out again under the newest: the same session, the same id, the same data key.

Answers CK-19, so that an old key is needed no longer than people stay away. The session itself does not change, so requests at the same
moment with either cookie are good. It is listed under the newest key first (``Relisting``), beside the requests: whoever takes the old key
away takes nobody out of the sight of those who end sessions, and the cookie comes with a later answer. It goes on answers that no shared
cache keeps (CK-29): the gateway's own, and those to navigations. A check's answer (forward-auth) reaches no browser, and which cache keeps
the one that follows is not ours to see.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.session.cookies import set_cookie
from gateway.session.handle import sealed_anew

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.server.parts import Parts, Site
    from gateway.session.sessions import Found


def reissued(parts: Parts, site: Site, found: Found, cookies: Sequence[bytes]) -> str | None:
    """The Set-Cookie value for whoever came with these raw Cookie lines and is ``found``; None where there is nothing to give out.

    Called when the answer's head is there, which may be long after the request: a session that was ended or replaced meanwhile must not
    come back over the one that the browser holds by now. So there is none unless this process hears every change of it.
    """
    if not parts.keyring.has_older or not parts.sessions.watches(found.handle):
        return None
    value = sealed_anew(parts.keyring, cookies, site.names, found.handle)
    if value is None or not parts.sessions.relisting.is_done(found, parts.detached.start):
        return None
    return set_cookie(site.names.session, value, site.names, max_age=None)
