"""YAML to plain values, with the place of each: one document, no anchors, no tags, no key twice, every size bounded.

Answers what YAML can do to a reader: aliases that grow without bound, tags that construct objects, a second value that silently replaces
the first, ``no`` that becomes false. The events of the parser are taken as they come, so nothing is constructed and nothing recurses; plain
scalars follow the YAML 1.2 core schema for null, booleans and integers, and everything else is a string.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

import yaml

from gateway.config.faults import Findings, KeyPath, Mark

if TYPE_CHECKING:
    from pathlib import Path

Tree: TypeAlias = "str | int | bool | list[Tree] | dict[str, Tree] | None"

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 16
MAX_NODES = 20_000

_INTEGER = re.compile(r"0|[-+]?[1-9][0-9]{0,17}")
_WORDS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_HARMLESS = re.compile(r".{0,2}|\\x..|<[a-z ]+>")
"""What PyYAML may quote: a character, or the name of a kind of token."""
_BOM = "\ufeff"


class Position(Protocol):
    """A place as PyYAML counts: from 0."""

    @property
    def line(self) -> int:
        """Lines before this place."""

    @property
    def column(self) -> int:
        """Characters before this place in its line."""


class Events(Protocol):
    """What of PyYAML's loader is used: its parser."""

    def check_event(self) -> bool:
        """Whether another event follows."""

    def get_event(self) -> yaml.Event:
        """The next event."""

    def get_mark(self) -> Position:
        """Where the reader stands."""


@dataclass(slots=True)
class _Open:
    """A list or mapping that has begun and not ended. ``key`` is the mapping's key whose value comes next."""

    value: list[Tree] | dict[str, Tree]
    path: KeyPath
    kept: bool
    key: str | None = None
    key_kept: bool = False
    awaits_value: bool = False
    first_marks: dict[str, Mark] = field(default_factory=dict)


class _TooMuch(Exception):
    """The document goes past a bound: reading on would only cost."""


def read_document(path: Path) -> tuple[Tree, Findings]:
    """The values of the file at ``path``, and what is wrong with them as YAML; a broken file gives None.

    Never raises for what stands in the file, nor for a file that cannot be read: both are faults.
    """
    findings = Findings(source=_printable(str(path)))
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a usable file name"
        findings.fault((), f"cannot be read ({reason}); name a file that this user may read")
        return None, findings
    if len(data) > MAX_BYTES:
        findings.fault((), "larger than 1 MiB; this is not a configuration of the gateway")
        return None, findings
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        findings.fault((), "not UTF-8 from here on; save the file as UTF-8", mark=_mark_after(before))
        return None, findings
    return parse(text.removeprefix(_BOM), findings), findings


def parse(text: str, findings: Findings) -> Tree:
    """The one document in ``text``; every fault goes to ``findings``, which learns the place of each value as well."""
    builder = _Builder(findings)
    loader: Events | None = None
    try:
        loader = cast("Events", yaml.SafeLoader(text))
        while loader.check_event():
            builder.take(loader.get_event())
    except yaml.reader.ReaderError as error:
        mark = _mark_after(text[: error.position])
        findings.fault((), "a character that YAML does not allow; remove it", mark=mark)
        return None
    except yaml.MarkedYAMLError as error:
        mark = _mark(error.problem_mark or error.context_mark)
        problem = _QUOTED.sub(_shown, error.problem or error.context or "it cannot be read")
        findings.fault((), f"not valid YAML: {problem}; mend the syntax here or just above", mark=mark)
        return None
    except (yaml.YAMLError, ValueError, OverflowError):
        # Escapes such as "\UFFFFFFFF" leave PyYAML as a bare ValueError.
        mark = _mark(loader.get_mark() if loader is not None else None)
        findings.fault((), "not valid YAML; mend the syntax here or just above", mark=mark)
        return None
    except _TooMuch:
        return None
    if builder.root is None and not findings.faults:
        findings.fault((), "empty; begin with config.example.yaml", mark=Mark(1, 1))
    return builder.root


class _Builder:
    """Takes the parser's events in turn and builds the values. One list of open collections instead of recursion."""

    def __init__(self, findings: Findings) -> None:
        self.root: Tree = None
        self._findings = findings
        self._values: dict[KeyPath, Mark] = {}
        self._keys: dict[KeyPath, Mark] = {}
        findings.values, findings.keys = self._values, self._keys
        self._open: list[_Open] = []
        self._documents = 0
        self._nodes = 0

    def take(self, event: yaml.Event) -> None:
        """Take the next event."""
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    self._findings.fault(
                        (), "a second document begins here; one file holds one configuration", mark=_mark(event.start_mark)
                    )
                    raise _TooMuch
            case yaml.AliasEvent():
                self._node(event, None, "aliases are not accepted; write the value out")
            case yaml.ScalarEvent():
                self._node(event, _scalar(event), None)
            case yaml.SequenceStartEvent():
                self._node(event, [], None)
            case yaml.MappingStartEvent():
                self._node(event, {}, None)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._open.pop()
            case _:
                pass

    def _node(self, event: yaml.NodeEvent, value: Tree, problem: str | None) -> None:
        mark = _mark(event.start_mark)
        if event.anchor is not None and not isinstance(event, yaml.AliasEvent):
            problem = "anchors are not accepted; write the value out where it is needed"
        if getattr(event, "tag", None) is not None:
            problem = "tags such as !!str or !!python/object are not accepted; write a plain value"
        if isinstance(value, str) and not _encodable(value):
            problem = "half of a surrogate pair is no character; write the character itself"
        self._nodes += 1
        parent = self._open[-1] if self._open else None
        if isinstance(parent, _Open) and isinstance(parent.value, dict) and not parent.awaits_value:
            self._key(parent, event, value, mark, problem)
            return
        path, kept = self._place(parent, value, mark)
        if problem is not None:
            self._findings.fault(path, problem, mark=mark)
        self._bounded(path, mark)
        if isinstance(value, (list, dict)):
            self._open.append(_Open(value, path, kept))

    def _key(self, parent: _Open, event: yaml.NodeEvent, value: Tree, mark: Mark, problem: str | None) -> None:
        """A key of ``parent``: text, once, and nothing that YAML gives a meaning of its own."""
        parent.awaits_value = True
        parent.key, parent.key_kept = None, False
        if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
            problem = "merge keys are not accepted; write the values out"
        elif problem is None and not isinstance(value, str):
            problem = "a key has to be text; put it in quotes if it is meant"
        if problem is not None:
            self._findings.fault(parent.path, problem, mark=mark, breaks=False)
        elif isinstance(value, str):
            parent.key, parent.key_kept = value, value not in parent.first_marks
            if parent.key_kept:
                parent.first_marks[value] = mark
                if parent.kept:
                    self._keys[(*parent.path, value)] = mark
            else:
                first = parent.first_marks[value].line
                self._findings.fault((*parent.path, value), f"this key stands here twice, first in line {first}; keep one", mark=mark)
        self._bounded(parent.path, mark)
        if isinstance(value, (list, dict)):
            self._open.append(_Open(value, parent.path, kept=False))

    def _place(self, parent: _Open | None, value: Tree, mark: Mark) -> tuple[KeyPath, bool]:
        """Put ``value`` where it belongs; below a key that is not kept it belongs nowhere, but its faults still count."""
        if parent is None:
            self.root = value
            self._values[()] = mark
            return (), True
        part: str | int | None
        if isinstance(parent.value, dict):
            part, kept = parent.key, parent.kept and parent.key_kept
            parent.awaits_value = False
            if kept and parent.key is not None:
                parent.value[parent.key] = value
        else:
            part, kept = len(parent.value), parent.kept
            parent.value.append(value)
        path = parent.path if part is None else (*parent.path, part)
        if kept:
            self._values[path] = mark
        return path, kept

    def _bounded(self, path: KeyPath, mark: Mark) -> None:
        if len(self._open) >= MAX_DEPTH:
            self._findings.fault(path, f"nested deeper than {MAX_DEPTH} levels; nothing in a configuration is", mark=mark)
            raise _TooMuch
        if self._nodes > MAX_NODES:
            self._findings.fault(path, f"more than {MAX_NODES} values; this is not a configuration of the gateway", mark=mark)
            raise _TooMuch


def _scalar(event: yaml.ScalarEvent) -> Tree:
    text = event.value
    if not event.implicit[0] or event.style is not None:
        return text
    if text in _WORDS:
        return _WORDS[text]
    return int(text) if _INTEGER.fullmatch(text) else text


def _shown(quoted: re.Match[str]) -> str:
    """PyYAML quotes what it found. A single character helps; a word may be a secret."""
    return quoted[0] if _HARMLESS.fullmatch(quoted[1] or quoted[2] or "") else "(not shown)"


def _encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _mark(mark: Position | None) -> Mark:
    return Mark(1, 1) if mark is None else Mark(mark.line + 1, mark.column + 1)


def _mark_after(text: str) -> Mark:
    lines = text.split("\n")
    return Mark(len(lines), len(lines[-1]) + 1)


def _printable(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace").replace("\n", "\\n")
