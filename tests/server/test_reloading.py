"""Whatever a reload meets, what was there stays, and a line says what kind of thing it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from gateway.errors import ConfigRefused
from gateway.server.reloading import read_anew

if TYPE_CHECKING:
    from gateway.config.settings import Settings


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        pytest.param(
            ConfigRefused(("1:1 session.keys: no key", "2:1 other")), {"faults": 2, "first": "1:1 session.keys: no key"}, id="faults"
        ),
        pytest.param(PermissionError(13, "secret_value"), {"fault": "PermissionError"}, id="no permission"),
        pytest.param(RecursionError("secret_value"), {"fault": "RecursionError"}, id="what nobody foresaw"),
    ],
)
def test_a_reload_that_fails_is_told_and_changes_nothing(failure: Exception, told: dict[str, object]) -> None:
    def reload() -> Settings:
        raise failure

    with capture_logs() as logged:
        assert read_anew(reload) is None
    assert logged == [{"room": "server", "event": "secrets.kept", "log_level": "warning"} | told]
