"""The demo's provider: two people, one client, nothing that the library would let strangers do."""

from __future__ import annotations

import base64
import json
import socket
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import aiohttp
import pytest

from gateway.demo.provider import running_provider

# The library calls authlib as older versions wanted it; with warnings as errors, its thread would answer 500.
pytestmark = pytest.mark.filterwarnings("ignore:get_jwt_config:DeprecationWarning")

ORIGINS = ["http://127.0.0.1:8080", "http://localhost:8080"]


@pytest.fixture(scope="module")
def provider():
    with running_provider(socket.create_server(("127.0.0.1", 0)), origins=ORIGINS) as running:
        yield running


@pytest.fixture
async def client():
    async with aiohttp.ClientSession() as session:
        yield session


def authorization(provider, **changes):
    query = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": f"{ORIGINS[0]}/oauth2/callback",
        "scope": "openid profile email",
        "state": "the-state",
        "nonce": "the-nonce",
    }
    return f"{provider.issuer}/oauth2/authorize?{urlencode(query | changes)}"


async def redeem(client, provider, location, secret=None):
    query = parse_qs(urlsplit(location).query)
    form = {"grant_type": "authorization_code", "code": query["code"][0], "redirect_uri": location.split("?")[0]}
    credentials = aiohttp.encode_basic_auth(provider.client_id, secret or provider.client_secret)
    async with client.post(f"{provider.issuer}/oauth2/token", data=form, headers={"Authorization": credentials}) as answer:
        return answer.status, await answer.json()


async def test_its_issuer_is_the_address_it_is_asked_at(provider, client):
    async with client.get(f"{provider.issuer}/.well-known/openid-configuration") as answer:
        metadata = await answer.json()
    assert metadata["issuer"] == provider.issuer
    assert metadata["issuer"].startswith("http://127.0.0.1:")


async def test_the_page_offers_both_people_under_a_policy(provider, client):
    async with client.get(authorization(provider)) as answer:
        page = await answer.text()
    assert answer.status == 200
    assert "Alice Arden" in page
    assert "Bob Bell" in page
    assert "<script" not in page
    assert "https://" not in page, "nothing comes from elsewhere"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("who", "claims"),
    [
        pytest.param(
            "alice",
            {"name": "Alice Arden", "preferred_username": "alice", "email": "alice@example.org", "groups": ["staff", "admins"]},
            id="alice",
        ),
        pytest.param("bob", {"name": "Bob Bell", "preferred_username": "bob", "email": "bob@example.org", "groups": ["staff"]}, id="bob"),
    ],
)
@pytest.mark.parametrize("origin", ORIGINS)
async def test_one_click_leads_to_an_id_token_with_their_claims(provider, client, who, claims, origin):
    url = authorization(provider, redirect_uri=f"{origin}/oauth2/callback")
    async with client.post(url, data={"sub": who}, allow_redirects=False) as answer:
        location = answer.headers["Location"]
    assert location.startswith(f"{origin}/oauth2/callback?")
    assert parse_qs(urlsplit(location).query)["state"] == ["the-state"]
    status, tokens = await redeem(client, provider, location)
    assert status == 200
    assert tokens["refresh_token"]
    payload = tokens["id_token"].split(".")[1]
    told = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims | {"sub": who, "nonce": "the-nonce", "iss": provider.issuer} == {
        name: told[name] for name in (*claims, "sub", "nonce", "iss")
    }


async def test_the_client_secret_is_checked(provider, client):
    async with client.post(authorization(provider), data={"sub": "alice"}, allow_redirects=False) as answer:
        location = answer.headers["Location"]
    status, answer = await redeem(client, provider, location, secret="another")
    assert status in {400, 401}
    assert answer["error"] == "invalid_client"


async def test_cancelling_tells_the_gateway_with_its_state(provider, client):
    async with client.post(authorization(provider), data={"action": "deny"}, allow_redirects=False) as answer:
        location = urlsplit(answer.headers["Location"])
    assert f"{location.scheme}://{location.netloc}{location.path}" == f"{ORIGINS[0]}/oauth2/callback"
    assert dict(parse_qsl(location.query)) == {"error": "access_denied", "state": "the-state"}


@pytest.mark.parametrize(
    ("changes", "form"),
    [
        pytest.param({}, {"sub": "mallory"}, id="somebody else"),
        pytest.param({}, {}, id="nobody"),
        pytest.param({"redirect_uri": "http://127.0.0.1:8080/elsewhere"}, {"sub": "alice"}, id="another path"),
        pytest.param({"redirect_uri": "http://127.0.0.1:8081/oauth2/callback"}, {"sub": "alice"}, id="another port"),
        pytest.param({"redirect_uri": "http://evil.example/oauth2/callback"}, {"action": "deny"}, id="another host, by cancelling"),
        pytest.param({"client_id": "another"}, {"sub": "alice"}, id="another client"),
    ],
)
async def test_it_refuses(provider, client, changes, form):
    async with client.post(authorization(provider, **changes), data=form, allow_redirects=False) as answer:
        assert answer.status in {400, 401}
        assert "Location" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        pytest.param("PUT", "/users/alice", {"email": "mallory@example.org"}, id="changing a person"),
        pytest.param("POST", "/users/alice/revoke-tokens", None, id="revoking a person's tokens"),
        pytest.param("POST", "/oauth2/clients", {"redirect_uris": ["http://evil.example/"]}, id="registering a client"),
        pytest.param("GET", "/oidc/login", None, id="the library's own client"),
        pytest.param("GET", "/nothing", None, id="nothing"),
    ],
)
async def test_the_rest_of_the_library_is_closed(provider, client, method, path, body):
    async with client.request(method, provider.issuer + path, json=body) as answer:
        assert answer.status == 404


async def test_signing_out_asks_and_goes_back_to_the_gateway_alone(provider, client):
    back = f"{ORIGINS[0]}/oauth2/signed_out"
    url = f"{provider.issuer}/oauth2/end_session"
    hint = "the.id.token"
    async with client.get(url, params={"post_logout_redirect_uri": back, "state": "s", "id_token_hint": hint}) as answer:
        page = await answer.text()
        assert answer.status == 200
        assert hint not in page
        assert f"{back}?state=s" in page
    async with client.post(f"{url}/confirm", data={"redirect_uri": f"{back}?state=s"}, allow_redirects=False) as answer:
        assert answer.headers["Location"] == f"{back}?state=s"
    async with client.get(url, params={"post_logout_redirect_uri": "http://evil.example/oauth2/signed_out"}) as answer:
        assert answer.status == 400
    async with client.post(f"{url}/confirm", data={"redirect_uri": "http://evil.example/"}, allow_redirects=False) as answer:
        assert answer.status == 400


async def test_it_prints_nothing(provider, client, capfd):
    async with client.get(authorization(provider)):
        pass
    async with client.post(authorization(provider), data={"sub": "mallory"}):
        pass
    assert capfd.readouterr() == ("", "")


def test_the_secret_is_not_in_its_repr(provider):
    assert provider.client_secret not in repr(provider)
