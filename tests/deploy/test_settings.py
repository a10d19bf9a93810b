"""Every gateway configuration that is deployed is one that the gateway accepts."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from gateway.config.compiling import load_settings

DEPLOY = Path(__file__).parents[2] / "deploy"
KEY = hashlib.sha256(b"the session key of this test").digest()
SECRETS = {
    "client_secret": "the-client-secret-of-this-test",
    "session_key": base64.urlsafe_b64encode(KEY).rstrip(b"=").decode(),
    "store_url": "rediss://user:password@redis.example.org:6379/0",
}


@pytest.mark.parametrize(
    ("path", "warnings"),
    [
        pytest.param(DEPLOY / "kubernetes" / "sidecar" / "gateway.yaml", ("admin.listen",), id="sidecar: probes come from beyond the pod"),
        pytest.param(DEPLOY / "kubernetes" / "ingress" / "gateway.yaml", ("admin.listen",), id="ingress: probes come from beyond the pod"),
        pytest.param(DEPLOY / "compose" / "gateway.yaml", ("session.store",), id="compose: no TLS to the store, on a network of its own"),
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
    assert [str(warning).split(" ")[1].rstrip(":") for warning in said] == list(warnings)
    assert settings.provider.client_secret.reveal() == SECRETS["client_secret"]
    assert settings.session.keys == (KEY,)
