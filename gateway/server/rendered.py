"""Headers of the gateway's own, rendered once for many requests: a session's identity, and where a client's requests come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.access.forwarded import forwarded_headers
from gateway.access.identity_headers import identity_headers
from gateway.proxy.request_head import our_headers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.proxy.headers import HeaderRules
    from gateway.server.parts import Site
    from gateway.session.sessions import Found

MOST_BLOCKS: Final = 16
"""Blocks kept with one session: further routes render theirs each time."""
MOST_CLIENTS: Final = 4096
"""Clients whose block is kept with a site."""


def rendered_identity(found: Found, number: int, mapping: Sequence[tuple[str, str]], rules: HeaderRules) -> bytes:
    """Header lines for a mapping without tokens, as ``identity_headers``. ``number`` is the mapping's own, for as long as we run."""
    block = found.rendered.get(number)
    if block is None:
        block = our_headers(identity_headers(found.session.identity, mapping, None), rules)
        if len(found.rendered) < MOST_BLOCKS:
            found.rendered[number] = block
    return block


def rendered_forwarded(site: Site, client: str, prefix: str, rules: HeaderRules) -> bytes:
    """Header lines that say where a request of ``client`` came from, as ``forwarded_headers``."""
    block = site.forwarded.get((client, prefix))
    if block is None:
        block = our_headers(forwarded_headers(site.origin, client, prefix), rules)
        if len(site.forwarded) >= MOST_CLIENTS:
            site.forwarded.clear()
        site.forwarded[client, prefix] = block
    return block
