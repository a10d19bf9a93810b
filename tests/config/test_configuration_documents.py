"""The example, the reference and the JSON Schema say what the schema says: every key, its default, its reason."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from gateway.config.compiling import load_settings
from gateway.config.faults import Findings
from gateway.config.json_schema import configuration_schema
from gateway.config.loading import parse
from gateway.config.schema import Admin, Configuration, Provider, Route, Server, Session
from tests.support.config_files import ACCESS, ADMIN, ADMIN_LISTEN, CLIENT_SECRET, ENVIRON, KEYS, LISTEN, STORE, VALID, base64url, damaged
from tests.support.config_files import KEY as A_KEY

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "config.example.yaml").read_text()
REFERENCE = (ROOT / "docs" / "reference" / "configuration.md").read_text()
SECTIONS = {"server": Server, "admin": Admin, "providers": Provider, "session": Session, "routes": Route}
KEYS_OF_ALL = [(section, key) for section, model in SECTIONS.items() for key in model.model_fields]


def part_of_example(section):
    """The lines of one section of the example."""
    start = EXAMPLE.index(f"\n{section}:\n")
    following = re.search(r"\n[a-z]+:\n", EXAMPLE[start + 1 :])
    return EXAMPLE[start : start + 1 + following.start()] if following else EXAMPLE[start:]


def default_of(section, key):
    """A default as it is written in YAML, or None."""
    field = SECTIONS[section].model_fields[key]
    if key == "identity":
        return (
            "{X-Forwarded-User: sub, X-Forwarded-Email: email, X-Forwarded-Groups: groups, "
            "X-Forwarded-Preferred-Username: preferred_username}"
        )
    if field.is_required() or field.default is None:
        return None
    match field.default:
        case bool() as value:
            return json.dumps(value)
        case list() as values:
            return f"[{', '.join(values)}]"
        case value:
            return str(value)


def test_the_example_is_accepted_without_a_warning(tmp_path):
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "session_key").write_text(base64url(A_KEY))
    (tmp_path / "secrets" / "session_key").chmod(0o600)
    (tmp_path / "config.yaml").write_text(EXAMPLE)
    settings, warnings = load_settings(tmp_path / "config.yaml", environ={"GATEWAY_CLIENT_SECRET": "s3cret"})
    assert warnings == ()
    assert [origin.text for origin in settings.server.origins] == ["https://apps.example.org"]


@pytest.mark.parametrize(("section", "key"), KEYS_OF_ALL, ids=lambda value: value)
def test_the_example_has_every_key_with_its_default_and_a_reason_above_it(section, key):
    text = part_of_example(section)
    place = re.search(rf"^ *(?:- |# )?{key}:", text, re.MULTILINE)
    assert place, f"{key} is not in the example"
    above = text[: place.start()].rpartition("\n\n")[2]
    assert "#" in above, f"{key} has no reason"
    default = default_of(section, key)
    stated = re.findall(r"# Default: (.*)", above)
    if default is None:
        assert not stated
    else:
        assert stated, f"the default of {key} is not told"
        assert stated[-1].startswith(default)


@pytest.mark.parametrize(("section", "key"), KEYS_OF_ALL, ids=lambda value: value)
def test_the_reference_has_a_row_for_every_key(section, key):
    field = SECTIONS[section].model_fields[key]
    default = default_of(section, key)
    shown = f"`{default}`" if default is not None else "required" if field.is_required() else "none"
    part = re.split(r"^## ", REFERENCE, flags=re.MULTILINE)
    (table,) = [text for text in part if text.startswith(f"`{section}`")]
    assert f"| `{key}` | {shown} | {field.description} |" in table


def validator():
    schema = configuration_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def data(text):
    findings = Findings(source="")
    tree = parse(text, findings)
    assert findings.faults == []
    return tree


@pytest.mark.parametrize("text", [pytest.param(EXAMPLE, id="the example"), pytest.param(VALID, id="the smallest configuration")])
def test_what_the_gateway_accepts_passes_the_json_schema(text):
    assert list(validator().iter_errors(data(text))) == []


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({LISTEN: "  listn: 127.0.0.1:8080\n"}, id="an unknown key"),
        pytest.param({ADMIN: "administration:\n"}, id="an unknown section"),
        pytest.param({STORE: ""}, id="a missing key"),
        pytest.param({CLIENT_SECRET: "    client_secret: hunter2\n"}, id="a secret inline"),
        pytest.param({CLIENT_SECRET: "    client_secret: {env: A, file: b}\n"}, id="a secret from two places"),
        pytest.param({KEYS: "  keys: []\n"}, id="no keys"),
        pytest.param({ACCESS: "    access: everybody\n"}, id="a word that is none of the choices"),
        pytest.param({ACCESS: "    access:\n"}, id="a key without a value"),
        pytest.param({ACCESS: ACCESS + "    identity:\n"}, id="an optional key without a value"),
        pytest.param({ADMIN: ADMIN + "  token:\n"}, id="a secret without a value"),
        pytest.param({ADMIN_LISTEN: ADMIN_LISTEN + "  token: {env: }\n"}, id="a secret without a name"),
        pytest.param({STORE: STORE + "  idle: half an hour\n"}, id="a duration in words"),
        pytest.param({STORE: "  store: disk\n"}, id="an unknown store"),
    ],
)
def test_an_editor_sees_what_the_gateway_would_refuse(changes):
    assert list(validator().iter_errors(data(damaged(changes)))) != []


def test_an_editor_shows_defaults_and_reasons():
    definitions = configuration_schema()["$defs"]
    assert definitions["Session"]["properties"]["idle"]["default"] == "30m"
    assert definitions["Route"]["properties"]["access"]["default"] == "signed_in"
    for name in ("Server", "Admin", "Provider", "Session", "Route"):
        assert all("description" in key for key in definitions[name]["properties"].values())
    assert "null" not in json.dumps(definitions)


def test_the_environment_of_these_tests_is_no_part_of_the_example():
    assert not set(ENVIRON) & set(re.findall(r"env: (\w+)", EXAMPLE))
    assert set(Configuration.model_fields) == set(SECTIONS)
