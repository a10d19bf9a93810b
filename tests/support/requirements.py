"""What a test group needs beyond Python: skipped in plain words where it is missing, a failure where it was promised.

``GATEWAY_TESTS_REQUIRE`` names the groups that must run (``browser,nginx,systemd,redis_tls,certified``), so that a whole run can never pass
by skipping.
"""

from __future__ import annotations

import os

import pytest

VARIABLE = "GATEWAY_TESTS_REQUIRE"


def asked_for(group: str) -> bool:
    """Whether ``group`` is required: for groups that need nothing but time."""
    return group in {name.strip() for name in os.environ.get(VARIABLE, "").split(",")}


def need(group: str, found: bool, what: str) -> None:
    """Go on when ``found``; else skip, naming ``what`` is missing, or fail when ``group`` is required."""
    if found:
        return
    reason = f"the {group} tests need {what}"
    if asked_for(group):
        pytest.fail(f"{reason}, and {VARIABLE} says that they must run", pytrace=False)
    pytest.skip(reason)
