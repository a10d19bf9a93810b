"""A soak: one gateway under everything at once, with callers and an app that break off whenever they like; and then nothing is left of it.

``GATEWAY_TESTS_REQUIRE=soak`` asks for it, ``GATEWAY_SOAK_SECONDS`` says for how long (150), ``GATEWAY_SOAK_SEED`` repeats one.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.support import inspection
from tests.support.chaos_app import ChaosApp
from tests.support.hostile_house import hostile_house
from tests.support.processes import until
from tests.support.requirements import asked_for, need
from tests.support.soak_callers import Caller

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.support.hostile_house import House

pytestmark = pytest.mark.soak

SECONDS = float(os.environ.get("GATEWAY_SOAK_SECONDS", "150"))
CALLERS = 16
WARM = min(60.0, SECONDS / 3)
"""Seconds after which memory has found its level."""
GROWTH = 8 * 2**20
"""Bytes that memory may be above that level at the end: allocators do not give back at once."""
QUIET = 60.0
"""Seconds for what is closed to be noticed, by either side."""
STORE_CONNECTIONS = 20
"""More than the callers ever want at once."""
SPARE_PIPES = 8
"""Ends of pipes that are kept for the next long bodies."""
OF_EXCHANGES = ("gateway.proxy.", "gateway.server.", "aiohttp.web")
"""Kinds of objects that live no longer than a request or a connection."""
CACHES = {"gateway.proxy.answer_lines.Date", "gateway.proxy.known_heads.Known", "gateway.proxy.known_heads._Taken"}
"""Kinds that are kept on purpose, bounded by number: ``tests/proxy`` holds them to it."""


async def test_after_a_storm_nothing_is_left_of_it(tmp_path: Path) -> None:
    need("soak", asked_for("soak"), "minutes, and to be asked for")
    seed = os.environ.get("GATEWAY_SOAK_SEED") or secrets.token_hex(4)
    print(f"GATEWAY_SOAK_SEED={seed}")
    app, telling = ChaosApp(), tmp_path / "told"
    await app.start()
    try:
        async with hostile_house(
            tmp_path,
            environ=inspection.environ(telling),
            routes=[{"path": "/", "upstream": app.url, "access": "signed_in"}],
            server={"trusted_proxies": ["127.0.0.1/32"]},
            provider_settings={"connect_timeout": "10s", "total_timeout": "20s"},
        ) as house:
            await soak(house, app, telling, seed)
    finally:
        await app.stop()


async def soak(house: House, app: ChaosApp, telling: Path, seed: str) -> None:
    pid = house.gateway.process.pid
    port = urlsplit(house.listener).port or 0
    ports = {app.port: "app", house.store.port: "store", urlsplit(house.provider.issuer).port or 0: "provider"}

    async def held() -> inspection.Held:
        return await inspection.held(pid, telling, listener=port, ports=ports)

    async with house.browser() as browser:  # once through everything that is made when it is first needed
        await house.signed_in(browser)
    await until(lambda: not inspection.descriptors(pid, listener=port, ports=ports)["client"])
    before = await held()
    done: Counter[str] = Counter()
    memory: list[tuple[float, int]] = []
    await storm(house, seed, done, memory)
    print(json.dumps(dict(sorted(done.items()))))
    await app.stop()  # and with it what the gateway keeps open to it
    after = await quiet(held, before)

    assert app.wrong == [], seed
    assert app.open == 0, seed
    print(f"descriptors {dict(before.descriptors)} -> {dict(after.descriptors)}, tasks {dict(after.tasks)}")
    assert surplus(before, after) == {}, seed
    assert after.unhandled == (), seed
    level = max(size for when, size in memory if when <= WARM + 10)
    print([f"{when:.0f} s: {size / 2**20:.1f} MiB" for when, size in memory])
    assert inspection.resident(pid) <= level + GROWTH, (seed, memory)
    every_kind_was_there(done)
    nothing_went_wrong_inside(house, seed)
    await app.start()
    async with house.browser() as browser:
        await house.signed_in(browser)
        assert (await browser.ask(f"{house.public}/page")).status == 200


async def storm(house: House, seed: str, done: Counter[str], memory: list[tuple[float, int]]) -> None:
    """Every caller until the time is over, with memory looked at now and then."""
    loop = asyncio.get_running_loop()
    start, signing_in = loop.time(), asyncio.Lock()
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(CALLERS):
                group.create_task(Caller(house, f"{seed}-{number}", done, signing_in).run(start + SECONDS))
            while loop.time() < start + SECONDS:
                await asyncio.sleep(5)
                memory.append((loop.time() - start, inspection.resident(house.gateway.process.pid)))
                house.provider.tell_the_sweep()
    except* Exception as failed:
        failed.add_note(f"GATEWAY_SOAK_SEED={seed}\n" + "\n".join(house.gateway.log.splitlines()[-8:]))
        raise


async def quiet(held: Callable[[], Awaitable[inspection.Held]], before: inspection.Held) -> inspection.Held:
    """What is held once nothing ends any more; at the latest when the time for it is over."""
    loop = asyncio.get_running_loop()
    end = loop.time() + QUIET
    while surplus(before, now := await held()) and loop.time() < end:
        await asyncio.sleep(1)
    return now


def surplus(before: inspection.Held, after: inspection.Held) -> dict[str, int]:
    """What there is more of than before: tasks, descriptors, objects of exchanges, sessions that nobody has."""
    allowed = before.descriptors | Counter({"store": STORE_CONNECTIONS, "pipe": before.descriptors["pipe"] + SPARE_PIPES})
    exchanges = Counter({kind: n for kind, n in after.objects.items() if kind.startswith(OF_EXCHANGES) and kind not in CACHES})
    sessions = Counter({"sessions": after.objects["gateway.session.cache.Entry"]})
    return {
        **(after.descriptors - allowed),
        **(after.tasks - before.tasks),
        **(exchanges - before.objects),
        **(sessions - Counter({"sessions": CALLERS + 1})),
    }


def every_kind_was_there(done: Counter[str]) -> None:
    """A storm that did not blow proves nothing."""
    for kind in ("login", "sign-out", "websocket", "events", "check", "nobody", "torn upload", "torn head", "login left"):
        assert done[kind], kind
    for kind in ("GET : whole", "GET chunked: whole", "POST : whole", "POST chunked: whole", "half: broken", "reset: 502"):
        assert done[kind], kind


def nothing_went_wrong_inside(house: House, seed: str) -> None:
    assert "Traceback" not in house.gateway.log, seed
    lines = [json.loads(line) for line in house.gateway.log.splitlines() if line.startswith("{")]
    assert [line for line in lines if line["level"] in {"error", "critical"} or line["event"] == "library.logged"] == [], seed
    assert len(lines) == len(house.gateway.log.splitlines()), (seed, "something wrote past the log")
