"""Every kind of route with and without somebody."""

from __future__ import annotations

import pytest

from gateway.access.decision import Allow, SignIn, decide
from gateway.access.routes import Access, Route
from gateway.identity import Identity

BOB = Identity(issuer="https://id.example.org", subject="bob", claims={"sub": "bob"})


@pytest.mark.parametrize(
    ("access", "identity", "verdict"),
    [
        pytest.param(Access.PUBLIC, None, Allow(None), id="public, nobody"),
        pytest.param(Access.PUBLIC, BOB, Allow(None), id="public routes carry no identity"),
        pytest.param(Access.OPTIONAL, None, Allow(None), id="optional, nobody"),
        pytest.param(Access.OPTIONAL, BOB, Allow(BOB), id="optional, somebody"),
        pytest.param(Access.SIGNED_IN, None, SignIn(), id="signed in, nobody"),
        pytest.param(Access.SIGNED_IN, BOB, Allow(BOB), id="signed in, somebody"),
    ],
)
def test_decision(access, identity, verdict):
    assert decide(Route(index=0, path="/", hosts=None, access=access), identity) == verdict
