"""Whatever a reload meets, what was there stays, and a line says what kind of thing it was."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from gateway.errors import ConfigRefused
from gateway.server.reloading import KeyTurnover, read_anew
from gateway.session.sealing import Keyring

if TYPE_CHECKING:
    from gateway.config.settings import Settings


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        pytest.param(
            ConfigRefused(("1:1 session.keys: no key", "2:1 other")), {"faults": 2, "first": "1:1 session.keys: no key"}, id="faults"
        ),
        pytest.param(PermissionError(13, "secret_value"), {"fault": "PermissionError"}, id="no permission"),
        pytest.param(RecursionError("secret_value"), {"fault": "RecursionError"}, id="what nobody foresaw"),
    ],
)
def test_a_reload_that_fails_is_told_and_changes_nothing(failure: Exception, told: dict[str, object]) -> None:
    def reload() -> Settings:
        raise failure

    with capture_logs() as logged:
        assert read_anew(reload) is None
    assert logged == [{"room": "server", "event": "secrets.kept", "log_level": "warning"} | told]


FIRST, SECOND, THIRD, FOURTH = (bytes(range(start, start + 32)) for start in (0, 40, 80, 120))
NEVER = 10_000.0


def ids(*keys: bytes) -> tuple[str, ...]:
    return Keyring(keys).ids


@pytest.mark.parametrize(
    ("before", "after", "meanwhile"),
    [
        pytest.param([FIRST], [SECOND, FIRST], [FIRST, SECOND], id="a new first one opens, and does not seal yet"),
        pytest.param([FIRST, THIRD], [SECOND, THIRD, FIRST], [FIRST, SECOND, THIRD], id="meanwhile the one goes on that sealed"),
        pytest.param([FIRST, THIRD], [SECOND, THIRD], [THIRD, SECOND], id="or another that was known, if that one is gone"),
        pytest.param([FIRST], [FIRST, SECOND], [FIRST, SECOND], id="a new second one opens"),
        pytest.param([FIRST, SECOND], [SECOND, FIRST], [SECOND, FIRST], id="a known second one comes first at once"),
        pytest.param([FIRST, SECOND], [SECOND, THIRD, FIRST], [SECOND, THIRD, FIRST], id="and so beside a new one"),
        pytest.param([FIRST], [SECOND, THIRD], [SECOND, THIRD], id="where all are new there is nobody to wait for"),
        pytest.param([FIRST, SECOND], [FIRST], [FIRST], id="one is taken away"),
        pytest.param([FIRST], [FIRST], [FIRST], id="nothing changes"),
    ],
)
async def test_a_key_seals_once_every_process_had_the_time_to_read_it(
    before: list[bytes], after: list[bytes], meanwhile: list[bytes]
) -> None:
    keyring = Keyring(before)
    turnover = KeyTurnover(keyring, before, settling=NEVER)
    for _ in range(3):
        # However often it is told: what came just now has not settled by being read once more.
        turnover.take(after)
        assert keyring.ids == ids(*meanwhile)
    turnover.close()

    keyring = Keyring(before)
    turnover = KeyTurnover(keyring, before, settling=0.0)
    with capture_logs() as logged:
        turnover.take(after)
        async with asyncio.timeout(20):
            while keyring.ids != ids(*after):
                await asyncio.sleep(0)
    expected = [] if meanwhile == after else [("session_key.seals", ids(after[0])[0])]
    assert [(line["event"], line["key"]) for line in logged] == expected


async def test_the_next_reload_decides_about_a_key_that_has_not_settled() -> None:
    keyring = Keyring([FIRST])
    turnover = KeyTurnover(keyring, [FIRST], settling=NEVER)
    turnover.take([SECOND, FIRST])
    turnover.take([FIRST])
    assert keyring.ids == ids(FIRST)
    turnover.take([THIRD, SECOND, FIRST])
    assert keyring.ids == ids(FIRST, THIRD, SECOND)
    turnover.take([SECOND, THIRD])
    assert keyring.ids == ids(SECOND, THIRD), "there is nothing left to wait for"
    turnover.take([FOURTH, THIRD, SECOND])
    assert keyring.ids == ids(SECOND, FOURTH, THIRD)
    turnover.close()


async def test_the_one_timer_left_is_the_last_ones() -> None:
    keyring = Keyring([FIRST])
    turnover = KeyTurnover(keyring, [FIRST], settling=0.0)
    turnover.take([SECOND, FIRST])
    turnover.take([FIRST, THIRD])
    for _ in range(3):
        await asyncio.sleep(0)
    assert keyring.ids == ids(FIRST, THIRD)
    turnover.take([THIRD, FIRST])
    assert keyring.ids == ids(THIRD, FIRST), "it has settled behind the first"
