"""Sealed bytes open for the key, purpose and names they were sealed for, whole and unchanged, and for nothing else."""

from __future__ import annotations

import base64
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.session.sealing import MAX_SEALED, Keyring, Purpose, open_with, seal_with

KEY = bytes(range(32))
OTHER = bytes(range(1, 33))
NAMES = ("__Host-gateway", "https://apps.example.org")

purposes = st.sampled_from(Purpose)
plaintexts = st.binary(max_size=300)
names = st.lists(st.text(max_size=20), min_size=1, max_size=3).map(tuple)


def bytes_of(sealed: str) -> bytes:
    return base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))


def text_of(blob: bytes) -> str:
    return base64.urlsafe_b64encode(blob).rstrip(b"=").decode()


@given(purposes, plaintexts, names)
def test_what_was_sealed_opens(purpose, plaintext, bound_to):
    keyring = Keyring([KEY])
    sealed = keyring.seal(purpose, plaintext, bound_to=bound_to)
    assert keyring.open(purpose, sealed, bound_to=bound_to) == plaintext
    assert keyring.open(purpose, sealed.encode(), bound_to=bound_to) == plaintext
    assert len(bytes_of(sealed)) == len(plaintext) + 37
    value = seal_with(KEY, purpose, plaintext, bound_to=bound_to)
    assert open_with(KEY, purpose, value, bound_to=bound_to) == plaintext
    assert len(value) == len(plaintext) + 33


@given(plaintexts, st.data())
def test_any_changed_byte_is_refused(plaintext, data):
    keyring = Keyring([KEY])
    for sealed, opened in (
        (
            bytes_of(keyring.seal(Purpose.SESSION_COOKIE, plaintext, bound_to=NAMES)),
            lambda b: keyring.open(Purpose.SESSION_COOKIE, text_of(b), bound_to=NAMES),
        ),
        (seal_with(KEY, Purpose.IDENTITY, plaintext, bound_to="k"), lambda b: open_with(KEY, Purpose.IDENTITY, b, bound_to="k")),
    ):
        at = data.draw(st.integers(0, len(sealed) - 1))
        bits = data.draw(st.integers(1, 255))
        changed = bytearray(sealed)
        changed[at] ^= bits
        assert opened(bytes(changed)) is None


def test_every_single_character_of_a_cookie_counts():
    keyring = Keyring([KEY])
    sealed = keyring.seal(Purpose.SESSION_COOKIE, bytes(64), bound_to=NAMES)
    for at, character in enumerate(sealed):
        other = "A" if character != "A" else "B"
        assert keyring.open(Purpose.SESSION_COOKIE, sealed[:at] + other + sealed[at + 1 :], bound_to=NAMES) is None


@given(plaintexts, purposes, purposes, names, names)
def test_another_purpose_or_name_does_not_open(plaintext, purpose, other_purpose, bound_to, other_names):
    keyring = Keyring([KEY])
    same = purpose is other_purpose and bound_to == other_names
    sealed = keyring.seal(purpose, plaintext, bound_to=bound_to)
    assert (keyring.open(other_purpose, sealed, bound_to=other_names) == plaintext) is same
    value = seal_with(KEY, purpose, plaintext, bound_to=bound_to)
    assert (open_with(KEY, other_purpose, value, bound_to=other_names) == plaintext) is same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(("ab", "c"), ("a", "bc"), id="the border between two names moved"),
        pytest.param(("ab",), ("a", "b"), id="one name cut in two"),
        pytest.param(("a",), ("a", ""), id="an empty name added"),
        pytest.param(("a", "b"), ("b", "a"), id="names swapped"),
        pytest.param("gateway", "Gateway", id="another case"),
    ],
)
def test_lists_of_names_that_read_alike_are_different(one, other):
    keyring = Keyring([KEY])
    assert keyring.open(Purpose.LOGIN_COOKIE, keyring.seal(Purpose.LOGIN_COOKIE, b"x", bound_to=one), bound_to=other) is None


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda s: s[:-1], id="truncated by one"),
        pytest.param(lambda s: s[1:], id="first character gone"),
        pytest.param(lambda s: s + s, id="doubled"),
        pytest.param(lambda s: s[len(s) // 2 :] + s[: len(s) // 2], id="halves swapped"),
        pytest.param(lambda s: s + "=", id="padded"),
        pytest.param(lambda s: s + "A", id="one more character"),
        pytest.param(lambda s: s.replace(s[5], "\u00e9"), id="not ASCII"),
        pytest.param(lambda s: f'"{s}"', id="quoted"),
        pytest.param(lambda s: s + "\n", id="a line end"),
        pytest.param(lambda s: " " + s, id="a blank before"),
        pytest.param(lambda s: s[:10] + "%" + s[10:], id="a foreign character within"),
        pytest.param(lambda s: s + "A" * MAX_SEALED, id="longer than any cookie"),
        pytest.param(lambda _: "", id="empty"),
        pytest.param(lambda _: "AQ", id="a version and nothing else"),
    ],
)
def test_a_damaged_cookie_does_not_open(damage):
    keyring = Keyring([KEY])
    sealed = keyring.seal(Purpose.SESSION_COOKIE, os.urandom(64), bound_to=NAMES)
    assert keyring.open(Purpose.SESSION_COOKIE, damage(sealed), bound_to=NAMES) is None


def test_one_blob_has_one_spelling():
    keyring = Keyring([KEY])
    # 37 + 3 bytes: the last character carries bits that no byte uses.
    sealed = keyring.seal(Purpose.SESSION_COOKIE, b"abc", bound_to=NAMES)
    assert len(bytes_of(sealed)) % 3 == 1
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    opened = [c for c in alphabet if keyring.open(Purpose.SESSION_COOKIE, sealed[:-1] + c, bound_to=NAMES) is not None]
    assert opened == [sealed[-1]]
    standard = sealed.replace("-", "+").replace("_", "/")
    assert standard == sealed or keyring.open(Purpose.SESSION_COOKIE, standard, bound_to=NAMES) is None


@given(st.binary(max_size=200), purposes)
@settings(max_examples=300)
def test_noise_never_opens(noise, purpose):
    assert Keyring([KEY]).open(purpose, noise, bound_to=NAMES) is None
    assert Keyring([KEY]).open(purpose, text_of(noise), bound_to=NAMES) is None
    assert open_with(KEY, purpose, noise, bound_to="k") is None


def test_an_unknown_key_does_not_open():
    sealed = Keyring([KEY]).seal(Purpose.SESSION_COOKIE, b"x", bound_to=NAMES)
    assert Keyring([OTHER]).open(Purpose.SESSION_COOKIE, sealed, bound_to=NAMES) is None
    assert open_with(OTHER, Purpose.IDENTITY, seal_with(KEY, Purpose.IDENTITY, b"x", bound_to="k"), bound_to="k") is None


def test_values_of_the_store_and_cookies_are_not_each_other():
    keyring = Keyring([KEY])
    assert open_with(KEY, Purpose.IDENTITY, bytes_of(keyring.seal(Purpose.IDENTITY, b"x", bound_to="k")), bound_to="k") is None
    assert keyring.open(Purpose.IDENTITY, text_of(seal_with(KEY, Purpose.IDENTITY, b"x", bound_to="k")), bound_to="k") is None


def test_rotation_signs_nobody_out():
    keyring = Keyring([KEY])
    before = keyring.seal(Purpose.SESSION_COOKIE, b"x", bound_to=NAMES)
    keyring.replace([OTHER, KEY])
    after = keyring.seal(Purpose.SESSION_COOKIE, b"y", bound_to=NAMES)
    assert keyring.open(Purpose.SESSION_COOKIE, before, bound_to=NAMES) == b"x"
    assert Keyring([OTHER]).open(Purpose.SESSION_COOKIE, after, bound_to=NAMES) == b"y", "the newest key seals"
    assert Keyring([KEY, OTHER]).open(Purpose.SESSION_COOKIE, after, bound_to=NAMES) == b"y", "a replica with another order opens it"
    keyring.replace([OTHER])
    assert keyring.open(Purpose.SESSION_COOKIE, before, bound_to=NAMES) is None, "a removed key opens nothing"


def test_what_the_newest_key_sealed_is_known_from_the_rest():
    keyring = Keyring([OTHER, KEY])
    assert keyring.has_older
    assert keyring.ids == Keyring([OTHER]).ids + Keyring([KEY]).ids
    for key in (KEY, OTHER):
        assert keyring.is_newest(Keyring([key]).seal(Purpose.SESSION_COOKIE, b"x", bound_to=NAMES).encode()) is (key == OTHER)
    keyring.replace([OTHER])
    assert not keyring.has_older


def test_only_the_loss_of_a_key_is_told():
    told = []
    keyring = Keyring([KEY])
    keyring.on_removed(lambda: told.append(keyring.ids))
    keyring.replace([KEY])
    keyring.replace([OTHER, KEY])
    keyring.replace([KEY, OTHER])
    assert told == []
    keyring.replace([OTHER])
    assert told == [Keyring([OTHER]).ids]


@given(st.one_of(st.binary(max_size=40), st.text("AQab-_=%", max_size=12).map(str.encode)))
def test_what_names_no_key_is_not_under_the_newest(noise):
    assert not Keyring([KEY]).is_newest(noise)


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param([], id="none"),
        pytest.param([b"short"], id="too short"),
        pytest.param([bytes(33)], id="too long"),
        pytest.param([KEY, KEY], id="one twice"),
    ],
)
def test_a_keyring_of_doubtful_keys_is_refused_and_the_old_one_kept(keys):
    with pytest.raises(ValueError, match="key"):
        Keyring(keys)
    keyring = Keyring([KEY])
    sealed = keyring.seal(Purpose.SESSION_COOKIE, b"x", bound_to=NAMES)
    with pytest.raises(ValueError, match="key"):
        keyring.replace(keys)
    assert keyring.open(Purpose.SESSION_COOKIE, sealed, bound_to=NAMES) == b"x"


def test_the_same_plaintext_never_seals_to_the_same_text():
    keyring = Keyring([KEY])
    assert len({keyring.seal(Purpose.SESSION_COOKIE, b"x", bound_to=NAMES) for _ in range(1000)}) == 1000


def test_no_key_shows_in_a_repr():
    keyring = Keyring([KEY])
    assert KEY.hex() not in repr(keyring)
    assert repr(KEY)[2:-1] not in f"{keyring!r}{vars(keyring)!r}"
