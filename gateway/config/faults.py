"""Every fault of a configuration at once, each with its place and its remedy, and none with a value in it.

Answers invariants 11 and 16: a fault names keys of ours and positions, so that a secret written in the wrong place is never printed.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from typing_extensions import override

from gateway.errors import ConfigRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

KeyPath: TypeAlias = tuple[str | int, ...]
"""Where a value lives: ``("providers", 0, "issuer")`` is printed as ``providers[0].issuer``."""

AnyFault = TypeVar("AnyFault", bound="Fault")

SECRET_PATHS = (("admin", "token"), ("providers", "client_secret"), ("session", "keys"), ("session", "store"))
"""Paths, list positions left out, below which not even a key is printed: what stands there may be the secret itself."""

_PRINTABLE_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A place in the file; both numbers count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to mend, printed as ``file:line:column key.path: what is wrong, what to do``."""

    source: str
    mark: Mark | None
    path: KeyPath
    text: str

    @override
    def __str__(self) -> str:
        place = self.source if self.mark is None else f"{self.source}:{self.mark.line}:{self.mark.column}"
        path = printed_path(self.path)
        return f"{place} {path}: {self.text}" if path else f"{place}: {self.text}"


@dataclass(frozen=True, slots=True)
class Warning_(Fault):  # noqa: N801 - `Warning` is Python's own
    """Something that works, and that an operator should know about. It refuses nothing."""


@dataclass(slots=True)
class Findings:
    """What was found wrong so far in one configuration, and where its values stand."""

    source: str
    values: Mapping[KeyPath, Mark] = field(default_factory=dict)
    keys: Mapping[KeyPath, Mark] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    warnings: list[Warning_] = field(default_factory=list)
    _broken: set[KeyPath] = field(default_factory=set)
    _around_broken: set[KeyPath] = field(default_factory=set)

    def fault(self, path: KeyPath, text: str, *, mark: Mark | None = None, breaks: bool = True) -> None:
        """Note a fault at ``path``; without a ``mark`` its place is the value's, or that of the nearest value around it.

        ``breaks=False`` when the value at ``path`` is still worth judging: the fault is about something inside it.
        """
        self.faults.append(Fault(self.source, mark or self._mark(path), self._written(path), text))
        if breaks:
            self.mark_broken(path)

    def mark_broken(self, path: KeyPath) -> None:
        """What would stand at ``path`` is not what its operator meant, so nothing is to be concluded from it."""
        self._broken.add(path)
        self._around_broken.update(path[:length] for length in range(len(path)))

    def warn(self, path: KeyPath, text: str) -> None:
        """Note something that refuses nothing."""
        self.warnings.append(Warning_(self.source, self._mark(path), self._written(path), text))

    def sound(self, *paths: KeyPath) -> bool:
        """Whether no fault lies at, above or below any of ``paths``: a check on a broken value would only invent a second fault."""
        return all(self.sound_above(path) and path not in self._around_broken for path in paths)

    def sound_above(self, path: KeyPath) -> bool:
        """Whether no fault lies at or above ``path``: below a broken value there is nothing to find, beside one there is."""
        return not any(path[:length] in self._broken for length in range(len(path) + 1))

    def mark_of_key(self, path: KeyPath) -> Mark | None:
        """Where the key itself stands, for faults that are about the key."""
        return self.keys.get(path) or self._mark(path)

    def warned(self) -> tuple[Warning_, ...]:
        """The warnings in the order of the file, each once."""
        return tuple(_in_order(self.warnings))

    def refuse_if_faulty(self) -> None:
        """End here if anything is wrong.

        Raises:
            ConfigRefused: with a line for every fault, in the order of the file.
        """
        if self.faults:
            raise ConfigRefused(tuple(str(fault) for fault in _in_order(self.faults)))

    def _mark(self, path: KeyPath) -> Mark | None:
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path)

    def _written(self, path: KeyPath) -> KeyPath:
        """``host: a`` may be written for ``host: [a]``: then the position in the list is ours, not the operator's."""
        while path and isinstance(path[-1], int) and self.values and path not in self.values:
            path = path[:-1]
        return path


def _in_order(faults: Iterable[AnyFault]) -> list[AnyFault]:
    return sorted(dict.fromkeys(faults), key=lambda fault: fault.mark or Mark(0, 0))


def printed_path(path: KeyPath) -> str:
    """``providers[0].issuer``; a key that does not look like one is printed as ``?``, and keys below a secret not at all."""
    text = ""
    for depth, part in enumerate(path):
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        named = tuple(name for name in path[:depth] if isinstance(name, str))
        if named in SECRET_PATHS:
            break
        text += f".{part if _PRINTABLE_KEY.fullmatch(part) else '?'}"
    return text.removeprefix(".")


def did_you_mean(word: str, possible: Iterable[str]) -> str | None:
    """The nearest of ``possible``, when one is near. What was written is never part of the answer."""
    if len(word) > 64:  # noqa: PLR2004 - no key of ours is half as long, and the comparison is quadratic
        return None
    close = difflib.get_close_matches(word.lower(), list(possible), n=1, cutoff=0.6)
    return close[0] if close else None


def one_of(possible: Iterable[str]) -> str:
    """``a, b or c``."""
    *most, last = possible
    return f"{', '.join(most)} or {last}" if most else last
