"""How long a place among the workers stays empty: shortly after one crash, never long, and never for ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.server.places import LONGEST_PAUSE, pause


@pytest.mark.parametrize(("failures", "seconds"), [(0, 0.1), (1, 0.2), (2, 0.4), (5, 3.2), (6, 5.0), (7, 5.0)])
def test_it_doubles_up_to_a_bound(failures: int, seconds: float) -> None:
    assert pause(failures) == pytest.approx(seconds)


@given(st.integers(min_value=0, max_value=10**9))
def test_it_is_bounded_however_often_a_worker_failed(failures: int) -> None:
    assert 0 < pause(failures) <= LONGEST_PAUSE
