"""Imports go one way, and what is pure stays pure: no waiting, no sockets, no clock, no randomness."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GATEWAY = ROOT / "gateway"

IMPURE = frozenset(
    {"asyncio", "socket", "ssl", "select", "selectors", "threading", "time", "random", "secrets", "aiohttp", "redis", "uvloop"}
)

PURE = {
    "access": "decides without waiting",
    "oidc": "builds requests and reads answers",
    "session": "the record, the login in flight, cookies and sealing",
    "proxy/headers": "the header rules",
    "proxy/request_headers": "what a request's headers say, and which may pass",
    "proxy/request_head": "the head that goes upstream",
    "proxy/own_cookies": "which cookies are the gateway's",
    "proxy/answer": "heads of answers",
    "proxy/answer_lines": "what each line of them says",
    "proxy/answer_headers": "the head that the caller gets",
    "proxy/upgrades": "which upgrade passes",
    "proxy/websocket": "the opening handshake",
    "proxy/websocket_frames": "where frames end",
    "server/guard": "the rules for a request's head",
    "server/proxy_protocol": "bytes in, a value out",
}
"""Rooms, and modules of ``proxy`` and ``server``, whose results depend on their arguments alone."""

SHELLS = {
    "oidc/client.py": "the only module that sends on the back channel",
    "oidc/provider.py": "the exchanges, in order",
    "oidc/kept.py": "keeps metadata and keys fresh",
    "oidc/revoking.py": "sends revocations, again where they were put off",
    "session/sessions.py": "begins and ends sessions in the store",
    "session/finding.py": "asks the store",
    "session/index.py": "lists and ends sessions in the store",
    "session/relisting.py": "lists sessions in the store under a newer key",
    "session/refreshing.py": "waits for renewals, and lets others wait",
    "session/turns.py": "lets refreshes wait for their turn",
    "session/renewal.py": "asks the provider, writes to the store",
    "session/joined.py": "waits for reads of the store",
    "session/grant_write.py": "writes to the store, over its outages",
    "session/notes.py": "writes to the store beside the requests",
    "session/store": "Redis and memory",
}
"""What in those rooms waits, and why it may."""

ALLOWED = {
    ("session/sealing.py", "secrets"): "each sealed message has a nonce of its own",
}
"""Single imports that a pure module may have, each with its reason."""


def name_of(path: Path) -> str:
    return path.relative_to(GATEWAY).as_posix()


def is_shell(path: Path) -> bool:
    return any(name_of(path) == shell or name_of(path).startswith(shell + "/") for shell in SHELLS)


def pure_modules() -> list[Path]:
    found = [path for room in PURE for path in (GATEWAY / room).rglob("*.py")]
    found += [GATEWAY / f"{room}.py" for room in PURE if (GATEWAY / f"{room}.py").is_file()]
    return sorted(path for path in found if not is_shell(path))


def imported(path: Path) -> set[str]:
    """The first part of every imported module's name, wherever the import stands; those for the type checker alone do not run."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names.add(node.module.partition(".")[0])
    return names


def test_imports_go_one_way():
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_every_pure_room_is_there():
    assert {name_of(path).partition("/")[0] for path in pure_modules()} == {room.partition("/")[0] for room in PURE}


@pytest.mark.parametrize("path", [pytest.param(path, id=name_of(path)) for path in pure_modules()])
def test_a_pure_module_cannot_wait_or_draw_or_look_at_the_clock(path):
    allowed = {module for (name, module) in ALLOWED if name == name_of(path)}
    assert sorted((imported(path) & IMPURE) - allowed) == []


@pytest.mark.parametrize("path", [pytest.param(path, id=name_of(path)) for path in pure_modules()])
def test_a_pure_module_has_nothing_to_wait_for(path):
    waits = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, (ast.Await, ast.AsyncFor, ast.AsyncWith))]
    assert waits == []


def test_what_is_allowed_is_used():
    for name, module in ALLOWED:
        assert module in imported(GATEWAY / name), f"{name} no longer imports {module}: take it off the list"
    for shell in SHELLS:
        assert (GATEWAY / shell).exists(), f"{shell} is gone: take it off the list"


def test_the_demo_is_imported_by_its_command_alone():
    users = {
        name_of(path) for path in GATEWAY.rglob("*.py") if "gateway.demo" in path.read_text() and not name_of(path).startswith("demo/")
    }
    assert users <= {"cli/demo.py"}
