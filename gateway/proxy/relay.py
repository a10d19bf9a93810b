"""A request that was allowed, forwarded: one function that reads from top to bottom (signatures first)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiohttp import web

    from gateway.proxy.connector import Upstream
    from gateway.proxy.headers import HeaderRules
    from gateway.proxy.tunnel import Tunnel


async def forward(  # noqa: PLR0913 - what an allowed request is made of
    request: web.BaseRequest,
    upstream: Upstream,
    *,
    target: str,
    host: bytes | None,
    identity: Sequence[tuple[bytes, bytes]],
    forwarded: Sequence[tuple[bytes, bytes]],
    rules: HeaderRules,
    on_tunnel: Callable[[Tunnel], Callable[[], None]] | None = None,
) -> web.StreamResponse:
    """Forward ``request`` to ``upstream`` and relay the answer to the caller."""
    raise NotImplementedError
