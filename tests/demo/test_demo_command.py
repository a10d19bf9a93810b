"""``gateway demo`` where it cannot start: one line that says what to do, never a traceback."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

PORTS = "run(port={port}, provider_port={provider_port}, admin_port={admin_port})"
FREE = {"port": 0, "provider_port": 0, "admin_port": 0}


def started(ports, before=""):
    code = f"import sys; {before}\nfrom gateway.cli.demo import run\nraise SystemExit({PORTS.format(**FREE | ports)})"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        pytest.param("port", "--port", id="the gateway's"),
        pytest.param("provider_port", "--provider-port", id="the provider's"),
        pytest.param("admin_port", "--admin-port", id="the probes'"),
    ],
)
def test_a_port_that_is_taken_is_one_line_with_the_option_to_use(name, option):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = started({name: port})
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr == f"Port {port} cannot be used, it is taken or out of range: choose another with {option}.\n"


def test_one_port_for_two_listeners_is_one_line_too():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    ended = started({"port": port, "admin_port": port})
    assert ended.returncode == 1
    assert ended.stderr == f"Port {port} cannot be used, it is taken or out of range: choose another with --admin-port.\n"


def test_a_port_out_of_range_is_one_line_too():
    ended = started({"port": 70000})
    assert ended.returncode == 1
    assert ended.stderr == "Port 70000 cannot be used, it is taken or out of range: choose another with --port.\n"


def test_a_missing_package_is_one_line_with_the_command_to_run():
    ended = started({}, before="sys.modules['oidc_provider_mock'] = None")
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr == "The demo needs one package more: pip install 'authcode-gateway[demo]'\n"
