"""A secret is what its source holds, without the line end that editors add; who else may read it is worth a warning."""

from __future__ import annotations

import secrets
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.compiling import load_settings
from gateway.config.secrets import session_key
from tests.support.config_files import (
    ADMIN_LISTEN,
    CLIENT_SECRET,
    ENVIRON,
    KEY,
    KEYS,
    OTHER_KEY,
    STORE,
    base64url,
    damaged,
    write_secret_files,
)


def load(folder, changes):
    write_secret_files(folder)
    (folder / "gateway.yaml").write_text(damaged(changes))
    return load_settings(folder / "gateway.yaml", environ=ENVIRON)


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        pytest.param(b"s3cret", "s3cret", id="without a line end"),
        pytest.param(b"s3cret\n", "s3cret", id="with a line end"),
        pytest.param(b"s3cret\r\n", "s3cret", id="with a Windows line end"),
        pytest.param(b" s3cret ", " s3cret ", id="spaces belong to it"),
        pytest.param("schlüssel%+:/".encode(), "schlüssel%+:/", id="characters that have to be encoded later"),
    ],
)
def test_a_file_holds_the_secret_and_at_most_a_line_end(tmp_path, content, secret):
    (tmp_path / "client_secret").write_bytes(content)
    settings, _ = load(tmp_path, {CLIENT_SECRET: "    client_secret: {file: client_secret}\n"})
    assert settings.provider.client_secret.reveal() == secret


def test_a_relative_path_starts_from_the_configuration_and_an_absolute_one_from_the_root(tmp_path):
    relative, _ = load(tmp_path, {CLIENT_SECRET: "    client_secret: {file: ./secret}\n"})
    (tmp_path / "elsewhere").mkdir()
    absolute, _ = load(tmp_path / "elsewhere", {CLIENT_SECRET: f"    client_secret: {{file: {tmp_path}/secret}}\n"})
    assert relative.provider.client_secret == absolute.provider.client_secret


@pytest.mark.parametrize(
    ("mode", "warned"),
    [
        pytest.param(0o600, False, id="its owner alone"),
        pytest.param(0o640, False, id="a group"),
        pytest.param(0o644, True, id="everybody"),
        pytest.param(0o604, True, id="everybody but the group"),
    ],
)
def test_a_file_that_every_user_may_read_is_a_warning(tmp_path, mode, warned):
    (tmp_path / "client_secret").write_text("s3cret")
    (tmp_path / "client_secret").chmod(mode)
    _, warnings = load(tmp_path, {CLIENT_SECRET: "    client_secret: {file: client_secret}\n"})
    assert [str(warning).partition(" ")[2] for warning in warnings] == warned * [
        "providers[0].client_secret: every user of this machine may read the file; take that right away (chmod o-r)"
    ]


def test_the_admin_token_and_the_store_come_from_secrets_as_well(tmp_path):
    (tmp_path / "token").write_text("0123456789abcdef\n")
    (tmp_path / "token").chmod(0o600)
    settings, warnings = load(
        tmp_path, {ADMIN_LISTEN: ADMIN_LISTEN + "  token: {file: token}\n", STORE: "  store: {env: STORE_IN_CLEAR}\n"}
    )
    assert settings.admin.token is not None
    assert settings.admin.token.reveal() == "0123456789abcdef"
    assert settings.session.store.reveal() == ENVIRON["STORE_IN_CLEAR"]
    assert [str(warning).partition(" ")[2].partition(":")[0] for warning in warnings] == ["session.store"]


def test_keys_keep_their_order_and_padding_does_not_matter(tmp_path):
    settings, _ = load(tmp_path, {KEYS: "  keys: [{env: OTHER_KEY}, {env: PADDED_KEY}]\n"})
    assert settings.session.keys == (OTHER_KEY, KEY)


def test_no_setting_prints_a_secret(tmp_path):
    settings, warnings = load(tmp_path, {STORE: "  store: {env: STORE_IN_CLEAR}\n"})
    printed = repr(settings.provider) + repr(settings.session.store) + repr(settings.admin) + "".join(map(str, warnings))
    assert not any(secret in printed for secret in ("hunter2", ENVIRON["CLIENT_SECRET"]))


def test_random_keys_are_accepted():
    for key in [secrets.token_bytes(32) for _ in range(1000)]:
        assert session_key(base64url(key)) == session_key(key) == key


@given(st.binary(max_size=40), st.text(max_size=50))
def test_a_key_is_32_bytes_or_refused(data, text):
    for written in (data, text):
        with suppress(ValueError):
            assert len(session_key(written)) == 32


@given(st.binary(min_size=1, max_size=16).map(lambda part: (part * 32)[:32]))
def test_a_key_made_of_repetition_is_refused(key):
    with pytest.raises(ValueError, match="not a random key"):
        session_key(base64url(key))
