"""Gateways under one origin, before one Redis and one provider that rotates refresh tokens, with tokens that run out at once.

async with several(folder, 2) as pair:
    cookie = await pair.signed_in_and_run_out()
    answer = await ask(pair.other, cookie, TOKEN_ROUTE)     # waits for a refresh
    pair.provider.refreshes, pair.provider.reuses           # what the provider counted
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.support.gateway_process import gateway, new_key_file
from tests.support.hostile_house import PUBLIC, SESSION, HostileProvider, House
from tests.support.mirror_app import mirror_app, values
from tests.support.redis_servers import redis_server
from tests.support.user_agent import FETCH, NAVIGATION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from tests.support.user_agent import Answer

PATIENCE = 40.0
"""Seconds after which something that has to happen counts as never."""
SHORT = 1
"""Seconds that the tokens of a login live; those of a refresh live for an hour, so that one refresh is due."""
TOKEN_ROUTE = "/tok/x"
ABOUT_CHANGES = {b"ping", b"role", b"info", b"hello", b"client|tracking", b"client", b"config|get", b"command"}


@dataclass
class Several:
    """Gateways under one origin, with one store and one provider."""

    houses: list[House]
    provider: HostileProvider

    @property
    def one(self) -> House:
        return self.houses[0]

    @property
    def other(self) -> House:
        return self.houses[1]

    async def reset(self) -> None:
        await self.one.reset()
        self.provider.reuses = 0
        self.provider.families.clear()
        self.provider.refresh_requests.clear()
        self.provider.misbehaviour.expires_in = SHORT

    async def sign_in(self, user: str = "alice") -> str:
        """A login whose tokens live for ``SHORT`` and whose refreshed ones do not run out; the Cookie header."""
        async with self.one.browser() as browser:
            value = await self.one.signed_in(browser, user)
        self.provider.misbehaviour.expires_in = 3600
        return f"{SESSION}={value}"

    async def signed_in_and_run_out(self) -> str:
        cookie = await self.sign_in()
        await self.run_out(cookie)
        return cookie

    async def run_out(self, cookie: str) -> None:
        """Wait until the access token has expired, without using the session."""
        ends = (await self.times(cookie))["tokens"]["access_expires"] + 1
        while time.time() <= ends:
            await asyncio.sleep(0.05)

    async def times(self, cookie: str) -> dict[str, Any]:
        answer = await ask(self.one, cookie, "/oauth2/userinfo?extend=false")
        assert answer.status == 200, answer.text
        return json.loads(answer.body)["session"]

    async def refreshed(self, count: int = 1) -> None:
        """Wait until so many refreshes are written, and known to be."""
        await until(lambda: sum(len(house.logged("session.refreshed")) for house in self.houses) >= count)

    def commands(self) -> int:
        stats = self.one.store.command("INFO", "commandstats")
        return sum(int(calls) for name, calls in re.findall(rb"cmdstat_(\S+?):calls=(\d+)", stats) if name not in ABOUT_CHANGES)


async def ask(house: House, cookie: str, path: str = "/x", *, headers: dict[str, str] = FETCH) -> Answer:
    """One request on a connection of its own, as a script or (``NAVIGATION``) a page load."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return await house.raw(f"GET {path} HTTP/1.1\r\nHost: app.example\r\n{lines}Cookie: {cookie}\r\nConnection: close\r\n\r\n".encode())


def seen(answer: Answer, name: str) -> str:
    """A header as the app behind saw it."""
    assert answer.status == 200, f"{answer.status}: {answer.text[:300]}"
    (value,) = values(json.loads(answer.body)["headers"], name)
    return value


def user(answer: Answer) -> str:
    return seen(answer, "X-Forwarded-User")


def access_token(answer: Answer) -> str:
    return seen(answer, "X-Forwarded-Access-Token")


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not happened():
            await asyncio.sleep(0.02)


async def nobody(house: House, cookie: str) -> None:
    """This cookie is nobody's: a script hears so, a page load is sent to sign in, and neither is an error."""
    async with asyncio.timeout(PATIENCE):
        while (answer := await ask(house, cookie)).status == 200:
            await asyncio.sleep(0.02)
    assert answer.status == 401, answer.text
    page = await ask(house, cookie, headers=NAVIGATION)
    assert page.status == 303
    assert page.location is not None
    assert page.location.startswith(house.provider.issuer + "/authorize")


@asynccontextmanager
async def several(
    folder: Path,
    count: int = 2,
    *,
    total_timeout: str = "2s",
    refresh_timeout: str = "1s",
    clock_skew: str = "1s",
    session: dict[str, Any] | None = None,
    server: dict[str, Any] | None = None,
    admin: dict[str, Any] | None = None,
    environs: Sequence[Mapping[str, str]] = (),
    store: Any = None,
    ways: Sequence[str] = (),
    followed: bool = True,
) -> AsyncIterator[Several]:
    """So many gateways; ``environs`` are what the processes find in their environment besides, in order.

    ``store`` is a server, or what knows which one is the primary (``url``, ``command``), and is left as it is; ``ways`` are the addresses
    under which the gateways know it, in order. Without ``followed`` it tells them of no changes, and nobody waits for that.
    """
    async with AsyncExitStack() as stack:
        op = await stack.enter_async_context(HostileProvider(expires_in=SHORT))
        store = store or await stack.enter_async_context(redis_server())
        app = await stack.enter_async_context(mirror_app())
        key = new_key_file(folder)
        houses = []
        for index in range(count):
            home = folder / str(index)
            home.mkdir()
            running = await stack.enter_async_context(
                gateway(
                    home,
                    issuer=op.issuer,
                    client_id=op.client_id,
                    client_secret=op.client_secret,
                    store=ways[index] if ways else store.url,
                    upstream=app.url,
                    key_files=[key],
                    environ=dict(environs[index]) if index < len(environs) else None,
                    server={"public_url": PUBLIC} | (server or {}),
                    provider={
                        "connect_timeout": "1s",
                        "total_timeout": total_timeout,
                        "refresh_timeout": refresh_timeout,
                        "clock_skew": clock_skew,
                    },
                    session=session or {},
                    admin=admin or {},
                    routes=[
                        {"path": "/", "upstream": app.url},
                        {
                            "path": "/tok/",
                            "upstream": app.url,
                            "identity": {"X-Forwarded-User": "sub", "X-Forwarded-Access-Token": "token:access"},
                        },
                    ],
                )
            )
            houses.append(House(running, op, store, app, public=PUBLIC))
            stack.push_async_callback(houses[-1].close)
        await until(lambda: not followed or all("tracking.up" in house.gateway.log for house in houses))
        yield Several(houses, op)
