"""Every gateway configuration that is deployed is one that the gateway accepts."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from gateway.config.compiling import load_settings

DEPLOY = Path(__file__).parents[2] / "deploy"
SECRETS = {
    "client_secret": "the-client-secret-of-this-test",
    "session_key": base64.urlsafe_b64encode(bytes(range(32))).rstrip(b"=").decode(),
    "store_url": "rediss://user:password@redis.example.org:6379/0",
}


@pytest.mark.parametrize(
    ("path", "warnings"),
    [
        pytest.param(DEPLOY / "kubernetes" / "sidecar" / "gateway.yaml", 0, id="kubernetes, sidecar"),
        pytest.param(DEPLOY / "kubernetes" / "ingress" / "gateway.yaml", 0, id="kubernetes, ingress"),
        pytest.param(DEPLOY / "compose" / "gateway.yaml", 1, id="compose: the store is reached without TLS, on a network of its own"),
    ],
)
def test_a_deployed_configuration_is_accepted(tmp_path, path, warnings):
    text = path.read_text()
    for name, value in SECRETS.items():
        (tmp_path / name).write_text(value + "\n")
        (tmp_path / name).chmod(0o440)
    for folder in ("/run/secrets/gateway", "/run/secrets"):
        text = text.replace(f"{folder}/", f"{tmp_path}/")
    (tmp_path / "gateway.yaml").write_text(text)
    settings, said = load_settings(tmp_path / "gateway.yaml", environ={})
    assert len(said) == warnings, [str(warning) for warning in said]
    assert settings.provider.client_secret.reveal() == SECRETS["client_secret"]
    assert settings.session.keys == (bytes(range(32)),)
