"""What the session tests share: a clock that tests move, stores of every kind, and sign-ins that were really verified."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import redis as redis_py
from joserfc import jwt
from joserfc.jwk import ECKey

from gateway.oidc.id_token import verify_id_token
from gateway.oidc.jwks import read_jwks
from gateway.oidc.metadata import Metadata
from gateway.oidc.provider import SignedIn
from gateway.oidc.registration import ProviderSettings, Secret
from gateway.oidc.token_response import Tokens
from gateway.session.store.memory import MemoryStore
from gateway.session.store.opening import open_store
from tests.support.redis_cluster import RedisCluster
from tests.support.redis_rights import IN_URL, PASSWORD, USER, rights
from tests.support.redis_sentinel import SentinelHouse
from tests.support.redis_servers import RedisServer, server_binaries, server_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from gateway.oidc.id_token import VerifiedClaims
    from gateway.session.store.protocol import SessionStore

ISSUER = "https://id.example.org"
STARTED = 1_700_000_000.0


@dataclass
class Clock:
    """Epoch seconds that stand still until a test moves them."""

    now: float = STARTED

    def __call__(self) -> float:
        return self.now


@dataclass
class Shop:
    """A store, the clock it lives by, and how to let time pass in it."""

    store: SessionStore
    clock: Clock
    server: RedisServer | RedisCluster | SentinelHouse | None = None

    def later(self, seconds: float) -> None:
        """Let time pass, for the clock and for every key: nothing sleeps."""
        self.clock.now += seconds
        for url in self.urls:
            with redis_py.Redis.from_url(url) as client:
                for key in client.keys("*"):
                    left = client.pttl(key)
                    assert left > 0, f"{key!r} has no time to live"
                    client.pexpire(key, left - int(seconds * 1000))

    def dump(self) -> dict[bytes, bytes]:
        """All that an attacker who reads the server sees; nothing for memory."""
        found: dict[bytes, bytes] = {}
        for url in self.urls:
            with redis_py.Redis.from_url(url) as client:
                for key in client.keys("*"):
                    found[key] = b"\n".join(client.zrange(key, 0, -1)) if client.type(key) == b"zset" else client.get(key)
        return found

    @property
    def urls(self) -> list[str]:
        """Of every server that takes writes."""
        return [] if self.server is None else self.server.urls


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def running_servers() -> Iterator[Callable[[int | str], Any]]:
    """One server a binary, started when first asked for and shared by tests that do not harm it; or several that belong together."""
    started: dict[int | str, RedisServer | RedisCluster | SentinelHouse] = {}
    # The loop of the test that asks first is running, and ends with it.
    with ThreadPoolExecutor(1) as aside:

        def server(which: int | str) -> RedisServer | RedisCluster | SentinelHouse:
            if which not in started:
                if which == "Cluster":
                    started[which] = RedisCluster(server_binaries()[0], acl=rights("users-cluster.acl"))
                elif which == "Sentinel":
                    started[which] = SentinelHouse(server_binaries()[0], acls=(rights("users.acl"), rights("users-sentinel.acl")))
                elif which == "Rights":
                    started[which] = RedisServer(binary=server_binaries()[0], acl=rights("users.acl"))
                else:
                    started[which] = RedisServer(binary=server_binaries()[which])
                starting = started[which].start()
                if starting is not None:
                    aside.submit(asyncio.run, starting).result()
            return started[which]

        yield server
        for each in started.values():
            closing = each.close()
            if closing is not None:
                aside.submit(asyncio.run, closing).result()


STORES = [
    pytest.param(None, id="memory"),
    *(pytest.param(index, id=server_id(binary)) for index, binary in enumerate(server_binaries())),
    pytest.param("Rights", id="with the rights in deploy alone"),
    pytest.param("Cluster", id="Cluster of three"),
    pytest.param("Sentinel", id="Sentinel"),
]
ONE_SERVER = STORES[1:-3]


@pytest.fixture(params=STORES)
async def shop(request: pytest.FixtureRequest, clock: Clock, running_servers: Callable[[int | str], Any]) -> AsyncIterator[Shop]:
    """Every store there is, empty."""
    shop = Shop(MemoryStore(clock=clock), clock) if request.param is None else _redis_shop(running_servers(request.param), clock)
    yield shop
    await shop.store.close()


@pytest.fixture(params=ONE_SERVER)
async def redis_shop(request: pytest.FixtureRequest, clock: Clock, running_servers: Callable[[int | str], Any]) -> AsyncIterator[Shop]:
    """Every store that somebody else can look into, empty."""
    shop = _redis_shop(running_servers(request.param), clock)
    yield shop
    await shop.store.close()


def _redis_shop(server: RedisServer | RedisCluster | SentinelHouse, clock: Clock) -> Shop:
    for url in server.urls:
        with redis_py.Redis.from_url(url) as client:
            client.flushall()
    url = server.url
    if server.acl if isinstance(server, RedisServer | RedisCluster) else server.acls:
        login = f"?sentinel_username={USER}&sentinel_password={quote(PASSWORD)}" if isinstance(server, SentinelHouse) else ""
        url = url.replace("://", f"://{IN_URL}") + login
    return Shop(open_store(url), clock, server)


@dataclass
class FakeProvider:
    """Signs id_tokens and has them verified: the one way to a ``VerifiedClaims``."""

    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256", {"kid": "1", "alg": "ES256", "use": "sig"}))

    def verified(self, **claims: Any) -> VerifiedClaims:
        settings = ProviderSettings(
            id="main", issuer=ISSUER, client_id="gateway", client_secret=Secret("s"), scopes=("openid",), id_token_algs=("ES256",)
        )
        metadata = Metadata(
            issuer=ISSUER,
            authorization_endpoint=f"{ISSUER}/authorize",
            token_endpoint=f"{ISSUER}/token",
            jwks_uri=f"{ISSUER}/jwks",
            end_session_endpoint=None,
            revocation_endpoint=None,
            token_endpoint_auth_methods_supported=None,
            revocation_endpoint_auth_methods_supported=None,
            id_token_signing_alg_values_supported=None,
            iss_parameter_supported=False,
        )
        token = self.id_token(**claims)
        keys = read_jwks({"keys": [dict(self.key.as_dict(private=False))]}, provider="main")
        return verify_id_token(token, keys=keys, settings=settings, metadata=metadata, nonce="n", access_token=None, now=STARTED)

    def id_token(self, **claims: Any) -> str:
        whole: Mapping[str, Any] = {
            "iss": ISSUER,
            "sub": "alice",
            "aud": "gateway",
            "exp": int(STARTED) + 300,
            "iat": int(STARTED),
            "nonce": "n",
        } | claims
        return jwt.encode({"alg": "ES256", "kid": "1"}, dict(whole), self.key, algorithms=["ES256"])

    def signed_in(self, *, access_token: str = "at-secret", **claims: Any) -> SignedIn:
        tokens = Tokens(
            access_token=access_token,
            token_type="Bearer",
            expires_at=STARTED + 300,
            refresh_token="rt-secret",
            id_token=self.id_token(**claims),
            scope="openid",
        )
        return SignedIn(tokens=tokens, claims=self.verified(**claims), provider="main")


@pytest.fixture(scope="session")
def provider() -> FakeProvider:
    return FakeProvider()
