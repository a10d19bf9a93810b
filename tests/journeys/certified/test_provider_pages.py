"""The provider behaves as the journeys rely on: PKCE demanded, its own pages, claims in the id_token, rotation, sign-out."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp
import pytest

from tests.support.certified_provider import CertifiedProvider, certified_provider, sign_in, sign_out

pytestmark = pytest.mark.certified

HOME = "http://127.0.0.1:1"
"""Nobody listens there: the last redirect is read, not followed."""
VERIFIER = "v" * 43


@pytest.fixture
async def provider():
    async with certified_provider(redirect_uris=[f"{HOME}/oauth2/callback"], post_logout_redirect_uris=[f"{HOME}/oauth2/signed_out"]) as it:
        yield it


@pytest.fixture
async def browser():
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
        yield client


async def metadata(client: aiohttp.ClientSession, provider: CertifiedProvider) -> dict[str, Any]:
    async with client.get(f"{provider.issuer}/.well-known/openid-configuration") as response:
        return await response.json()


def authorization_url(endpoint: str, **changed: str) -> str:
    challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
    parameters = {
        "client_id": "gateway",
        "response_type": "code",
        "redirect_uri": f"{HOME}/oauth2/callback",
        "scope": "openid profile email",
        "state": "the-state",
        "nonce": "the-nonce",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    return f"{endpoint}?{urlencode({name: value for name, value in (parameters | changed).items() if value})}"


async def token(client: aiohttp.ClientSession, endpoint: str, provider: CertifiedProvider, **form: str) -> tuple[int, dict[str, Any]]:
    credentials = aiohttp.encode_basic_auth(provider.client_id, provider.client_secret)
    async with client.post(endpoint, data=form, headers={"Authorization": credentials}) as response:
        return response.status, await response.json()


def claims(id_token: str) -> dict[str, Any]:
    part = id_token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


async def test_a_whole_sign_in_rotation_and_sign_out(provider, browser):
    known = await metadata(browser, provider)
    assert known["authorization_response_iss_parameter_supported"] is True
    assert known["revocation_endpoint"].startswith(provider.issuer)

    back = await sign_in(browser, authorization_url(known["authorization_endpoint"]), "alice")
    answer = {name: values[0] for name, values in parse_qs(urlsplit(back).query).items()}
    assert back.startswith(f"{HOME}/oauth2/callback?")
    assert answer["state"] == "the-state"
    assert answer["iss"] == provider.issuer

    status, tokens = await token(
        browser,
        known["token_endpoint"],
        provider,
        grant_type="authorization_code",
        code=answer["code"],
        code_verifier=VERIFIER,
        redirect_uri=f"{HOME}/oauth2/callback",
    )
    assert status == 200
    person = claims(tokens["id_token"])
    assert (person["sub"], person["email"], person["groups"], person["nonce"]) == (
        "alice",
        "alice@example.org",
        ["staff", "admins"],
        "the-nonce",
    )

    first = tokens["refresh_token"]
    status, renewed = await token(browser, known["token_endpoint"], provider, grant_type="refresh_token", refresh_token=first)
    assert status == 200
    assert renewed["refresh_token"] != first
    status, refused = await token(browser, known["token_endpoint"], provider, grant_type="refresh_token", refresh_token=first)
    assert (status, refused["error"]) == (400, "invalid_grant")

    leave = {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": f"{HOME}/oauth2/signed_out", "state": "s"}
    assert await sign_out(browser, f"{known['end_session_endpoint']}?{urlencode(leave)}") == f"{HOME}/oauth2/signed_out?state=s"


async def test_pkce_is_demanded(provider, browser):
    known = await metadata(browser, provider)
    back = await sign_in(browser, authorization_url(known["authorization_endpoint"], code_challenge="", code_challenge_method=""), "bob")
    assert parse_qs(urlsplit(back).query)["error"] == ["invalid_request"]
