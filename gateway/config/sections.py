"""The values of a file, section by section, against the schema: each fault is noted in words, and what is sound goes on to be judged.

Answers "every fault at once": a broken key does not hide what is wrong elsewhere. A section with broken keys is read again with their
defaults, or with stand-ins, so that contradictions between its sound keys are found as well. Whoever judges a value asks
``Findings.sound`` first, and no settings are made while there is a fault: a stand-in goes nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import ValidationError

from gateway.config.faults import Findings, KeyPath, did_you_mean
from gateway.config.forms import Section
from gateway.config.loading import Tree  # noqa: TC001 - in the type of a constant
from gateway.config.schema import MAX_LIST, Admin, Configuration, Provider, Route, Server, Session

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


STAND_INS: Final[Mapping[str, Tree]] = {
    "public_url": "https://stand-in.invalid",
    "issuer": "https://stand-in.invalid",
    "client_id": "stand-in",
    "client_secret": {"env": "STAND_IN"},
    "store": "memory",
    "keys": [{"env": "STAND_IN"}],
    "path": "/",
}
"""Values for required keys that are missing or broken."""

AnySection = TypeVar("AnySection", bound=Section)


@dataclass(frozen=True, slots=True)
class Sections:
    """What could be read. None stands for what is no mapping at all; its fault is noted."""

    server: Server | None
    admin: Admin | None
    providers: tuple[Provider | None, ...]
    session: Session | None
    routes: tuple[Route | None, ...]


def read_sections(tree: Tree, findings: Findings) -> Sections:
    """Read ``tree`` against the schema. Faults go to ``findings``; nothing is raised."""
    if not isinstance(tree, dict):
        if findings.sound(()):
            findings.fault((), "has to be a mapping of keys such as server, providers, session and routes; begin with config.example.yaml")
        return Sections(None, None, (), None, ())
    known = Configuration.model_fields
    _check_keys(Configuration, tree, (), findings)
    _check_missing(Configuration, tree, (), findings)
    present = {key: value for key, value in tree.items() if key in known and findings.sound_above((key,))}
    return Sections(
        server=_section(Server, present.get("server"), ("server",), findings),
        admin=_section(Admin, present.get("admin", {} if "admin" not in tree else None), ("admin",), findings),
        providers=_sections(Provider, present.get("providers"), ("providers",), findings),
        session=_section(Session, present.get("session"), ("session",), findings),
        routes=_sections(Route, present.get("routes"), ("routes",), findings),
    )


def plain(value: object) -> object:
    """``value`` with every mapping a dict and every sequence a list, as the YAML reader gives them; for settings made in Python.

    Raises:
        ValueError: a key is not a string.
    """
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("a key has to be text")
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return value


def _sections(model: type[AnySection], value: Tree, path: KeyPath, findings: Findings) -> tuple[AnySection | None, ...]:
    if not findings.sound_above(path) or value is None:
        return ()
    if not isinstance(value, list):
        findings.fault(path, f"has to be a list; begin each item with - ({_keys_of(model)})")
        return ()
    if not value:
        findings.fault(path, "is empty; write at least one")
    if len(value) > MAX_LIST:
        findings.fault(path, f"has more than {MAX_LIST} items; write fewer")
        return ()
    return tuple(_section(model, item, (*path, index), findings, written=True) for index, item in enumerate(value))


def _section(model: type[AnySection], value: Tree, path: KeyPath, findings: Findings, *, written: bool = False) -> AnySection | None:
    if not findings.sound_above(path) or (value is None and not written):
        return None
    if not isinstance(value, dict):
        findings.fault(path, f"has to be a mapping of keys ({_keys_of(model)})")
        return None
    _check_keys(model, value, path, findings)
    known = {key: inner for key, inner in value.items() if key in model.model_fields and findings.sound_above((*path, key))}
    _check_missing(model, value, path, findings)
    try:
        return model.model_validate(known)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
    broken = {problem["loc"][0] for problem in problems if problem["loc"]}
    for problem in problems:
        at = (*path, *problem["loc"])
        # Keys of the section itself that are missing were noted already.
        if (problem["type"] != "missing" or len(problem["loc"]) > 1) and findings.sound_above(at):
            findings.fault(at, _in_words(problem))
    stand_ins = {key: inner for key, inner in STAND_INS.items() if key in model.model_fields}
    return model.model_validate(stand_ins | {key: inner for key, inner in known.items() if key not in broken})


def _check_keys(model: type[Section], value: Mapping[str, Any], path: KeyPath, findings: Findings) -> None:
    """Unknown keys, and keys without a value: an empty ``host:`` must not open a route to every host."""
    for key, inner in value.items():
        at = (*path, key)
        if key not in model.model_fields:
            near = did_you_mean(key, model.model_fields)
            advice = f"did you mean {near}?" if near else f"the keys here are {_keys_of(model)}"
            findings.fault(at, f"unknown key; {advice}", mark=findings.mark_of_key(at))
            if near and near not in value:
                findings.mark_broken((*path, near))
        elif inner is None and findings.sound_above(at):
            findings.fault(at, "has no value; write one, or remove the key to have its default")


def _check_missing(model: type[Section], value: Mapping[str, Any], path: KeyPath, findings: Findings) -> None:
    for key, field in model.model_fields.items():
        if field.is_required() and key not in value and findings.sound_above((*path, key)):
            findings.fault((*path, key), f"missing; write it: {(field.description or '').partition('.')[0]}")


WORDS: Final = {
    "list_type": "has to be a list; write [one, another]",
    "dict_type": "has to be a mapping; write {{name: value}}",
    "int_type": "has to be a whole number",
    "bool_type": "has to be true or false",
    "too_short": "has too few items; write at least {min_length}",
    "too_long": "has too many items; write at most {max_length}",
    "greater_than_equal": "out of bounds; write {ge} or more",
    "less_than_equal": "out of bounds; write {le} or less",
    "value_error": "{error}",
    "extra_forbidden": "unknown key; see config.example.yaml",
    "missing": "missing; write it",
    "model_type": "has to be a mapping of keys; see config.example.yaml",
    "model_attributes_type": "has to be a mapping of keys; see config.example.yaml",
}
"""pydantic's kinds of error in our words. What is filled in are bounds of the schema and texts of ours, never a written value."""


def _in_words(problem: ErrorDetails) -> str:
    words = WORDS.get(problem["type"], "not a value of this key; see config.example.yaml")
    return words.format_map(problem.get("ctx", {}))


def _keys_of(model: type[Section]) -> str:
    return ", ".join(model.model_fields)
