"""YAML becomes plain values with the place of each, within bounds, and words that YAML 1.1 took for something else stay words."""

from __future__ import annotations

import pytest

from gateway.config.compiling import load_settings
from gateway.config.faults import Findings, Mark
from gateway.config.loading import MAX_BYTES, MAX_NODES, parse
from gateway.errors import ConfigRefused
from tests.support.config_files import VALID, faults_of


def read(text):
    findings = Findings(source="gateway.yaml")
    return parse(text, findings), findings


@pytest.mark.parametrize(
    ("written", "value"),
    [
        pytest.param("true", True, id="a boolean"),
        pytest.param("False", False, id="a boolean with a capital"),
        pytest.param("yes", "yes", id="yes is a word"),
        pytest.param("off", "off", id="off is a word"),
        pytest.param("no", "no", id="Norway is a word"),
        pytest.param("~", None, id="null by a tilde"),
        pytest.param("", None, id="nothing"),
        pytest.param("'null'", "null", id="null in quotes is a word"),
        pytest.param("12", 12, id="a number"),
        pytest.param("-3", -3, id="a negative number"),
        pytest.param("0123", "0123", id="a leading zero makes it a word"),
        pytest.param("0x10", "0x10", id="hexadecimal is a word"),
        pytest.param("1_000", "1_000", id="underscores make it a word"),
        pytest.param("12:30", "12:30", id="sixty is no base"),
        pytest.param("1.5", "1.5", id="no key takes fractions"),
        pytest.param("2026-01-01", "2026-01-01", id="a date is a word"),
        pytest.param("1" * 5000, "1" * 5000, id="a number of thousands of digits is a word"),
        pytest.param("|\n  a\n  b\n", "a\nb\n", id="a block of text"),
        pytest.param("|\n  true\n", "true\n", id="a block is never a boolean"),
        pytest.param("[a, [b, {c: d}]]", ["a", ["b", {"c": "d"}]], id="lists and mappings within each other"),
    ],
)
def test_a_value_is_read_by_the_core_schema_of_yaml_1_2(written, value):
    tree, findings = read(f"key: {written}")
    assert (tree, findings.faults) == ({"key": value}, [])
    assert type(tree["key"]) is type(value)


def test_every_value_and_key_has_its_place():
    _, findings = read("a:\n  - b: 1\n    'c': [x,\n      y]\n")
    assert findings.values[("a", 0, "b")] == Mark(2, 8)
    assert findings.values[("a", 0, "c", 1)] == Mark(4, 7)
    assert findings.keys[("a", 0, "c")] == Mark(3, 5)


def test_the_first_of_two_values_counts_for_what_else_is_wrong():
    tree, findings = read("a: 1\na: {b: 2, b: 3}\n")
    assert tree == {"a": 1}
    assert [fault.mark for fault in findings.faults] == [Mark(2, 1), Mark(2, 11)]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        pytest.param(b"", "1:1: empty; begin with config.example.yaml", id="an empty file"),
        pytest.param(b"# nothing\n", "1:1: empty; begin with config.example.yaml", id="comments alone"),
        pytest.param(b"---\n...\n", "1:1: empty; begin with config.example.yaml", id="an empty document"),
        pytest.param(b"hunter2", "1:1: has to be a mapping of keys", id="a word"),
        pytest.param(b"[hunter2]", "1:1: has to be a mapping of keys", id="a list"),
        pytest.param(b"server:\n  \xff", "2:3: not UTF-8 from here on", id="not UTF-8"),
        pytest.param("server:\n".encode("utf-16"), "1:1: not UTF-8 from here on", id="UTF-16"),
        pytest.param(b"#" * (MAX_BYTES + 1), "larger than 1 MiB", id="a large file"),
        pytest.param(b"[" * MAX_BYTES, "1:17 [0][0]", id="as deep as a file can be"),
        pytest.param(b"{a: " * 10_000, "1:62 a.a", id="deep in mappings"),
        pytest.param(b"a: [" + b"x," * MAX_NODES, "1:", id="as many values as a file can hold"),
        pytest.param(b"&a [&b [*a, *a], *b]", "1:1: anchors are not accepted", id="aliases that grow"),
        pytest.param(b"server: \x00", "1:9: a character that YAML does not allow", id="NUL"),
        pytest.param(b"%YAML 9.9\n---\n", "1:1: not valid YAML", id="YAML of another age"),
        pytest.param(b"%YAML 1." + b"9" * 5000 + b"\n---\n", "1:", id="a version of thousands of digits"),
        pytest.param(b"? [a]\n: b\n", "1:3: a key has to be text", id="a key that is a list"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_with_the_place(tmp_path, content, fault):
    found = faults_of(content, tmp_path)
    assert any(line.startswith(fault) for line in found)
    assert "hunter2" not in "".join(found)


def test_a_byte_order_mark_is_no_fault(tmp_path):
    assert faults_of("\ufeff" + VALID, tmp_path) == []


def test_windows_line_ends_are_no_fault_and_places_stay_right(tmp_path):
    assert faults_of(VALID.replace("\n", "\r\n"), tmp_path) == []
    assert faults_of(VALID.replace("\n", "\r\n").replace("memory", "disk"), tmp_path)[0].startswith("12:10 session.store")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("nowhere.yaml", "No such file or directory", id="not there"),
        pytest.param("folder", "Is a directory", id="a folder"),
        pytest.param("a\0b", "not a usable file name", id="no name at all"),
        pytest.param("a\nb", "No such file or directory", id="a name of two lines is one line of output"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_fault_like_any_other(tmp_path, name, reason):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigRefused) as refused:
        load_settings(tmp_path / name, environ={})
    (fault,) = refused.value.faults
    assert fault.endswith(f": cannot be read ({reason}); name a file that this user may read")
    assert "\n" not in fault
