"""``oidc-provider-mock`` on loopback: a provider that is not of this repository, for journeys that need only Python."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING

import oidc_provider_mock
import werkzeug.serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.user_agent import Answer, UserAgent

CLAIMS = {
    "alice": {
        "email": "alice@example.org",
        "name": "Alice Adams",
        "preferred_username": "alice",
        "groups": ["staff", "admins"],
    },
    "bob": {"email": "bob@example.org", "name": "Bob Brown", "preferred_username": "bob"},
}


@dataclass(frozen=True)
class MockProvider:
    """A running provider; it takes any client id and secret, so the tests make up their own."""

    issuer: str
    client_id: str = "gateway"
    client_secret: str = "mock-provider client secret: %+/é"

    async def sign_in(self, browser: UserAgent, url: str, user: str) -> Answer:
        """Open a page behind the gateway, sign in on the provider's page as a person would, and follow to where that leads."""
        page = await browser.open(url)
        assert page.url.startswith(self.issuer), f"not at the provider but at {page.url}: {page.text[:300]}"
        return await browser.open(page.url, method="POST", data={"sub": user})


@contextmanager
def mock_provider(port: int = 0) -> Iterator[MockProvider]:
    """Run the provider in a thread; its issuer is the address that it is asked at."""
    users = [oidc_provider_mock.User(sub=name, claims=claims) for name, claims in CLAIMS.items()]
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = werkzeug.serving.make_server("127.0.0.1", port, oidc_provider_mock.app(user_claims=users), threaded=True)
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield MockProvider(f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
