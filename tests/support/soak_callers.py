"""Callers of a soak: each does one thing after the other as its seed has it, and holds every whole answer to what it must be."""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp

from tests.support.chaos_app import COMPLETE, FAULTS, SHORT, content
from tests.support.hostile_house import HOST, PUBLIC, SESSION, SIGN_OUT
from tests.support.user_agent import NAVIGATION

if TYPE_CHECKING:
    from collections import Counter

    from tests.support.hostile_house import Edge, House

PATIENCE = 40.0
"""Seconds after which an exchange hangs."""
SIZES = (0, 1, 100, 5_000, 70_000, 300_000, 1_500_000)
BROKEN = (aiohttp.ClientError, ConnectionError, asyncio.IncompleteReadError)


class Caller:
    """One person after the other, with a browser for signing in and a client for the rest. ``done`` counts what went whole, by kind."""

    def __init__(self, house: House, seed: str, done: Counter[str], signing_in: asyncio.Lock) -> None:
        self.house, self.done, self.signing_in = house, done, signing_in
        self.name = seed.rpartition("-")[2]
        self.random = random.Random(seed)  # noqa: S311 - it has to be the same again
        self.user, self.cookie, self.number = "", "", 0
        self.port = urlsplit(house.listener).port

    async def run(self, until: float) -> None:
        """Go on until the loop's clock says so. AssertionError for whatever must not be."""
        kinds = {
            self.download: 30,
            self.upload: 20,
            self.upload_torn: 6,
            self.websocket: 8,
            self.events: 8,
            self.check: 15,
            self.nobody: 4,
            self.half_a_head: 3,
            self.login_left: 1,
            self.sign_out: 2,
        }
        connector = aiohttp.TCPConnector(limit=4)
        async with (
            self.house.browser() as browser,
            aiohttp.ClientSession(self.house.listener, connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as self.client,
        ):
            self.browser: Edge = browser
            await self.sign_in()
            while asyncio.get_running_loop().time() < until:
                (kind,) = self.random.choices(list(kinds), list(kinds.values()))
                self.number += 1
                async with asyncio.timeout(PATIENCE):
                    await kind()

    @property
    def case(self) -> str:
        return f"{self.name}.{self.number}"

    def headers(self, **more: str) -> dict[str, str]:
        own = {"Host": HOST, "Cookie": self.cookie, "X-Case": self.case, "X-Claim": self._sub}
        return own | {name.replace("_", "-"): value for name, value in more.items()}

    async def sign_in(self) -> None:
        self.user = f"user-{self.name}-{self.number}"
        self.house.provider.users[self.user] = {"email": f"{self.user}@example.org"}
        self.browser.jar.clear()
        async with self.signing_in:  # whom the provider signs in is one for all
            self.house.provider.login_as = self.user
            callback = await self.house.to_callback(self.browser, "/page")
        answer = await self.browser.ask(callback)
        assert answer.status == 303, (self.case, answer.status)
        self.cookie = f"{SESSION}={self.browser.jar[SESSION]}"
        self.done["login"] += 1

    async def download(self) -> None:
        fault, size = self._fault(), self.random.choice(SIZES)
        leaves = self.random.random() < 0.15
        await self._exchange("GET", fault, size, leaves=leaves, expected=content(self._sub, self.case, size))

    async def upload(self) -> None:
        fault, size, sent = self._fault(), self.random.choice(SIZES[:4]), self.random.choice(SIZES)
        body = content(self.user, self.case, sent)
        early = fault in {"early", "early close"}
        expected = (b"" if early else hashlib.sha256(body).hexdigest().encode() + b"|") + content(self._sub, self.case, size)
        await self._exchange("POST", fault, size, leaves=False, expected=expected, body=body)

    async def _exchange(self, method: str, fault: str, size: int, *, leaves: bool, expected: bytes, body: bytes | None = None) -> None:
        headers = self.headers(X_Fault=fault, X_Size=str(size))
        data = None if body is None else self._pieces(body) if self.random.random() < 0.5 else io.BytesIO(body)
        try:
            async with self.client.request(method, "/exchange", headers=headers, data=data) as answer:
                if leaves:
                    await answer.content.read(self.random.randrange(1, 200_000))
                    answer.close()
                    return
                received = await answer.read()
        except BROKEN as broken:
            if not fault or fault == "chunked":
                raise AssertionError((self.case, "broke without a reason")) from broken
            self.done[f"{fault}: broken"] += 1
            return
        if answer.status == 200:
            whole = expected[:SHORT] if fault == "second answer" else expected
            assert received == whole, (self.case, fault, received[:200])
            assert answer.headers["X-Case"] == self.case
            self.done[f"{method} {fault}: whole"] += 1
        else:
            assert fault not in {"", "chunked"}, (self.case, answer.status, received[:300])
            assert answer.status in {502, 503, 504}, (self.case, fault, answer.status)
            self.done[f"{fault}: {answer.status}"] += 1

    async def _pieces(self, body: bytes):
        size = self.random.choice((1_000, 17_000, 100_000))
        for start in range(0, len(body), size):
            yield body[start : start + size]
            await asyncio.sleep(0)

    async def upload_torn(self) -> None:
        """Part of a body, then the end: by a FIN or a reset."""
        length = self.random.choice(SIZES[3:])
        chunked = self.random.random() < 0.5
        framing = f"Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n" if chunked else f"Content-Length: {length}\r\n\r\n"
        head = "".join(f"{name}: {value}\r\n" for name, value in self.headers().items())
        writer = await self._send(f"POST /exchange HTTP/1.1\r\n{head}{framing}".encode() + bytes(self.random.randrange(length)))
        if self.random.random() < 0.5:
            writer.transport.abort()
        writer.close()
        self.done["torn upload"] += 1

    async def half_a_head(self) -> None:
        head = "".join(f"{name}: {value}\r\n" for name, value in self.headers().items())
        request = f"GET /exchange HTTP/1.1\r\n{head}\r\n".encode()
        writer = await self._send(request[: self.random.randrange(1, len(request))])
        writer.transport.abort()
        self.done["torn head"] += 1

    async def _send(self, data: bytes) -> asyncio.StreamWriter:
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        for _ in range(self.random.randrange(4)):
            await asyncio.sleep(0.005)
        return writer

    async def websocket(self) -> None:
        try:
            async with self.client.ws_connect("/socket", headers=self.headers(), origin=PUBLIC) as socket:
                assert await socket.receive_str() == f"{self._sub}|{self.case}"
                for number in range(self.random.randrange(30)):
                    await socket.send_str(str(number))
                    assert await socket.receive_str() == f"{self._sub}|{self.case}|{number}"
                match self.random.randrange(3):
                    case 0:
                        await socket.send_str("reset")
                        message = await socket.receive()
                        assert message.type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR, aiohttp.WSMsgType.CLOSE}, message
                    case 1:
                        socket._response.close()
                self.done["websocket"] += 1
        except aiohttp.WSServerHandshakeError as refused:
            raise AssertionError((self.case, refused.status)) from refused

    async def events(self) -> None:
        async with self.client.get("/events", headers=self.headers()) as answer:
            assert answer.status == 200, (self.case, answer.status)
            for number in range(self.random.randrange(1, 40)):
                assert await answer.content.readuntil(b"\n\n") == f"data: {self._sub}|{self.case}|{number}\n\n".encode()
            answer.close()
        self.done["events"] += 1

    async def check(self) -> None:
        """Forward-auth, as a proxy in front asks."""
        told = {"X-Forwarded-Method": "GET", "X-Forwarded-Proto": "https", "X-Forwarded-Host": HOST, "X-Forwarded-Uri": f"/x/{self.case}"}
        known = self.random.random() < 0.8
        headers = told | {"Host": HOST} | ({"Cookie": self.cookie} if known else {})
        async with self.client.get("/oauth2/auth", headers=headers) as answer:
            assert answer.status == (202 if known else 401), (self.case, answer.status)
            assert answer.headers.get("X-Auth-Request-User") == (self._sub if known else None)
        self.done["check"] += 1

    async def nobody(self) -> None:
        async with self.client.get("/exchange", headers=self.headers(Cookie="a=b")) as answer:
            assert answer.status == 401, (self.case, answer.status)
        self.done["nobody"] += 1

    async def login_left(self) -> None:
        """A login that is begun and not finished."""
        async with self.house.browser() as other:
            answer = await other.ask(f"{PUBLIC}/page")
            assert answer.status == 303
        self.done["login left"] += 1

    async def sign_out(self) -> None:
        """And somebody else sits down; the session that was is nobody's."""
        same_site = {"Origin": PUBLIC, "Sec-Fetch-Site": "same-origin"}
        answer = await self.browser.ask(SIGN_OUT, method="POST", headers=NAVIGATION | same_site)
        assert answer.status == 303, (self.case, answer.status)
        async with self.client.get("/exchange", headers=self.headers()) as after:
            assert after.status == 401, (self.case, after.status)
        self.done["sign-out"] += 1
        await self.sign_in()

    @property
    def _sub(self) -> str:
        return f"{self.user}-sub"

    def _fault(self) -> str:
        return self.random.choice(FAULTS) if self.random.random() < 0.35 else self.random.choice(("", "chunked"))


assert set(FAULTS) - COMPLETE == {"reset", "close", "half", "half-chunked", "reset half", "garbage", "early close"}
