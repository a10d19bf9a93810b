"""A TCP proxy before a Redis that a test can hold back: the answers to commands, or what the server says unasked, each by itself."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def _flowing() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass
class RedisProxy:
    """``answers`` and ``pushes`` hold back what flows to clients while they are clear; ``asked`` is set by each command of the former."""

    backend_port: int
    port: int = 0
    answers: asyncio.Event = field(default_factory=_flowing)
    pushes: asyncio.Event = field(default_factory=_flowing)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gate, ours = self.answers, self.asked
        try:
            backend_reader, backend_writer = await asyncio.open_connection("127.0.0.1", self.backend_port)
        except OSError:
            writer.close()
            return

        async def questions() -> None:
            nonlocal gate, ours
            try:
                while data := await reader.read(65536):
                    if b"TRACKING" in data:
                        gate, ours = self.pushes, asyncio.Event()
                    ours.set()
                    backend_writer.write(data)
            finally:
                backend_writer.close()

        async def answers() -> None:
            try:
                while data := await backend_reader.read(65536):
                    await gate.wait()
                    writer.write(data)
            finally:
                writer.close()

        await asyncio.gather(questions(), answers(), return_exceptions=True)


@asynccontextmanager
async def redis_proxy(backend_port: int) -> AsyncIterator[RedisProxy]:
    """A running proxy before the server at this port."""
    proxy = RedisProxy(backend_port)
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = listener.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        proxy.answers.set()
        proxy.pushes.set()
        listener.close()
        await listener.wait_closed()
