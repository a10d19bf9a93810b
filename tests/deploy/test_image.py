"""What can be said of the image without building it: the Dockerfile's stages, user, tags and what goes in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def instructions() -> list[tuple[str, str]]:
    """(name in upper case, arguments), continuation lines joined and comments left out, in order."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(line.split(None, 1)[0].upper(), line.split(None, 1)[1].strip()) for line in joined.splitlines() if line.strip()]


def stages() -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for name, arguments in instructions():
        if name == "FROM":
            found.append([])
        found[-1].append((name, arguments))
    return found


def test_two_stages_from_the_same_pinned_tag():
    bases = [stage[0][1].split()[0] for stage in stages()]
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.1[123]\.\d+-slim-[a-z]+", bases[0]), "a full version, no moving tag"


def test_it_runs_as_a_numeric_user_that_is_not_root():
    users = [arguments for name, arguments in stages()[-1] if name == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]), "the kubelet's runAsNonRoot needs a number"
    after = [name for name, _ in stages()[-1]]
    assert after.index("USER") > max(index for index, name in enumerate(after) if name in {"RUN", "COPY"})


def test_nothing_to_build_with_is_in_the_last_stage():
    last = " ".join(arguments for name, arguments in stages()[-1] if name == "RUN")
    assert "pip install" not in last
    assert "apt-get install" not in last
    assert "pip uninstall" in last
    assert [arguments for name, arguments in stages()[-1] if name == "COPY"] == ["--from=build /opt/gateway /opt/gateway"]
    assert "venv --without-pip" in " ".join(arguments for name, arguments in stages()[0] if name == "RUN")


def test_it_installs_the_pinned_set():
    runs = " ".join(arguments for name, arguments in stages()[0] if name == "RUN")
    assert "--constraint constraints.txt" in runs


@pytest.mark.parametrize("name", ["ARG", "ENV"])
def test_no_secret_is_an_argument_of_the_build_or_of_the_environment(name):
    assert not [a for n, a in instructions() if n == name and re.search(r"(?i)secret|token|password|credential|_key", a)]


def test_health_is_asked_of_the_admin_listener():
    checks = [arguments for name, arguments in stages()[-1] if name == "HEALTHCHECK"]
    assert len(checks) == 1
    assert "http://127.0.0.1:9090/livez" in checks[0]


def test_it_serves_the_mounted_file_by_default():
    last = dict(stages()[-1])
    assert last["ENTRYPOINT"] == '["gateway"]'
    assert last["CMD"] == '["serve", "--config", "/etc/gateway/gateway.yaml"]'


def test_the_context_is_a_list_of_what_may_go_in():
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = {word for name, a in stages()[0] if name == "COPY" for word in a.split()[:-1]}
    assert allowed == {path.removeprefix("./").rstrip("/") for path in copied}
