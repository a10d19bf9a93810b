"""The configuration as JSON Schema (draft 2020-12), made from the models so that the two cannot part."""

from __future__ import annotations

from typing import Any

from gateway.config.schema import Configuration

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def configuration_schema() -> dict[str, Any]:
    """The schema of the whole file, as JSON values. What is not written is absent: null is no value of any key."""
    schema = Configuration.model_json_schema()
    return {"$schema": DIALECT, **_without_null(schema), "title": "Configuration of the gateway"}


def _without_null(value: Any) -> Any:
    """``anyOf: [X, null]`` with the default null becomes X: an optional key may be left out, but not be empty."""
    if isinstance(value, list):
        return [_without_null(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    plain = {key: _without_null(inner) for key, inner in value.items()}
    if "default" in plain and plain["default"] is None:
        del plain["default"]
    plain.pop("title", None) if isinstance(plain.get("title"), str) else None
    match plain.get("anyOf"):
        case [kept, {"type": "null"}]:
            del plain["anyOf"]
            return {**kept, **plain}
        case _:
            return plain
