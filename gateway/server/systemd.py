"""What systemd says to a service at its start, and what it wants to hear: inherited sockets, READY, STOPPING, RELOADING, WATCHDOG.

Answers sd_listen_fds(3) and sd_notify(3). Two variables, a list of names and one datagram: less than a dependency would be to keep. What is
not said is not needed: without the variables nothing here does anything.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence

FIRST_DESCRIPTOR: Final = 3
MOST_DESCRIPTORS: Final = 64
SECONDS_TO_TELL: Final = 1.0
ADMIN: Final = "admin"
"""The ``FileDescriptorName`` of sockets for probes. Sockets of any other name are public: what nobody named never answers probes."""
VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


@dataclass(frozen=True, slots=True)
class Inherited:
    """Sockets that listen already."""

    public: tuple[socket.socket, ...] = ()
    admin: tuple[socket.socket, ...] = ()


class Notifier:
    """Tells systemd how the service is; tells nobody when ``address`` is None. A datagram that does not arrive is no failure of ours."""

    def __init__(self, address: str | None = None, *, watchdog: float | None = None) -> None:
        self._address = address
        self.watchdog = watchdog
        """Seconds within which systemd wants to hear ``alive``, or None."""

    def ready(self) -> None:
        """Started, or done with a reload."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """Secrets are being read anew; ``ready`` follows."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Draining."""
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """To be said well within ``watchdog`` seconds, again and again."""
        if self.watchdog is not None:
            self._tell("WATCHDOG=1")

    def _tell(self, state: str) -> None:
        if self._address is None:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.settimeout(SECONDS_TO_TELL)
            channel.sendto(state.encode(), self._address)


def notifier_of(environ: Mapping[str, str], *, pid: int) -> Notifier:
    """The notifier that ``NOTIFY_SOCKET`` and ``WATCHDOG_USEC`` ask for. An address that is neither a path nor abstract is left alone."""
    address = environ.get("NOTIFY_SOCKET", "")
    if address.startswith("@"):
        address = "\0" + address[1:]
    elif not address.startswith("/"):
        return Notifier()
    microseconds = environ.get("WATCHDOG_USEC", "")
    watched = _is_number(microseconds) and int(microseconds) > 0 and environ.get("WATCHDOG_PID", str(pid)) == str(pid)
    return Notifier(address, watchdog=int(microseconds) / 1e6 if watched else None)


def descriptors_of(environ: Mapping[str, str], *, pid: int) -> tuple[tuple[int, str], ...]:
    """The descriptors meant for process ``pid``, each with its name ("" without ``LISTEN_FDNAMES``).

    Raises:
        OSError: the variables contradict each other.
    """
    if environ.get("LISTEN_PID") != str(pid) or "LISTEN_FDS" not in environ:
        return ()
    count = environ["LISTEN_FDS"]
    if not _is_number(count) or int(count) > MOST_DESCRIPTORS:
        raise OSError(errno.EINVAL, "LISTEN_FDS is not a number of sockets")
    names = environ["LISTEN_FDNAMES"].split(":") if environ.get("LISTEN_FDNAMES") else [""] * int(count)
    if len(names) != int(count):
        raise OSError(errno.EINVAL, "LISTEN_FDNAMES has not one name for each of LISTEN_FDS")
    return tuple((FIRST_DESCRIPTOR + index, name) for index, name in enumerate(names))


def adopt(descriptors: Sequence[tuple[int, str]]) -> Inherited:
    """The sockets behind ``descriptors``; no process that this one starts inherits them by accident.

    Raises:
        OSError: one of them is not a stream socket that listens.
    """
    public: list[socket.socket] = []
    admin: list[socket.socket] = []
    for descriptor, name in descriptors:
        sock = _listening_socket(descriptor)
        if sock is None:
            raise OSError(errno.EINVAL, f"descriptor {descriptor} is not a stream socket that listens: use ListenStream= and Accept=no")
        (admin if name == ADMIN else public).append(sock)
    return Inherited(tuple(public), tuple(admin))


def forget(environ: MutableMapping[str, str]) -> None:
    """Remove the variables, which were meant for this process alone."""
    for name in VARIABLES:
        environ.pop(name, None)


def _listening_socket(descriptor: int) -> socket.socket | None:
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError:
        return None
    sock.set_inheritable(False)
    if sock.type is socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return sock
    sock.close()
    return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 18  # noqa: PLR2004 - digits of a count or of microseconds
