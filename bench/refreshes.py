"""What other people notice while 200 sessions are renewed at a provider that answers in a second.

The same people ask at the same pace twice, for as long: once while the grants of 200 more are due, so that their first requests begin the
renewals, and once with nothing due. The pace is far below what the gateway can do, so that it is not the load that is measured.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.session.store.protocol import NewSession

PEOPLE: Final = 200
REPEATS: Final = 5
"""One stall of a tenth of a second is a p99 by itself: the median of so many tells it from chance."""
PROVIDER_TAKES: Final = 1.0
OTHERS: Final = 32
PACE: Final = 0.02
"""Seconds between the requests of one of the others."""
PACE_OF_THE_RENEWED: Final = 0.5
PATIENCE: Final = 60.0
KNOWN_AFTER: Final = 1.0
"""Seconds in which each of the others has been read from the store: that is no work of a renewal's."""


class World(Protocol):
    """What is measured."""

    port: int
    log: Path

    async def sign_in(self, number: int, *, due: bool = False) -> tuple[bytes, NewSession]:
        """A session, and a request of its browser."""
        ...


@dataclass(frozen=True)
class Ran:
    """Milliseconds that others waited, in quiet and beside the renewals, which took ``seconds`` altogether."""

    quiet: Sequence[float]
    beside: Sequence[float]
    seconds: float

    @property
    def ratio(self) -> float:
        """How much the p99 grew."""
        return _quantile(self.beside, 0.99) / _quantile(self.quiet, 0.99)

    def __str__(self) -> str:
        return (
            f"others p50 {_quantile(self.beside, 0.5):.2f} ms, p99 {_quantile(self.beside, 0.99):.2f} ms, most {max(self.beside):.2f} ms"
            f" (quiet: {_quantile(self.quiet, 0.5):.2f}, {_quantile(self.quiet, 0.99):.2f}, {max(self.quiet):.2f});"
            f" all renewed after {self.seconds:.1f} s"
        )


class Person(asyncio.Protocol):
    """One kept connection that asks once in about ``pace`` seconds and notes how long each answer took, in milliseconds."""

    def __init__(self, request: bytes, pace: float) -> None:
        self._request = request
        self._pace = pace
        self._got = 0
        self._asked = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.took: list[float] = []
        self.failed: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def begin(self, delay: float) -> None:
        """Ask from ``delay`` seconds on."""
        self._timer = asyncio.get_running_loop().call_later(delay, self._ask)

    def _ask(self) -> None:
        self._asked = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        if self._got == 0 and not data.startswith(b"HTTP/1.1 200"):
            self.failed = data[:200].decode("latin-1")
            return
        self._got += data.count(b"x" * 100)
        if not data.endswith(b"x" * 100):
            return
        self._got = 0
        taken = time.perf_counter() - self._asked
        self.took.append(taken * 1000)
        # By chance, so that those who were answered late together do not come together ever after.
        self.begin(max(0.0, self._pace * random.uniform(0.5, 1.5) - taken))  # noqa: S311 - no secret

    def end(self) -> None:
        """Ask no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._transport.close()


async def beside(here: World, *, repeat: int) -> Ran:
    """Measure once. People are others in each repeat, since who was renewed is not due again."""
    first = repeat * PEOPLE
    others = [(await here.sign_in(100_000 + repeat * OTHERS + number))[0] for number in range(OTHERS)]
    quiet = [(await here.sign_in(first + number))[0] for number in range(PEOPLE)]
    due = [(await here.sign_in(first + number, due=True))[0] for number in range(PEOPLE)]
    renewed_before = _renewed(here.log)
    began = time.perf_counter()
    seconds = 0.0

    async def until_all_renewed() -> None:
        nonlocal seconds
        async with asyncio.timeout(PATIENCE):
            while _renewed(here.log) < renewed_before + PEOPLE:  # noqa: ASYNC110 - the log of another process tells nobody
                await asyncio.sleep(0.1)
        seconds = time.perf_counter() - began

    await _asked(here, others, [], asyncio.sleep(KNOWN_AFTER))
    took_beside = await _asked(here, others, due, until_all_renewed())
    took_quiet = await _asked(here, others, quiet, asyncio.sleep(seconds))
    return Ran(took_quiet, took_beside, seconds)


async def _asked(here: World, others: Sequence[bytes], renewed: Sequence[bytes], over: asyncio._CoroutineLike[None]) -> list[float]:
    """How long the others waited for each of their answers until ``over`` is, in milliseconds."""
    loop = asyncio.get_running_loop()
    people = [(await loop.create_connection(lambda one=one: Person(one, PACE), "127.0.0.1", here.port))[1] for one in others]  # type: ignore[misc]
    more = [
        (await loop.create_connection(lambda one=one: Person(one, PACE_OF_THE_RENEWED), "127.0.0.1", here.port))[1]  # type: ignore[misc]
        for one in renewed
    ]
    gc.collect()
    gc.disable()
    try:
        for number, person in enumerate(people):
            person.begin(number * PACE / OTHERS)
        for number, person in enumerate(more):
            person.begin(number * PACE_OF_THE_RENEWED / PEOPLE)
        await over
    finally:
        gc.enable()
        for person in (*people, *more):
            person.end()
    refused = [person.failed for person in (*people, *more) if person.failed is not None]
    if refused:
        raise RuntimeError(f"{len(refused)} were not let in: {refused[0]}")
    return [taken for person in people for taken in person.took]


def _renewed(log: Path) -> int:
    return log.read_bytes().count(b'"session.refreshed"')


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]
