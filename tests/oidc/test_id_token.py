"""The id_token: a valid one is made, one part of it is damaged, and it must be refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import IdTokenRefused
from gateway.oidc.id_token import VerifiedClaims, left_half_hash, verify_id_token
from gateway.oidc.jwks import KeySet, read_jwks
from gateway.oidc.jws import UnknownKey
from tests.support.fake_provider import REMOVED, example_metadata, example_settings, merged, part, sign, sign_hs256, signing_key

NOW = 1_700_000_000
KEY = signing_key("RS256")
OTHER = signing_key("RS256", kid="key-2")
PUBLIC = KEY.as_dict(private=False)
VALID: dict[str, Any] = {
    "iss": "https://op.example",
    "sub": "alice",
    "aud": "gateway",
    "exp": NOW + 300,
    "iat": NOW,
    "nonce": "n-0S6_WzA2Mj",
}


def keys(*entries: Any) -> KeySet:
    return read_jwks({"keys": list(entries or (PUBLIC,))}, provider="main")


def verify(
    token: str, *, key_set: KeySet | None = None, now: float = NOW, algs: tuple[str, ...] = ("RS256",), **bound: Any
) -> VerifiedClaims:
    values: dict[str, Any] = {"nonce": VALID["nonce"], "access_token": "at"}
    return verify_id_token(
        token,
        keys=key_set or keys(),
        settings=example_settings(id_token_algs=algs),
        metadata=example_metadata(),
        now=now,
        **(values | bound),
    )


def token(claims: dict[str, Any] | None = None, header: dict[str, Any] | None = None, key=KEY, alg: str = "RS256") -> str:
    return sign(merged(VALID, claims or {}), key, alg, {"kid": "key-1", "typ": "JWT"} | (header or {}))


def test_a_valid_one_passes():
    claims = verify(token({"sid": "s1", "auth_time": NOW - 5, "email": "a@b"}))
    assert (claims.issuer, claims.subject, claims.sid, claims.auth_time, claims.expires) == (
        "https://op.example",
        "alice",
        "s1",
        NOW - 5,
        NOW + 300.0,
    )
    assert claims.claims["email"] == "a@b"


def test_nobody_else_makes_verified_claims():
    with pytest.raises(TypeError):
        VerifiedClaims(claims={}, issuer="i", subject="s", sid=None, auth_time=None, expires=0.0, witness=None)


CLAIMS = [
    pytest.param({"iss": "https://op.example/"}, False, id="iss with a slash more"),
    pytest.param({"iss": "https://other.example"}, False, id="ST-11 iss of another provider"),
    pytest.param({"iss": REMOVED}, False, id="iss missing"),
    pytest.param({"iss": ["https://op.example"]}, False, id="iss in a list"),
    pytest.param({"aud": "other"}, False, id="ID-13 aud other, ID-26 token of another client"),
    pytest.param({"aud": REMOVED}, False, id="ID-13 aud missing"),
    pytest.param({"aud": []}, False, id="ID-13 aud empty list"),
    pytest.param({"aud": ""}, False, id="ID-13 aud empty"),
    pytest.param({"aud": ["x"]}, False, id="ID-13 aud list of another"),
    pytest.param({"aud": ["gateway", "untrusted"]}, False, id="ID-13 an untrusted audience beside us"),
    pytest.param({"aud": ["gateway"]}, True, id="ID-13 list of us"),
    pytest.param({"aud": "gateway"}, True, id="ID-13 us"),
    pytest.param({"aud": "gateway1"}, False, id="ID-13 us and a digit"),
    pytest.param({"aud": [["gateway"]]}, False, id="ID-13 nested list"),
    pytest.param({"aud": {"gateway": 1}}, False, id="ID-13 object"),
    pytest.param({"aud": "gateway other"}, False, id="ID-13 two in one string"),
    pytest.param({"aud": None}, False, id="ID-13 null"),
    pytest.param({"azp": "other"}, False, id="ID-14 azp other"),
    pytest.param({"aud": ["gateway", "x"], "azp": REMOVED}, False, id="ID-14 two audiences without azp"),
    pytest.param({"aud": ["gateway", "x"], "azp": "gateway"}, False, id="ID-14 two audiences with azp"),
    pytest.param({"azp": "gateway"}, True, id="ID-14 azp equal"),
    pytest.param({"azp": ["gateway"]}, False, id="ID-14 azp list"),
    pytest.param({"azp": None}, False, id="ID-14 azp null"),
    pytest.param({"iat": REMOVED}, False, id="ID-16 iat missing"),
    pytest.param({"iat": NOW + 3600}, False, id="ID-16 iat in an hour"),
    pytest.param({"iat": NOW + 30}, True, id="ID-16 iat within skew"),
    pytest.param({"iat": NOW - 7 * 86400}, True, id="ID-16 iat a week ago"),
    pytest.param({"iat": str(NOW)}, False, id="ID-16 iat string"),
    pytest.param({"iat": True}, False, id="iat boolean"),
    pytest.param({"iat": -1}, False, id="iat negative"),
    pytest.param({"exp": REMOVED}, False, id="exp missing"),
    pytest.param({"exp": None}, False, id="exp null"),
    pytest.param({"exp": str(NOW + 300)}, False, id="exp string"),
    pytest.param({"exp": NOW - 30}, True, id="ID-28 expired 30 s ago"),
    pytest.param({"exp": NOW - 120}, False, id="ID-28 expired 120 s ago"),
    pytest.param({"exp": NOW - 600}, False, id="ID-28 expired 10 min ago"),
    pytest.param({"exp": NOW + 300.5}, True, id="exp with a fraction"),
    pytest.param({"exp": 10**18}, False, id="exp beyond every calendar"),
    pytest.param({"nbf": NOW + 120}, False, id="ID-17 nbf in the future"),
    pytest.param({"nbf": NOW + 30}, True, id="ID-17 nbf within skew"),
    pytest.param({"nbf": "soon"}, False, id="ID-17 nbf string"),
    pytest.param({"nonce": REMOVED}, False, id="nonce missing, ID-26 access token or logout token"),
    pytest.param({"nonce": "n-0S6_WzA2M"}, False, id="ID-26 old nonce"),
    pytest.param({"nonce": ""}, False, id="nonce empty"),
    pytest.param({"nonce": ["n-0S6_WzA2Mj"]}, False, id="nonce list"),
    pytest.param({"at_hash": left_half_hash("at", "RS256")}, True, id="ID-23 at_hash right"),
    pytest.param({"at_hash": left_half_hash("other", "RS256")}, False, id="ID-23 at_hash wrong"),
    pytest.param({"at_hash": left_half_hash("at", "RS512")}, False, id="ID-23 at_hash by another hash"),
    pytest.param({"at_hash": None}, False, id="ID-23 at_hash null"),
    pytest.param({"c_hash": left_half_hash("other", "RS256")}, False, id="ID-23 c_hash wrong"),
    pytest.param({"c_hash": left_half_hash("the code", "RS256")}, True, id="ID-23 c_hash right"),
    pytest.param({"sub": REMOVED}, False, id="sub missing"),
    pytest.param({"sub": ""}, False, id="sub empty"),
    pytest.param({"sub": "a" * 255}, True, id="sub of 255"),
    pytest.param({"sub": "a" * 256}, False, id="sub of 256"),
    pytest.param({"sub": "\u00e9"}, False, id="sub not ASCII"),
    pytest.param({"sub": "a\r\nX: y"}, False, id="sub with a line end"),
    pytest.param({"sub": 7}, False, id="sub number"),
    pytest.param({"sid": 7}, False, id="sid number"),
    pytest.param({"sid": ""}, False, id="sid empty"),
    pytest.param({"auth_time": "now"}, False, id="auth_time string"),
]


@pytest.mark.parametrize(("changes", "accepted"), CLAIMS)
def test_claims(changes: dict[str, Any], *, accepted: bool):
    if accepted:
        assert verify(token(changes), code="the code").issuer == "https://op.example"
    else:
        with pytest.raises(IdTokenRefused):
            verify(token(changes), code="the code")


@pytest.mark.parametrize(("seconds", "accepted"), [(-30, True), (30, True), (-120, False), (380, False), (-600, False), (600, False)])
def test_id_28_the_clocks_may_differ_within_the_skew(seconds: int, *, accepted: bool):
    if accepted:
        verify(token(), now=NOW + seconds)
    else:
        with pytest.raises(IdTokenRefused, match="clock"):
            verify(token(), now=NOW + seconds)


HEADERS = [
    pytest.param({"alg": "none"}, id="ID-01 alg none"),
    pytest.param({"alg": "None"}, id="ID-01 alg None"),
    pytest.param({"alg": "nOnE"}, id="ID-01 alg nOnE"),
    pytest.param({"alg": REMOVED}, id="ID-01 no alg"),
    pytest.param({"alg": 256}, id="ID-01 alg number"),
    pytest.param({"alg": ["RS256"]}, id="ID-01 alg list"),
    pytest.param({"alg": "rs256"}, id="alg in another case"),
    pytest.param({"crit": ["exp"]}, id="ID-10 crit exp"),
    pytest.param({"crit": ["b64"], "b64": False}, id="ID-10 crit b64"),
    pytest.param({"crit": []}, id="ID-10 crit empty"),
    pytest.param({"crit": "x"}, id="ID-10 crit string"),
    pytest.param({"crit": ["x"]}, id="ID-10 crit unknown"),
    pytest.param({"b64": False}, id="b64 without crit"),
    pytest.param({"typ": "logout+jwt"}, id="ID-11 logout token"),
    pytest.param({"typ": "at+jwt"}, id="ID-11 access token"),
    pytest.param({"typ": "dpop+jwt"}, id="ID-11 proof"),
    pytest.param({"typ": None}, id="typ null"),
    pytest.param({"cty": "JWT"}, id="ID-11 nested"),
    pytest.param({"zip": "DEF"}, id="ID-22 compressed"),
    pytest.param({"kid": 7}, id="ID-07 kid number"),
    pytest.param({"kid": None}, id="ID-07 kid null"),
    pytest.param({"kid": "k" * 2000}, id="ID-07 kid too long"),
    pytest.param({"kid": "../../etc/passwd"}, id="ID-07 kid path"),
    pytest.param({"kid": "' OR 1"}, id="ID-07 kid query"),
    pytest.param({"kid": "k" * 1_000_000}, id="ID-07 kid of 1 MB"),
    pytest.param({"x": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}, id="header too deep"),
]


@pytest.mark.parametrize("changes", HEADERS)
def test_headers(changes: dict[str, Any]):
    with pytest.raises(IdTokenRefused):
        verify(token(header=changes))


def test_keys_in_the_header_are_never_used():
    header = {"jwk": OTHER.as_dict(private=False), "jku": "https://evil.example", "x5u": "https://evil.example", "kid": REMOVED}
    with pytest.raises(IdTokenRefused):
        verify(token(header=header, key=OTHER))
    verify(token(header={"jku": "https://evil.example", "x5t": "x"}))


@pytest.mark.parametrize("typ", [REMOVED, "JWT", "jwt"])
def test_typ_absent_or_jwt_passes(typ):
    verify(token(header={"typ": typ}))


HEAD, BODY, SIGNATURE = token().split(".")
SHAPES = [
    pytest.param(f"{part({'alg': 'none'})}.{BODY}.", id="ID-01 none without signature"),
    pytest.param(f"{HEAD}.{BODY}.", id="ID-05 signature empty"),
    pytest.param(f"{HEAD}.{BODY}", id="two parts"),
    pytest.param(f"{HEAD}.{BODY}.{SIGNATURE}.", id="ID-05 a dot more"),
    pytest.param(f"{HEAD}.{BODY}.{SIGNATURE}.x.y", id="ID-22 five parts"),
    pytest.param(f"{HEAD}.{BODY}.{SIGNATURE[:-4]}", id="ID-05 signature cut"),
    pytest.param(f"{HEAD}.{BODY}.{token({'sub': 'bob'}).split('.')[2]}", id="ID-05 signature of another payload"),
    pytest.param(f"{HEAD}.{part(VALID | {'sub': 'bob'})}.{SIGNATURE}", id="payload of another"),
    pytest.param(f"{HEAD}.{BODY}.{SIGNATURE}=", id="ID-05 padding"),
    pytest.param(f"{HEAD}=.{BODY}.{SIGNATURE}", id="ID-05 padding of the header"),
    pytest.param(f"{HEAD}.{BODY}.{SIGNATURE[:5]} {SIGNATURE[5:]}", id="ID-05 space inside"),
    pytest.param(f"{HEAD}.{BODY}.{SIGNATURE}\n", id="ID-05 line end behind"),
    pytest.param(f" {HEAD}.{BODY}.{SIGNATURE}", id="ID-05 space before"),
    pytest.param(f"{HEAD}.{BODY}.{SIGNATURE.translate(str.maketrans('-_', '+/'))}+", id="ID-05 the other alphabet"),
    pytest.param(f"{HEAD}.{BODY}.{SIGNATURE[:-1]}{chr(ord(SIGNATURE[-1]) + 1)}", id="ID-05 stray trailing bits"),
    pytest.param("..", id="three empty parts"),
    pytest.param("", id="nothing"),
    pytest.param("\u00e9.\u00e9.\u00e9", id="not ASCII"),
    pytest.param("a" * 100_000, id="too long"),
    pytest.param(f"{HEAD}.{'A' * 70_000}.{SIGNATURE}", id="payload too long"),
]


@pytest.mark.parametrize("wrong", SHAPES)
def test_shapes(wrong: str):
    with pytest.raises(IdTokenRefused):
        verify(wrong)


def raw(payload: bytes) -> str:
    return sign(payload, KEY, "RS256", {"kid": "key-1"})


GOOD = json.dumps(VALID)[:-1]
PAYLOADS = [
    pytest.param(b"[]", id="ID-20 array"),
    pytest.param(b'"x"', id="ID-20 string"),
    pytest.param(b"7", id="ID-20 number"),
    pytest.param(b"null", id="ID-20 null"),
    pytest.param(b"", id="ID-20 empty"),
    pytest.param(b"\xef\xbb\xbf" + json.dumps(VALID).encode(), id="ID-20 byte order mark"),
    pytest.param(json.dumps(VALID).encode("utf-16"), id="ID-20 UTF-16"),
    pytest.param(f'{GOOD}, "x": "\xe9"}}'.encode("latin-1"), id="ID-20 not UTF-8"),
    pytest.param(f'{GOOD}, "x": "\\ud800"}}'.encode(), id="ID-20 lone surrogate"),
    pytest.param(f'{GOOD}, "x": {"[" * 15_000}{"]" * 15_000}}}'.encode(), id="ID-20 deep"),
    pytest.param(f'{GOOD}, "x": 1e999}}'.encode(), id="ID-20 1e999"),
    pytest.param(f'{GOOD}, "x": {"1" * 30_000}}}'.encode(), id="ID-20 digits without end"),
    pytest.param(f'{GOOD}, "sub": "bob"}}'.encode(), id="ID-19 sub twice"),
    pytest.param(f'{GOOD}, "su\\u0062": "bob"}}'.encode(), id="ID-19 sub twice, once escaped"),
    pytest.param(f'{GOOD}, "a": {{"b": 1, "b": 1}}}}'.encode(), id="ID-19 twice at depth"),
    pytest.param(f'{GOOD}, "x": NaN}}'.encode(), id="NaN"),
]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_payloads_that_are_well_signed_and_badly_written(payload: bytes):
    with pytest.raises(IdTokenRefused):
        verify(raw(payload))


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b'{"alg":"RS256","alg":"RS256","kid":"key-1"}', id="ID-19 alg twice"),
        pytest.param(b'{"alg":"RS256","al\\u0067":"none","kid":"key-1"}', id="ID-19 alg twice, once escaped"),
        pytest.param(b"[]", id="header array"),
        pytest.param(b"{", id="header not JSON"),
    ],
)
def test_headers_that_are_badly_written(header: bytes):
    with pytest.raises(IdTokenRefused):
        verify(sign(VALID, KEY, "RS256", header))


@pytest.mark.parametrize(
    "secret",
    [
        pytest.param(KEY.as_pem(private=False), id="ID-02 PEM"),
        pytest.param(KEY.as_der(private=False), id="ID-02 DER"),
        pytest.param(json.dumps(PUBLIC).encode(), id="ID-02 JWK"),
        pytest.param(str(PUBLIC["n"]).encode(), id="ID-02 modulus"),
        pytest.param(b"s3cret", id="client secret"),
    ],
)
def test_hs256_is_never_taken(secret: bytes):
    with pytest.raises(IdTokenRefused):
        verify(sign_hs256(VALID, secret))
    with pytest.raises(IdTokenRefused):
        verify(sign_hs256(VALID, secret), algs=("RS256", "HS256"))


@pytest.mark.parametrize("alg", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"])
def test_id_29_every_algorithm_works_when_pinned_and_only_then(alg: str):
    key = signing_key(alg)
    good = token({"at_hash": left_half_hash("at", alg)}, key=key, alg=alg)
    verify(good, key_set=keys(key.as_dict(private=False)), algs=(alg,))
    with pytest.raises(IdTokenRefused):
        verify(good, key_set=keys(key.as_dict(private=False)), algs=("ES256",) if alg == "RS256" else ("RS256",))


@pytest.mark.parametrize("alg", ["ES256K", "ESP256", "Ed448", "RSA1_5", "dir", "PBES2-HS256+A128KW", "none", "HS256"])
def test_id_29_nothing_else_works_even_when_pinned(alg: str):
    with pytest.raises(IdTokenRefused):
        verify(token(header={"alg": alg}), algs=(alg, "RS256"))


def test_id_04_a_key_for_one_algorithm_verifies_no_other():
    with pytest.raises(IdTokenRefused):
        verify(token(alg="RS512"), key_set=keys(PUBLIC | {"alg": "RS256"}), algs=("RS256", "RS512"))
    with pytest.raises(IdTokenRefused):
        verify(token(header={"alg": "ES256"}), algs=("RS256", "ES256"))


def test_id_07_a_kid_that_is_not_in_the_set_asks_for_newer_keys():
    with pytest.raises(UnknownKey):
        verify(token(header={"kid": "new"}))


def test_id_07_without_a_kid_every_key_that_fits_is_tried():
    several = keys(OTHER.as_dict(private=False), PUBLIC)
    verify(token(header={"kid": REMOVED}), key_set=several)
    verify(token(header={"kid": REMOVED}))
    with pytest.raises(UnknownKey):
        verify(token(header={"kid": REMOVED}), key_set=keys(OTHER.as_dict(private=False)))


def test_id_07_a_kid_of_another_key_is_refused_for_good():
    with pytest.raises(IdTokenRefused) as refused:
        verify(token(key=OTHER))
    assert not isinstance(refused.value, UnknownKey)


def test_decoys_under_the_same_kid_are_passed_over():
    decoys = [
        signing_key("ES256").as_dict(private=False),
        PUBLIC | {"use": "enc"},
        PUBLIC | {"alg": "RS512"},
        signing_key("EdDSA").as_dict(private=False),
        OTHER.as_dict(private=False) | {"kid": "key-1"},
    ]
    verify(token(), key_set=keys(*decoys, PUBLIC))


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_any_single_changed_byte_is_refused(data: st.DataObject):
    good = token({"at_hash": left_half_hash("at", "RS256")})
    position = data.draw(st.integers(0, len(good) - 1))
    replacement = data.draw(st.characters(codec="latin-1").filter(lambda character: character != good[position]))
    with pytest.raises(IdTokenRefused):
        verify(good[:position] + replacement + good[position + 1 :])


@given(st.data())
@settings(deadline=None, max_examples=100)
def test_any_bytes_cut_out_or_put_in_are_refused(data: st.DataObject):
    good = token()
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, len(good)))
    middle = data.draw(st.text("ABab01-_.=+/ ", max_size=4))
    changed = good[:start] + middle + good[end:]
    if changed != good:
        with pytest.raises(IdTokenRefused):
            verify(changed)


def test_nothing_of_the_token_is_in_what_is_logged():
    with pytest.raises(IdTokenRefused) as refused:
        verify(token({"nonce": "SECRET", "sub": "SECRET"}))
    assert "SECRET" not in refused.value.detail
    assert "alice" not in repr(verify(token()))
