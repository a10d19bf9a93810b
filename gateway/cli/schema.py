"""``gateway schema``: the JSON Schema of the configuration, for editors that complete and check YAML while it is written.

A promise smaller than ``gateway check``: it knows every key and form, but no secret, no file and no contradiction.
"""

from __future__ import annotations

import json

from gateway.config.json_schema import configuration_schema


def run() -> int:
    """Print the schema (draft 2020-12) as JSON; the exit code is 0."""
    print(json.dumps(configuration_schema(), indent=2))  # noqa: T201 - the command's output
    return 0
