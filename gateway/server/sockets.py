"""The listening sockets, bound before anything else runs, so that an address that is taken is one clear error.

Answers the worker that dies: whoever supervises keeps every socket open, so that what queued on one waits for the next worker. On TCP each
worker has a socket of its own (``SO_REUSEPORT``), among which the kernel spreads connections; the first of them is bound without that
option, so that no second gateway can slip onto the same port. A Unix socket, and what systemd passed, is shared.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.server.systemd import Inherited

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.config.settings import Listen

BACKLOG: Final = 1024
"""Connections that may queue on one socket, within what the kernel allows."""
PROBE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Sockets:
    """What one process listens on."""

    public: tuple[socket.socket, ...]
    admin: tuple[socket.socket, ...]


@dataclass(frozen=True, slots=True)
class Listening:
    """Every listening socket of the gateway: ``public`` by worker, ``admin`` shared by all of them."""

    public: tuple[tuple[socket.socket, ...], ...]
    admin: tuple[socket.socket, ...]

    def of(self, worker: int) -> Sockets:
        """What worker ``worker`` (from 0) listens on."""
        return Sockets(self.public[worker], self.admin)

    def close(self, *, but: Sockets | None = None) -> None:
        """Close this process's copies, all ``but`` some."""
        kept = set() if but is None else {*but.public, *but.admin}
        for sock in {*self.admin, *(sock for slot in self.public for sock in slot)} - kept:
            sock.close()

    def addresses(self) -> list[str]:
        """The public addresses, for the log."""
        return sorted({address_of(sock) for slot in self.public for sock in slot})


def open_listening(public: Listen, admin: Listen | None, *, workers: int = 1, inherited: Inherited | None = None) -> Listening:
    """Bind and listen at both addresses; an inherited socket stands for the address of its kind.

    Raises:
        OSError: an address cannot be listened on; its text names the address.
    """
    inherited = inherited or Inherited()
    if admin is None and inherited.admin:
        raise OSError(errno.EINVAL, "a socket for probes was passed in, and admin.listen is none")
    with contextlib.ExitStack() as undo:
        slots = (inherited.public,) * workers if inherited.public else _bound(public, workers, undo)
        probes = inherited.admin if inherited.admin or admin is None else _bound(admin, 1, undo)[0]
        undo.pop_all()
        return Listening(slots, probes)


def address_of(sock: socket.socket) -> str:
    """``127.0.0.1:8080``, ``[::1]:8080`` or ``unix:/run/gateway.sock``."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{os.fsdecode(name)}"
    return f"[{name[0]}]:{name[1]}" if sock.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"


def _bound(listen: Listen, copies: int, undo: contextlib.ExitStack) -> tuple[tuple[socket.socket, ...], ...]:
    if listen.unix_path is not None:
        with _named(f"unix:{listen.unix_path}"):
            return ((_unix(listen.unix_path, undo),),) * copies
    with _named(f"[{listen.host}]:{listen.port}" if listen.host and ":" in listen.host else f"{listen.host}:{listen.port}"):
        return tuple(zip(*_tcp(listen, copies, undo), strict=True))


@contextlib.contextmanager
def _named(where: str) -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        raise OSError(fault.errno, f"{where}: {fault.strerror or fault}") from fault


def _tcp(listen: Listen, copies: int, undo: contextlib.ExitStack) -> Sequence[Sequence[socket.socket]]:
    """For each address that the host stands for, one socket for each worker."""
    found: list[list[socket.socket]] = []
    missing: OSError | None = None
    resolved = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, _, _, _, address in dict.fromkeys(resolved):
        try:
            first = _listen(family, address, undo)
        except OSError as fault:
            # A name may stand for an address of a family that this machine has not; another address of it will do.
            if fault.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise
            missing = fault
            continue
        if copies > 1:
            first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        found.append([first, *(_listen(family, first.getsockname(), undo, shared=True) for _ in range(copies - 1))])
    if not found:
        raise missing or OSError(errno.EADDRNOTAVAIL, "no such address")
    return found


def _listen(family: int, address: Any, undo: contextlib.ExitStack, *, shared: bool = False) -> socket.socket:
    sock = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        # Mapped addresses would not be found in trusted_proxies.
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(address)
    sock.listen(BACKLOG)
    return sock


def _unix(path: str, undo: contextlib.ExitStack) -> socket.socket:
    if Path(path).is_socket():
        _remove_if_left_behind(path)
    sock = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    sock.bind(path)
    sock.listen(BACKLOG)
    return sock


def _remove_if_left_behind(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_SECONDS)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
        else:
            raise OSError(errno.EADDRINUSE, "Address already in use")
