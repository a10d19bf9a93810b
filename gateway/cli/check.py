"""``gateway check``: would the gateway start with this file? Every fault at once, or what an operator should know, or "well".

Answers the deployment that fails at three in the morning: it reads as ``gateway serve`` does, secrets included, and contacts nobody.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from gateway.config.compiling import load_settings
from gateway.errors import ConfigRefused

if TYPE_CHECKING:
    from pathlib import Path


def run(config: Path) -> int:
    """Check the file; the exit code: 0 when all is well (warnings go to stderr), 2 for a refused file (a line for every fault)."""
    try:
        _, warnings = load_settings(config, environ=os.environ)
    except ConfigRefused as refused:
        print("\n".join(refused.faults), file=sys.stderr)  # noqa: T201 - the person at the terminal reads this
        return 2
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)  # noqa: T201 - the same
    print("The configuration is well.")  # noqa: T201 - the same
    return 0
