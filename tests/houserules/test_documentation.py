"""The documentation is complete and true where a machine can tell: links, commands, error codes, and words that belong elsewhere."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

from gateway import errors

ROOT = Path(__file__).parents[2]
DEMO = "python3 -m venv .venv && .venv/bin/pip install -e '.[demo]' && .venv/bin/gateway demo"
TEST = "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest"

PLACES = re.compile(r"(?<![\w.:/])/(?:work|tmp|root|home)/|pypi\.org|npmjs|registry\.|resolved\"")
"""Paths of one machine and hosts of package registries: the repository works wherever it is cloned."""
PLACES_FROM = {"tests/houserules/test_documentation.py"}
"""This file names what it looks for."""


def tracked() -> list[Path]:
    """Files of the repository, without what is ignored; a source archive without git has all its files."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    names = listed.stdout.splitlines() if listed.returncode == 0 else [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*")]
    return sorted(ROOT / name for name in names if (ROOT / name).is_file())


def pages() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".md"]


def anchors(page: Path) -> set[str]:
    """The fragments that headings get: lower case, punctuation dropped, spaces to hyphens."""
    headings = re.findall(r"^#+\s+(.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def leaves() -> list[type[errors.GatewayError]]:
    """Every class with a code of its own that is raised: the tree without its two abstract branches and the root."""
    found: list[type[errors.GatewayError]] = []
    waiting = [errors.GatewayError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__ == errors.__name__ and "code" in kind.__dict__:
            found.append(kind)
    return found


by_page = pytest.mark.parametrize("page", [pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in pages()])


@by_page
def test_a_link_between_files_leads_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = unquote(target).partition("#")
        file = page if not name else (page.parent / name).resolve()
        if not file.exists() or (fragment and file.suffix == ".md" and fragment not in anchors(file)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("command", [pytest.param(DEMO, id="demo"), pytest.param(TEST, id="tests")])
def test_the_readme_has_the_two_commands_word_for_word(command):
    assert command in (ROOT / "README.md").read_text().splitlines()


def test_ci_runs_the_readmes_test_command():
    lines = [line.strip() for line in (ROOT / ".ci" / "run").read_text().splitlines()]
    assert TEST in lines


def test_troubleshooting_knows_every_error_code():
    text = (ROOT / "docs" / "guide" / "troubleshooting.md").read_text()
    explained = re.findall(r"^### `([a-z_]+)` \((\d{3})\)$", text, re.MULTILINE)
    assert sorted(explained) == sorted((kind.code, str(kind.status)) for kind in leaves())


def test_decisions_are_numbered_without_a_gap_and_have_their_four_parts():
    found = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert [int(page.name[:4]) for page in found] == list(range(1, len(found) + 1))
    for page in found:
        assert [*re.findall(r"^## (\w+)$", page.read_text(), re.MULTILINE)] == ["Context", "Options", "Decision", "Consequences"], page.name


def test_the_guide_lists_its_pages():
    guide = ROOT / "docs" / "guide"
    listed = set(re.findall(r"\]\(([a-z-]+\.md)\)", (guide / "README.md").read_text()))
    assert listed == {page.name for page in guide.glob("*.md")} - {"README.md"}


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.relative_to(ROOT).as_posix()) for path in tracked() if path.suffix not in {".png", ".ico", ".woff2"}],
)
def test_a_file_names_no_place_outside_the_repository(path):
    if path.relative_to(ROOT).as_posix() in PLACES_FROM:
        return
    assert PLACES.findall(path.read_text(errors="replace")) == []


def test_the_pinned_set_names_versions_only():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.+!-]+", line)] == []
    assert len({line.partition("==")[0].lower() for line in lines}) == len(lines)
