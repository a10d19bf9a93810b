"""Which upstream takes a request: tables over health, load and time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.balancing import FAILURES, FIRST_PAUSE, LONGEST_PAUSE, Health, choose

WELL = Health()
AILING = Health(ailing=True)


def aside(until):
    return Health(failures=FAILURES, aside_until=until)


@pytest.mark.parametrize(
    ("health", "loads", "turn", "tried", "chosen"),
    [
        pytest.param([WELL], [7], 0, (), 0, id="the only one"),
        pytest.param([aside(99)], [7], 0, (), 0, id="the only one, though it is put aside"),
        pytest.param([AILING], [0], 0, (), 0, id="the only one, though it ails"),
        pytest.param([WELL, WELL, WELL], [2, 1, 3], 0, (), 1, id="the least loaded"),
        pytest.param([WELL, WELL, WELL], [1, 1, 1], 0, (), 0, id="equals: the turn decides"),
        pytest.param([WELL, WELL, WELL], [1, 1, 1], 1, (), 1, id="equals: the next turn"),
        pytest.param([WELL, WELL, WELL], [1, 1, 1], 5, (), 2, id="equals: turns go round"),
        pytest.param([WELL, WELL, WELL], [1, 2, 1], 1, (), 2, id="equals: the first of them from the turn on"),
        pytest.param([aside(99), WELL], [0, 9], 0, (), 1, id="one that is well, however loaded"),
        pytest.param([AILING, WELL], [0, 9], 0, (), 1, id="one that does not ail"),
        pytest.param([aside(10), WELL], [0, 9], 0, (), 0, id="one whose pause is over"),
        pytest.param([aside(99), aside(50), aside(70)], [0, 9, 0], 0, (), 1, id="all aside: the nearest end"),
        pytest.param([AILING, aside(50)], [0, 9], 0, (), 1, id="none usable: one that answers checks"),
        pytest.param([AILING, AILING], [1, 0], 1, (), 1, id="all ail: turns go on"),
        pytest.param([WELL, WELL], [0, 9], 0, (0,), 1, id="not one that was tried"),
        pytest.param([WELL, aside(99)], [0, 9], 0, (0,), 1, id="the last one that was not tried"),
    ],
)
def test_choice(health, loads, turn, tried, chosen):
    assert choose(health, loads, now=10.0, turn=turn, tried=tried) == chosen


def test_nothing_is_left_to_choose():
    with pytest.raises(ValueError, match="tried"):
        choose([WELL, WELL], [0, 0], now=0.0, turn=0, tried=(0, 1))


def test_pauses_double_and_have_an_end():
    health, now, pauses = Health(), 100.0, []
    for _ in range(FAILURES - 1):
        assert not health.failed(now)
        assert health.usable(now)
    for _ in range(9):
        assert health.failed(now)
        assert not health.usable(now)
        pauses.append(health.aside_until - now)
        now = health.aside_until
        assert health.usable(now)
    assert pauses[:4] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE, 8 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE


def test_failures_of_exchanges_that_began_before_do_not_lengthen_a_pause():
    health = Health()
    told = [health.failed(0.0) for _ in range(10)]
    assert told.count(True) == 1
    assert health.aside_until == FIRST_PAUSE


def test_an_answer_makes_well():
    health = Health()
    for _ in range(FAILURES):
        health.failed(0.0)
    health.answered()
    assert health.usable(0.0)
    assert not health.failed(0.0)


def test_checks_that_fail_twice_make_ail_and_one_that_does_not_makes_well():
    health = Health()
    told = []
    for well in (False, True, False, False, False, True):
        health.checked(well=well)
        told.append(health.ailing)
    assert told == [False, False, False, True, True, False]


members = st.builds(Health, failures=st.integers(0, 9), aside_until=st.floats(0, 200), ailing=st.booleans())


@given(st.lists(st.tuples(members, st.integers(0, 99)), min_size=1, max_size=8), st.floats(0, 200), st.integers(0, 99))
def test_whoever_is_usable_comes_before_whoever_is_not_and_turns_reach_all_equals(pairs, now, turn):
    health, loads = [one for one, _ in pairs], [load for _, load in pairs]
    usable = [index for index, one in enumerate(health) if one.usable(now)]
    chosen = choose(health, loads, now=now, turn=turn)
    if usable:
        least = min(loads[index] for index in usable)
        equals = {index for index in usable if loads[index] == least}
        assert chosen in equals
        assert {choose(health, loads, now=now, turn=step) for step in range(len(pairs))} == equals
