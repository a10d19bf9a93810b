"""A valid configuration to damage, the secrets that it points at, and a reader that gives the faults back."""

from __future__ import annotations

import base64
import hashlib
import os
from typing import TYPE_CHECKING

from gateway.config.compiling import load_settings
from gateway.errors import ConfigRefused

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LISTEN = "  listen: 127.0.0.1:8080\n"
PUBLIC_URL = "  public_url: https://apps.example.org\n"
ADMIN = "admin:\n"
ADMIN_LISTEN = "  listen: 127.0.0.1:9090\n"
ID = "  - id: main\n"
ISSUER = "    issuer: https://id.example.org\n"
CLIENT_ID = "    client_id: gateway\n"
CLIENT_SECRET = "    client_secret: {env: CLIENT_SECRET}\n"
SESSION = "session:\n"
STORE = "  store: memory\n"
KEYS = "  keys: [{env: SESSION_KEY}]\n"
ROUTES = "routes:\n"
PUBLIC_ROUTE = "  - path: /public/\n    upstream: http://public:3000\n    access: public\n"
ROOT_PATH = "  - path: /\n"
UPSTREAM = "    upstream: http://app:3000\n"
ACCESS = "    access: signed_in\n"

VALID = (
    "server:\n"  # line 1
    + LISTEN
    + PUBLIC_URL  # 3
    + ADMIN
    + ADMIN_LISTEN  # 5
    + "providers:\n"
    + ID  # 7
    + ISSUER
    + CLIENT_ID  # 9
    + CLIENT_SECRET
    + SESSION  # 11
    + STORE
    + KEYS  # 13
    + ROUTES
    + PUBLIC_ROUTE  # 15 to 17
    + ROOT_PATH
    + UPSTREAM  # 19
    + ACCESS
)
"""The smallest configuration in which every section is written."""

KEY = hashlib.sha256(b"a session key of the tests").digest()
OTHER_KEY = hashlib.sha256(b"another session key of the tests").digest()


def base64url(data: bytes) -> str:
    """Without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


ENVIRON = {
    "CLIENT_SECRET": "the client's secret",
    "SESSION_KEY": base64url(KEY),
    "OTHER_KEY": base64url(OTHER_KEY),
    "PADDED_KEY": base64url(KEY) + "=",
    "HEX_KEY": KEY.hex(),
    "ZERO_KEY": base64url(bytes(32)),
    "COUNTING_KEY": base64url(bytes(range(32))),
    "TEXT_KEY": base64url(b"correct horse battery staple, OK"),
    "TWICE_KEY": base64url(KEY[:16] * 2),
    # The last of 43 characters carries two bits that belong to no byte.
    "UNCANONICAL_KEY": base64url(KEY)[:-1] + chr(ord(base64url(KEY)[-1]) + 1),
    "EMPTY": " ",
    "TWO_LINES": "hunter2\nhunter2",
    "SHORT": "hunter2",
    "LONG": "hunter2" * 1000,
    "STORE_WITH_OPTIONS": "rediss://:hunter2@redis:6379/0?ssl_cert_reqs=none",
    "STORE_IN_CLEAR": "redis://:hunter2@redis:6379/0",
}
"""``hunter2`` is the secret that no output may show."""


def damaged(changes: Mapping[str, str]) -> str:
    """The valid configuration with each line of ``changes`` written otherwise."""
    text = VALID
    for line, otherwise in changes.items():
        assert text.count(line) == 1, f"not one line of the valid configuration: {line!r}"
        text = text.replace(line, otherwise)
    return text


def write_secret_files(folder: Path) -> None:
    """Files that a secret may come from, and some that it may not."""
    (folder / "secret").write_text("from a file\n")
    (folder / "secret").chmod(0o600)
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "empty").write_text("\n")
    (folder / "binary").write_bytes(b"\xff\xfe")
    (folder / "large").write_text("a" * 70_000)


def faults_of(text: str | bytes, folder: Path) -> list[str]:
    """What is wrong with a configuration in ``folder``, each as ``line:column key.path: text``; empty when it is accepted."""
    file = folder / "gateway.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        load_settings(file, environ=ENVIRON)
    except ConfigRefused as refused:
        return [fault.removeprefix(f"{file}").removeprefix(":").strip() for fault in refused.faults]
    return []
