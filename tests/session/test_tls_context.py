"""The files for TLS as they are now, or as they last could be used: never both, never without verifying."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from gateway.session.store.redis_options import RedisOptions
from gateway.session.store.redis_tls import TlsContext, tls_context
from tests.support.certificates import make_certificates

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def options(tmp_path: Path) -> RedisOptions:
    files = make_certificates(tmp_path)
    return RedisOptions(ca_file=str(files.authority), certificate=str(files.client_files[0]), key=str(files.client_files[1]))


def test_the_named_authorities_stand_in_the_place_of_the_systems(options: RedisOptions):
    context = tls_context(options)
    assert [dict(*one["subject"])["commonName"] for one in context.get_ca_certs()] == ["authority"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert tls_context(RedisOptions()).check_hostname


def test_files_are_read_again_when_they_changed(options: RedisOptions, tmp_path: Path):
    context = TlsContext(options)
    first = context.current()
    assert context.current() is first
    make_certificates(tmp_path)
    assert context.current() is not first


def test_files_that_cannot_be_used_leave_what_was(options: RedisOptions, tmp_path: Path):
    context = TlsContext(options)
    first = context.current()
    (tmp_path / "client.key").write_text("nonsense")
    with capture_logs() as logs:
        assert context.current() is first
        (tmp_path / "client.key").unlink()
        assert context.current() is first
    assert [entry["event"] for entry in logs] == ["store.tls_files_kept"] * 2


def test_files_that_never_could_be_used_are_an_error(options: RedisOptions, tmp_path: Path):
    (tmp_path / "authority.pem").unlink()
    with pytest.raises(OSError, match="No such file"):
        TlsContext(options).current()
