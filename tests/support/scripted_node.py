"""A server that speaks Redis's protocol and answers as a test says: for what no real server can be brought to do at will."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import hiredis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    Answer: TypeAlias = bytes | None


@dataclass
class ScriptedNode:
    """``answer`` gets the words of a command; None closes the connection. ``asked`` has each command with the number of its connection."""

    answer: Callable[..., Answer]
    port: int = 0
    connections: int = 0
    asked: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number, commands = self.connections, hiredis.Reader()
        while data := await reader.read(65536):
            commands.feed(data)
            while (words := commands.gets()) is not False:
                spoken = tuple(word.decode() for word in words)
                self.asked.append((number, spoken))
                answer = self.answer(*spoken)
                if answer is None:
                    writer.close()
                    return
                writer.write(answer)
        writer.close()

    def times(self, command: str) -> int:
        """How often this was asked."""
        return sum(words[0] == command for _, words in self.asked)


@asynccontextmanager
async def scripted_node(answer: Callable[..., Answer]) -> AsyncIterator[ScriptedNode]:
    """A running one."""
    node = ScriptedNode(answer)
    async with await asyncio.start_server(node.serve, "127.0.0.1", 0) as server:
        node.port = server.sockets[0].getsockname()[1]
        yield node


def resp(value: object) -> bytes:
    """An answer in RESP2."""
    match value:
        case bytes():
            return b"$%d\r\n%s\r\n" % (len(value), value)
        case str():
            return resp(value.encode())
        case int():
            return b":%d\r\n" % value
        case None:
            return b"$-1\r\n"
        case list() | tuple():
            return b"*%d\r\n" % len(value) + b"".join(resp(part) for part in value)
        case _:
            raise AssertionError(value)
