"""Every module says what it promises, is small enough to hold one job, and has a name that tells its room."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

GATEWAY = Path(__file__).parents[2] / "gateway"
MOST_LINES = 300
WHOLE = {"errors.py": 400}
"""Modules that are one drawing: the error tree is read as a whole, and splitting it would hide what it shows."""
NO_ROOM = {"utils", "util", "helpers", "helper", "common", "base", "manager", "managers", "misc"}
"""A line without a room means a missing room."""

modules = pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.relative_to(GATEWAY).as_posix()) for path in sorted(GATEWAY.rglob("*.py"))]
)


@modules
def test_a_module_begins_with_its_promise(path):
    promise = ast.get_docstring(ast.parse(path.read_text()))
    assert promise, "no module docstring"
    assert promise.split("\n\n")[0].rstrip().endswith((".", ":", "!")), "the first paragraph is no sentence"


@modules
def test_a_module_has_one_job(path):
    assert len(path.read_text().splitlines()) <= WHOLE.get(path.relative_to(GATEWAY).as_posix(), MOST_LINES)


@modules
def test_a_name_tells_its_room(path):
    parts = {*path.relative_to(GATEWAY).with_suffix("").parts}
    assert not {word for part in parts for word in part.split("_")} & NO_ROOM


@modules
def test_nothing_is_left_for_later(path):
    assert not re.search(r"\b(TODO|FIXME|XXX)\b|NotImplementedError", path.read_text())
