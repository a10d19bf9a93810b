"""The origins that browsers see us under; a Host that is none of them is answered by nobody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, lower-case host (IPv6 in brackets) and port of one public URL."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> Origin:
        """Read a public URL (ValueError with a plain text)."""
        raise NotImplementedError

    @property
    def authority(self) -> str:
        """``host`` or ``host:port``, the default port omitted."""
        raise NotImplementedError

    @property
    def text(self) -> str:
        """``https://apps.example.org``, the default port omitted."""
        raise NotImplementedError


class Origins:
    """Every origin of ours, by what a Host header or a forwarded URL says."""

    def __init__(self, origins: Sequence[Origin]) -> None:
        raise NotImplementedError

    def for_host(self, host_header: str) -> Origin:
        """The origin that a Host header names; raises HostUnknown, or HeadersRefused if it is malformed."""
        raise NotImplementedError

    def for_url(self, scheme: str, authority: str) -> Origin:
        """The origin of a forwarded scheme and host; raises as ``for_host``."""
        raise NotImplementedError
