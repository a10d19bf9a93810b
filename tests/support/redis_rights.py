"""The files in ``deploy/redis`` as a test's servers take them: with a password, and with everything allowed to the test itself."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "deploy" / "redis"
USER = "gateway"
PASSWORD = "only for tests"
IN_URL = f"{USER}:only%20for%20tests@"


def rights(name: str) -> str:
    """The text of ``users.acl``, ``users-cluster.acl`` or ``users-sentinel.acl``; whoever gives no name may do anything."""
    text = (FOLDER / name).read_text()
    hashed = hashlib.sha256(PASSWORD.encode()).hexdigest()
    return text.replace("REPLACE-WITH-THE-SHA256-OF-A-PASSWORD", hashed).replace("user default off", "user default on nopass ~* &* +@all")


def allowed(name: str) -> frozenset[str]:
    """The commands that a file allows."""
    return frozenset(re.findall(r" \+([a-z|]+)", (FOLDER / name).read_text()))
