"""Regular expressions mean the same on every interpreter that is supported."""

from __future__ import annotations

import importlib
import pkgutil
import re
from re import _constants as codes
from re import _parser as parser

import pytest

import gateway

MODULES = sorted(module.name for module in pkgutil.walk_packages(gateway.__path__, "gateway.") if not module.name.endswith("__main__"))


def holds_on_to_groups(pattern: re.Pattern) -> bool:
    def walk(parsed) -> bool:
        for code, argument in parsed:
            if code is codes.ATOMIC_GROUP or (code is codes.POSSESSIVE_REPEAT and not is_one_character(argument[2])):
                return True
            if any(walk(inner) for inner in inner_patterns(argument)):
                return True
        return False

    return walk(parser.parse(pattern.pattern, pattern.flags))


def is_one_character(parsed) -> bool:
    return len(parsed) == 1 and parsed[0][0] in {codes.LITERAL, codes.NOT_LITERAL, codes.IN, codes.ANY}


def inner_patterns(argument):
    if isinstance(argument, parser.SubPattern):
        yield argument
    elif isinstance(argument, list | tuple):
        for one in argument:
            yield from inner_patterns(one)


@pytest.mark.parametrize("name", MODULES)
def test_no_pattern_holds_on_to_a_group(name):
    """CPython before 3.11.5 takes half of a group for matched (gh-106052), ``(?:/a)*+`` for one: what was refused would be let in."""
    patterns = {key: value for key, value in vars(importlib.import_module(name)).items() if isinstance(value, re.Pattern)}
    assert [key for key, pattern in patterns.items() if holds_on_to_groups(pattern)] == []


@pytest.mark.parametrize(
    ("pattern", "holds"), [(r"(?:ab)*+", True), (r"(?>ab)", True), (r"x(y(?:ab)++)?", True), (r"[ab]*+x++(?:ab)*", False)]
)
def test_such_patterns_are_found(pattern, holds):
    assert holds_on_to_groups(re.compile(pattern)) is holds
