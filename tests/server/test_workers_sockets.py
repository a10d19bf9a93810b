"""The listening sockets: who may have an address, what workers share, and what an operator reads when it cannot be had."""

from __future__ import annotations

import errno
import re
import socket
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from gateway.config.settings import Listen
from gateway.server.sockets import Sockets, address_of, open_listening
from gateway.server.systemd import Inherited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gateway.server.sockets import Listening

    Open = Callable[..., Listening]

ANY = Listen("127.0.0.1", 0)


@pytest.fixture
def opened() -> Iterator[Open]:
    with ExitStack() as stack:

        def open_and_close(*arguments: object, **options: object) -> Listening:
            listening = open_listening(*arguments, **options)
            stack.callback(listening.close)
            return listening

        yield open_and_close


def test_each_worker_has_a_socket_of_its_own_on_one_port(opened: Open) -> None:
    listening = opened(ANY, ANY, workers=3)
    assert len(listening.public) == 3
    assert len({sock.fileno() for slot in listening.public for sock in slot}) == 3
    assert len(listening.addresses()) == 1
    assert len(listening.admin) == 1
    assert listening.of(1) == Sockets(listening.public[1], listening.admin)


def test_the_kernel_spreads_connections_over_all_of_them(opened: Open) -> None:
    listening = opened(ANY, None, workers=3)
    address = listening.public[0][0].getsockname()
    taken: Counter[int] = Counter()
    with ExitStack() as stack:
        for _ in range(90):
            stack.enter_context(socket.create_connection(address))
        for number, (sock,) in enumerate(listening.public):
            sock.settimeout(0)
            try:
                while True:
                    stack.enter_context(sock.accept()[0])
                    taken[number] += 1
            except BlockingIOError:
                pass
    assert sum(taken.values()) == 90
    assert len(taken) == 3


@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize("second", [1, 2])
def test_a_second_gateway_never_slips_onto_the_port(opened: Open, first: int, second: int) -> None:
    port = opened(ANY, None, workers=first).public[0][0].getsockname()[1]
    with pytest.raises(OSError, match=f"^\\[Errno {errno.EADDRINUSE}\\] 127.0.0.1:{port}: "):
        opened(Listen("127.0.0.1", port), None, workers=second)


def test_a_port_whose_connections_linger_can_be_had_again(opened: Open) -> None:
    listening = open_listening(ANY, None)
    address = listening.public[0][0].getsockname()
    with socket.create_connection(address):
        accepted, _ = listening.public[0][0].accept()
        accepted.close()
    listening.close()
    assert opened(Listen("127.0.0.1", address[1]), None, workers=2).public


def test_nothing_stays_open_when_the_second_address_is_taken(opened: Open) -> None:
    taken = opened(ANY, None).public[0][0].getsockname()[1]
    free = open_listening(ANY, None)
    port = free.public[0][0].getsockname()[1]
    free.close()
    with pytest.raises(OSError, match="in use"):
        opened(Listen("127.0.0.1", port), Listen("127.0.0.1", taken), workers=2)
    assert opened(Listen("127.0.0.1", port), None).addresses() == [f"127.0.0.1:{port}"]


@pytest.mark.parametrize(
    ("listen", "says"),
    [
        pytest.param(Listen("no-such-host.invalid", 80), "no-such-host.invalid:80: ", id="a name of nobody"),
        pytest.param(Listen("192.0.2.1", 8080), "192.0.2.1:8080: ", id="an address of another machine"),
        pytest.param(Listen("2001:db8::1", 8080), "[2001:db8::1]:8080: ", id="an IPv6 address of another machine"),
        pytest.param(Listen(None, None, "/nowhere/gateway.sock"), "unix:/nowhere/gateway.sock: ", id="a folder that is not there"),
    ],
)
def test_a_refusal_names_the_address(opened: Open, listen: Listen, says: str) -> None:
    with pytest.raises(OSError, match=f"] {re.escape(says)}"):
        opened(listen, None, workers=2)


def test_workers_share_a_unix_socket(opened: Open, tmp_path: Path) -> None:
    path = str(tmp_path / "gateway.sock")
    listening = opened(Listen(None, None, path), ANY, workers=2)
    assert listening.public[0] == listening.public[1]
    assert listening.addresses() == [f"unix:{path}"]
    with pytest.raises(OSError, match="in use"):
        opened(Listen(None, None, path), None)


def test_a_unix_socket_that_was_left_behind_is_replaced_and_a_file_is_not(opened: Open, tmp_path: Path) -> None:
    left = tmp_path / "left.sock"
    open_listening(Listen(None, None, str(left)), None).close()
    assert left.is_socket()
    assert opened(Listen(None, None, str(left)), None).public
    file = tmp_path / "file.sock"
    file.write_text("somebody's")
    with pytest.raises(OSError, match="in use"):
        opened(Listen(None, None, str(file)), None)
    assert file.read_text() == "somebody's"


def test_what_was_passed_in_is_not_bound_again(opened: Open) -> None:
    public, probes = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
    listening = opened(Listen("192.0.2.1", 1), Listen("192.0.2.1", 1), workers=2, inherited=Inherited((public,), (probes,)))
    assert listening.public == ((public,), (public,))
    assert listening.admin == (probes,)
    assert listening.addresses() == [address_of(public)]


def test_a_socket_for_probes_that_nobody_wants_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probes, pytest.raises(OSError, match=r"admin\.listen is none"):
        open_listening(ANY, None, inherited=Inherited((), (probes,)))


def test_a_worker_keeps_its_own_sockets_and_closes_the_others(opened: Open) -> None:
    listening = opened(ANY, ANY, workers=2)
    listening.close(but=listening.of(0))
    assert listening.public[0][0].fileno() >= 0
    assert listening.admin[0].fileno() >= 0
    assert listening.public[1][0].fileno() == -1


def test_addresses_are_written_as_they_are_configured() -> None:
    with ExitStack() as stack:
        four = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        assert address_of(four) == f"127.0.0.1:{four.getsockname()[1]}"
        if socket.has_ipv6:
            six = stack.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6))
            assert address_of(six) == f"[::1]:{six.getsockname()[1]}"
