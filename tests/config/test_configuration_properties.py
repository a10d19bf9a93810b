"""Whatever stands in the file, it is settings or ``ConfigRefused``: no other exception, no second reading, no secret in a fault."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.compiling import load_settings, settings_from
from gateway.config.schema import Admin, Configuration, Provider, Route, Server, Session
from gateway.errors import ConfigRefused
from gateway.oidc.registration import Secret
from tests.support.config_files import ENVIRON, VALID, damaged

SECRET = "correcthorsebatterystaple"
FAULT = re.compile(r"[^\n]*gateway\.yaml(?::[1-9][0-9]*:[1-9][0-9]*)?(?: [A-Za-z0-9_.?\[\]-]+)?: [^\n]+")

PIECES = st.sampled_from(
    [
        *"\t\n\r\0 '\"{}[]:-?#&*!|>%@`,\\<\ufeff\u2028\x85",
        "---\n", "...\n", "? ", ": ", "- ", "<<: ", "&a ", "*a", "!!python/name:os.system ", "!!binary ", "%YAML 1.1\n", "null", "~",
        "true", "1", "-1", "9" * 400, "0x7f", "1e400", ".inf", "\\U00110000", '"\\ud800"', "é", "\U0001f600", "{env: }",
        "{file: /}", "[[[[", "  ",
    ]
)  # fmt: skip


@st.composite
def mutated(draw, base):
    text = base
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from([0, 0, 1, 2, 8, 40])))
        cut = text[start:end]
        text = text[:start] + draw(st.one_of(PIECES, st.just(cut * 2), st.text(max_size=3))) + text[end:]
    return text.encode("utf-8", "surrogatepass")


def outcome(content, folder):
    """None for accepted, else the faults."""
    (folder / "gateway.yaml").write_bytes(content)
    try:
        load_settings(folder / "gateway.yaml", environ=ENVIRON)
    except ConfigRefused as refused:
        return refused.faults
    return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("properties")


@settings(deadline=None, max_examples=300)
@given(content=mutated(VALID))
def test_a_mutated_configuration_is_accepted_or_refused_in_whole_lines(folder, content):
    faults = outcome(content, folder)
    assert faults is None or (faults and all(FAULT.fullmatch(fault) for fault in faults)), faults


@settings(deadline=None, max_examples=100)
@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_any_bytes_are_accepted_or_refused(folder, content):
    assert outcome(content, folder)


@settings(deadline=None, max_examples=200)
@given(
    before=st.sampled_from(
        ["", " ", "'", '"', "[", "{", "{env: ", "{file: ", "{file: /", "&", "*", "!", "!!", "|\n      ", "@", "%", "- ", "? ", "\t"]
    ),
    after=st.sampled_from(["", "'", '"', "]", "}", ":", ": x", " #", ",", "\n     x", ": [", "!", "\t", "\\", "\x01"]),
    key=st.sampled_from(["    client_secret: ", "    client_secret:", "    client_secret:\n      ", "    client_secret:\n        value: "]),
)
def test_a_secret_written_in_the_wrong_place_is_in_no_fault(folder, before, after, key):
    written = damaged({"    client_secret: {env: CLIENT_SECRET}\n": f"{key}{before}{SECRET}{after}\n"})
    faults = outcome(written.encode(), folder)
    assert faults
    assert SECRET not in "".join(faults)


def names(model):
    return st.sampled_from([*model.model_fields, "other"])


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=20), st.binary(max_size=33), st.text(max_size=9).map(Secret)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=9), inner, max_size=3)),
    max_leaves=6,
)
SHAPED = st.fixed_dictionaries(
    {},
    optional={
        "server": st.dictionaries(names(Server), VALUES, max_size=6),
        "admin": st.dictionaries(names(Admin), VALUES, max_size=3),
        "providers": st.lists(st.dictionaries(names(Provider), VALUES, max_size=8), max_size=2),
        "session": st.dictionaries(names(Session), VALUES, max_size=6),
        "routes": st.lists(st.dictionaries(names(Route), VALUES, max_size=6), max_size=3),
    },
)


@settings(deadline=None, max_examples=300)
@given(st.one_of(SHAPED, st.dictionaries(names(Configuration), VALUES, max_size=5)))
def test_any_values_from_python_are_accepted_or_refused(mapping):
    with pytest.raises(ConfigRefused):
        settings_from(mapping)
