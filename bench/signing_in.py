"""A browser as far as a login needs one: follows redirects, keeps cookies per port, and never runs a script."""

from __future__ import annotations

import http.client
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Self
from urllib.parse import urljoin, urlsplit

_STEPS = 12
_TIMEOUT = 20.0
NAVIGATION = {
    "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Site": "none",
    "User-Agent": "bench",
}


class LoginFailed(Exception):
    """The login did not end at the application; the text says where it ended."""


@dataclass
class Browser:
    """One person's: cookies by port, one kept connection a port."""

    cookies: dict[int, dict[str, str]] = field(default_factory=dict)
    _connections: dict[int, http.client.HTTPConnection] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections.values():
            connection.close()

    def get(self, url: str) -> tuple[int, dict[str, str], bytes]:
        """One GET: status, headers by lower-case name (without Set-Cookie) and body."""
        parts = urlsplit(url)
        port = parts.port or 80
        connection = self._connections.setdefault(port, http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT))
        headers = NAVIGATION | ({"Cookie": self.cookie_header(port)} if self.cookies.get(port) else {})
        connection.request("GET", parts.path + (f"?{parts.query}" if parts.query else ""), headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        for line in answer.headers.get_all("Set-Cookie") or []:
            self._keep(port, line)
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body

    def sign_in(self, url: str) -> bytes:
        """Go to ``url`` and follow every redirect; the body of the 200 at the end. Raises ``LoginFailed``."""
        for _ in range(_STEPS):
            status, headers, body = self.get(url)
            if status == http.client.OK:
                return body
            if "location" not in headers:
                raise LoginFailed(f"{status} at {url.partition('?')[0]}: {body[:200]!r}")
            url = urljoin(url, headers["location"])
        raise LoginFailed(f"still redirected after {_STEPS} steps, to {url.partition('?')[0]}")

    def cookie_header(self, port: int) -> str:
        """The ``Cookie`` header for a port."""
        return "; ".join(f"{name}={value}" for name, value in self.cookies.get(port, {}).items())

    def _keep(self, port: int, line: str) -> None:
        pair, *attributes = line.split(";")
        name, _, value = pair.strip().partition("=")
        if deletes(attributes):
            self.cookies.get(port, {}).pop(name, None)
        else:
            self.cookies.setdefault(port, {})[name] = value


def deletes(attributes: list[str]) -> bool:
    """Whether the attributes of a Set-Cookie take the cookie away: ``Max-Age`` of 0 or less, or ``Expires`` in the past."""
    expired = False
    for attribute in attributes:
        name, _, value = attribute.strip().partition("=")
        if name.lower() == "max-age":
            return int(value) <= 0
        if name.lower() == "expires":
            try:
                expired = parsedate_to_datetime(value).timestamp() < time.time()
            except ValueError:
                continue
    return expired
