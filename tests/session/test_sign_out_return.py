"""The way back from a sign-out: what we sealed, for one origin and one hour, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.session.login import CLOCK_SKEW
from gateway.session.sealing import MAX_SEALED, Keyring, Purpose
from gateway.session.sign_out_return import RETURN_SECONDS, open_return, seal_return

KEYRING = Keyring([bytes(range(32))])
ORIGIN = "https://apps.example.org"
NOW = 1_700_000_000
STATE = seal_return(KEYRING, "/after?x=1", origin=ORIGIN, now=NOW + 0.9)


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=2047).map("/".__add__))
def test_every_target_that_may_be_judged_good_comes_back(target: str):
    state = seal_return(KEYRING, target, origin=ORIGIN, now=NOW)
    back = open_return(KEYRING, state, origin=ORIGIN, now=NOW)
    assert back == target or (back == "/" and ("\\" in target or '"' in target))


def test_a_target_too_long_to_open_again_becomes_the_root():
    def back(length: int) -> str | None:
        return open_return(KEYRING, seal_return(KEYRING, "/" + "a" * length, origin=ORIGIN, now=NOW), origin=ORIGIN, now=NOW)

    longest = max(length for length in range(2900, 3100) if back(length) != "/")
    assert back(longest) == "/" + "a" * longest
    assert back(longest + 1) == back(100_000) == "/"
    assert len(seal_return(KEYRING, "/" + "a" * longest, origin=ORIGIN, now=NOW)) <= MAX_SEALED


@pytest.mark.parametrize(
    ("now", "target"),
    [
        pytest.param(NOW, "/after?x=1", id="at once"),
        pytest.param(NOW + RETURN_SECONDS - 0.001, "/after?x=1", id="just before the end"),
        pytest.param(NOW + RETURN_SECONDS, None, id="at the end"),
        pytest.param(NOW - CLOCK_SKEW, "/after?x=1", id="sealed by a clock that is a minute ahead"),
        pytest.param(NOW - CLOCK_SKEW - 1, None, id="sealed in the future"),
    ],
)
def test_a_way_back_is_open_for_an_hour(now: float, target: str | None):
    assert open_return(KEYRING, STATE, origin=ORIGIN, now=now) == target


@pytest.mark.parametrize(
    "state",
    [
        pytest.param("", id="empty"),
        pytest.param("/after", id="a bare target"),
        pytest.param(STATE + "=", id="padded"),
        pytest.param(STATE[:-1] + ("A" if STATE[-1] != "A" else "E"), id="changed"),
        pytest.param("A" * (MAX_SEALED + 1), id="too long"),
        pytest.param("\ud800", id="half a surrogate pair"),
        pytest.param(KEYRING.seal(Purpose.LOGIN_COOKIE, b'[1700000000,"/"]', bound_to=ORIGIN), id="sealed for another purpose"),
        pytest.param(KEYRING.seal(Purpose.LOGOUT_STATE, b"[1700000000]", bound_to=ORIGIN), id="without a target"),
        pytest.param(KEYRING.seal(Purpose.LOGOUT_STATE, b'["1700000000","/"]', bound_to=ORIGIN), id="with a time that is none"),
        pytest.param(KEYRING.seal(Purpose.LOGOUT_STATE, b"not JSON", bound_to=ORIGIN), id="not JSON"),
        pytest.param(seal_return(KEYRING, "/", origin="https://other.example.org", now=NOW), id="for another origin"),
        pytest.param(seal_return(Keyring([bytes(32)]), "/", origin=ORIGIN, now=NOW), id="under another key"),
    ],
)
def test_whatever_else_comes_as_state_leads_nowhere(state: str):
    assert open_return(KEYRING, state, origin=ORIGIN, now=NOW) is None
