"""``python -m bench.sessions``: what a signed-in request costs the gateway and its store, how soon an end counts, how large a session is.

And what other people notice while many sessions are renewed (``bench.refreshes``). One gateway process and a real Redis (the first server
that is found); sessions are written to it as the gateway itself writes them, since no sign-in is measured here. ``BENCH_GATEWAY`` names
another checkout to measure instead of this one.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gc
import json
import os
import re
import secrets
import socket
import statistics
import sys
import tempfile
import time
import tracemalloc
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench import accounting, refreshes
from bench.processes import Command, Cores, free_port, running
from bench.refreshing_provider import ACCESS_TOKEN, LIFETIME, claims_of, refresh_token, subject
from gateway.access.identity_headers import identity_headers
from gateway.identity import Identity
from gateway.oidc.token_response import Tokens
from gateway.session.cookies import CookieNames
from gateway.session.grant import Grant
from gateway.session.handle import new_handle
from gateway.session.index import SessionIndex
from gateway.session.lifecycle import Lifetimes
from gateway.session.record import Session
from gateway.session.sealed_values import seal_session, seal_tokens
from gateway.session.sealing import Keyring
from gateway.session.sessions import Found, Sessions
from gateway.session.store.opening import open_store
from gateway.session.store.protocol import NewSession
from tests.support.redis_servers import RedisServer, server_binaries, server_id

if TYPE_CHECKING:
    from collections.abc import Iterator

ABOUT_CHANGES: Final = {b"ping", b"role", b"info", b"hello", b"client|tracking", b"client"}
ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nContent-Type: text/plain\r\n\r\n" + b"x" * 100
LIFETIMES: Final = Lifetimes(idle=1800.0, lifetime=43_200.0, login=600.0)
MAPPING: Final = (
    ("X-Forwarded-User", "sub"),
    ("X-Forwarded-Email", "email"),
    ("X-Forwarded-Groups", "groups"),
    ("X-Forwarded-Preferred-Username", "preferred_username"),
)
ID_TOKEN: Final = "i" * 1100
CLIENT_ID: Final = "bench"
DUE: Final = 60
"""Seconds before its end at which a grant is due, whatever its lifetime."""


def a_session(
    keyring: Keyring, names: CookieNames, number: int, *, issuer: str = "https://id.example.org", due: bool = False
) -> tuple[str, NewSession]:
    """Somebody with ten groups: the cookie's value and what a login would write; the grant is to be renewed at once, or not for long."""
    now = int(time.time())
    identity = Identity(issuer=issuer, subject=subject(number), claims=claims_of(number))  # type: ignore[arg-type]
    obtained = now - (LIFETIME - DUE if due else 0)
    grant = Grant(
        obtained=obtained,
        access_expires=obtained + LIFETIME,
        refreshable=True,
        id_expires=obtained + LIFETIME,
        id_issued=obtained - 60,
        id_renewed=True,
        nonce=secrets.token_urlsafe(32),
    )
    session = Session(
        identity=identity, provider="main", created=now, expires=now + 43_200, auth_time=None, sid=secrets.token_hex(16), grant=grant
    )
    tokens = Tokens(ACCESS_TOKEN, "Bearer", grant.access_expires, refresh_token(number, 0), ID_TOKEN, None)
    cookie, handle = new_handle(keyring, names, secrets.token_bytes)
    card, indexes = SessionIndex(keyring, open_store("memory"), LIFETIMES, clock=time.time, changed=print).entry(
        session, handle.key, address="192.0.2.1"
    )
    return cookie, NewSession(
        handle.key,
        seal_session(handle, session),
        seal_tokens(handle, tokens),
        last_seen=now * 1000,
        lifetime=43_200.0,
        idle=1860.0,
        card=card,
        indexes=indexes,
    )


@dataclass
class World:
    """One gateway process and its store; the application is in this process."""

    redis: RedisServer
    port: int
    app: int
    pid: int
    issuer: str
    log: Path
    keyring: Keyring
    names: CookieNames

    async def sign_in(self, number: int, *, due: bool = False) -> tuple[bytes, NewSession]:
        """A session, and a request of its browser."""
        cookie, new = a_session(self.keyring, self.names, number, issuer=self.issuer, due=due)
        store = open_store(self.redis.url)
        await store.create(new, replaces=())
        await store.close()
        head = f"GET /page HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nAccept: */*\r\nUser-Agent: bench\r\n"
        return f"{head}Cookie: theme=dark; {self.names.session}={cookie}; lang=en\r\n\r\n".encode(), new

    def commands(self) -> int:
        """Commands carried out by Redis that are not about being told of changes."""
        stats = self.redis.command("INFO", "commandstats")
        return sum(int(calls) for name, calls in re.findall(rb"cmdstat_(\S+?):calls=(\d+)", stats) if name not in ABOUT_CHANGES)


@contextmanager
def world(folder: Path, cores: Cores) -> Iterator[World]:
    """Start it all; nothing outlives the block."""
    with ExitStack() as stack:
        redis = RedisServer(server_binaries()[0])
        stack.callback(redis.close)
        redis.start()
        os.sched_setaffinity(redis.pid, cores.load)
        key = secrets.token_bytes(32)
        for name, value in (("session_key", base64.urlsafe_b64encode(key).decode().rstrip("=")), ("client_secret", "bench")):
            (folder / name).write_text(value)
            (folder / name).chmod(0o600)
        port, app, provider = free_port(), free_port(), free_port()
        issuer = f"http://127.0.0.1:{provider}"
        people = str(refreshes.PEOPLE * refreshes.REPEATS)
        # It shares its cores with the load, which must not wait for it: what is measured is the gateway. Where the kernel shares a core out
        # among sessions of processes (autogroup), nice counts within its own session alone, and the session has one too.
        told = [str(provider), CLIENT_ID, people, str(refreshes.PROVIDER_TAKES)]
        slow = Command(["nice", "-n", "19", sys.executable, "-m", "bench.refreshing_provider", *told])
        started = stack.enter_context(running(slow, cores=cores.load, ports=[provider], log=folder / "provider.log"))
        with suppress(OSError):
            Path(f"/proc/{started.pid}/autogroup").write_text("19")
        settings = {
            "server": {"listen": f"127.0.0.1:{port}", "public_url": f"http://127.0.0.1:{port}"},
            "admin": {"listen": "none"},
            "providers": [
                {"id": "main", "issuer": issuer, "client_id": CLIENT_ID, "client_secret": {"file": str(folder / "client_secret")}},
            ],
            "session": {"store": redis.url, "keys": [{"file": str(folder / "session_key")}]},
            "routes": [{"path": "/", "upstream": f"http://127.0.0.1:{app}"}],
        }
        config = folder / "gateway.yaml"
        config.write_text(json.dumps(settings))
        source = Path(os.environ.get("BENCH_GATEWAY") or Path(__file__).parents[1])
        command = Command([sys.executable, "-m", "gateway", "serve", "--config", str(config)], folder=source)
        process = stack.enter_context(running(command, cores=cores.peer, ports=[port], log=folder / "log"))
        names = CookieNames.for_origin(f"http://127.0.0.1:{port}")
        yield World(redis, port, app, process.pid, issuer, folder / "log", Keyring([key]), names)


class Application(asyncio.Protocol):
    """Answers each request (none has a body here) with 100 bytes."""

    def __init__(self) -> None:
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        *heads, self._seen = (self._seen + data).split(b"\r\n\r\n")
        self._transport.write(ANSWER * len(heads))


class Caller(asyncio.Protocol):
    """One kept connection that asks, and asks again when it was answered, until its share is done."""

    def __init__(self, request: bytes, share: int) -> None:
        self._request = request
        self._left = share
        self._got = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        if self._got == 0 and not data.startswith(b"HTTP/1.1 200"):
            self.done.set_exception(RuntimeError(data[:200].decode("latin-1")))
            return
        self._got += data.count(b"x" * 100)
        if not data.endswith(b"x" * 100):
            return
        self._got = 0
        self._left -= 1
        if self._left:
            self._transport.write(self._request)
        else:
            self._transport.close()
            self.done.set_result(None)


async def load(here: World, requests: list[bytes], *, each: int) -> None:
    """Send ``each`` requests on a connection for every one of ``requests``, all at once."""
    loop = asyncio.get_running_loop()
    callers = [(await loop.create_connection(lambda one=one: Caller(one, each), "127.0.0.1", here.port))[1] for one in requests]  # type: ignore[misc]
    await asyncio.gather(*(caller.done for caller in callers))


async def cost(here: World, *, connections: int, each: int, repeats: int) -> tuple[list[float], list[float]]:
    """CPU microseconds of the gateway and Redis commands, per request, of each repeat."""
    requests = [(await here.sign_in(number))[0] for number in range(connections)]
    await load(here, requests, each=50)
    times, commands = [], []
    for _ in range(repeats):
        before, asked = accounting.cpu_seconds(here.pid), here.commands()
        await load(here, requests, each=each)
        times.append((accounting.cpu_seconds(here.pid) - before) / (connections * each) * 1e6)
        commands.append((here.commands() - asked) / (connections * each))
    return times, commands


def ask(connection: socket.socket, request: bytes) -> bytes:
    """One request on a kept connection; the whole answer, which is small."""
    connection.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    assert length is not None, head
    while len(body) < int(length[1]):
        body += connection.recv(65536)
    return head


async def refusals(here: World, *, number: int) -> list[float]:
    """Milliseconds from DEL until a gateway that did not send it has refused, by a caller that asks without a pause."""
    taken = []
    with (
        socket.create_connection(("127.0.0.1", here.port)) as connection,
        socket.create_connection(("127.0.0.1", here.redis.port)) as store,
    ):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for one in range(number):
            request, new = await here.sign_in(10_000 + one)
            for _ in range(3):
                assert (await asyncio.to_thread(ask, connection, request)).startswith(b"HTTP/1.1 200")
            key = f"gateway:s:{{{new.key}}}".encode()
            began = time.perf_counter()
            store.sendall(b"*2\r\n$3\r\nDEL\r\n$%d\r\n%s\r\n" % (len(key), key))
            assert store.recv(100) == b":1\r\n"
            while (await asyncio.to_thread(ask, connection, request)).startswith(b"HTTP/1.1 200"):
                pass
            taken.append((time.perf_counter() - began) * 1000)
    return taken


async def sizes(here: World, *, number: int) -> tuple[float, float, int]:
    """Bytes of a session in the process (with its identity block), in Redis (with card and places in three lists), and of its tokens."""
    store = open_store(here.redis.url)
    sessions = Sessions(here.keyring, store, LIFETIMES)
    sessions.start()
    while not sessions.told_of_changes:  # noqa: ASYNC110 - it happens once, before anything is measured
        await asyncio.sleep(0.01)
    made = [a_session(here.keyring, here.names, index) for index in range(number)]
    for _, new in made:
        await store.create(new, replaces=())
    await asyncio.sleep(1.0)  # the news of their birth
    lines = [f"{here.names.session}={cookie}".encode() for cookie, _ in made]
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for line in lines:
        found = await sessions.find([line], here.names)
        assert isinstance(found, Found)
        found.rendered[0] = identity_headers(found.session.identity, MAPPING, None)
    del found
    gc.collect()
    in_process = (tracemalloc.get_traced_memory()[0] - before) / number
    tracemalloc.stop()
    assert all(sessions.cached([line], here.names) is not None for line in lines)
    _, new = made[0]
    keys = [f"gateway:{kind}:{{{new.key}}}" for kind in "stic"]
    in_redis = float(sum(int(here.redis.command("MEMORY", "USAGE", key)[1:]) for key in keys))
    for index in new.indexes:
        members = int(here.redis.command("ZCARD", f"gateway:x:{{{index}}}")[1:])
        in_redis += int(here.redis.command("MEMORY", "USAGE", f"gateway:x:{{{index}}}", "SAMPLES", "0")[1:]) / members
    await sessions.close()
    return in_process, in_redis, len(new.tokens)


async def measure(here: World, *, repeats: int, each: int) -> None:
    """Measure and print."""
    server = await asyncio.get_running_loop().create_server(Application, "127.0.0.1", here.app)
    times, commands = await cost(here, connections=32, each=each, repeats=repeats)
    print(f"CPU per signed-in request: {statistics.median(times):.1f} us (median of {', '.join(f'{one:.1f}' for one in times)})")
    print(f"Redis commands per 1,000 signed-in requests: {statistics.median(commands) * 1000:.2f}")
    taken = sorted(await refusals(here, number=500))
    print(f"DEL to refusal: p50 {statistics.median(taken):.2f} ms, p99 {taken[int(len(taken) * 0.99)]:.2f} ms, most {taken[-1]:.2f} ms")
    in_process, in_redis, tokens = await sizes(here, number=5000)
    print(f"a session: {in_process:.0f} bytes in the process, {in_redis:.0f} in {server_id(here.redis.binary)} with {tokens} of tokens")
    ran = [await refreshes.beside(here, repeat=repeat) for repeat in range(refreshes.REPEATS)]
    for one in ran:
        print(f"while {refreshes.PEOPLE} sessions are renewed: {one}")
    print(f"p99 of others over the quiet p99: {statistics.median(one.ratio for one in ran):.2f} (median)")
    server.close()


def main() -> None:
    """Measure once and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.sessions", description="Sessions: cost of a request, of an end, of one more.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--requests", type=int, default=20_000, help="of each repeat, over 32 connections")
    asked = parser.parse_args()
    cores = Cores.here()
    os.sched_setaffinity(0, cores.load)
    with tempfile.TemporaryDirectory(prefix="bench-sessions-") as folder, world(Path(folder), cores) as here:
        asyncio.run(measure(here, repeats=asked.repeats, each=max(1, asked.requests // 32)))


if __name__ == "__main__":
    main()
