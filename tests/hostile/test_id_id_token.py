"""ID: an id_token that this provider did not sign for this client, this login and this moment signs nobody in.

Every token is served by the token endpoint to a whole gateway; the provider publishes two RSA keys, one for ES256 and one for EdDSA.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import time
import zlib
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from tests.support.fake_provider import REMOVED, merged, part, sign, signing_key
from tests.support.hostile_house import PUBLIC, HostileProvider, every_row_has_its_place, hostile_house

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.support.hostile_house import Edge, House

    Forger = Callable[[HostileProvider, dict[str, Any]], str]

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOT_YET = {
    "ID-25": "no elliptic or Edwards key is taken unless the operator pins its algorithm, and then the key is the provider's own",
}


# Forgers: from the claims of the right token to the one that is handed out.


def headed(**header: Any) -> Forger:
    """Signed well by the right key, under a header with these members."""
    return lambda op, claims: sign(claims, op.key, "RS256", {"kid": op.key.kid} | header)


def header_bytes(text: str) -> Forger:
    """Signed well by the right key, under this very header; ``{kid}`` is its kid."""
    return lambda op, claims: sign(claims, op.key, "RS256", text.replace("{kid}", str(op.key.kid)).encode())


def claiming(**changes: Any) -> Forger:
    """Signed well by the right key, with other claims."""
    return lambda op, claims: headed()(op, merged(claims, changes))


def with_client(**changes: Callable[[str], Any]) -> Forger:
    """The same, with values that are made of the client's id."""
    return lambda op, claims: headed()(op, merged(claims, {name: make(op.client_id) for name, make in changes.items()}))


def timed(**offsets: float) -> Forger:
    """The same, with times so many seconds from now."""
    return lambda op, claims: headed()(op, claims | {name: int(time.time() + offset) for name, offset in offsets.items()})


def payload(data: bytes | Callable[[dict[str, Any]], bytes]) -> Forger:
    """Signed well by the right key, over this very payload."""
    return lambda op, claims: headed()(op, data if isinstance(data, bytes) else data(claims))


def signed(change: Callable[[str, str, str], str]) -> Forger:
    """The right token with its three parts in other hands."""

    def forge(op: HostileProvider, claims: dict[str, Any]) -> str:
        return change(*headed()(op, claims).split("."))

    return forge


def unsigned(header: dict[str, Any], signature: str = "") -> Forger:
    return lambda _, claims: f"{part(header)}.{part(claims)}.{signature}"


def by_hmac(secret: Callable[[HostileProvider], bytes], alg: str = "HS256") -> Forger:
    """Signed by HMAC with what everybody can read, under a header that says so."""

    def forge(op: HostileProvider, claims: dict[str, Any]) -> str:
        signing_input = f"{part({'alg': alg, 'kid': op.key.kid, 'typ': 'JWT'})}.{part(claims)}"
        digest = hmac.digest(secret(op), signing_input.encode(), {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}[alg])
        return f"{signing_input}.{part(digest)}"

    return forge


def by_key(alg: str, *, kid: str | None = "key-1", name: str | None = None, header: dict[str, Any] | None = None) -> Forger:
    """Signed well with ``alg`` by the key that the provider has for it, called ``name`` in the header."""

    def forge(op: HostileProvider, claims: dict[str, Any]) -> str:
        key = op.other_keys.get(alg) or (op.second_key if kid == "key-2" else op.key)
        return sign(claims, key, alg, {"kid": key.kid if name is None else name} | (header or {}))

    return forge


def public_key(op: HostileProvider) -> Any:
    return load_pem_public_key(op.key.as_pem(private=False))


def encoded(op: HostileProvider, encoding: Encoding, form: PublicFormat) -> bytes:
    return bytes(public_key(op).public_bytes(encoding, form))


def modulus(op: HostileProvider) -> bytes:
    return base64.urlsafe_b64decode(op.key.as_dict(private=False)["n"] + "==")


def five_parts(**header: Any) -> Forger:
    """What looks like an encrypted token: five parts under such a header."""
    return lambda _, claims: ".".join(
        [part(header), part(b"k" * 256), part(b"i" * 12), part(zlib.compress(json.dumps(claims).encode())), part(b"t" * 16)]
    )


def nested(depth: int) -> Forger:
    def forge(op: HostileProvider, claims: dict[str, Any]) -> str:
        token = headed()(op, claims)
        for _ in range(depth):
            token = sign(token.encode(), op.key, "RS256", {"kid": op.key.kid, "cty": "JWT"})
        return token

    return forge


def hashed_to(name: str, digest: str, of: str | None = None) -> Forger:
    """An ``at_hash`` or ``c_hash`` by some digest, of ``of`` or of nothing that this login knows."""

    def forge(op: HostileProvider, claims: dict[str, Any]) -> str:
        value = hashlib.new(digest, (of or "another").encode()).digest()
        return claiming(**{name: part(value[: len(value) // 2])})(op, claims)

    return forge


def own_key_in_header(member: str) -> Forger:
    """Signed by the attacker's key, which the header brings along."""

    def forge(op: HostileProvider, claims: dict[str, Any]) -> str:
        key = signing_key("RS256", kid="attacker")
        value = {"jwk": key.as_dict(private=False), "jku": "http://127.0.0.1:1/jwks", "x5u": "http://127.0.0.1:1/x5u", "x5c": ["MIIB"]}[
            member
        ]
        return sign(claims, key, "RS256", {"kid": op.key.kid, member: value})

    return forge


def _text(claims: dict[str, Any]) -> str:
    return json.dumps(claims)


def _last_bits(signature: str) -> str:
    """The same signature with bits set that no byte takes: 256 bytes leave four of the last character's six."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return signature[:-1] + alphabet[alphabet.index(signature[-1]) | 1]


REFUSED = [
    pytest.param(unsigned({"alg": "none"}), id="ID-01 none"),
    pytest.param(unsigned({"alg": "None"}), id="ID-01 None"),
    pytest.param(unsigned({"alg": "nOnE", "typ": "JWT"}), id="ID-01 nOnE"),
    pytest.param(unsigned({"alg": "NONE"}), id="ID-01 NONE"),
    pytest.param(signed(lambda _, claims, signature: f"{part({'alg': 'none'})}.{claims}.{signature}"), id="ID-01 none, with a signature"),
    pytest.param(unsigned({"alg": "RS256", "kid": "key-1"}), id="ID-01 RS256, without a signature"),
    pytest.param(lambda _, claims: f"{part({'alg': 'none'})}.{part(claims)}", id="ID-01 none, two parts"),
    pytest.param(headed(alg=REMOVED), id="ID-01 no alg"),
    pytest.param(headed(alg=256), id="ID-01 alg a number"),
    pytest.param(headed(alg=None), id="ID-01 alg null"),
    pytest.param(headed(alg=["RS256"]), id="ID-01 alg a list"),
    pytest.param(headed(alg=""), id="ID-01 alg empty"),
    pytest.param(headed(alg="rs256"), id="ID-01 alg in lower case"),
    pytest.param(headed(alg=" RS256"), id="ID-01 alg with a space"),
    pytest.param(by_hmac(lambda op: op.key.as_pem(private=False)), id="ID-02 HMAC with the PEM of the public key"),
    pytest.param(by_hmac(lambda op: op.key.as_pem(private=False).strip()), id="ID-02 HMAC with the PEM, trimmed"),
    pytest.param(by_hmac(lambda op: encoded(op, Encoding.PEM, PublicFormat.PKCS1)), id="ID-02 HMAC with the PEM of PKCS 1"),
    pytest.param(by_hmac(lambda op: json.dumps(op.key.as_dict(private=False)).encode()), id="ID-02 HMAC with the JWK"),
    pytest.param(by_hmac(lambda op: encoded(op, Encoding.DER, PublicFormat.SubjectPublicKeyInfo)), id="ID-02 HMAC with the DER"),
    pytest.param(by_hmac(modulus), id="ID-02 HMAC with the modulus"),
    pytest.param(by_hmac(lambda op: encoded(op, Encoding.OpenSSH, PublicFormat.OpenSSH)), id="ID-02 HMAC with ssh-rsa"),
    pytest.param(by_hmac(lambda op: op.client_secret.encode()), id="ID-02 HMAC with the client secret"),
    pytest.param(by_hmac(lambda op: op.client_secret.encode(), "HS512"), id="ID-02 HMAC-512 with the client secret"),
    pytest.param(by_hmac(lambda _: b""), id="ID-02 HMAC with nothing"),
    pytest.param(by_key("RS512"), id="ID-04 RS512"),
    pytest.param(by_key("PS256"), id="ID-04 PS256"),
    pytest.param(by_key("ES256"), id="ID-04 ES256"),
    pytest.param(by_key("PS256", header={"alg": "RS256"}), id="ID-04 PS256 that says RS256"),
    pytest.param(by_key("ES256", header={"alg": "RS256"}), id="ID-04 ES256 that says RS256"),
    pytest.param(signed(lambda h, c, s: f"{h}.{c}.{'B' if s[0] == 'A' else 'A'}{s[1:]}"), id="ID-05 first bits flipped"),
    pytest.param(
        signed(lambda h, c, s: f"{h}.{c}.{s[:100]}{'B' if s[100] == 'A' else 'A'}{s[101:]}"), id="ID-05 a bit in the middle flipped"
    ),
    pytest.param(signed(lambda h, c, s: f"{h}.{c}.{s[:-4]}"), id="ID-05 truncated"),
    pytest.param(signed(lambda h, c, s: f"{h}.{c}.{s}AAAA"), id="ID-05 longer"),
    pytest.param(signed(lambda h, c, _: f"{h}.{c}."), id="ID-05 empty"),
    pytest.param(signed(lambda h, c, _: f"{h}.{c}"), id="ID-05 two parts"),
    pytest.param(signed(lambda h, c, s: f"{h}.{c}.{s}."), id="ID-05 a dot more"),
    pytest.param(signed(lambda h, c, s: f".{h}.{c}.{s}"), id="ID-05 a dot in front"),
    pytest.param(signed(lambda h, c, s: f"{h}..{c}.{s}"), id="ID-05 two dots"),
    pytest.param(signed(lambda h, c, s: f"{h}.{c}.{s[:50]}\n{s[50:]}"), id="ID-05 line feed inside"),
    pytest.param(signed(lambda h, c, s: f"{h}.{c}.{s[:50]} {s[50:]}"), id="ID-05 space inside"),
    pytest.param(signed(lambda h, c, s: f" {h}.{c}.{s}"), id="ID-05 space in front"),
    pytest.param(signed(lambda h, c, s: f"{h}.{c}.{s}\n"), id="ID-05 line feed behind"),
    pytest.param(signed(lambda h, c, s: f"{h}.{c}.{s}=="), id="ID-05 padding"),
    pytest.param(signed(lambda h, c, s: f"{h}.{c}.{s}.{s}"), id="ID-05 four parts"),
    pytest.param(
        signed(lambda h, c, s: f"{h}.{c}.{(s + 'x').replace('-', '+').replace('_', '/')[:-1]}" if set(s) & set("-_") else f"{h}.{c}.+{s}"),
        id="ID-05 the other base64 alphabet",
    ),
    pytest.param(signed(lambda h, c, s: f"{h}.{c}.{_last_bits(s)}"), id="ID-05 bits that no byte takes"),
    pytest.param(
        lambda op, claims: headed()(op, claims).rpartition(".")[0] + "." + headed()(op, claims | {"sub": "root"}).rpartition(".")[2],
        id="ID-05 signature of another payload",
    ),
    pytest.param(lambda op, claims: sign(claims, op.second_key, "RS256", {"kid": "key-1"}), id="ID-05 signed by the other key"),
    pytest.param(own_key_in_header("jwk"), id="ID-05 key in the header"),
    pytest.param(own_key_in_header("jku"), id="ID-05 address of keys in the header"),
    pytest.param(own_key_in_header("x5u"), id="ID-05 address of a certificate in the header"),
    pytest.param(own_key_in_header("x5c"), id="ID-05 certificate in the header"),
    pytest.param(headed(kid=7), id="ID-07 kid a number"),
    pytest.param(headed(kid=None), id="ID-07 kid null"),
    pytest.param(headed(kid=["key-1"]), id="ID-07 kid a list"),
    pytest.param(headed(kid="k" * 100_000), id="ID-07 kid of 100 KB"),
    pytest.param(headed(kid="k" * 2**20), id="ID-07 kid of 1 MB"),
    pytest.param(headed(kid="../../etc/passwd"), id="ID-07 kid a path"),
    pytest.param(headed(kid="' OR 1 --"), id="ID-07 kid for a database"),
    pytest.param(headed(kid="another-provider-1"), id="ID-07 kid of another provider"),
    pytest.param(headed(kid="key-2"), id="ID-07 kid of the other key"),
    pytest.param(headed(kid="key-ec"), id="ID-07 kid of a key of another kind"),
    pytest.param(headed(kid=""), id="ID-07 kid empty"),
    pytest.param(headed(kid="KEY-1"), id="ID-07 kid in other case"),
    pytest.param(headed(crit=["exp"]), id="ID-10 crit exp"),
    pytest.param(headed(crit=["b64"], b64=False), id="ID-10 b64 false"),
    pytest.param(headed(b64=False), id="ID-10 b64 false without crit"),
    pytest.param(headed(crit=[]), id="ID-10 crit empty"),
    pytest.param(headed(crit="x"), id="ID-10 crit a string"),
    pytest.param(headed(crit=["x"]), id="ID-10 crit unknown"),
    pytest.param(headed(crit=None), id="ID-10 crit null"),
    pytest.param(headed(typ="logout+jwt"), id="ID-11 logout token"),
    pytest.param(headed(typ="at+jwt"), id="ID-11 access token"),
    pytest.param(headed(typ="dpop+jwt"), id="ID-11 DPoP proof"),
    pytest.param(headed(typ=7), id="ID-11 typ a number"),
    pytest.param(headed(typ=None), id="ID-11 typ null"),
    pytest.param(headed(cty="JWT"), id="ID-11 nested content"),
    pytest.param(nested(1), id="ID-11 nested once"),
    pytest.param(nested(10), id="ID-11 nested ten times"),
    pytest.param(claiming(aud="another"), id="ID-13 another"),
    pytest.param(claiming(aud=REMOVED), id="ID-13 missing"),
    pytest.param(claiming(aud=[]), id="ID-13 nobody"),
    pytest.param(claiming(aud=""), id="ID-13 empty"),
    pytest.param(claiming(aud=None), id="ID-13 null"),
    pytest.param(claiming(aud=["x"]), id="ID-13 list of another"),
    pytest.param(with_client(aud=lambda client: [client, "untrusted"]), id="ID-13 somebody else too"),
    pytest.param(with_client(aud=lambda client: [client, 7]), id="ID-13 a number too"),
    pytest.param(with_client(aud=lambda client: client + "1"), id="ID-13 longer"),
    pytest.param(with_client(aud=lambda client: client[:-1]), id="ID-13 shorter"),
    pytest.param(with_client(aud=lambda client: client.upper()), id="ID-13 other case"),
    pytest.param(with_client(aud=lambda client: [[client]]), id="ID-13 list in a list"),
    pytest.param(with_client(aud=lambda client: {client: 1}), id="ID-13 object"),
    pytest.param(with_client(aud=lambda client: f"{client} other"), id="ID-13 two in one string"),
    pytest.param(claiming(azp="another"), id="ID-14 another"),
    pytest.param(with_client(aud=lambda client: [client, "second"]), id="ID-14 missing with two audiences"),
    pytest.param(with_client(aud=lambda client: [client, "second"], azp=lambda client: client), id="ID-14 ours with two audiences"),
    pytest.param(with_client(azp=lambda client: [client]), id="ID-14 list"),
    pytest.param(claiming(azp=None), id="ID-14 null"),
    pytest.param(claiming(azp=""), id="ID-14 empty"),
    pytest.param(claiming(iat=REMOVED), id="ID-16 missing"),
    pytest.param(timed(iat=3600), id="ID-16 in an hour"),
    pytest.param(lambda op, claims: headed()(op, claims | {"iat": str(claims["iat"])}), id="ID-16 string"),
    pytest.param(claiming(iat=None), id="ID-16 null"),
    pytest.param(claiming(iat=True), id="ID-16 true"),
    pytest.param(claiming(iat=-1), id="ID-16 before time"),
    pytest.param(claiming(exp=REMOVED), id="ID-16 exp missing"),
    pytest.param(lambda op, claims: headed()(op, claims | {"exp": str(claims["exp"])}), id="ID-16 exp string"),
    pytest.param(timed(nbf=3600), id="ID-17 in an hour"),
    pytest.param(timed(nbf=70), id="ID-17 just beyond the skew"),
    pytest.param(claiming(nbf="soon"), id="ID-17 string"),
    pytest.param(header_bytes('{"alg":"RS256","kid":"{kid}","alg":"RS256"}'), id="ID-19 alg twice the same"),
    pytest.param(header_bytes('{"alg":"none","kid":"{kid}","alg":"RS256"}'), id="ID-19 alg twice"),
    pytest.param(header_bytes('{"alg":"RS256","kid":"x","k\\u0069d":"{kid}"}'), id="ID-19 kid twice, once escaped"),
    pytest.param(payload(lambda claims: (_text(claims)[:-1] + ',"sub":"root"}').encode()), id="ID-19 sub twice"),
    pytest.param(payload(lambda claims: (_text(claims)[:-1] + ',"su\\u0062":"root"}').encode()), id="ID-19 sub twice, once escaped"),
    pytest.param(payload(lambda claims: (_text(claims)[:-1] + ',"x":{"a":1,"a":2}}').encode()), id="ID-19 twice further down"),
    pytest.param(payload(lambda claims: f"[{_text(claims)}]".encode()), id="ID-20 array"),
    pytest.param(payload(lambda claims: json.dumps(_text(claims)).encode()), id="ID-20 string"),
    pytest.param(payload(b"7"), id="ID-20 number"),
    pytest.param(payload(b"null"), id="ID-20 null"),
    pytest.param(payload(b""), id="ID-20 empty"),
    pytest.param(payload(b"{}"), id="ID-20 no claims"),
    pytest.param(payload(lambda claims: b"\xef\xbb\xbf" + _text(claims).encode()), id="ID-20 byte order mark"),
    pytest.param(payload(lambda claims: _text(claims).encode("utf-16")), id="ID-20 UTF-16"),
    pytest.param(payload(lambda claims: _text(claims).encode("utf-16-le")), id="ID-20 UTF-16 without a mark"),
    pytest.param(
        payload(lambda claims: _text(claims).replace("alice@", "alice\udcff@").encode("utf-8", "surrogateescape")), id="ID-20 no UTF-8"
    ),
    pytest.param(
        payload(lambda claims: _text(claims | {"name": "@"}).replace('"@"', '"\\ud800"').encode()), id="ID-20 half a surrogate pair"
    ),
    pytest.param(payload(lambda claims: (_text(claims)[:-1] + ',"x":' + "[" * 20_000 + "]" * 20_000 + "}").encode()), id="ID-20 depth"),
    pytest.param(payload(lambda claims: _text(claims | {f"k{n}": n for n in range(100_000)}).encode()), id="ID-20 100000 members"),
    pytest.param(payload(lambda claims: (_text(claims)[:-1] + ',"x":1e999}').encode()), id="ID-20 1e999"),
    pytest.param(payload(lambda claims: (_text(claims)[:-1] + ',"x":NaN}').encode()), id="ID-20 NaN"),
    pytest.param(payload(lambda claims: (_text(claims)[:-1] + ',"x":' + "9" * 30_000 + "}").encode()), id="ID-20 30000 digits"),
    pytest.param(payload(lambda claims: (_text(claims)[:-1] + ',"x":' + "9" * 700_000 + "}").encode()), id="ID-20 700000 digits"),
    pytest.param(payload(lambda claims: _text(claims).encode() + b"{}"), id="ID-20 two objects"),
    pytest.param(payload(lambda claims: _text(claims)[:-1].encode()), id="ID-20 cut off"),
    pytest.param(five_parts(alg="RSA-OAEP", enc="A256GCM"), id="ID-22 encrypted"),
    pytest.param(five_parts(alg="dir", enc="A256GCM"), id="ID-22 dir"),
    pytest.param(five_parts(alg="RSA1_5", enc="A128CBC-HS256"), id="ID-22 RSA1_5"),
    pytest.param(five_parts(alg="PBES2-HS256+A128KW", enc="A128CBC-HS256", p2c=10**9, p2s="AAAA"), id="ID-22 PBES2 with 10^9 rounds"),
    pytest.param(five_parts(alg="A128KW", enc="A128GCM", zip="DEF"), id="ID-22 A128KW, compressed"),
    pytest.param(five_parts(alg="ECDH-ES", enc="A256GCM", epk={"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}), id="ID-22 ECDH-ES"),
    pytest.param(headed(zip="DEF"), id="ID-22 compressed and signed"),
    pytest.param(headed(enc="A256GCM"), id="ID-22 signed, with enc"),
    pytest.param(hashed_to("at_hash", "sha256"), id="ID-23 at_hash of another token"),
    pytest.param(claiming(at_hash=""), id="ID-23 at_hash empty"),
    pytest.param(claiming(at_hash=7), id="ID-23 at_hash a number"),
    pytest.param(claiming(at_hash=None), id="ID-23 at_hash null"),
    pytest.param(hashed_to("c_hash", "sha256"), id="ID-23 c_hash of another code"),
    pytest.param(claiming(aud="client-2", azp="client-2"), id="ID-26 for another client"),
    pytest.param(claiming(nonce=secrets.token_urlsafe(32)), id="ID-26 of another login"),
    pytest.param(claiming(nonce=REMOVED), id="ID-26 without nonce"),
    pytest.param(lambda op, claims: claiming(nonce=claims["nonce"] + "=")(op, claims), id="ID-26 nonce padded"),
    pytest.param(lambda op, claims: claiming(nonce=[claims["nonce"]])(op, claims), id="ID-26 nonce in a list"),
    pytest.param(claiming(iss="https://evil.example"), id="ID-26 of another issuer"),
    pytest.param(lambda op, claims: claiming(iss=claims["iss"] + "/")(op, claims), id="ID-26 issuer with a slash"),
    pytest.param(claiming(iss=REMOVED), id="ID-26 no issuer"),
    pytest.param(claiming(sub=REMOVED), id="ID-26 nobody"),
    pytest.param(claiming(sub=""), id="ID-26 sub empty"),
    pytest.param(claiming(sub=7), id="ID-26 sub a number"),
    pytest.param(claiming(sub="a\r\nX-Forwarded-User: root"), id="ID-26 sub with CR LF"),
    pytest.param(claiming(sub="s" * 300), id="ID-26 sub of 300 characters"),
    pytest.param(
        lambda op, claims: sign(
            claims | {"client_id": op.client_id, "scope": "openid"}, op.key, "RS256", {"kid": op.key.kid, "typ": "at+jwt"}
        ),
        id="ID-26 access token",
    ),
    pytest.param(
        claiming(nonce=REMOVED, events={"http://schemas.openid.net/event/backchannel-logout": {}}, jti="1"), id="ID-26 logout token"
    ),
    pytest.param(lambda _op, _claims: secrets.token_urlsafe(24), id="ID-26 opaque"),
    pytest.param(timed(iat=120, exp=420), id="ID-28 two minutes ahead"),
    pytest.param(timed(iat=600, exp=900), id="ID-28 ten minutes ahead"),
    pytest.param(timed(iat=-600, exp=-300), id="ID-28 ten minutes behind"),
    pytest.param(timed(exp=-61), id="ID-28 expired beyond the skew"),
    pytest.param(headed(alg="ES256K"), id="ID-29 ES256K"),
    pytest.param(by_key("RS384"), id="ID-29 RS384"),
    pytest.param(by_key("EdDSA"), id="ID-29 EdDSA"),
    pytest.param(headed(alg="Ed25519"), id="ID-29 Ed25519"),
    pytest.param(headed(alg="Ed448"), id="ID-29 Ed448"),
    pytest.param(headed(alg="ESP256"), id="ID-29 ESP256"),
    pytest.param(headed(alg="RS1"), id="ID-29 RS1"),
]

ACCEPTED = [
    pytest.param(headed(), id="ID-05 the right one"),
    pytest.param(lambda op, claims: sign(claims, op.second_key, "RS256", {}), id="ID-07 no kid, signed by the second of two keys"),
    pytest.param(lambda op, claims: sign(claims, op.second_key, "RS256", {"kid": "key-2"}), id="ID-07 signed by the second key"),
    pytest.param(headed(typ="JWT"), id="ID-11 JWT"),
    pytest.param(headed(typ="jwt"), id="ID-11 jwt"),
    pytest.param(with_client(aud=lambda client: client), id="ID-13 ours"),
    pytest.param(with_client(aud=lambda client: [client]), id="ID-13 list of ours"),
    pytest.param(with_client(azp=lambda client: client), id="ID-14 ours"),
    pytest.param(timed(iat=30), id="ID-16 within the skew"),
    pytest.param(timed(iat=-7 * 86400), id="ID-16 a week ago"),
    pytest.param(timed(nbf=30), id="ID-17 within the skew"),
    pytest.param(payload(lambda claims: json.dumps(claims, indent=2).encode()), id="ID-20 with blanks"),
    pytest.param(payload(lambda claims: json.dumps(claims | {"name": "\U0001f600"}).encode()), id="ID-20 a whole surrogate pair"),
    pytest.param(claiming(at_hash=REMOVED), id="ID-23 no at_hash"),
    pytest.param(
        lambda op, claims: claiming(c_hash=part(hashlib.sha256(op.codes_issued[-1].encode()).digest()[:16]))(op, claims),
        id="ID-23 c_hash right",
    ),
    pytest.param(timed(iat=-30, exp=270), id="ID-28 thirty seconds behind"),
    pytest.param(timed(iat=-120, exp=180), id="ID-28 two minutes behind"),
    pytest.param(timed(exp=-30), id="ID-28 expired within the skew"),
]


@pytest.mark.parametrize("forger", REFUSED)
async def test_a_wrong_id_token_signs_nobody_in(house: House, browser: Edge, forger: Forger) -> None:
    house.provider.forger = forger

    answer = await house.sign_in(browser)

    await house.refused(answer, status=502)
    assert browser.logins == []
    assert len(house.provider.token_requests) == 1
    await house.recovers(browser, answer)


@pytest.mark.parametrize("forger", ACCEPTED)
async def test_a_right_id_token_signs_in(house: House, browser: Edge, forger: Forger) -> None:
    house.provider.forger = forger

    await house.signed_in(browser)

    assert len([key for key in await house.sessions() if ":s:" in key]) == 1


async def test_an_id_token_replayed_by_the_provider_is_refused(house: House, browser: Edge) -> None:
    """ID-26: the very token of somebody else's login a moment ago."""
    async with house.browser() as other:
        await house.signed_in(other, "bob")
    token = house.provider.tokens_issued[-1]["id_token"]
    await house.redis.flushall()
    house.provider.forger = lambda _op, _claims: token

    await house.refused(await house.sign_in(browser), status=502)


@pytest.mark.parametrize("offset", [pytest.param(600, id="ID-28 ahead"), pytest.param(-900, id="ID-28 behind")])
async def test_a_clock_that_is_off_is_told_to_the_operator(tmp_path: Path, offset: int) -> None:
    # A gateway of its own: one that has refused much already leaves lines out.
    async with hostile_house(tmp_path) as house, house.browser() as browser:
        house.provider.forger = timed(iat=offset, exp=offset + 300)
        await house.refused(await house.sign_in(browser), status=502)

        (told,) = await house.hears("request.failed")
        assert "clock" in told["detail"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def elliptic_house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    settings = {"id_token_signing_algs": ["ES256", "EdDSA"]}
    async with hostile_house(tmp_path_factory.mktemp("elliptic"), provider_settings=settings) as house:
        yield house


@pytest.mark.parametrize(
    ("forger", "good"),
    [
        pytest.param(by_key("ES256"), True, id="ID-04 ES256 where it is pinned"),
        pytest.param(
            # The fake provider's at_hash is that of RS256.
            lambda op, claims: by_key("EdDSA")(op, merged(claims, {"at_hash": REMOVED})),
            True,
            id="ID-29 EdDSA where it is pinned",
        ),
        pytest.param(headed(), False, id="ID-04 RS256 where ES256 is pinned"),
        pytest.param(by_key("PS256"), False, id="ID-04 PS256 where ES256 is pinned"),
        pytest.param(by_key("ES256", header={"alg": "EdDSA"}), False, id="ID-04 ES256 that says EdDSA"),
        pytest.param(by_key("EdDSA", header={"alg": "ES256"}), False, id="ID-29 EdDSA that says ES256"),
        pytest.param(
            lambda op, claims: by_key("ES256")(op, claims).rpartition(".")[0] + "." + part(b"\0" * 64), False, id="ID-05 ES256 of zeros"
        ),
        pytest.param(
            lambda op, claims: by_key("ES256")(op, claims).rpartition(".")[0] + "." + part(b"0\x06\x02\x01\x01\x02\x01\x01"),
            False,
            id="ID-05 ES256 as DER",
        ),
    ],
)
async def test_what_the_operator_pins_counts(elliptic_house: House, forger: Forger, good: bool) -> None:
    await elliptic_house.reset()
    elliptic_house.provider.forger = forger
    async with elliptic_house.browser() as browser:
        answer = await elliptic_house.sign_in(browser)
        if good:
            assert answer.location == f"{PUBLIC}/page"
        else:
            await elliptic_house.refused(answer, status=502)


async def test_a_new_key_is_fetched_once_and_unknown_ones_do_not_flood(house: House, tmp_path: Path) -> None:
    """ID-07, ID-08: keys are turned over without a restart; many tokens with unknown kids cost the provider one fetch an interval."""
    async with hostile_house(tmp_path, store=house.store) as fresh, fresh.browser() as browser:
        op = fresh.provider
        await fresh.signed_in(browser)
        assert len(op.jwks_requests) == 1
        op.rotate_key("key-new")
        async with fresh.browser() as after:
            await fresh.signed_in(after)
        assert len(op.jwks_requests) == 2

        await house.redis.flushall()
        fresh.app.requests.clear()
        op.forger = lambda one, claims: sign(claims, one.key, "RS256", {"kid": secrets.token_urlsafe(8)})

        async def refused_once() -> None:
            async with fresh.browser() as one:
                await fresh.refused(await fresh.sign_in(one), status=502)

        await asyncio.gather(*(refused_once() for _ in range(60)))
        assert len(op.token_requests) == 62
        assert len(op.jwks_requests) <= 3
        async with fresh.browser() as last:
            await fresh.recovers(last, await fresh.sign_in(last))


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param(lambda _: [], id="ID-07 no key"),
        pytest.param(lambda _: [{"kty": "oct", "k": "AAAA", "kid": "key-1", "alg": "RS256"}], id="ID-02 a symmetric key in the set"),
        pytest.param(lambda key: [key.as_dict(private=False) | {"use": "enc"}], id="ID-07 a key for encryption"),
        pytest.param(lambda key: [key.as_dict(private=False) | {"alg": "RS512"}], id="ID-04 a key for another algorithm"),
        pytest.param(lambda key: [key.as_dict(private=True)], id="ID-07 a key with its private half"),
        pytest.param(lambda key: [key.as_dict(private=False) | {"kid": 7}], id="ID-07 a kid that is a number"),
        pytest.param(lambda key: [key.as_dict(private=False) | {"kty": "EC"}], id="ID-07 a key of another type"),
    ],
)
async def test_a_key_that_must_not_verify_does_not(house: House, tmp_path: Path, keys: Callable[[Any], list[dict[str, Any]]]) -> None:
    async with hostile_house(tmp_path, store=house.store) as fresh, fresh.browser() as browser:
        fresh.provider.misbehaviour.jwks_document = {"keys": keys(fresh.provider.key)}
        await fresh.refused(await fresh.sign_in(browser), status=502)


async def test_a_token_without_kid_passes_where_one_key_fits(house: House, tmp_path: Path) -> None:
    """ID-07: and a key that did not sign it does not fit."""
    async with hostile_house(tmp_path, store=house.store) as fresh, fresh.browser() as browser, fresh.browser() as other:
        fresh.provider.misbehaviour.jwks_document = {"keys": [fresh.provider.key.as_dict(private=False)]}
        fresh.provider.forger = headed(kid=REMOVED)
        await fresh.signed_in(browser)
        await house.redis.flushall()
        fresh.app.requests.clear()
        fresh.provider.forger = lambda op, claims: sign(claims, op.second_key, "RS256", {})
        await fresh.refused(await fresh.sign_in(other), status=502)


async def test_every_row_has_its_place() -> None:
    every_row_has_its_place("ID", "01 02 04 05 07 08 10 11 13 14 16 17 19 20 22 23 25 26 28 29", globals(), NOT_YET)
