"""A session ends at the very second, by its idle time or its lifetime, whichever comes first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.session.lifecycle import Lifetimes, ended, idle_expires, touch_due

LIFETIMES = Lifetimes(idle=1800.0, lifetime=43_200.0, login=600.0)


@pytest.mark.parametrize(
    ("now", "last_seen", "verdict"),
    [
        pytest.param(1000.0, 1000.0, None, id="just used"),
        pytest.param(2799.999, 1000.0, None, id="just before the idle edge"),
        pytest.param(2800.0, 1000.0, "idle", id="at the idle edge"),
        pytest.param(43_199.999, 43_000.0, None, id="just before the end"),
        pytest.param(43_200.0, 43_199.0, "expired", id="at the end, though just used"),
        pytest.param(50_000.0, 1000.0, "expired", id="idle and over: over"),
        pytest.param(1000.0, 2000.0, None, id="used by a clock that is ahead"),
    ],
)
def test_ended(now, last_seen, verdict):
    assert ended(expires=43_200.0, last_seen=last_seen, lifetimes=LIFETIMES, now=now) == verdict


@pytest.mark.parametrize(
    ("now", "due"),
    [
        pytest.param(1000.0, False, id="at once"),
        pytest.param(1179.9, False, id="before a tenth"),
        pytest.param(1180.0, True, id="at a tenth"),
        pytest.param(900.0, True, id="a clock that went back: the last note ages in the store all the same"),
    ],
)
def test_touch_due(now, due):
    assert touch_due(last_seen=1000.0, lifetimes=LIFETIMES, now=now) is due


times = st.floats(0, 1e10)


@given(times, times, times)
def test_a_session_lives_until_idle_expires_and_not_longer(expires, last_seen, now):
    until = idle_expires(expires=expires, last_seen=last_seen, lifetimes=LIFETIMES)
    assert until <= expires
    assert (ended(expires=expires, last_seen=last_seen, lifetimes=LIFETIMES, now=now) is None) == (now < until)
