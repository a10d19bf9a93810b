"""Logins in flight: a cookie of at most 1 KiB each, at most five, for one browser, one origin, one state and ten minutes."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import LoginExpired
from gateway.session.cookies import CookieNames
from gateway.session.login import (
    CLOCK_SKEW,
    MAX_LOGIN_COOKIE,
    MAX_LOGINS,
    begin_login,
    login_cookie_name,
    open_login,
    seal_login,
    surplus_logins,
)
from gateway.session.sealing import Keyring, Purpose

KEYRING = Keyring([bytes(range(32))])
NAMES = CookieNames.for_origin("https://apps.example.org")
NOW = 1_700_000_000
LIFETIME = 600.0


def login_of(number: int = 0, *, started: float = NOW, return_to: str = "/deep?x=1", replaces: str | None = None):
    return begin_login(number.to_bytes(32, "big"), provider="main", return_to=return_to, now=started, replaces=replaces)


def header_of(*logins, names: CookieNames = NAMES, keyring: Keyring = KEYRING) -> list[bytes]:
    pairs = [f"{login_cookie_name(names, login.state)}={seal_login(keyring, login, names)}" for login in logins]
    return ["; ".join(pairs).encode()]


def opened(cookies: list[bytes], state: str, *, now: float = NOW, names: CookieNames = NAMES, keyring: Keyring = KEYRING):
    return open_login(keyring, cookies, names, state, now=now, lifetime=LIFETIME)


targets = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=2100).map("/".__add__)
secrets_ = st.binary(min_size=32, max_size=32)


@given(secrets_, targets, st.one_of(st.none(), st.just("h" * 43)), st.integers(0, 2**33), st.text(max_size=40))
def test_what_was_sealed_opens_within_its_size(secret, return_to, replaces, started, provider):
    login = begin_login(secret, provider=provider.encode(errors="ignore").decode(), return_to=return_to, now=started, replaces=replaces)
    (cookies,) = header_of(login)
    assert len(cookies) <= MAX_LOGIN_COOKIE
    again = opened([cookies], login.state, now=started)
    assert again in (login, replace(login, return_to="/"))
    if len(return_to) <= 400:
        assert again.return_to == return_to or '"' in return_to or "\\" in return_to


@pytest.mark.parametrize("names", [NAMES, CookieNames.for_origin("http://127.0.0.1:8080", suffix="-8080")], ids=["https", "http"])
def test_a_longer_target_becomes_the_root(names):
    fits = max(
        n
        for n in range(2048)
        if opened(header_of(login_of(return_to="/" + "a" * n), names=names), login_of().state, names=names).return_to != "/"
    )
    assert fits > 480
    kept = header_of(login_of(return_to="/" + "a" * fits), names=names)
    assert len(kept[0]) <= MAX_LOGIN_COOKIE
    assert opened(header_of(login_of(return_to="/" + "a" * (fits + 1)), names=names), login_of().state, names=names).return_to == "/"


def test_a_provider_id_that_leaves_no_room_is_refused():
    with pytest.raises(ValueError, match="too long"):
        seal_login(KEYRING, replace(login_of(), provider="p" * 1000), NAMES)


@given(secrets_, secrets_)
def test_state_nonce_and_verifier_are_long_and_all_different(one, other):
    values = [
        value
        for secret in {one, other}
        for login in [begin_login(secret, provider="p", return_to="/", now=0)]
        for value in (login.state, login.nonce, login.code_verifier)
    ]
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", value) for value in values)
    assert len(set(values)) == len(values)


def test_verifiers_are_unique_over_many_logins():
    assert len({login_of(number).code_verifier for number in range(10_000)}) == 10_000


def test_the_secret_and_what_derives_from_it_show_in_no_repr():
    login = begin_login(b"\xab" * 32, provider="main", return_to="/", now=0)
    assert "xab" not in repr(login)
    assert login.code_verifier not in repr(login)
    assert login.code_verifier not in header_of(login)[0].decode()


@pytest.mark.parametrize(
    ("now", "lives"),
    [
        pytest.param(NOW, True, id="at once"),
        pytest.param(NOW + LIFETIME - 0.001, True, id="just before the end"),
        pytest.param(NOW + LIFETIME, False, id="at the end"),
        pytest.param(NOW + LIFETIME + 60, False, id="eleven minutes"),
        pytest.param(NOW - CLOCK_SKEW, True, id="begun by a clock that is a minute ahead"),
        pytest.param(NOW - CLOCK_SKEW - 1, False, id="begun in the future"),
    ],
)
def test_a_login_lives_ten_minutes(now, lives):
    login = login_of()
    if lives:
        assert opened(header_of(login), login.state, now=now) == login
    else:
        with pytest.raises(LoginExpired):
            opened(header_of(login), login.state, now=now)


STATE = login_of().state


@pytest.mark.parametrize(
    "state",
    [
        pytest.param("", id="empty"),
        pytest.param("x" * 10_240, id="10 KiB"),
        pytest.param(STATE.swapcase(), id="another case"),
        pytest.param(("A" if STATE[0] != "A" else "B") + STATE[1:], id="one character off"),
        pytest.param(STATE + " ", id="a trailing blank"),
        pytest.param(STATE + "\n", id="a trailing line end"),
        pytest.param(STATE + "=", id="padded"),
        pytest.param(STATE.replace(STATE[0], "%41"), id="percent-encoded"),
        pytest.param("\ud800" * 43, id="half a surrogate pair"),
        pytest.param(login_of(1).state, id="of another login"),
    ],
)
def test_another_state_opens_nothing(state):
    with pytest.raises(LoginExpired):
        opened(header_of(login_of()), state)


def test_another_browser_has_no_login():
    with pytest.raises(LoginExpired, match="no login cookie"):
        opened([], STATE)
    with pytest.raises(LoginExpired):
        opened(header_of(login_of(1), login_of(2)), STATE)


def test_a_login_cookie_under_the_name_of_another_login_opens_nothing():
    stolen = seal_login(KEYRING, login_of(1), NAMES)
    with pytest.raises(LoginExpired):
        opened([f"{login_cookie_name(NAMES, STATE)}={stolen}".encode()], STATE)


def test_a_login_of_another_origin_key_or_purpose_opens_nothing():
    elsewhere = CookieNames.for_origin("https://other.example.org")
    with pytest.raises(LoginExpired):
        opened(header_of(login_of(), names=elsewhere), STATE)
    with pytest.raises(LoginExpired):
        opened(header_of(login_of(), keyring=Keyring([bytes(32)])), STATE)
    name = login_cookie_name(NAMES, STATE)
    session_cookie = KEYRING.seal(Purpose.SESSION_COOKIE, b"[]", bound_to=NAMES.binding(name))
    with pytest.raises(LoginExpired):
        opened([f"{name}={session_cookie}".encode()], STATE)


def test_a_login_opens_after_rotation_while_its_key_is_listed():
    old, new = bytes(range(32)), bytes(32)
    assert opened(header_of(login_of()), STATE, keyring=Keyring([new, old])) == login_of()


def test_a_planted_cookie_of_the_same_name_does_not_hide_the_login():
    name = login_cookie_name(NAMES, STATE).encode()
    (good,) = header_of(login_of())
    assert opened([name + b"=evil; " + good], STATE) == login_of()
    assert opened([good, name + b"=evil"], STATE) == login_of()


def test_five_logins_stay_and_the_oldest_goes():
    logins = [login_of(number, started=NOW + number) for number in range(MAX_LOGINS)]
    names = [login_cookie_name(NAMES, login.state) for login in logins]
    cookies = header_of(*reversed(logins))
    assert surplus_logins(cookies, NAMES, KEYRING, keep=MAX_LOGINS) == []
    assert surplus_logins(cookies, NAMES, KEYRING, keep=MAX_LOGINS - 1) == names[:1]
    assert surplus_logins(cookies, NAMES, KEYRING, keep=0) == names


def test_fifty_starts_in_one_browser_keep_five():
    jar: dict[str, str] = {}
    for number in range(50):
        cookies = ["; ".join(f"{name}={value}" for name, value in jar.items()).encode()] if jar else []
        for name in surplus_logins(cookies, NAMES, KEYRING, keep=MAX_LOGINS - 1):
            del jar[name]
        login = login_of(number, started=NOW + number, return_to="/" + "a" * 400)
        jar[login_cookie_name(NAMES, login.state)] = seal_login(KEYRING, login, NAMES)
    assert set(jar) == {login_cookie_name(NAMES, login_of(number).state) for number in range(45, 50)}
    assert sum(len(name) + len(value) + 3 for name, value in jar.items()) < 8192


def test_unreadable_logins_go_first_and_foreign_names_are_left_alone():
    (good,) = header_of(login_of())
    junk = f"{NAMES.login_prefix}{'j' * 16}"
    foreign = f"{NAMES.login_prefix}short=x; {NAMES.login_prefix}{'ö' * 16}=x; __host-gateway-login-{'j' * 16}=x; other=1".encode()
    cookies = [good + b"; " + junk.encode() + b"=evil; " + foreign]
    assert surplus_logins(cookies, NAMES, KEYRING, keep=1) == [junk]
    assert surplus_logins(cookies, NAMES, KEYRING, keep=0) == [junk, login_cookie_name(NAMES, STATE)]


def test_a_planted_jar_does_not_become_a_large_answer():
    jar = ["; ".join(f"{NAMES.login_prefix}{number:016d}=x" for number in range(200)).encode()]
    assert len(surplus_logins(jar, NAMES, KEYRING, keep=4)) == 16


class Counting(Keyring):
    """A keyring that knows how often it was asked to open something."""

    asked = 0

    def open(self, purpose, sealed, *, bound_to):
        self.asked += 1
        return super().open(purpose, sealed, bound_to=bound_to)


@pytest.mark.parametrize("pairs", [1500, 17, 16, 3])
def test_a_planted_jar_does_not_become_work(pairs: int):
    keyring = Counting([bytes(range(32))])
    jar = ["; ".join(f"{NAMES.login_prefix}{number:016d}=x" for number in range(pairs)).encode()]
    surplus_logins(jar, NAMES, keyring, keep=4)
    assert keyring.asked == min(pairs, 16)


def test_one_name_many_times_does_not_become_work():
    keyring = Counting([bytes(range(32))])
    surplus_logins(["; ".join([f"{NAMES.login_prefix}{'j' * 16}=x"] * 1000).encode()], NAMES, keyring, keep=4)
    assert keyring.asked == 16


def test_behind_a_planted_jar_the_unread_go_before_the_logins_that_open():
    (good,) = header_of(login_of())
    jar = [good + b"; " + "; ".join(f"{NAMES.login_prefix}{number:016d}=x" for number in range(40)).encode()]
    surplus = surplus_logins(jar, NAMES, KEYRING, keep=4)
    assert len(surplus) == 16
    assert login_cookie_name(NAMES, STATE) not in surplus


def test_a_secret_of_another_length_is_refused():
    with pytest.raises(ValueError, match="32 bytes"):
        begin_login(b"short", provider="main", return_to="/", now=0)


def test_the_cookie_is_named_by_a_hash_of_state():
    login = login_of()
    assert login_cookie_name(NAMES, login.state) == f"__Host-gateway-login-{login.cookie_suffix}"
    assert re.fullmatch(r"[A-Za-z0-9_-]{16}", login.cookie_suffix)
    assert login.cookie_suffix not in login.state


def test_a_value_longer_than_any_of_ours_is_not_looked_at():
    name = login_cookie_name(NAMES, STATE)
    with pytest.raises(LoginExpired):
        opened([f"{name}={'A' * 2000}".encode()], STATE)
