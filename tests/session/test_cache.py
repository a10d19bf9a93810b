"""What is kept in the process, for how long, and what makes it go: the cache alone, told by a test instead of a store."""

from __future__ import annotations

import pytest

from gateway.identity import Identity
from gateway.oidc.token_response import Tokens
from gateway.session.cache import SILENCE, SessionCache
from gateway.session.handle import Handle
from gateway.session.record import Session
from gateway.session.sessions import Found

GRACE = 30.0


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def a_session(key: str) -> Found:
    identity = Identity(issuer="https://id.example.org", subject=key, claims={"sub": key})
    session = Session(identity=identity, provider="main", created=0, expires=10_000, auth_time=None, sid=None)
    return Found(session=session, handle=Handle(key, bytes(32)), last_seen=0.0, idle_expires=10_000.0)


def cookie(key: str) -> tuple[str, str, bytes]:
    return ("https://apps.example.org", "__Host-gateway", key.encode())


def keep(cache: SessionCache, key: str, *, octets: int = 100) -> None:
    reading = cache.begin_reading(key)
    cache.keep(cookie(key), a_session(key), octets=octets, reading=reading)
    cache.end_reading(key, reading)


def knows(cache: SessionCache, key: str) -> bool:
    return cache.get(cookie(key)) is not None


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def cache(time: Time) -> SessionCache:
    cache = SessionCache(outage_grace=GRACE, monotonic=time, max_entries=3, max_octets=1000)
    cache.followed()
    cache.answered(time.now)
    return cache


def test_nothing_is_kept_while_no_changes_are_told(time: Time):
    cache = SessionCache(outage_grace=GRACE, monotonic=time)
    keep(cache, "alice")
    assert len(cache) == 0
    cache.followed()
    cache.answered(time.now)
    cache.lost()
    keep(cache, "alice")
    assert len(cache) == 0


def test_name_origin_and_value_all_have_to_be_the_same(cache: SessionCache):
    keep(cache, "alice")
    origin, name, value = cookie("alice")
    for other in (("http://apps.example.org", name, value), (origin, "gateway", value), (origin, name, value + b"A")):
        assert cache.get(other) is None
    assert knows(cache, "alice")


def test_the_least_recently_used_goes_first(cache: SessionCache):
    for key in ("a", "b", "c"):
        keep(cache, key)
    assert knows(cache, "a")
    keep(cache, "d")
    assert [knows(cache, key) for key in "abcd"] == [True, False, True, True]
    assert "b" not in cache
    assert len(cache) == 3


def test_octets_are_bounded_too(cache: SessionCache):
    keep(cache, "a", octets=600)
    keep(cache, "b", octets=600)
    assert [knows(cache, key) for key in "ab"] == [False, True]
    keep(cache, "c", octets=1001)
    assert [knows(cache, key) for key in "bc"] == [True, False]
    keep(cache, "b", octets=400)
    keep(cache, "d", octets=600)
    assert [knows(cache, key) for key in "bd"] == [True, True], "a copy that is replaced counts once"


@pytest.mark.parametrize("what", [pytest.param("alice", id="of this session"), pytest.param(None, id="of any session")])
def test_a_change_during_a_read_wins(cache: SessionCache, what: str | None):
    reading = cache.begin_reading("alice")
    cache.changed(what)
    cache.keep(cookie("alice"), a_session("alice"), octets=1, reading=reading)
    assert not knows(cache, "alice")
    cache.end_reading("alice", reading)
    keep(cache, "alice")
    assert knows(cache, "alice")


def test_a_change_of_another_session_hinders_nothing(cache: SessionCache):
    reading = cache.begin_reading("alice")
    cache.changed("bob")
    cache.keep(cookie("alice"), a_session("alice"), octets=1, reading=reading)
    assert knows(cache, "alice")


def test_of_a_read_from_before_and_one_from_after_a_change_the_later_is_kept(cache: SessionCache):
    before = cache.begin_reading("alice")
    cache.changed("alice")
    after = cache.begin_reading("alice")
    cache.keep(cookie("alice"), a_session("alice"), octets=1, reading=before)
    cache.end_reading("alice", before)
    assert not knows(cache, "alice")
    cache.keep(cookie("alice"), a_session("alice"), octets=1, reading=after)
    assert knows(cache, "alice")


@pytest.mark.parametrize("end", ["forget", "clear", "lost", "refused", "followed"])
def test_no_read_that_is_under_way_brings_back_what_went(cache: SessionCache, end: str):
    reading = cache.begin_reading("alice")
    getattr(cache, end)(*(["alice"] if end == "forget" else []))
    cache.keep(cookie("alice"), a_session("alice"), octets=1, reading=reading)
    assert len(cache) == 0


def test_a_read_that_failed_leaves_nothing_behind(cache: SessionCache):
    for key in ("alice", "bob"):
        cache.end_reading(key, cache.begin_reading(key))
    assert not cache._reading


@pytest.mark.parametrize(
    ("grace", "after_loss", "in_silence"),
    [
        pytest.param(30.0, 30.0, 30.0, id="the default"),
        pytest.param(1.0, 1.0, SILENCE, id="less than the silence that counts as an outage"),
        pytest.param(0.0, 0.0, SILENCE, id="none"),
    ],
)
def test_an_outage_is_bridged_from_the_last_answer_on_and_no_longer(time: Time, grace: float, after_loss: float, in_silence: float):
    for lost, until in ((True, after_loss), (False, in_silence)):
        time.now = 1000.0
        cache = SessionCache(outage_grace=grace, monotonic=time)
        cache.followed()
        cache.answered(1000.0)
        keep(cache, "alice")
        if lost:
            cache.lost()
        time.now = 1000.0 + max(0.0, until - 0.001)
        assert knows(cache, "alice") is (until > 0)
        time.now = 1000.0 + until
        assert not knows(cache, "alice")
        cache.followed()
        cache.answered(time.now)
        assert not knows(cache, "alice"), "what changed in between was told to nobody"
        keep(cache, "alice")
        assert knows(cache, "alice")


def test_a_store_that_answers_and_tells_nothing_ends_the_grace(cache: SessionCache):
    keep(cache, "alice")
    cache.refused()
    assert not knows(cache, "alice")


def test_watchers_hear_of_changes_and_of_gaps(cache: SessionCache):
    heard: list[str | None] = []
    cache.watch(heard.append)
    cache.changed("alice")
    cache.changed(None)
    cache.lost()
    cache.followed()
    assert heard == ["alice", None, None]
    cache.forget("alice")
    assert heard == ["alice", None, None], "what we did ourselves is no news"


def test_a_session_is_watched_while_it_is_kept_and_changes_are_told(cache: SessionCache):
    keep(cache, "alice")
    assert "alice" in cache
    assert "bob" not in cache
    cache.lost()
    assert "alice" not in cache


def test_use_replaces_the_copy_and_never_makes_one(cache: SessionCache):
    keep(cache, "alice")
    used = a_session("alice")
    cache.update(used)
    cache.update(a_session("bob"))
    entry = cache.get(cookie("alice"))
    assert entry is not None
    assert entry.found is used
    assert len(cache) == 1


TOKENS = Tokens(access_token="at", token_type="Bearer", expires_at=None, refresh_token=None, id_token="it", scope=None)


def keep_tokens(cache: SessionCache, key: str, *, octets: int = 100) -> None:
    reading = cache.begin_reading(key)
    cache.keep_tokens(key, TOKENS, octets=octets, reading=reading)
    cache.end_reading(key, reading)


def test_tokens_go_with_their_session(cache: SessionCache):
    keep(cache, "alice")
    assert cache.tokens("alice") is None
    keep_tokens(cache, "alice")
    assert cache.tokens("alice") is TOKENS
    cache.changed("alice")
    keep(cache, "alice")
    assert cache.tokens("alice") is None, "read again, like the session"


def test_tokens_of_a_session_that_is_not_kept_are_not_kept(cache: SessionCache):
    keep_tokens(cache, "alice")
    keep(cache, "alice")
    assert cache.tokens("alice") is None


def test_a_change_wins_over_tokens_that_were_being_read(cache: SessionCache):
    keep(cache, "alice")
    reading = cache.begin_reading("alice")
    cache.changed("alice")
    keep(cache, "alice")
    cache.keep_tokens("alice", TOKENS, octets=1, reading=reading)
    assert cache.tokens("alice") is None


def test_tokens_serve_no_longer_than_their_session(cache: SessionCache, time: Time):
    keep(cache, "alice")
    keep_tokens(cache, "alice")
    time.now += GRACE
    assert cache.tokens("alice") is None
    assert not knows(cache, "alice")


def test_tokens_count_for_the_size_of_what_is_kept(cache: SessionCache):
    for key in ("alice", "bob"):
        keep(cache, key, octets=300)
    keep_tokens(cache, "bob", octets=500)
    assert not knows(cache, "alice")
    assert cache.tokens("bob") is TOKENS
    keep(cache, "carol", octets=300)
    assert not knows(cache, "bob")
    assert knows(cache, "carol")
