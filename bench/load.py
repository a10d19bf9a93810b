"""Load by us: connections that do nothing, WebSockets, and logins. Everything is bounded in number and time."""

from __future__ import annotations

import asyncio
import base64
import os
import select
import socket
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import uvloop
from typing_extensions import override

from bench import websocket
from bench.signing_in import Browser
from bench.wrk import LoadFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_TIMEOUT = 30.0
_MASK = b"\x01\x02\x03\x04"


def head(path: str, port: int, headers: Mapping[str, str]) -> bytes:
    """A GET without body."""
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@contextmanager
def kept(port: int, request: bytes, number: int, *, ends_with: bytes) -> Iterator[list[socket.socket]]:
    """``number`` connections on which ``request`` was answered (head or body ending in ``ends_with``), open and idle."""
    connections: list[socket.socket] = []
    try:
        for _ in range(number):
            connection = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT)
            connections.append(connection)
            connection.sendall(request)
            answer = b""
            while not answer.endswith(ends_with):
                if not (data := connection.recv(65536)):
                    raise LoadFailed(f"connection {len(connections)} closed after {answer[:120]!r}")
                answer += data
        yield connections
    finally:
        for connection in connections:
            connection.close()


def closed(connections: Sequence[socket.socket]) -> int:
    """How many of them the other side has closed meanwhile."""
    poll = select.poll()
    for connection in connections:
        poll.register(connection, select.POLLIN | select.POLLHUP)
    return len(poll.poll(0))


def websocket_head(path: str, port: int, headers: Mapping[str, str]) -> bytes:
    """A WebSocket handshake from a page of the same origin."""
    key = base64.b64encode(os.urandom(16)).decode()
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key}
    return head(path, port, {**headers, "Origin": f"http://127.0.0.1:{port}", **upgrade})


class Echo(asyncio.Protocol):
    """One WebSocket that sends a message, waits for its echo, and sends the next, until ``stop``."""

    def __init__(self, request: bytes, message: bytes) -> None:
        self.latencies: list[float] = []
        self.failed: str | None = None
        self.ended = asyncio.get_running_loop().create_future()
        self._request, self._frame = request, websocket.frame(websocket.BINARY, message, _MASK)
        self._length = len(message)
        self._frames: websocket.Frames | None = None
        self._head = b""
        self._sent = 0.0
        self._stopped = False
        self._transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self._transport = transport  # type: ignore[assignment] # uvloop's transports register no base class
        self._write(self._request)

    @override
    def data_received(self, data: bytes) -> None:
        """An echo is there: the next message."""
        if self._frames is None:
            self._head += data
            first, blank, data = self._head.partition(b"\r\n\r\n")
            if not blank:
                return
            if not first.startswith(b"HTTP/1.1 101 "):
                self._end(f"no upgrade: {first[:80]!r}")
                return
            self._frames = websocket.Frames()
            self._send()
        for opcode, payload in self._frames.read(data):
            if opcode != websocket.BINARY or len(payload) != self._length:
                self._end(f"opcode {opcode} with {len(payload)} bytes instead of the echo")
                return
            self.latencies.append(time.perf_counter() - self._sent)
            self._send()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits need not any longer."""
        self._end(None if self._stopped else f"closed: {exc}")

    def stop(self) -> None:
        """Send nothing more."""
        self._stopped = True
        self._end(None)

    def _send(self) -> None:
        if not self._stopped:
            self._sent = time.perf_counter()
            self._write(self._frame)

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    def _end(self, fault: str | None) -> None:
        self.failed = self.failed or fault
        if not self.ended.done():
            self.ended.set_result(None)
        if self._transport is not None:
            self._transport.abort()


def echoes(port: int, request: bytes, *, connections: int, seconds: float, message: bytes) -> list[float]:
    """Latencies in seconds of all echoes on ``connections`` WebSockets in ``seconds``. Raises ``LoadFailed``."""

    async def all_of_them() -> list[float]:
        loop = asyncio.get_running_loop()
        sockets = [(await loop.create_connection(lambda: Echo(request, message), "127.0.0.1", port))[1] for _ in range(connections)]
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.wait([socket.ended for socket in sockets], return_when=asyncio.FIRST_COMPLETED)
        faults = [socket.failed for socket in sockets if socket.failed]
        for one in sockets:
            one.stop()
        if faults:
            raise LoadFailed(faults[0])
        return [latency for socket in sockets for latency in socket.latencies]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(all_of_them())


def logins(url: str, number: int) -> list[float]:
    """Seconds that each of ``number`` logins took, one after the other, each in a new browser. Raises ``LoginFailed``."""
    taken = []
    for _ in range(number):
        began = time.perf_counter()
        with Browser() as browser:
            browser.sign_in(url)
        taken.append(time.perf_counter() - began)
    return taken


def whole_answer(port: int, request: bytes) -> bytes:
    """What comes back until the other side closes: for requests that ask for that."""
    with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT) as connection:
        connection.sendall(request)
        parts = []
        while data := connection.recv(1 << 20):
            parts.append(data)
    return b"".join(parts)
