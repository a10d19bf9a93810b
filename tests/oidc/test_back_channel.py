"""The back channel against a provider that misbehaves: one clear error a fault, and nothing let in."""

from __future__ import annotations

import asyncio
import datetime as dt
import gzip
import ipaddress
import os
import ssl
import threading
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.errors import CodeRefused, GatewayError, IdTokenRefused, ProviderFailed, ProviderTimeout, ProviderUnavailable
from gateway.oidc import client as client_module
from gateway.oidc.client import BackChannel
from gateway.oidc.provider import Provider, SignedIn
from gateway.oidc.registration import ClientAuth, Secret
from gateway.oidc.token_request import FormRequest
from tests.support.fake_provider import REMOVED, FakeProvider, merged, sign_in_at

if TYPE_CHECKING:
    from pathlib import Path


async def sign_in(op: FakeProvider, **changes) -> SignedIn:
    provider = Provider(op.settings(**changes))
    try:
        return await sign_in_at(provider, op)
    finally:
        await provider.close()


@pytest.mark.parametrize("auth", [ClientAuth.AUTO, ClientAuth.BASIC, ClientAuth.POST])
@pytest.mark.parametrize("secret", ["plain", "a:b %+/\u00e9\u20ac&="])
async def test_a_login_with_every_client_authentication(auth: ClientAuth, secret: str):
    async with FakeProvider(client_secret=secret) as op:
        signed_in = await sign_in(op, client_auth=auth)
        assert (signed_in.claims.subject, signed_in.provider) == ("alice-sub", "main")
        (request,) = op.token_requests
        assert request.query == {}
        assert ("client_secret" in request.form) == (auth is ClientAuth.POST)
        assert request.headers["Accept-Encoding"] == "identity"


async def test_tk_25_a_provider_that_takes_post_alone():
    async with FakeProvider(auth_methods=["client_secret_post"]) as op:
        assert (await sign_in(op)).claims.subject == "alice-sub"


async def test_a_secret_can_be_replaced_while_running():
    async with FakeProvider(client_secret="new") as op:
        provider = Provider(op.settings(client_secret=Secret("old")))
        with pytest.raises(ProviderFailed, match="client_secret"):
            await sign_in_at(provider, op)
        provider.replace_secret(Secret("new"))
        assert (await sign_in_at(provider, op)).claims.subject == "alice-sub"
        await provider.close()


SIGN = [
    pytest.param({"id_token_alg_none": True}, IdTokenRefused, id="ID-01 alg none"),
    pytest.param({"id_token_hs256_with_public_key": True}, IdTokenRefused, id="ID-02 HS256 with the public key"),
    pytest.param({"id_token_signature_broken": True}, IdTokenRefused, id="ID-05 one bit flipped"),
    pytest.param({"nonce_wrong": True}, IdTokenRefused, id="ST-14 nonce of another login"),
    pytest.param({"at_hash_wrong": True}, IdTokenRefused, id="ID-23 at_hash wrong"),
    pytest.param({"id_token_claims": {"aud": "other"}}, IdTokenRefused, id="ID-13 aud other"),
    pytest.param({"id_token_raw": "a.b.c.d.e"}, IdTokenRefused, id="ID-22 encrypted"),
    pytest.param({"id_token_missing": True}, ProviderFailed, id="TK-13 no id_token"),
    pytest.param({"token_hangs": True}, ProviderTimeout, id="TK-02 no answer"),
    pytest.param({"token_status": 500}, ProviderUnavailable, id="TK-04 500"),
    pytest.param({"token_status": 503}, ProviderUnavailable, id="TK-04 503"),
    pytest.param({"token_status": 429}, ProviderUnavailable, id="TK-04 429"),
    pytest.param({"token_status": 400}, ProviderFailed, id="tokens in a 400"),
    pytest.param({"token_error": "invalid_grant", "token_status": 400}, CodeRefused, id="invalid_grant"),
    pytest.param({"token_error": "invalid_client", "token_status": 401}, ProviderFailed, id="invalid_client"),
    pytest.param({"token_error": "invalid_grant"}, ProviderFailed, id="200 with an error"),
    pytest.param({"token_content_type": "text/html"}, ProviderFailed, id="TK-05 HTML"),
    pytest.param({"token_content_type": "text/plain"}, ProviderFailed, id="TK-05 text"),
    pytest.param({"token_content_type": "application/json; charset=utf-16"}, ProviderFailed, id="TK-05 UTF-16"),
    pytest.param({"token_content_type": None}, ProviderFailed, id="TK-05 no media type"),
    pytest.param({"token_content_type": "application/jwt"}, ProviderFailed, id="TK-05 JWT"),
    pytest.param({"token_body": b"<html>"}, ProviderFailed, id="TK-05 not JSON"),
    pytest.param({"token_body": b'{"a":1,"a":2}'}, ProviderFailed, id="duplicate members"),
    pytest.param({"token_body": b"[" * 1_000_000}, ProviderFailed, id="TK-07 depth 10^6"),
    pytest.param({"token_body_endless": True}, ProviderFailed, id="TK-07 endless body"),
    pytest.param({"token_body": gzip.compress(b"{}" * 9), "token_content_encoding": "gzip"}, ProviderFailed, id="TK-07 gzip"),
    pytest.param({"token_content_encoding": "br"}, ProviderFailed, id="TK-22 br"),
    pytest.param({"token_content_encoding": "zstd"}, ProviderFailed, id="TK-22 zstd"),
    pytest.param({"token_resets": True}, ProviderFailed, id="TK-17 reset in the body"),
    pytest.param(
        {"token_raw": b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{"a":1}'},
        ProviderFailed,
        id="TK-17 shorter than announced",
    ),
    pytest.param({"token_raw": b"\x15\x03\x01 hello\r\n\r\n"}, ProviderFailed, id="not HTTP"),
    pytest.param({"token_raw": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000 + b"\r\n"}, ProviderFailed, id="headers without end"),
    pytest.param({"token_raw": b""}, ProviderFailed, id="closed without an answer"),
    pytest.param({"token_document": {"access_token": "a\r\nX: y"}}, ProviderFailed, id="TK-11 line end"),
    pytest.param({"token_document": {"token_type": REMOVED}}, ProviderFailed, id="no token_type"),
]


@pytest.mark.parametrize(("knobs", "kind"), SIGN)
async def test_a_fault_is_one_error_and_one_token_request(knobs: dict, kind: type[GatewayError]):
    async with FakeProvider(**knobs) as op:
        with pytest.raises(kind) as refused:
            await sign_in(op, total_timeout=0.5 if "token_hangs" in knobs else 5.0)
        assert type(refused.value) is kind
        assert len(op.token_requests) == 1
        for secret in ("code-1", op.code_verifier, op.client_secret):
            assert secret not in refused.value.detail
        assert refused.value.__cause__ is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("where", ["elsewhere", "itself"])
async def test_tk_08_a_redirect_is_never_followed(status: int, where: str):
    async with FakeProvider() as elsewhere, FakeProvider(token_redirect_status=status) as op:
        op.misbehaviour.token_redirects_to = f"{(elsewhere if where == 'elsewhere' else op).issuer}/token"
        with pytest.raises(ProviderFailed, match="redirect"):
            await sign_in(op)
        assert len(op.token_requests) == 1
        assert elsewhere.token_requests + elsewhere.other_requests == []


async def test_tk_08_a_redirect_of_the_metadata_is_never_followed():
    async with FakeProvider() as elsewhere, FakeProvider() as op:
        op.misbehaviour.discovery_redirects_to = f"{elsewhere.issuer}/.well-known/openid-configuration"
        with pytest.raises(ProviderFailed, match="redirect"):
            await sign_in(op)
        assert elsewhere.discovery_requests == []


@pytest.mark.parametrize("value", ["abc", None, -1, 0, "3600", 1e18, 3600.5])
async def test_tk_10_an_odd_lifetime_harms_no_login(value):
    async with FakeProvider(expires_in=value) as op:
        assert (await sign_in(op)).claims.subject == "alice-sub"


async def test_a_content_type_with_parameters_is_json_all_the_same():
    async with FakeProvider(token_content_type='Application/JSON ; Charset="UTF-8"') as op:
        assert (await sign_in(op)).claims.subject == "alice-sub"


async def test_tk_20_no_cookie_is_kept():
    async with FakeProvider(token_sets_cookie=True) as op:
        provider = Provider(op.settings())
        await sign_in_at(provider, op)
        await sign_in_at(provider, op)
        await provider.close()
        assert all("Cookie" not in request.headers for request in op.token_requests)


async def test_tk_23_no_proxy_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    async with FakeProvider() as proxy, FakeProvider() as op:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.issuer)
        await sign_in(op)
        assert proxy.other_requests == []


async def test_tk_01_nobody_listens():
    async with FakeProvider() as op:
        settings = op.settings()
    channel = BackChannel(settings)
    with pytest.raises(ProviderUnavailable, match="cannot be reached"):
        await channel.get_json(settings.issuer, "metadata document")
    await channel.close()


async def test_tk_01_a_name_that_does_not_exist():
    async with FakeProvider() as op:
        channel = BackChannel(op.settings())
        with pytest.raises(ProviderFailed):
            await channel.get_json("https://no-such-host.invalid/", "metadata document")
        await channel.close()


async def test_nobody_is_held_up_while_authorities_are_read(tmp_path: Path):
    """They come from a pipe here, which says nothing before the loop has turned: read within the loop, they would stop it."""
    pipe, turned, passed = tmp_path / "ca.pem", threading.Event(), []
    os.mkfifo(pipe)

    def write() -> None:
        with pipe.open("w") as authorities:
            passed.append(turned.wait(10))
            authorities.write("none that can be read")

    writing = threading.Thread(target=write)
    async with FakeProvider() as op:
        channel = BackChannel(op.settings(ca_file=str(pipe)))
        asking = asyncio.create_task(channel.get_json(op.issuer, "metadata document"))
        await asyncio.sleep(0)
        writing.start()
        asyncio.get_running_loop().call_soon(turned.set)
        with pytest.raises(ProviderFailed, match="ca_file"):
            await asking
        await channel.close()
    writing.join()
    assert passed == [True]


async def test_what_is_closed_while_it_opens_stays_closed(tmp_path: Path):
    pipe = tmp_path / "ca.pem"
    os.mkfifo(pipe)
    async with FakeProvider() as op:
        channel = BackChannel(op.settings(ca_file=str(pipe)))
        asking = asyncio.create_task(channel.get_json(op.issuer, "metadata document"))
        authorities = await asyncio.to_thread(pipe.open, "w")
        await channel.close()
        authorities.write("".join(ssl.DER_cert_to_PEM_cert(one) for one in ssl.create_default_context().get_ca_certs(binary_form=True)[:1]))
        authorities.close()
        with pytest.raises(ProviderUnavailable, match="closed"):
            await asking


async def test_a_url_that_no_resolver_takes_is_an_error_like_any_other():
    async with FakeProvider() as op:
        channel = BackChannel(op.settings())
        with pytest.raises(ProviderFailed):
            await channel.get_json(f"https://{'a' * 70}..example/", "metadata document")
        await channel.close()


async def test_a_large_document_is_cut_off():
    async with FakeProvider(discovery_padding=client_module.MAX_ANSWER) as op:
        with pytest.raises(ProviderFailed, match="bytes"):
            await sign_in(op)


@pytest.mark.parametrize(("over", "accepted"), [(0, True), (1, False)], ids=["at the bound", "one byte more"])
async def test_tk_07_an_answer_to_a_form_has_the_same_bound(over: int, *, accepted: bool):
    body = b'{"error":"x"}'.ljust(client_module.MAX_ANSWER + over)
    async with FakeProvider(token_body=body, token_status=400) as op:
        channel = BackChannel(op.settings(total_timeout=10.0))
        answer = await channel.post_form(FormRequest(url=f"{op.issuer}/token", headers=(), form=()), "token endpoint")
        assert (answer.document is not None) == accepted
        await channel.close()


async def test_tk_29_a_provider_that_hangs_holds_so_many_and_no_more(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client_module, "MAX_CONCURRENT", 2)
    monkeypatch.setattr(client_module, "MAX_WAITING", 1)
    async with FakeProvider(token_hangs=True) as op:
        channel = BackChannel(op.settings(connect_timeout=0.3, total_timeout=30.0))
        request = FormRequest(url=f"{op.issuer}/token", headers=(), form=())
        hanging = [asyncio.create_task(channel.post_form(request, "token endpoint")) for _ in range(2)]
        await arrived(op, 2)
        waiting = asyncio.create_task(channel.post_form(request, "token endpoint"))
        await asyncio.sleep(0)
        with pytest.raises(ProviderUnavailable, match="waiting already"):
            await channel.post_form(request, "token endpoint")
        with pytest.raises(ProviderUnavailable, match="no place"):
            await waiting
        hanging[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging[0]
        third = asyncio.create_task(channel.post_form(request, "token endpoint"))
        await arrived(op, 3)
        for task in (hanging[1], third):
            task.cancel()
        await asyncio.gather(*hanging, third, return_exceptions=True)
        await channel.close()


async def arrived(op: FakeProvider, count: int) -> None:
    async with asyncio.timeout(10):
        while len(op.token_requests) < count:
            await asyncio.sleep(0.005)


def certificate(folder: Path, **changes) -> tuple[ssl.SSLContext, str]:
    """A self-signed certificate for 127.0.0.1; returns the server's context and the path of the PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    values = {"names": [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))], "ends": now + dt.timedelta(days=1)} | changes
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(now - dt.timedelta(days=2)).not_valid_after(values["ends"])
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    if values["names"]:
        builder = builder.add_extension(x509.SubjectAlternativeName(values["names"]), critical=False)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (folder / "cert.pem").write_bytes(pem)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context, str(folder / "cert.pem")


async def test_tk_16_a_certificate_of_the_named_authority_is_accepted(tmp_path: Path):
    context, ca_file = certificate(tmp_path)
    async with FakeProvider(ssl_context=context) as op:
        assert (await sign_in(op, ca_file=ca_file)).claims.subject == "alice-sub"


@pytest.mark.parametrize(
    ("changes", "trusted"),
    [
        pytest.param({}, False, id="TK-16 self-signed"),
        pytest.param({"names": [x509.DNSName("other.example")]}, True, id="TK-16 wrong host"),
        pytest.param({"names": []}, True, id="TK-16 common name only"),
        pytest.param({"ends": dt.datetime.now(dt.UTC) - dt.timedelta(days=1)}, True, id="TK-16 expired"),
    ],
)
async def test_tk_16_any_other_certificate_is_refused(tmp_path: Path, changes: dict, *, trusted: bool):
    context, ca_file = certificate(tmp_path, **changes)
    async with FakeProvider(ssl_context=context) as op:
        with pytest.raises(ProviderFailed, match="certificate"):
            await sign_in(op, ca_file=ca_file if trusted else None)
        assert op.discovery_requests == []


async def test_tk_16_an_old_version_of_tls_is_refused(tmp_path: Path, recwarn: pytest.WarningsRecorder):
    context, ca_file = certificate(tmp_path)
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    recwarn.clear()
    async with FakeProvider(ssl_context=context) as op:
        with pytest.raises(ProviderFailed):
            await sign_in(op, ca_file=ca_file)
        assert op.discovery_requests == []


async def test_a_ca_file_that_is_not_there(tmp_path: Path):
    async with FakeProvider() as op:
        with pytest.raises(ProviderFailed, match="ca_file"):
            await sign_in(op, ca_file=str(tmp_path / "missing.pem"))


def test_merging_is_what_the_knobs_say():
    assert merged({"a": 1, "b": 2}, {"a": REMOVED, "c": 3}) == {"b": 2, "c": 3}


async def test_answers_that_come_together_are_read_one_a_turn_of_the_loop():
    """Each is then verified and sealed: what two dozen of them take at a stretch, requests would wait for."""
    async with FakeProvider(refresh_status=400, refresh_error="invalid_grant") as op:
        together = op.misbehaviour.refresh_held = asyncio.Event()
        channel = BackChannel(op.settings(total_timeout=10.0))
        request = FormRequest(url=f"{op.issuer}/token", headers=(), form=(("grant_type", "refresh_token"),))
        loop, turn = asyncio.get_running_loop(), 0
        turns: list[int] = []

        def count() -> None:
            nonlocal turn
            turn += 1
            if len(turns) < len(asking):
                loop.call_soon(count)

        async def ask() -> None:
            await channel.post_form(request, "token endpoint")
            turns.append(turn)

        asking = [asyncio.create_task(ask()) for _ in range(16)]
        async with asyncio.timeout(10):
            while len(op.refresh_requests) < len(asking):
                await asyncio.sleep(0.005)
        together.set()
        count()
        await asyncio.gather(*asking)
        assert len(set(turns)) == len(asking)
        await channel.close()
