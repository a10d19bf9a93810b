"""A TCP proxy before a Redis that a test can cut, slow down, have refuse, or hold back: answers to commands, or what is said unasked."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import hiredis

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
    refuses: bytes | None = None
    """With what error every command is answered, and none reaches the server."""
    up: bool = True
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    open: int = 0
    """Connections that clients hold at this moment; ``most`` of them at one time."""
    most: int = 0

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
            commands = hiredis.Reader()
            self.open += 1
            self.most = max(self.most, self.open)
            try:
                while data := await reader.read(65536):
                    commands.feed(data)
                    count = 0
                    while commands.gets() is not False:
                        count += 1
                    if self.refuses is not None:
                        writer.write(b"-%s\r\n" % self.refuses * count)
                        continue
                    if b"TRACKING" in data:
                        gate, ours = self.pushes, asyncio.Event()
                    ours.set()
                    backend_writer.write(data)
            finally:
                self.open -= 1
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
