"""What systemd passes to a service and hears from it: variables, descriptors of real sockets, datagrams on a real socket."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from gateway.server.systemd import FIRST_DESCRIPTOR, Notifier, adopt, descriptors_of, forget, notifier_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PID = 4711


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.mark.parametrize(
    ("environ", "descriptors"),
    [
        pytest.param({}, (), id="no systemd"),
        pytest.param({"LISTEN_PID": "4711", "LISTEN_FDS": "1"}, ((3, ""),), id="one without a name"),
        pytest.param(
            {"LISTEN_PID": "4711", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "public:admin"}, ((3, "public"), (4, "admin")), id="two with names"
        ),
        pytest.param({"LISTEN_PID": "4711", "LISTEN_FDS": "2", "LISTEN_FDNAMES": ":admin"}, ((3, ""), (4, "admin")), id="one name empty"),
        pytest.param({"LISTEN_PID": "4711", "LISTEN_FDS": "2", "LISTEN_FDNAMES": ""}, ((3, ""), (4, "")), id="names empty"),
        pytest.param({"LISTEN_PID": "4711", "LISTEN_FDS": "0"}, (), id="none"),
        pytest.param({"LISTEN_PID": "4712", "LISTEN_FDS": "1"}, (), id="for another process"),
        pytest.param({"LISTEN_FDS": "1"}, (), id="for nobody"),
        pytest.param({"LISTEN_PID": "4711"}, (), id="without a number"),
        pytest.param({"LISTEN_PID": " 4711", "LISTEN_FDS": "1"}, (), id="a pid that is not written as one"),
    ],
)
def test_descriptors(environ: dict[str, str], descriptors: tuple[tuple[int, str], ...]) -> None:
    assert descriptors_of(environ, pid=PID) == descriptors
    assert FIRST_DESCRIPTOR == 3


@pytest.mark.parametrize(
    "environ",
    [
        pytest.param({"LISTEN_FDS": "one"}, id="no number"),
        pytest.param({"LISTEN_FDS": "-1"}, id="a negative number"),
        pytest.param({"LISTEN_FDS": "²"}, id="a digit that is no number"),
        pytest.param({"LISTEN_FDS": "65"}, id="more than anybody passes"),
        pytest.param({"LISTEN_FDS": "9" * 5000}, id="more digits than a number has"),
        pytest.param({"LISTEN_FDS": "2", "LISTEN_FDNAMES": "public"}, id="fewer names than sockets"),
        pytest.param({"LISTEN_FDS": "1", "LISTEN_FDNAMES": "public:admin"}, id="more names than sockets"),
    ],
)
def test_contradictions_are_refused(environ: dict[str, str]) -> None:
    with pytest.raises(OSError, match="LISTEN_FD"):
        descriptors_of({"LISTEN_PID": str(PID)} | environ, pid=PID)


def test_a_socket_of_no_name_is_public_and_none_is_inherited_further(stack: ExitStack) -> None:
    inherited = {name: stack.enter_context(socket.create_server(("127.0.0.1", 0))) for name in ("", "gateway.socket", "public", "admin")}
    for sock in inherited.values():
        sock.set_inheritable(True)
    adopted = adopt([(os.dup(sock.fileno()), name) for name, sock in inherited.items()])
    for sock in (*adopted.public, *adopted.admin):
        stack.enter_context(sock)
    assert [sock.getsockname() for sock in adopted.public] == [inherited[name].getsockname() for name in ("", "gateway.socket", "public")]
    assert [sock.getsockname() for sock in adopted.admin] == [inherited["admin"].getsockname()]
    assert not any(sock.get_inheritable() for sock in (*adopted.public, *adopted.admin))


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(socket.SOCK_DGRAM, id="a datagram socket"),
        pytest.param(socket.SOCK_STREAM, id="a connection, as Accept=yes passes"),
    ],
)
def test_what_does_not_listen_is_refused(kind: socket.SocketKind) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    with ours, theirs, pytest.raises(OSError, match="ListenStream"):
        adopt([(theirs.detach(), "public")])


def test_a_descriptor_that_is_no_socket_is_refused() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    with pytest.raises(OSError, match="descriptor"):
        adopt([(reading, "public")])
    os.close(reading)


@pytest.mark.parametrize("abstract", [pytest.param(False, id="a path"), pytest.param(True, id="an abstract name")])
def test_systemd_hears_how_it_goes(tmp_path: Path, abstract: bool) -> None:
    address = f"@gateway-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + address[1:] if abstract else address)
        systemd.settimeout(10)
        notifier = notifier_of({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(PID)}, pid=PID)
        assert notifier.watchdog == 30.0
        notifier.ready()
        assert systemd.recv(1000) == b"READY=1"
        notifier.alive()
        assert systemd.recv(1000) == b"WATCHDOG=1"
        notifier.reloading()
        reloading, since = systemd.recv(1000).split(b"\n")
        assert reloading == b"RELOADING=1"
        assert since.removeprefix(b"MONOTONIC_USEC=").isdigit()
        notifier.stopping()
        assert systemd.recv(1000) == b"STOPPING=1"


@pytest.mark.parametrize(
    "environ",
    [
        pytest.param({}, id="no systemd"),
        pytest.param({"NOTIFY_SOCKET": "relative", "WATCHDOG_USEC": "1000000"}, id="neither a path nor abstract"),
        pytest.param({"NOTIFY_SOCKET": "vsock:2:1234"}, id="a kind of address that is not spoken here"),
        pytest.param({"NOTIFY_SOCKET": "/nowhere/notify", "WATCHDOG_USEC": "-1"}, id="a watchdog that is no time"),
        pytest.param({"NOTIFY_SOCKET": "/nowhere/notify", "WATCHDOG_USEC": "0"}, id="a watchdog of nothing"),
        pytest.param({"NOTIFY_SOCKET": "/nowhere/notify", "WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"}, id="a watchdog for another process"),
    ],
)
def test_telling_nobody_is_no_failure(environ: dict[str, str]) -> None:
    notifier = notifier_of(environ, pid=PID)
    assert notifier.watchdog is None
    for tell in (notifier.ready, notifier.alive, notifier.reloading, notifier.stopping, Notifier().ready):
        tell()


def test_the_variables_go_no_further() -> None:
    environ = {
        "LISTEN_PID": "1",
        "LISTEN_FDS": "1",
        "LISTEN_FDNAMES": "x",
        "NOTIFY_SOCKET": "/x",
        "WATCHDOG_USEC": "1",
        "WATCHDOG_PID": "1",
        "HOME": "x",
    }
    forget(environ)
    assert environ == {"HOME": "x"}
