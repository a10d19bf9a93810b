"""An app whose answers are right or broken, as each request asks for: what is complete can be checked to the byte by whoever asked.

``X-Case`` names the exchange and ``X-Claim`` who the caller is; ``X-Fault`` says how to break off, ``X-Size`` how long the answer is.
``wrong`` lists each request whose identity header was not the caller's.
"""

from __future__ import annotations

import asyncio
import hashlib

from aiohttp import WSMsgType, web

from tests.support.ports import free_port

FAULTS = ("reset", "close", "half", "half-chunked", "reset half", "garbage", "early", "early close", "second answer", "slow")
"""``early``, ``second answer`` and ``slow`` are complete answers; the others never are."""
COMPLETE = {"", "chunked", "early", "second answer", "slow"}
PIECE = 30_000
SHORT = 200
MISSING = 10
"""Bytes more than an answer has that breaks off: an empty one could not."""


def content(user: str, case: str, size: int) -> bytes:
    """The one right answer: whose it is stands in every few bytes of it."""
    own = f"{user}|{case}|".encode()
    return (own * (size // len(own) + 1))[:size]


class ChaosApp:
    """Listens on ``port``, which it keeps over ``stop`` and ``start``."""

    def __init__(self) -> None:
        self.port = free_port()
        self.wrong: list[str] = []
        self.open = 0
        self._runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._runner = web.ServerRunner(web.Server(self.answer, handler_cancellation=True, keepalive_timeout=300), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True, backlog=1024).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        user, case = request.headers.get("X-Forwarded-User", "nobody"), request.headers.get("X-Case", "?")
        if request.headers.get("X-Claim", "nobody") != user or request.headers.getall("X-Forwarded-User", ["nobody"]) != [user]:
            self.wrong.append(f"{case}: {request.headers.get('X-Claim')} is {user}")
        self.open += 1
        try:
            match request.path:
                case "/socket":
                    return await self._socket(request, user, case)
                case "/events":
                    return await self._events(request, user, case)
            return await self._exchange(request, user, case)
        finally:
            self.open -= 1

    async def _exchange(self, request: web.BaseRequest, user: str, case: str) -> web.StreamResponse:
        transport, fault = request.transport, request.headers.get("X-Fault", "")
        assert transport is not None
        body = content(user, case, int(request.headers.get("X-Size", "100")))
        if fault not in {"early", "early close"}:
            digest = hashlib.sha256()
            async for piece in request.content.iter_any():
                digest.update(piece)
            if request.method == "POST":
                body = digest.hexdigest().encode() + b"|" + body
        if fault in {"reset", "close", "garbage", "second answer"}:
            return self._raw(transport, fault, case, body)
        response = web.StreamResponse(headers={"X-Case": case})
        if fault in {"chunked", "half-chunked"}:
            response.enable_chunked_encoding()
        else:
            response.content_length = len(body) + (MISSING if fault in {"half", "reset half"} else 0)
        if fault == "early close":
            response.force_close()
        await response.prepare(request)
        whole = fault in COMPLETE or fault == "early close"
        for start in range(0, len(body) if whole else len(body) // 2, PIECE):
            await response.write(body[start : start + PIECE])
            if fault == "slow":
                await asyncio.sleep(0.01)
        if not whole:
            (transport.abort if fault == "reset half" else transport.close)()
            return response
        await response.write_eof()
        return response

    def _raw(self, transport: asyncio.Transport, fault: str, case: str, body: bytes) -> web.StreamResponse:
        """What no server would send; nothing more is sent on the connection."""
        if fault == "reset":
            transport.abort()
        elif fault == "garbage":
            transport.write(b"\x00\x01garbage\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")
        elif fault == "second answer":  # in the same segment: later, nobody could tell it from the answer to the next request
            head = f"HTTP/1.1 200 OK\r\nX-Case: {case}\r\nContent-Length: {len(body[:SHORT])}\r\n\r\n".encode()
            transport.write(head + body[:SHORT] + b"HTTP/1.1 200 OK\r\nX-Case: evil\r\nContent-Length: 4\r\n\r\nEVIL")
        transport.close()
        return web.StreamResponse()

    async def _socket(self, request: web.BaseRequest, user: str, case: str) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(f"{user}|{case}")
        async for message in socket:
            if message.type is WSMsgType.TEXT and message.data == "reset":
                assert request.transport is not None
                request.transport.abort()
            elif message.type is WSMsgType.TEXT:
                await socket.send_str(f"{user}|{case}|{message.data}")
        return socket

    async def _events(self, request: web.BaseRequest, user: str, case: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Case": case})
        await response.prepare(request)
        for number in range(1000):
            await response.write(f"data: {user}|{case}|{number}\n\n".encode())
            await asyncio.sleep(0.01)
        return response
