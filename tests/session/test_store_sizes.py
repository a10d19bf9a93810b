"""What a session costs the store: a few KiB, most of them the provider's tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import redis as redis_py

from gateway.session.record import identity_from
from gateway.session.sealing import Keyring
from gateway.session.sessions import Sessions
from tests.session.test_sessions import KEY, LIFETIMES, NAMES

if TYPE_CHECKING:
    from tests.session.conftest import FakeProvider, Shop

CLAIMS = {
    "email": "alice.liddell@example.org",
    "preferred_username": "alice.liddell",
    "name": "Alice Pleasance Liddell",
    "groups": [f"department-{number}" for number in range(20)],
    "sid": "5f3c7c7e-0b8b-4b0e-9a55-0f3f1d0f8d6c",
}
JWT_BYTES = 1500
"""An access token with roles and scopes in it, as providers issue them."""


async def test_a_session_takes_a_few_kib(redis_shop: Shop, provider: FakeProvider):
    sessions = Sessions(Keyring([KEY]), redis_shop.store, LIFETIMES, clock=redis_shop.clock)
    signed_in = provider.signed_in(access_token="a" * JWT_BYTES, **CLAIMS)
    await sessions.begin(signed_in, identity_from(signed_in.claims, frozenset(CLAIMS)), NAMES, replaces=())
    with redis_py.Redis.from_url(redis_shop.urls[0]) as client:
        sizes = {key.decode()[8]: client.memory_usage(key, samples=0) for key in client.keys("gateway:[stic]:*")}
    assert sorted(sizes) == sorted("stic")
    assert sizes["c"] <= 1024, "many are read at once"
    assert sizes["s"] <= 2048, "read by a request that finds no copy"
    assert sum(sizes.values()) <= 3 * JWT_BYTES + 4096
