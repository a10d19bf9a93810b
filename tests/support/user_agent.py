"""A browser without a screen: keeps cookies, sends what browsers send with a navigation, follows redirects one at a time.

Every page of the gateway's and every secret that passes is registered with the leak sweep.
"""

from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qsl, urljoin, urlsplit

import aiohttp
from yarl import URL

from tests.support.leaks import sweep

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAVIGATION = {
    "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Site": "none",
    "Sec-Fetch-User": "?1",
    "Upgrade-Insecure-Requests": "1",
}
FETCH = {"Accept": "*/*", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Sec-Fetch-Site": "same-origin"}
SECRET_PARAMETERS = {"code", "state", "code_verifier", "id_token_hint"}
MOST_REDIRECTS = 20


@dataclass(frozen=True)
class Answer:
    """One response, read whole. ``url`` is where it came from."""

    url: str
    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) <= 1, f"{name} is there {len(values)} times"
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def location(self) -> str | None:
        where = self.header("Location")
        return None if where is None else urljoin(self.url, where)


class UserAgent:
    """``ours`` are the origins of the gateway under test: their pages go to the leak sweep."""

    def __init__(self, *ours: str) -> None:
        self._ours = ours

    async def __aenter__(self) -> Self:
        self.cookies = aiohttp.CookieJar(unsafe=True, quote_cookie=False)
        self.client = aiohttp.ClientSession(cookie_jar=self.cookies, auto_decompress=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    async def ask(self, url: str, *, method: str = "GET", headers: Mapping[str, str] = NAVIGATION, data: object = None) -> Answer:
        """One request, no redirect followed."""
        async with self.client.request(method, URL(url, encoded=True), headers=headers, data=data, allow_redirects=False) as response:
            body = await response.read()
            answer = Answer(url, response.status, [(k, v) for k, v in response.headers.items()], body)
        if url.startswith(self._ours):
            sweep.output(answer.text, f"page {urlsplit(url).path}")
        for cookie in answer.all("Set-Cookie"):
            sweep.secret(cookie.partition("=")[2].partition(";")[0], "cookie value")
        if answer.location is not None:
            for name, value in parse_qsl(urlsplit(answer.location).query):
                if name in SECRET_PARAMETERS:
                    sweep.secret(value, name)
        return answer

    async def open(self, url: str, *, method: str = "GET", data: object = None, headers: Mapping[str, str] = NAVIGATION) -> Answer:
        """A navigation: redirects are followed as a browser would, by GET after a 303; the first page that is none is returned."""
        answer = await self.ask(url, method=method, data=data, headers=headers)
        for _ in range(MOST_REDIRECTS):
            if answer.location is None:
                return answer
            answer = await self.ask(answer.location)
        raise AssertionError(f"redirect loop, last at {urlsplit(answer.url).path}")

    async def until(self, url: str, stop: str) -> Answer:
        """Follow redirects until one leads to a URL that starts with ``stop``; that redirect is returned, not followed."""
        answer = await self.ask(url)
        for _ in range(MOST_REDIRECTS):
            assert answer.location is not None, f"{answer.status} at {urlsplit(answer.url).path} leads nowhere: {answer.text[:400]}"
            if answer.location.startswith(stop):
                return answer
            answer = await self.ask(answer.location)
        raise AssertionError("redirect loop")

    def cookie_names(self) -> set[str]:
        return {cookie.key for cookie in self.cookies}

    def websocket(self, url: str, **options: object) -> aiohttp.client._WSRequestContextManager:
        return self.client.ws_connect(url, **options)


@dataclass(frozen=True)
class Form:
    """A form of a page: where it goes, and its fields with the values that the page put in."""

    action: str
    method: str
    fields: dict[str, str]


def forms(answer: Answer) -> list[Form]:
    """Every form of a page, for signing in at providers as a person would."""
    parser = _Forms(answer.url)
    parser.feed(answer.text)
    return parser.found


class _Forms(HTMLParser):
    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self.found: list[Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            action = urljoin(self._url, given.get("action", "") or self._url)
            self.found.append(Form(action, given.get("method", "get").upper(), {}))
        elif tag in {"input", "button"} and self.found and given.get("name"):
            self.found[-1].fields.setdefault(given["name"], given.get("value", ""))
