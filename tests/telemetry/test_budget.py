"""What a flood of one kind may write, and that its kinds do not take from each other."""

from __future__ import annotations

import io
import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry import logs
from gateway.telemetry.budget import IN_FULL, SECONDS, Budget


def told(budget: Budget, kind: str, *times: float) -> list[int]:
    """What is told at these times, each line as the number of those left out before it."""
    return [suppressed for suppressed in (budget.spend(kind, now) for now in times) if suppressed is not None]


def test_the_first_ones_of_a_minute_are_told_in_full():
    budget = Budget()

    assert told(budget, "a", *range(30)) == [0] * IN_FULL


def test_a_flood_is_one_line_a_minute_with_the_number_left_out():
    budget = Budget()

    assert told(budget, "a", *(second / 10 for second in range(1200))) == [0] * IN_FULL + [600 - IN_FULL]
    assert told(budget, "a", 120.0) == [599]


def test_after_a_minute_in_which_nothing_was_left_out_all_is_as_before():
    budget = Budget()
    told(budget, "a", *range(30))

    assert told(budget, "a", 60.0) == [10]
    assert told(budget, "a", *(120.0 + second for second in range(30))) == [0] * IN_FULL


def test_one_kind_takes_nothing_from_another():
    budget = Budget()
    told(budget, "a", *([0.0] * 100))

    assert told(budget, "b", 0.0) == [0]


@given(st.lists(st.floats(min_value=0, max_value=300), max_size=400).map(sorted))
def test_every_line_is_told_or_counted_and_no_minute_has_more_than_its_lines(times):
    budget = Budget()
    lines = [(now, suppressed) for now in times if (suppressed := budget.spend("a", now)) is not None]

    for now in times:
        assert len([at for at, _ in lines if now <= at < now + SECONDS]) <= 2 * IN_FULL
    rest = budget.spend("a", 1000.0)
    assert len(lines) + sum(suppressed for _, suppressed in lines) + (rest or 0) == len(times)


def test_the_log_limits_what_anybody_can_cause_by_its_error_and_nothing_else():
    stream = io.StringIO()
    logs.configure(stream=stream)
    log = logs.get("server")
    for _ in range(100):
        log.info("request.refused", error="host_unknown")
        log.info("worker.lost")
    log.info("request.refused", error="target_refused")

    events = [(line["event"], line.get("error")) for line in map(json.loads, stream.getvalue().splitlines())]
    assert events.count(("request.refused", "host_unknown")) == IN_FULL
    assert events.count(("worker.lost", None)) == 100
    assert events[-1] == ("request.refused", "target_refused")
