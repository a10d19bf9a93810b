"""What is measured, a function a scenario: the load, and the CPU time that the peer spent meanwhile."""

from __future__ import annotations

import math
import resource
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from bench import accounting, load, wrk
from bench.around import SIZES, UPLOAD_BYTES, Around
from bench.peers.peer import Peer, Use
from bench.results import Measurement
from bench.wrk import LoadFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bench.installing import Tool
    from bench.processes import Cores

CONNECTIONS = 32
BODY_CONNECTIONS = 4
_SETTLE = 0.2
_OTHER_FILES = 200
_AS_BROWSERS = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:14{browser}.0) Gecko/20100101 Firefox/14{browser}.0",
    "Accept": "*/*",
    "Accept-Language": "en-US,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Referer": "http://127.0.0.1/pages/{page}",
    "Sec-Fetch-Dest": "empty",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Site": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Target:
    """A running peer: its process, where it listens, and the cookies of somebody who is signed in."""

    peer: Peer
    pid: int
    port: int
    cookie: str
    around: Around
    wrk: Tool
    cores: Cores
    folder: Path
    seconds: float

    @property
    def headers(self) -> dict[str, str]:
        """What a signed-in request carries."""
        return {"Cookie": self.cookie} if self.cookie else {}

    def url(self, path: str) -> str:
        """Of a path on the peer."""
        return f"http://127.0.0.1:{self.port}{path}"


@dataclass(frozen=True, slots=True)
class Scenario:
    """``title`` is for the table, ``name`` for ``--scenario``; ``few`` are those where memory is measured, which hardly varies."""

    name: str
    title: str
    use: Use
    measure: Callable[[Target, str], Measurement]
    few: bool = False


def get(target: Target, name: str) -> Measurement:
    """Signed-in GETs of a fixed answer over kept connections, by scripts of several pages in several browsers."""
    size = name.removeprefix("get-")
    return _requests(target, name, f"{target.peer.prefix}/{size}?page={{page}}", CONNECTIONS, SIZES[size], extra=_AS_BROWSERS)


def get_new(target: Target, name: str) -> Measurement:
    """The same, each with a header that nobody has sent before: nothing that was learnt of one request is of use for the next."""
    extra = _AS_BROWSERS | {"X-Serial": "{serial}"}
    return _requests(target, name, f"{target.peer.prefix}/100?page={{page}}", CONNECTIONS, SIZES["100"], extra=extra)


def download(target: Target, name: str) -> Measurement:
    """A large answer; a part of one that the end of the run cut off counts by its bytes."""
    return _requests(target, name, "/10m", BODY_CONNECTIONS, SIZES["10m"])


def check(target: Target, name: str) -> Measurement:
    """What a front proxy asks for every request, with what the browser sent."""
    asked = target.peer.check
    assert asked is not None
    authority = f"127.0.0.1:{target.port}"
    extra = _AS_BROWSERS | {name: value.replace("{authority}", authority) for name, value in asked.headers.items()}
    return _requests(target, name, asked.path, CONNECTIONS, 0, extra=extra, status=asked.status)


def upload(target: Target, name: str) -> Measurement:
    """A large body to an upstream that reads all of it."""
    with _Meter(target) as meter:
        ran = wrk.run(
            target.wrk,
            target.url("/upload"),
            headers=target.headers,
            connections=BODY_CONNECTIONS,
            seconds=target.seconds,
            cores=target.cores,
            folder=target.folder,
            upload=UPLOAD_BYTES,
        )
    if ran.errors or not ran.requests:
        raise LoadFailed(f"{ran.errors} errors in {ran.requests} uploads")
    return meter.measurement(name, ran.seconds, ran.requests, ran.requests * UPLOAD_BYTES, p50=ran.p50, p99=ran.p99)


def idle_connections(target: Target, name: str) -> Measurement:
    """Kept connections on which one request was answered, and nothing since; as many as open files allow, when that is less."""
    request = load.head("/100", target.port, target.headers)
    number = min(int(name.removeprefix("idle-")), most_connections())
    return _held(target, name, request, number, b"x" * SIZES["100"])


def idle_websockets(target: Target, name: str) -> Measurement:
    """WebSockets through the peer, open and silent."""
    return _held(target, name, load.websocket_head("/ws", target.port, target.headers), int(name.removeprefix("websockets-")), b"\r\n\r\n")


def echo(target: Target, name: str) -> Measurement:
    """Messages of 100 bytes there and back; a request is one such pair."""
    request = load.websocket_head("/ws", target.port, target.headers)
    with _Meter(target) as meter:
        latencies = load.echoes(target.port, request, connections=CONNECTIONS, seconds=target.seconds, message=b"m" * 100)
    return meter.measurement(name, target.seconds, len(latencies), 0, **_percentiles(latencies))


def logins(target: Target, name: str) -> Measurement:
    """Whole handshakes, one after the other; a request is one login: redirect, callback with code exchange, first page."""
    load.logins(target.url("/"), 5)
    with _Meter(target) as meter:
        taken = load.logins(target.url("/"), max(20, int(30 * target.seconds)))
    return meter.measurement(name, sum(taken), len(taken), 0, **_percentiles(taken))


ALL: tuple[Scenario, ...] = (
    Scenario("get-100", "Signed-in GET, 100 B", Use.REQUESTS, get),
    Scenario("get-16k", "Signed-in GET, 16 KiB", Use.REQUESTS, get),
    Scenario("get-100-new", "Signed-in GET, 100 B, no head like another", Use.REQUESTS, get_new),
    Scenario("check", "Forward-auth check", Use.CHECKS, check),
    Scenario("download-10m", "Download, 10 MiB", Use.REQUESTS, download),
    Scenario("upload-10m", "Upload, 10 MiB", Use.REQUESTS, upload),
    Scenario("echo", "WebSocket echo, 100 B", Use.REQUESTS, echo),
    Scenario("logins", "Login handshake", Use.REQUESTS, logins),
    Scenario("idle-1000", "1,000 idle keep-alive connections", Use.IDLE, idle_connections, few=True),
    Scenario("idle-10000", "10,000 idle keep-alive connections", Use.IDLE, idle_connections, few=True),
    Scenario("websockets-1000", "1,000 idle WebSockets", Use.WEBSOCKETS, idle_websockets, few=True),
)


def possible(peer: Peer, scenario: Scenario) -> bool:
    """Whether a peer has what a scenario asks for."""
    if peer.scenarios is not None and scenario.name not in peer.scenarios:
        return False
    if scenario.use is Use.CHECKS:
        return peer.check is not None
    return peer.signs_in or scenario.measure is not logins


def most_connections() -> int:
    """Connections that a proxy can have under the limit of open files, with a second descriptor for each kept ready, as some do."""
    return (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - _OTHER_FILES) // 2


class _Meter:
    """CPU time between entering and leaving, and memory at the end."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.cpu = self.redis_cpu = 0.0
        self.memory = 0

    def __enter__(self) -> Self:
        self.cpu = -accounting.cpu_seconds(self._target.pid)
        self.redis_cpu = -accounting.cpu_seconds(self._target.around.redis_pid)
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(_SETTLE)  # closing what the load opened is work too
        self.cpu += accounting.cpu_seconds(self._target.pid)
        self.redis_cpu += accounting.cpu_seconds(self._target.around.redis_pid)
        self.memory = accounting.memory_bytes(self._target.pid)

    def measurement(
        self, scenario: str, seconds: float, requests: float, moved: int, *, p50: float | None = None, p99: float | None = None
    ) -> Measurement:
        return Measurement(
            peer=self._target.peer.name,
            scenario=scenario,
            cpu=self.cpu,
            seconds=seconds,
            requests=requests,
            moved=moved,
            p50=p50,
            p99=p99,
            memory=self.memory,
            redis_cpu=self.redis_cpu,
        )


def _requests(
    target: Target, name: str, path: str, connections: int, size: int, *, extra: dict[str, str] | None = None, status: int = 200
) -> Measurement:
    headers = target.headers | (extra or {})
    once = {name: wrk.filled(value) for name, value in headers.items()}
    _expect(target, wrk.filled(path), once, status, size)

    def load_for(seconds: float) -> wrk.Ran:
        return wrk.run(
            target.wrk,
            target.url("/"),
            headers=headers,
            connections=connections,
            seconds=seconds,
            cores=target.cores,
            folder=target.folder,
            target=path,
        )

    load_for(1)
    with _Meter(target) as meter:
        ran = load_for(target.seconds)
    _expect(target, wrk.filled(path), once, status, size)
    if ran.errors or not ran.requests or ran.received < ran.requests * size:
        raise LoadFailed(f"{ran.errors} errors in {ran.requests} requests of {path}, {ran.received} bytes received")
    whole = ran.received / size if size >= SIZES["10m"] else ran.requests
    return meter.measurement(name, ran.seconds, whole, round(whole * size), p50=ran.p50, p99=ran.p99)


def _expect(target: Target, path: str, headers: dict[str, str], status: int, size: int) -> None:
    """One request with the right answer: a fast refusal is no result."""
    request = load.head(path, target.port, headers | {"Connection": "close"})
    answer = load.whole_answer(target.port, request)
    first = answer.partition(b"\r\n")[0]
    if not first.startswith(b"HTTP/1.1 %d" % status) or (size and not answer.endswith(b"x" * min(size, 100))):
        raise LoadFailed(f"{path} answers {first!r}")


def _held(target: Target, name: str, request: bytes, number: int, ends_with: bytes) -> Measurement:
    warm = target.url("/100")
    wrk.run(target.wrk, warm, headers=target.headers, connections=CONNECTIONS, seconds=1, cores=target.cores, folder=target.folder)
    time.sleep(_SETTLE)
    before = accounting.memory_bytes(target.pid)
    with load.kept(target.port, request, number, ends_with=ends_with) as connections:
        time.sleep(1.0)
        held = accounting.memory_bytes(target.pid) - before
        began = time.monotonic()
        with _Meter(target) as meter:
            time.sleep(2.0)
        seconds = time.monotonic() - began
        if ended := load.closed(connections):
            raise LoadFailed(f"{ended} of {number} connections were closed")
    return Measurement(
        peer=target.peer.name,
        scenario=name,
        cpu=meter.cpu,
        seconds=seconds,
        memory=meter.memory,
        connections=number,
        held=held,
        redis_cpu=meter.redis_cpu,
    )


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    if not seconds:
        raise LoadFailed("nothing came back")
    ordered = sorted(seconds)
    return {"p50": statistics.median(ordered) * 1e3, "p99": ordered[math.ceil(len(ordered) * 0.99) - 1] * 1e3}
