"""JSON that can be read in one way only."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.oidc.strict_json import MAX_DEPTH, JSONError, parse, parse_object

REFUSED = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"\xef\xbb\xbf{}", id="byte order mark"),
    pytest.param('{"a":1}'.encode("utf-16"), id="UTF-16"),
    pytest.param(b'{"a":"\xff"}', id="not UTF-8"),
    pytest.param(b'{"a":"\xed\xa0\x80"}', id="surrogate encoded as bytes"),
    pytest.param(b'{"a":"\\ud800"}', id="lone surrogate"),
    pytest.param(b'{"\\udc00":1}', id="lone surrogate in a name"),
    pytest.param(b'[["\\ud800\\ud800"]]', id="two high surrogates, nested"),
    pytest.param(b'{"a":1,"a":1}', id="duplicate member"),
    pytest.param(b'{"sub":1,"su\\u0062":1}', id="duplicate member spelt in two ways"),
    pytest.param(b'{"x":[{"a":1,"a":2}]}', id="duplicate member at depth"),
    pytest.param(b'{"a":NaN}', id="NaN"),
    pytest.param(b"[-Infinity]", id="Infinity"),
    pytest.param(b"[1e999]", id="1e999"),
    pytest.param(b"[" + b"1" * 1_000_000 + b"]", id="an integer of a million digits"),
    pytest.param(b"[0." + b"1" * 100 + b"]", id="a long fraction"),
    pytest.param(b"[" * 100_000, id="depth 10^5"),
    pytest.param(b'{"a":' * 100_000, id="depth 10^5 in objects"),
    pytest.param(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), id="one too deep"),
    pytest.param(b'{"a":1}x', id="something behind"),
    pytest.param(b'{"a":1,}', id="trailing comma"),
    pytest.param(b"{'a':1}", id="single quotes"),
    pytest.param(b'{"a":"\n"}', id="raw control character"),
    pytest.param(b'"\\"' * 10_000, id="strings that never close"),
]


@pytest.mark.parametrize("data", REFUSED)
def test_what_can_be_read_in_two_ways_is_refused(data: bytes):
    with pytest.raises(JSONError):
        parse(data)


@pytest.mark.parametrize("data", [b"[]", b"null", b"7", b'"x"', b"true"])
def test_only_an_object_is_an_object(data: bytes):
    with pytest.raises(JSONError):
        parse_object(data)


def test_brackets_inside_strings_are_no_depth():
    assert parse(b'["' + b"[" * 1000 + b'\\"{"]') == ["[" * 1000 + '"{']


@pytest.mark.parametrize("data", [b"[],", b"{},", b'"",', b'"\\\\",', b"[[]],", b'{"a":[]},'])
def test_much_of_nothing_is_read_or_refused_for_what_it_is(data: bytes):
    many = (b"[" + data * (256 * 1024 // len(data)))[:-1]
    assert len(parse(many + b"]")) == 256 * 1024 // len(data)
    with pytest.raises(JSONError):
        parse(many)


def test_a_whole_surrogate_pair_is_one_character():
    assert parse(b'["\\ud83d\\ude00"]') == ["\U0001f600"]


def test_the_deepest_allowed_is_read():
    parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values, st.booleans())
@settings(deadline=None)
def test_whatever_is_unambiguous_is_read_as_it_was_meant(value, ascii_only: bool):
    assert parse(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


def depth(value) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


texts = st.text(alphabet='[]{}"\\a', max_size=6)
nested = st.recursive(texts, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=12)


@given(nested, st.integers(0, 6))
@settings(deadline=None)
def test_depth_is_counted_exactly_whatever_strings_hold(value, most: int):
    data = json.dumps(value).encode()
    if depth(value) <= most:
        assert parse(data, max_depth=most) == value
    else:
        with pytest.raises(JSONError, match="nested"):
            parse(data, max_depth=most)


@given(st.binary(max_size=200) | st.text(alphabet='[]{}",:0123456789.eE-\\ud8ntrfals', max_size=60).map(str.encode))
@settings(deadline=None)
def test_any_bytes_are_read_or_refused_and_nothing_else(data: bytes):
    with contextlib.suppress(JSONError):
        parse(data)
