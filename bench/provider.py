"""The provider that every peer signs in at: ``python -m bench.provider PORT CLIENT_ID CLIENT_SECRET``.

The fake provider of the tests in a process of its own: discovery, PKCE, signed id_tokens; it signs everybody in as alice without a page.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from tests.support.fake_provider import FakeProvider


async def serve(port: int, client_id: str, client_secret: str) -> None:
    """Answer until the process is ended."""
    async with FakeProvider(port=port, client_id=client_id, client_secret=client_secret):
        await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
