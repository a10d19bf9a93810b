"""A TCP proxy before a Redis that a test can cut, slow down, or hold back: the answers to commands, or what the server says unasked."""

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
    delay: float = 0.0
    """Seconds by which every answer comes late."""
    up: bool = True
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def cut(self) -> None:
        """End every connection and take no other until ``mend``."""
        self.up = False
        for writer in self.writers:
            writer.transport.abort()

    def mend(self) -> None:
        """Take connections again."""
        self.up = True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gate, ours = self.answers, self.asked
        if not self.up:
            writer.transport.abort()
            return
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
                    await asyncio.sleep(self.delay)
                    writer.write(data)
            finally:
                writer.close()

        ends = {writer, backend_writer}
        self.writers |= ends
        await asyncio.gather(questions(), answers(), return_exceptions=True)
        self.writers -= ends


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
