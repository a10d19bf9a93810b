"""Several parts speak as one: followed when all are, told up to the earliest, lost with the first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.session.store.joined_follower import JoinedFollower
from tests.support.followers import Heard


def test_all_is_followed_when_every_part_is():
    heard = Heard()
    joined = JoinedFollower(heard)
    one, other = joined.part(), joined.part()
    one.followed()
    one.answered(5.0)
    assert not heard.is_followed
    other.followed()
    other.answered(3.0)
    assert (heard.is_followed, heard.told_until, heard.news) == (True, 3.0, ["followed"])
    other.answered(7.0)
    assert heard.told_until == 5.0


def test_one_that_is_lost_loses_all_until_it_is_followed_again():
    heard = Heard()
    joined = JoinedFollower(heard)
    one, other = joined.part(), joined.part()
    for part in (one, other):
        part.followed()
        part.answered(1.0)
    one.lost()
    one.lost()
    other.answered(2.0)
    assert (heard.news, heard.told_until) == (["followed", "lost"], 1.0)
    one.followed()
    assert heard.news == ["followed", "lost", "followed"], "what was missed is not known"


def test_one_that_begins_anew_begins_all_anew():
    heard = Heard()
    joined = JoinedFollower(heard)
    one, other = joined.part(), joined.part()
    one.followed()
    other.followed()
    one.followed()
    assert heard.news == ["followed", "followed"]


def test_a_part_that_comes_is_waited_for_and_one_that_leaves_is_not():
    heard = Heard()
    joined = JoinedFollower(heard)
    one = joined.part()
    one.followed()
    late = joined.part()
    assert heard.news == ["followed", "lost"]
    joined.leave_out(late)
    assert heard.news == ["followed", "lost", "followed"]
    late.followed()
    late.lost()
    assert heard.is_followed, "it counts no more"
    joined.leave_out(one)
    assert not heard.is_followed


def test_changes_are_told_whoever_tells_them_and_a_refusal_too():
    heard = Heard()
    joined = JoinedFollower(heard)
    one, other = joined.part(), joined.part()
    one.changed("a")
    other.changed(None)
    one.refused()
    assert heard.news == ["a", None, "refused"]


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["followed", "lost", "answered"]), st.integers(1, 100))))
def test_never_more_is_believed_than_every_part_tells(steps: list[tuple[int, str, int]]):
    heard = Heard()
    joined = JoinedFollower(heard)
    parts = [joined.part() for _ in range(3)]
    for which, what, at in steps:
        part = parts[which]
        part.answered(float(at)) if what == "answered" else getattr(part, what)()
        assert heard.is_followed == all(each.is_followed for each in parts)
        if heard.is_followed:
            assert heard.told_until == min(each.told_until for each in parts)
