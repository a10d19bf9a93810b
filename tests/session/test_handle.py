"""A session's cookie is sealed anew where an older key sealed it: to the same session, and for nobody else's."""

from __future__ import annotations

import secrets

import pytest

from gateway.session.cookies import CookieNames
from gateway.session.handle import new_handle, open_handle, sealed_anew
from gateway.session.sealing import Keyring

NAMES = CookieNames.for_origin("https://apps.example.org")
ELSEWHERE = CookieNames.for_origin("https://other.example.org")
OLD, NEW, GONE = (bytes(range(first, first + 32)) for first in (0, 40, 80))


def cookie_under(key: bytes, names: CookieNames = NAMES):
    return new_handle(Keyring([key]), names, secrets.token_bytes)


def line(*values: str) -> list[bytes]:
    return ["; ".join(f"{NAMES.session}={value}" for value in values).encode()]


def test_a_cookie_under_an_older_key_is_given_out_under_the_newest_for_the_same_session():
    keyring = Keyring([NEW, OLD])
    cookie, handle = cookie_under(OLD)
    again = sealed_anew(keyring, line(cookie), NAMES, handle)
    assert again is not None
    assert again != cookie
    assert keyring.is_newest(again.encode())
    for value, ring in ((cookie, keyring), (again, keyring), (again, Keyring([NEW])), (again, Keyring([OLD, NEW]))):
        assert open_handle(ring, value.encode(), NAMES) == handle
    assert open_handle(Keyring([OLD]), again.encode(), NAMES) is None
    assert sealed_anew(keyring, line(again), NAMES, handle) is None, "and not once more"
    assert open_handle(keyring, again.encode(), ELSEWHERE) is None


@pytest.mark.parametrize(
    "beside",
    [
        pytest.param(("x",), id="what opens nothing"),
        pytest.param((cookie_under(NEW)[0],), id="another session under the newest key"),
        pytest.param((cookie_under(OLD)[0], "", "A" * 135), id="another session under the old key, and noise"),
        pytest.param((cookie_under(GONE)[0],), id="a key that is gone"),
    ],
)
def test_what_comes_beside_it_is_neither_given_out_nor_in_the_way(beside):
    keyring = Keyring([NEW, OLD])
    cookie, handle = cookie_under(OLD)
    for values in ((cookie, *beside), (*beside, cookie)):
        again = sealed_anew(keyring, line(*values), NAMES, handle)
        assert again is not None
        assert open_handle(keyring, again.encode(), NAMES) == handle


def test_nothing_is_given_out_without_need_or_to_whom_it_is_not():
    keyring = Keyring([NEW, OLD])
    cookie, handle = cookie_under(OLD)
    again = sealed_anew(keyring, line(cookie), NAMES, handle)
    assert again is not None
    stranger = cookie_under(OLD)[1]
    for headers, of in (
        (line(cookie), stranger),
        (line(cookie, again), handle),
        (line(again, cookie), handle),
        (line("x"), handle),
        (line(""), handle),
        ([], handle),
        ([b"other=1"], handle),
        (line(cookie_under(GONE)[0]), handle),
        (line(cookie_under(OLD, ELSEWHERE)[0]), handle),
    ):
        assert sealed_anew(keyring, headers, NAMES, of) is None
    assert sealed_anew(Keyring([OLD, NEW]), line(cookie), NAMES, handle) is None, "it is under the newest"
    assert sealed_anew(Keyring([OLD]), line(cookie), NAMES, handle) is None
