"""The other paths that a server may see in one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.readings import is_below, readings


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        pytest.param("/a/b", {"/a/b"}, id="a plain path is itself"),
        pytest.param("/a//b", {"/a//b", "/a/b"}, id="slashes merged"),
        pytest.param("/a;x/b", {"/a;x/b", "/a/b"}, id="parameters stripped"),
        pytest.param("/a/;x/b", {"/a/;x/b", "/a//b", "/a/b"}, id="parameters stripped, then slashes merged"),
        pytest.param("/%61", {"/%61", "/a"}, id="decoded"),
        pytest.param("/%2561", {"/%2561", "/%61"}, id="decoded once only"),
        pytest.param("/a%2fb", {"/a%2fb", "/a/b"}, id="encoded slash"),
        pytest.param("/a%5cb", {"/a%5cb", "/a\\b", "/a/b"}, id="encoded backslash"),
        pytest.param("/a%23/b", {"/a%23/b", "/a#/b", "/a"}, id="encoded hash"),
        pytest.param("/a%3fb", {"/a%3fb", "/a?b", "/a"}, id="encoded question mark"),
        pytest.param("/a%3bx/b", {"/a%3bx/b", "/a;x/b", "/a/b"}, id="encoded parameter"),
        pytest.param("/a;x%2fy", {"/a;x%2fy", "/a", "/a;x/y", "/a/y"}, id="a parameter that ends before or behind an encoded slash"),
        pytest.param("/%c3%a9", {"/%c3%a9", "/\u00c3\u00a9"}, id="bytes as Latin-1"),
    ],
)
def test_readings(path, seen):
    assert readings(path) == seen


@given(st.lists(st.sampled_from(["/", "//", ";", "%2f", "%5c", "%3b", "%3f", "%23", "%25", "a", "b"]), max_size=20).map("".join))
def test_readings_of_undecoded_readings_add_nothing(path):
    seen = readings(f"/{path}")
    assert f"/{path}" in seen
    assert all(reading.startswith("/") for reading in seen)
    assert len(seen) < 128


@pytest.mark.parametrize(
    ("path", "below"),
    [("/a", True), ("/a/", True), ("/a/b", True), ("/ab", False), ("/", False), ("/b/a", False)],
)
def test_below_ends_at_segment_borders(path, below):
    assert is_below(path, "/a") is below
