"""Which of a provider's published keys are used."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OctKey

from gateway.errors import ProviderFailed
from gateway.oidc.jwks import read_jwks
from tests.support.fake_provider import REMOVED, merged, signing_key

RSA = signing_key("RS256").as_dict(private=False)
EC = signing_key("ES256").as_dict(private=False)
ED = signing_key("EdDSA").as_dict(private=False)
# A modulus of 1024 bits: only its size matters.
SMALL = "w" + "A" * 169 + "Q"


def used(*entries: Any) -> int:
    return len(read_jwks({"keys": list(entries)}, provider="main").keys)


def test_public_signature_keys_are_used():
    assert used(RSA, EC, ED, RSA | {"use": "sig"}, RSA | {"key_ops": ["verify"]}, RSA | {"x5c": 7, "unknown": {}}) == 6


UNUSED = [
    pytest.param(OctKey.generate_key(256).as_dict(), id="ID-02 symmetric"),
    pytest.param(signing_key("RS256").as_dict(private=True), id="published with its private half"),
    pytest.param(signing_key("EdDSA").as_dict(private=True), id="Ed25519 with its private half"),
    pytest.param(RSA | {"use": "enc"}, id="for encryption"),
    pytest.param(RSA | {"key_ops": ["encrypt"]}, id="key_ops without verify"),
    pytest.param(RSA | {"key_ops": "verify"}, id="key_ops no list"),
    pytest.param(RSA | {"kid": 7}, id="kid number"),
    pytest.param(RSA | {"kid": "k" * 10_000}, id="kid too long"),
    pytest.param(RSA | {"alg": 7}, id="alg number"),
    pytest.param(RSA | {"kty": "rsa"}, id="kty in another case"),
    pytest.param(RSA | {"kty": "X"}, id="unknown kty"),
    pytest.param(merged(RSA, {"kty": REMOVED}), id="no kty"),
    pytest.param(merged(RSA, {"n": REMOVED}), id="no modulus"),
    pytest.param(RSA | {"n": SMALL}, id="RSA of 1024 bits"),
    pytest.param(RSA | {"n": "_" * 4096}, id="RSA of 24576 bits"),
    pytest.param(RSA | {"e": "AQ"}, id="RSA exponent 1"),
    pytest.param(RSA | {"n": str(RSA["n"]) + "=="}, id="padding"),
    pytest.param(RSA | {"n": 7}, id="modulus number"),
    pytest.param(EC | {"x": EC["y"]}, id="ID-22 point not on its curve"),
    pytest.param(EC | {"crv": "P-384"}, id="point of another curve"),
    pytest.param(ECKey.generate_key("secp256k1").as_dict(private=False), id="ID-29 secp256k1"),
    pytest.param(ED | {"crv": "Ed448"}, id="ID-29 Ed448"),
    pytest.param(ED | {"crv": "X25519"}, id="a key for agreement"),
    pytest.param(ED | {"x": "AA"}, id="Ed25519 too short"),
    pytest.param("x", id="string"),
    pytest.param(None, id="null"),
]


@pytest.mark.parametrize("entry", UNUSED)
def test_an_entry_that_we_cannot_use_is_skipped_and_harms_nobody(entry: Any):
    assert used(entry, RSA) == 1


@pytest.mark.parametrize("document", [{}, {"keys": None}, {"keys": {}}, {"keys": [RSA] * 101}, {"keys": "x"}])
def test_what_is_no_set_is_refused(document: Any):
    with pytest.raises(ProviderFailed):
        read_jwks(document, provider="main")


members = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=20), st.sampled_from(["RSA", "EC", "OKP", "P-256", "Ed25519", RSA["n"]])
)


@given(
    st.lists(st.dictionaries(st.sampled_from(["kty", "crv", "n", "e", "x", "y", "kid", "alg", "use", "key_ops", "d"]), members), max_size=3)
)
@settings(deadline=None)
def test_no_entry_crashes(entries):
    read_jwks({"keys": entries}, provider="main")
