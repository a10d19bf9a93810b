"""The demo's app on its own: it believes the identity headers, shows what it received, and runs nothing that a caller sent."""

from __future__ import annotations

import base64
import hashlib
import re

import aiohttp
import pytest

from gateway.demo.app import Caller, caller_of, running_app, shown_headers

ALICE = {
    "X-Forwarded-User": "alice",
    "X-Forwarded-Email": "alice@example.org",
    "X-Forwarded-Groups": "staff,admins",
    "X-Forwarded-Preferred-Username": "alice",
}


@pytest.fixture
async def app():
    async with running_app() as base:
        yield base


@pytest.fixture
async def client():
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.mark.parametrize(
    ("headers", "caller"),
    [
        pytest.param({}, None, id="nobody"),
        pytest.param({"X-Forwarded-Email": "a@example.org"}, None, id="an address is no identity"),
        pytest.param(ALICE, Caller("alice", "alice@example.org", ("staff", "admins"), "alice"), id="alice"),
        pytest.param({"X-Forwarded-User": "a"}, Caller("a", "", (), ""), id="a subject alone"),
        pytest.param(
            {"X-Forwarded-User": "Zo%C3%AB 100%25", "X-Forwarded-Groups": "a%2Cb,c"},
            Caller("Zoë 100%", "", ("a,b", "c"), ""),
            id="percent-encoded",
        ),
    ],
)
def test_who_is_calling(headers, caller):
    assert caller_of(headers) == caller


def test_the_identity_comes_first_and_credentials_are_not_shown():
    rows = shown_headers(
        (
            (b"Host", b"127.0.0.1"),
            (b"X-Forwarded-Groups", b"staff"),
            (b"Cookie", b"other=program"),
            (b"AUTHORIZATION", b"Basic c2VjcmV0"),
            (b"X-Odd", b"\xff\xc3\xab"),
            (b"X-Forwarded-User", b"alice"),
        )
    )
    assert [(row.name, row.value) for row in rows] == [
        ("X-Forwarded-User", "alice"),
        ("X-Forwarded-Groups", "staff"),
        ("Host", "127.0.0.1"),
        ("Cookie", "13 bytes, not shown here"),
        ("AUTHORIZATION", "14 bytes, not shown here"),
        ("X-Odd", "\\xffë"),
    ]
    assert [row.is_identity for row in rows] == [True, True, False, False, False, False]


async def test_any_path_shows_the_request(app, client):
    async with client.get(f"{app}/orders/2026?sort=due&view=open", headers=ALICE) as answer:
        page = await answer.text()
    assert answer.status == 200
    assert "Hello, alice." in page
    assert "<b>GET</b> /orders/2026?sort=due&amp;view=open" in page
    for name, value in ALICE.items():
        assert f"<code>{name}</code>" in page
        assert f"<code>{value}</code>" in page


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"])
async def test_any_method_shows_the_request(app, client, method):
    async with client.request(method, f"{app}/things/1", headers=ALICE) as answer:
        assert f"<b>{method}</b> /things/1" in await answer.text()


async def test_a_form_is_shown_as_text(app, client):
    async with client.post(f"{app}/notes", data={"note": "<img src=x onerror=alert(1)>"}, headers=ALICE) as answer:
        page = await answer.text()
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "<img" not in page


async def test_a_form_is_bounded(app, client):
    async with client.post(f"{app}/notes", data={"note": "x" * 100_000}, headers=ALICE) as answer:
        assert answer.status == 413


async def test_values_are_text_and_never_markup(app, client):
    evil = '"><script>alert(1)</script>'
    headers = ALICE | {"X-Forwarded-User": evil, "X-Forwarded-Groups": evil, "X-Forwarded-Preferred-Username": evil, "X-Other": evil}
    async with client.get(f"{app}/", headers=headers) as answer:
        page = await answer.text()
    assert page.count("<script>") == 1, "the app's own"
    assert "<script>alert" not in page


async def test_the_policy_lets_its_own_script_and_stylesheet_run_alone(app, client):
    async with client.get(f"{app}/", headers=ALICE) as answer:
        page = await answer.text()
    policy = answer.headers["Content-Security-Policy"]
    for element, directive in (("style", "style-src"), ("script", "script-src")):
        (text,) = re.findall(f"<{element}>(.*?)</{element}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in re.sub(r"https?://127\.0\.0\.1\S*", "", policy)


async def test_the_public_page_knows_nobody(app, client):
    async with client.get(f"{app}/public/") as answer:
        page = await answer.text()
    assert "Anybody may read this." in page
    assert "Sign out" not in page
    assert "from the gateway" not in page


async def test_the_background_request(app, client):
    async with client.get(f"{app}/api/me", headers=ALICE) as answer:
        assert await answer.json() == {"user": "alice", "groups": ["staff", "admins"]}
        assert answer.headers["Cache-Control"] == "no-store"
    async with client.get(f"{app}/api/me") as answer:
        assert await answer.json() == {"user": None, "groups": []}


async def test_the_websocket_echoes(app, client):
    async with client.ws_connect(f"{app}/socket", headers=ALICE) as socket:
        assert await socket.receive_str() == "Connected as alice."
        await socket.send_str("hello")
        assert await socket.receive_str() == "Echo: hello"


async def test_stopping_closes_open_websockets(client):
    async with running_app() as base:
        socket = await client.ws_connect(f"{base}/socket", headers=ALICE)
        await socket.receive_str()
        told = socket.receive()
    message = await told
    assert message.type is aiohttp.WSMsgType.CLOSE
    assert message.data == 1001


async def test_it_listens_on_loopback(app):
    assert app.startswith("http://127.0.0.1:")
