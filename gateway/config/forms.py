"""How values are written, whatever the key: the base of every section, and the annotated types that several of them share."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from gateway.config import values


class Section(BaseModel):
    """A mapping of known keys; anything else in it is a fault."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, hide_input_in_errors=True, arbitrary_types_allowed=True
    )


def written(pattern: str | None = None, *, kind: str | list[str] = "string", options: tuple[str, ...] = ()) -> WithJsonSchema:
    """How an editor sees a value that a reader of ours turns into something else."""
    form: dict[str, Any] = {"type": kind}
    if pattern is not None:
        form["pattern"] = pattern
    if options:
        form["enum"] = list(options)
    return WithJsonSchema(form)


def default(value: object) -> Any:
    """A default in the operator's own spelling: it is read like a written value, and editors show it as it would be written."""
    return Field(default=value, validate_default=True)


def reader(read: Any) -> PlainValidator:
    """A value that ``read`` makes of text, or refuses."""
    return PlainValidator(lambda value: read(values.text(value)))


def or_list(value: object) -> object:
    """A list of one may be written without brackets."""
    return value if isinstance(value, list) else [value]


DURATION_FORM = written(r"^(0|[1-9][0-9]{0,8})[smhd]$", kind=["string", "integer"])
Text: TypeAlias = Annotated[str, PlainValidator(values.text), written()]
