"""The systemd units: read by the gateway's own rules, and by systemd itself where it is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.config.schema import Server
from gateway.server.systemd import ADMIN
from tests.support.requirements import need

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
MOST_EXPOSED = 20
"""Of 100, by ``systemd-analyze security``: below 20 is what it calls OK, and a service that listens cannot have none."""


def settings(name: str) -> dict[str, list[str]]:
    """Every ``key=value`` of a unit; a key may stand more than once."""
    found: dict[str, list[str]] = {}
    for line in (UNITS / name).read_text().splitlines():
        if line and not line.startswith(("#", "[")):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def test_the_service_outlives_the_drain_by_default():
    service = settings("gateway.service")
    default = Server.model_fields
    drain = seconds(default["shutdown_grace"].default) + seconds(default["shutdown_delay"].default)
    assert seconds(service["TimeoutStopSec"][0]) > drain


def test_it_is_told_when_it_is_ready_to_whom_a_signal_goes_and_what_not_to_try_again():
    service = settings("gateway.service")
    assert service["Type"] == ["notify"]
    assert service["NotifyAccess"] == ["main"]
    assert service["KillMode"] == ["mixed"]
    assert service["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert service["RestartPreventExitStatus"] == ["2"]
    assert service["OOMPolicy"] == ["continue"]


def test_the_socket_is_public():
    socket = settings("gateway.socket")
    assert socket["FileDescriptorName"] == ["public"]
    assert socket["FileDescriptorName"] != [ADMIN]
    assert socket["ListenStream"] == [Server.model_fields["listen"].default]
    assert "Accept" not in socket
    assert settings("gateway.service")["Requires"] == ["gateway.socket"]


def test_no_right_is_left():
    service = settings("gateway.service")
    assert service["User"] == ["gateway"]
    assert service["CapabilityBoundingSet"] == service["AmbientCapabilities"] == [""]
    assert service["NoNewPrivileges"] == ["yes"]
    assert service["ProtectSystem"] == ["strict"]
    assert service["RestrictAddressFamilies"] == ["AF_INET AF_INET6 AF_UNIX"]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units in a folder, with a command that exists in place of the operator's."""
    need("systemd", shutil.which("systemd-analyze") is not None, "systemd-analyze on PATH (Debian package systemd)")
    for unit in UNITS.iterdir():
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/gateway/bin/gateway", sys.executable))
    return tmp_path


@pytest.mark.systemd
def test_systemd_reads_the_units_without_a_complaint(installed: Path):
    units = [str(unit) for unit in sorted(installed.iterdir())]
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False, timeout=60)
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if str(installed) in line or "gateway." in line]
    assert (done.returncode, complaints) == (0, [])


@pytest.mark.systemd
def test_systemd_finds_little_exposed(installed: Path):
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(installed / "gateway.service")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
