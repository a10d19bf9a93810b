"""TK: a back channel that fails, lies, stalls or leads elsewhere signs nobody in, holds nobody else up, and gives nothing away."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import warnings
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.support.fake_provider import REMOVED
from tests.support.hostile_house import PUBLIC, SESSION, Catcher, HostileProvider, every_row_has_its_place, hostile_house

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.hostile_house import Edge, House
    from tests.support.user_agent import Answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOON = {"connect_timeout": "1s", "total_timeout": "1s"}
"""For providers that do not answer: that is waited for to the end."""
HOUSE = {"provider_settings": SOON}

NOT_YET = {
    "TK-28": "DPoP is not built",
}

GOOD = b'{"access_token": "an access token of no login", "token_type": "Bearer", "id_token": "e30.e30.e30"}'


def http(body: bytes, *, status: str = "200 OK", length: int | None = None, content_type: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n"
    return head.encode() + body


async def once_refused(house: House, browser: Edge, answer: Answer, status: int) -> None:
    """The oracle of every fault of the token endpoint: refused, the code sent once, the login used up, and a way on that works."""
    await house.refused(answer, status=status)
    assert len(house.provider.token_requests) == 1
    assert browser.logins == []
    await house.recovers(browser, answer)


FAULTS = [
    pytest.param({"token_hangs": True}, 504, id="TK-02 accepts, never answers"),
    pytest.param({"token_body_endless": True}, 502, id="TK-07 a body without end"),
    pytest.param({"token_status": 500}, 503, id="TK-04 500"),
    pytest.param({"token_status": 502}, 503, id="TK-04 502"),
    pytest.param({"token_status": 503}, 503, id="TK-04 503"),
    pytest.param({"token_status": 429}, 503, id="TK-04 429"),
    pytest.param({"token_raw": http(b"", status="503 Service Unavailable\r\nRetry-After: 3600")}, 503, id="TK-04 503 with Retry-After"),
    pytest.param({"token_status": 201}, 502, id="TK-04 201"),
    pytest.param({"token_status": 204}, 502, id="TK-04 204"),
    pytest.param({"token_status": 400}, 502, id="TK-04 400 with tokens"),
    pytest.param({"token_error": "invalid_grant", "token_status": 400}, 400, id="TK-04 invalid_grant"),
    pytest.param({"token_error": "invalid_client", "token_status": 401}, 502, id="TK-04 invalid_client"),
    pytest.param({"token_error": "<script>alert(1)</script>", "token_status": 400}, 502, id="TK-04 markup as the error"),
    pytest.param({"token_error": "server_error", "token_status": 200}, 502, id="TK-04 an error under 200"),
    pytest.param({"token_document": {"error": "x"}}, 502, id="TK-04 an error beside tokens"),
    pytest.param({"token_content_type": "text/html", "token_body": b"<!doctype html><title>Sign in</title>"}, 502, id="TK-05 HTML"),
    pytest.param({"token_content_type": "text/html"}, 502, id="TK-05 JSON as HTML"),
    pytest.param({"token_content_type": "text/plain"}, 502, id="TK-05 JSON as plain text"),
    pytest.param({"token_content_type": "application/json; charset=utf-16"}, 502, id="TK-05 JSON in UTF-16"),
    pytest.param({"token_content_type": None}, 502, id="TK-05 no Content-Type"),
    pytest.param({"token_content_type": "application/jwt"}, 502, id="TK-05 JWT"),
    pytest.param({"token_content_type": "application/jsonp"}, 502, id="TK-05 a name that begins alike"),
    pytest.param({"token_body": b"not json"}, 502, id="TK-05 no JSON"),
    pytest.param({"token_body": b""}, 502, id="TK-05 nothing"),
    pytest.param({"token_body": b"[]"}, 502, id="TK-05 a list"),
    pytest.param({"token_body": b"null"}, 502, id="TK-05 null"),
    pytest.param({"token_body": GOOD[:-1]}, 502, id="TK-05 cut off"),
    pytest.param({"token_body": GOOD[:-1] + b', "access_token": "another access token"}'}, 502, id="TK-05 a member twice"),
    pytest.param({"token_body": b"\xef\xbb\xbf" + GOOD}, 502, id="TK-05 byte order mark"),
    pytest.param({"token_body": b"\xff" + GOOD}, 502, id="TK-05 no UTF-8"),
    pytest.param({"token_body": b"access_token=a&token_type=bearer"}, 502, id="TK-05 a form"),
    pytest.param({"token_document": {"padding": "x" * (2 * 2**20)}}, 502, id="TK-07 2 MB"),
    pytest.param({"token_body": b"[" * 10**6}, 502, id="TK-07 10^6 deep"),
    pytest.param({"token_body": b'{"a":' * 10**5 + b"1" + b"}" * 10**5}, 502, id="TK-07 10^5 deep, closed"),
    pytest.param({"token_body": gzip.compress(b"x" * 10**8), "token_content_encoding": "gzip"}, 502, id="TK-07 100 MB in 100 KB"),
    pytest.param({"token_raw": http(GOOD, length=10**12)}, 502, id="TK-07 a length of 1 TB, then the end"),
    pytest.param({"token_raw": b"HTTP/1.1 200 OK\r\n" + b"X-Pad: " + b"x" * 10**6 + b"\r\n\r\n"}, 502, id="TK-07 1 MB of header"),
    pytest.param({"token_document": {"access_token": REMOVED}}, 502, id="TK-11 missing"),
    pytest.param({"token_document": {"access_token": ""}}, 502, id="TK-11 empty"),
    pytest.param({"token_document": {"access_token": 7}}, 502, id="TK-11 number"),
    pytest.param({"token_document": {"access_token": None}}, 502, id="TK-11 null"),
    pytest.param({"token_document": {"access_token": ["a"]}}, 502, id="TK-11 list"),
    pytest.param({"token_document": {"access_token": "abc\r\nX-Forwarded-User: root"}}, 502, id="TK-11 CR LF"),
    pytest.param({"token_document": {"access_token": "t\u00f6ken of a login"}}, 502, id="TK-11 non-ASCII"),
    pytest.param({"token_document": {"access_token": "a b"}}, 502, id="TK-11 space"),
    pytest.param({"token_document": {"access_token": "a" * 100_000}}, 502, id="TK-11 100 KB"),
    pytest.param({"token_document": {"refresh_token": "a\nb"}}, 502, id="TK-11 refresh token with LF"),
    pytest.param({"token_document": {"refresh_token": 7}}, 502, id="TK-11 refresh token a number"),
    pytest.param({"token_document": {"token_type": REMOVED}}, 502, id="TK-11 no token_type"),
    pytest.param({"token_document": {"token_type": "mac"}}, 502, id="TK-11 another token_type"),
    pytest.param({"id_token_missing": True}, 502, id="TK-13 missing"),
    pytest.param({"token_document": {"id_token": ""}}, 502, id="TK-13 empty"),
    pytest.param({"token_document": {"id_token": None}}, 502, id="TK-13 null"),
    pytest.param({"token_document": {"id_token": {"sub": "root"}}}, 502, id="TK-13 an object"),
    pytest.param({"token_document": {"scope": 7}}, 502, id="TK-14 a number"),
    pytest.param({"token_document": {"scope": ["openid"]}}, 502, id="TK-14 a list"),
    pytest.param({"token_document": {"scope": "openid\r\nX: y"}}, 502, id="TK-14 CR LF"),
    pytest.param({"token_document": {"scope": "s" * 10_000}}, 502, id="TK-14 10 KB"),
    pytest.param({"token_resets": True}, 502, id="TK-17 reset in the middle"),
    pytest.param({"token_raw": http(GOOD, length=len(GOOD) + 100)}, 502, id="TK-17 shorter than it said"),
    pytest.param({"token_raw": http(GOOD, length=10)}, 502, id="TK-17 longer than it said"),
    pytest.param({"token_raw": b""}, 502, id="TK-17 closed without an answer"),
    pytest.param({"token_raw": b"SSH-2.0-OpenSSH_9.6\r\n"}, 502, id="TK-17 another protocol"),
    pytest.param({"token_raw": b"\0" * 4096}, 502, id="TK-17 zeros"),
    pytest.param({"token_raw": http(b"{}", status="400 Bad Request") + http(GOOD)}, 502, id="TK-17 two answers"),
    pytest.param({"token_raw": b"HTTP/1.1 100 Continue\r\n\r\n" * 500 + http(b"{}")}, 502, id="TK-17 500 times 100 Continue"),
    pytest.param({"token_content_encoding": "br"}, 502, id="TK-22 br"),
    pytest.param({"token_content_encoding": "zstd"}, 502, id="TK-22 zstd"),
    pytest.param({"token_content_encoding": "gzip"}, 502, id="TK-22 gzip that is none"),
    pytest.param({"token_content_encoding": "deflate"}, 502, id="TK-22 deflate"),
    pytest.param({"token_content_encoding": "x-unknown"}, 502, id="TK-22 unknown"),
]


@pytest.mark.parametrize(("knobs", "status"), FAULTS)
async def test_a_fault_of_the_token_endpoint_signs_nobody_in(house: House, browser: Edge, knobs: dict[str, Any], status: int) -> None:
    for name, value in knobs.items():
        assert hasattr(house.provider.misbehaviour, name)
        setattr(house.provider.misbehaviour, name, value)

    answer = await house.sign_in(browser)

    assert "script" not in answer.text
    await once_refused(house, browser, answer, status)


async def test_an_endless_body_in_drops_is_cut_at_the_total_timeout(house: House, browser: Edge) -> None:
    """TK-07, TK-02: headers that never end, one byte at a time."""

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX: ")
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async with elsewhere(house, drip) as dripping, dripping.browser() as one:
        await dripping.refused(await dripping.sign_in(one), status=504)
    assert (await house.sign_in(browser)).status == 303


@asynccontextmanager
async def elsewhere(house: House, serve: Any) -> AsyncIterator[House]:
    """A house whose token endpoint is a server of the test's own."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/token"
    folder = house.gateway.config.parent / f"elsewhere-{server.sockets[0].getsockname()[1]}"
    try:
        async with hostile_house(folder, store=house.store, provider_settings=SOON) as other:
            other.provider.misbehaviour.discovery_document = {"token_endpoint": url}
            yield other
    finally:
        server.close()


async def test_two_answers_on_one_connection_are_one(house: House, browser: Edge) -> None:
    """TK-17: what comes behind an answer is nobody's, whoever signs in next."""
    evil = http(b'{"access_token": "the token of somebody else", "token_type": "Bearer", "id_token": "a.b.c"}')
    house.provider.misbehaviour.token_raw = http(b'{"error": "invalid_grant"}', status="400 Bad Request") + evil

    answer = await house.sign_in(browser)

    await once_refused(house, browser, answer, 400)


async def test_a_connection_is_used_once(house: House) -> None:
    """TK-17: nothing that a provider sends late can be the answer to the next person."""
    peers: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer.get_extra_info("peername")[1])
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http(b'{"error": "invalid_grant"}', status="400 Bad Request"))
        await writer.drain()
        await reader.read()
        writer.close()

    async with elsewhere(house, serve) as other:
        for _ in range(3):
            async with other.browser() as browser:
                await other.refused(await other.sign_in(browser), status=400)
    assert len(set(peers)) == len(peers) == 3


KEPT = [
    pytest.param({"expires_in": REMOVED}, id="TK-10 missing"),
    pytest.param({"expires_in": 0}, id="TK-10 zero"),
    pytest.param({"expires_in": -5}, id="TK-10 negative"),
    pytest.param({"expires_in": "3600"}, id="TK-10 a string"),
    pytest.param({"expires_in": 3600.5}, id="TK-10 a fraction"),
    pytest.param({"expires_in": 10**18}, id="TK-10 1e18"),
    pytest.param({"expires_in": None}, id="TK-10 null"),
    pytest.param({"expires_in": "abc"}, id="TK-10 letters"),
    pytest.param({"expires_in": True}, id="TK-10 true"),
    pytest.param({"expires_in": [3600]}, id="TK-10 a list"),
    pytest.param({"scope": "openid"}, id="TK-14 narrower"),
    pytest.param({"scope": "openid profile email admin"}, id="TK-14 wider"),
    pytest.param({"scope": ""}, id="TK-14 empty"),
    pytest.param({"scope": REMOVED}, id="TK-14 missing"),
    pytest.param({"refresh_token": REMOVED}, id="TK-11 no refresh token"),
    pytest.param({"token_type": "bearer"}, id="TK-11 bearer in lower case"),
    pytest.param({"unknown": {"deep": [1, 2, {"er": None}]}}, id="TK-05 members that nobody knows"),
]


@pytest.mark.parametrize("document", KEPT)
async def test_what_is_odd_but_harmless_signs_in(house: House, browser: Edge, document: dict[str, Any]) -> None:
    house.provider.misbehaviour.token_document = document

    session = await house.signed_in(browser)

    assert await house.whoami(f"{SESSION}={session}") == "alice-sub"


@pytest.mark.parametrize(
    "content_type",
    [
        pytest.param("application/json; charset=utf-8", id="TK-05 UTF-8"),
        pytest.param('Application/JSON;charset="UTF-8"', id="TK-05 other case"),
    ],
)
async def test_json_is_json(house: House, browser: Edge, content_type: str) -> None:
    house.provider.misbehaviour.token_content_type = content_type
    await house.signed_in(browser)


async def test_a_number_that_no_json_has_is_refused(house: House, browser: Edge) -> None:
    """TK-10: 1e999 and NaN."""
    for number in (b"1e999", b"NaN", b"9" * 5000):
        house.provider.misbehaviour.token_body = GOOD[:-1] + b', "expires_in": ' + number + b"}"
        await house.refused(await house.sign_in(browser), status=502)


async def test_a_provider_that_is_down_is_503(house: House, browser: Edge) -> None:
    """TK-01: nobody listens any more; and when it is back, sign-ins work without a restart."""
    callback = await house.to_callback(browser)
    await house.provider.stop()
    try:
        answer = await browser.ask(callback)
    finally:
        await house.provider.start()
    assert answer.status in {502, 503, 504}
    await house.refused(answer, status=answer.status)
    assert house.provider.token_requests == []
    await house.recovers(browser, answer)


@pytest.mark.parametrize(
    "endpoint",
    [
        pytest.param("https://no-such-host.invalid/token", id="TK-01 no such name"),
        pytest.param("https://" + "a" * 63 + ".invalid/token", id="TK-01 no such name, of the longest label"),
    ],
)
async def test_a_token_endpoint_without_an_address_is_refused(house: House, tmp_path: Path, endpoint: str) -> None:
    async with hostile_house(tmp_path, store=house.store) as lost, lost.browser() as browser:
        lost.provider.misbehaviour.discovery_document = {"token_endpoint": endpoint}
        answer = await lost.sign_in(browser)
        assert answer.status in {502, 503, 504}
        await lost.refused(answer, status=answer.status)
        # Everything else goes on.
        assert (await browser.ask(f"{PUBLIC}/public/x")).status == 200


async def test_a_token_endpoint_in_a_black_hole_ends_at_the_connect_timeout(house: House, tmp_path: Path) -> None:
    """TK-01: a listener whose queue is full drops every SYN."""
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        stuffing = [socket.socket() for _ in range(4)]
        for one in stuffing:
            one.setblocking(False)  # noqa: FBT003 - the socket's own interface
            one.connect_ex(hole.getsockname())
        try:
            async with hostile_house(tmp_path, store=house.store, provider_settings=SOON) as lost, lost.browser() as browser:
                lost.provider.misbehaviour.discovery_document = {"token_endpoint": f"http://127.0.0.1:{hole.getsockname()[1]}/token"}
                await lost.refused(await lost.sign_in(browser), status=504)
        finally:
            for one in stuffing:
                one.close()


@pytest.mark.parametrize("status", [pytest.param(status, id=f"TK-08 {status}") for status in (301, 302, 303, 307, 308)])
@pytest.mark.parametrize("where", ["evil", "itself", "other path"])
async def test_a_redirect_is_not_followed(house: House, browser: Edge, status: int, where: str) -> None:
    async with Catcher() as evil:
        bad = house.provider.misbehaviour
        bad.token_redirect_status = status
        bad.token_redirects_to = {
            "evil": evil.url + "/token",
            "itself": house.provider.issuer + "/token",
            "other path": house.provider.issuer + "/elsewhere",
        }[where]
        answer = await house.sign_in(browser)

        assert evil.caught == []
        assert house.provider.other_requests == []
        await once_refused(house, browser, answer, 502)


async def test_discovery_and_keys_are_not_followed_elsewhere(house: House, tmp_path: Path) -> None:
    """TK-08, TK-26: a redirect of the metadata document is no metadata document."""
    async with Catcher() as evil, hostile_house(tmp_path, store=house.store) as other, other.browser() as browser:
        other.provider.misbehaviour.discovery_redirects_to = evil.url + "/.well-known/openid-configuration"
        await other.refused(await browser.ask(f"{PUBLIC}/page"), status=502)
        assert evil.caught == []


async def test_tokens_that_come_too_late_cost_one_more_sign_in(house: House, browser: Edge) -> None:
    """TK-19: the code is gone, its tokens are lost, and nobody is signed in by them."""
    house.provider.misbehaviour.token_delay = 1.5
    answer = await house.sign_in(browser)

    await house.refused(answer, status=504)
    assert len(house.provider.token_requests) == 1
    await asyncio.sleep(0.7)
    assert await house.sessions() == set()
    await house.recovers(browser, answer)


async def test_a_cookie_of_the_provider_goes_to_nobody(house: House) -> None:
    """TK-20: what the token endpoint sets for one person is not sent for the next."""
    house.provider.misbehaviour.token_sets_cookie = True
    for user in ("alice", "bob", "alice"):
        async with house.browser() as browser:
            await house.signed_in(browser, user)
            assert set(browser.jar) == {SESSION}

    assert len(house.provider.token_requests) == 3
    for request in (*house.provider.token_requests, *house.provider.jwks_requests, *house.provider.discovery_requests):
        assert "Cookie" not in request.headers


async def test_only_what_can_be_read_is_asked_for(house: House, browser: Edge) -> None:
    """TK-22: no coding is offered, JSON is."""
    await house.signed_in(browser)
    (request,) = house.provider.token_requests

    assert request.headers.get("Accept-Encoding") == "identity"
    assert request.headers.get("Accept") == "application/json"
    assert request.headers.get("Content-Type") == "application/x-www-form-urlencoded"
    assert "aiohttp" not in request.headers.get("User-Agent", "")


async def test_a_proxy_in_the_environment_sees_nothing(house: House, tmp_path: Path) -> None:
    """TK-23: it would see codes, secrets and tokens, and the app's requests."""
    async with Catcher() as proxy:
        names = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
        environ = dict.fromkeys(names, proxy.url) | {"NO_PROXY": "", "no_proxy": ""}
        async with hostile_house(tmp_path, store=house.store, environ=environ) as other, other.browser() as browser:
            session = await other.signed_in(browser)
            assert await other.whoami(f"{SESSION}={session}") == "alice-sub"
        assert proxy.caught == []


@pytest.mark.parametrize(
    ("methods", "in_body"),
    [
        pytest.param(["client_secret_post"], True, id="TK-25 post alone"),
        pytest.param(["client_secret_basic"], False, id="TK-25 basic alone"),
        pytest.param(["private_key_jwt", "client_secret_post"], True, id="TK-25 post among others"),
        pytest.param(None, False, id="TK-25 nothing said"),
    ],
)
async def test_the_secret_goes_where_the_provider_takes_it(house: House, tmp_path: Path, methods: list[str] | None, in_body: bool) -> None:
    provider = HostileProvider(auth_methods=["client_secret_basic"] if methods is None else methods)
    async with provider, hostile_house(tmp_path, store=house.store, provider=provider) as other, other.browser() as browser:
        if methods is None:
            provider.misbehaviour.discovery_document = {"token_endpoint_auth_methods_supported": REMOVED}
        await other.signed_in(browser)
        (request,) = provider.token_requests
        assert ("client_secret" in request.form) is in_body
        assert ("Authorization" in request.headers) is not in_body
        for asked in (*provider.token_requests, *provider.authorize_requests, *provider.discovery_requests, *provider.jwks_requests):
            assert "client_secret" not in asked.query
            assert provider.client_secret not in str(asked.query)


async def test_a_provider_that_takes_neither_is_refused_before_the_code_is_sent(house: House, tmp_path: Path) -> None:
    """TK-25: no secret goes to an endpoint that did not ask for it."""
    provider = HostileProvider(auth_methods=["private_key_jwt"])
    async with provider, hostile_house(tmp_path, store=house.store, provider=provider) as other, other.browser() as browser:
        await other.refused(await other.sign_in(browser), status=502)
        assert provider.token_requests == []


BROKEN_METADATA = [
    pytest.param({"discovery_issuer": "https://evil.example"}, id="TK-26 another issuer"),
    pytest.param({"discovery_document": {"issuer": REMOVED}}, id="TK-26 no issuer"),
    pytest.param({"discovery_document": {"jwks_uri": REMOVED}}, id="TK-26 no jwks_uri"),
    pytest.param({"discovery_document": {"token_endpoint": REMOVED}}, id="TK-26 no token_endpoint"),
    pytest.param({"discovery_document": {"token_endpoint": "http://op.example/token"}}, id="TK-26 token_endpoint by plain http"),
    pytest.param({"discovery_document": {"jwks_uri": "http://op.example/jwks"}}, id="TK-26 jwks_uri by plain http"),
    pytest.param({"discovery_document": {"authorization_endpoint": "http://op.example/a"}}, id="TK-26 authorization by plain http"),
    pytest.param({"discovery_document": {"authorization_endpoint": "javascript:alert(1)"}}, id="TK-26 authorization javascript:"),
    pytest.param({"discovery_document": {"authorization_endpoint": "https://op.example/a#b"}}, id="TK-26 a fragment"),
    pytest.param({"discovery_document": {"authorization_endpoint": "https://a@op.example/a"}}, id="TK-26 user information"),
    pytest.param({"discovery_document": {"authorization_endpoint": "https://op.example/\r\nSet-Cookie: x=y"}}, id="TK-26 CR LF"),
    pytest.param({"discovery_document": {"authorization_endpoint": "/authorize"}}, id="TK-26 relative"),
    pytest.param({"discovery_document": {"token_endpoint": "https://" + "a" * 64 + ".example/token"}}, id="TK-26 a label that is too long"),
    pytest.param({"discovery_document": {"token_endpoint": "file:///etc/passwd"}}, id="TK-26 file:"),
    pytest.param({"discovery_document": {"token_endpoint": ["https://op.example/token"]}}, id="TK-26 a list"),
    pytest.param({"discovery_padding": 2**20}, id="TK-26 1 MB"),
    pytest.param({"discovery_status": 404}, id="TK-26 404"),
]


async def test_broken_metadata_send_nobody_anywhere_and_are_got_over(house: House, tmp_path: Path) -> None:
    """TK-26: each fault refuses at the start, with no login cookie; then, mended, it works without a restart."""
    limit = asyncio.Semaphore(3)

    async def one(number: int, knobs: dict[str, Any]) -> None:
        async with limit, hostile_house(tmp_path / str(number), store=house.store) as other, other.browser() as browser:
            for name, value in knobs.items():
                setattr(other.provider.misbehaviour, name, value)
            answer = await browser.ask(f"{PUBLIC}/page")
            assert answer.all("Set-Cookie") == [], knobs
            assert answer.location is None, knobs
            assert answer.status == 502, knobs
            await other.refused(answer, status=502)
            async with aiohttp.ClientSession() as probe, probe.get(other.gateway.admin + "/readyz") as ready:
                assert ready.status == 503, knobs
            other.provider.behave()
            async with asyncio.timeout(30):
                while (await browser.ask(f"{PUBLIC}/page")).status != 303:
                    await asyncio.sleep(0.1)

    await asyncio.gather(*(one(number, case.values[0]) for number, case in enumerate(BROKEN_METADATA)))


async def test_a_silent_provider_at_the_start_is_504_and_got_over(house: House, tmp_path: Path) -> None:
    """TK-26, TK-02: no metadata in time, then none of the keys."""
    async with hostile_house(tmp_path, store=house.store, provider_settings=SOON) as other, other.browser() as browser:
        other.provider.misbehaviour.discovery_hangs = True
        await other.refused(await browser.ask(f"{PUBLIC}/page"), status=504)
        other.provider.misbehaviour.discovery_hangs = False
        other.provider.misbehaviour.jwks_status = 503
        async with asyncio.timeout(30):
            while (await browser.ask(f"{PUBLIC}/page")).status != 303:
                await asyncio.sleep(0.1)
        answer = await other.sign_in(browser)
        await other.refused(answer, status=503)
        # No code is spent on a provider whose tokens cannot be verified.
        assert other.provider.token_requests == []
        other.provider.behave()
        async with asyncio.timeout(30):
            while (await other.sign_in(browser)).status != 303:
                await asyncio.sleep(0.1)


async def test_many_logins_at_a_provider_that_hangs_hold_nobody_up(house: House) -> None:
    """TK-29: so many exchanges at a time, the rest told to come again; probes and signed-in people notice nothing."""
    async with house.browser() as busy:
        session = await house.signed_in(busy)
    callbacks = []
    for _ in range(200):
        browser = house.browser()
        await browser.__aenter__()
        callbacks.append((browser, await house.to_callback(browser)))
    house.provider.token_requests.clear()
    house.provider.misbehaviour.token_hangs = True

    waiting = [asyncio.create_task(browser.ask(callback)) for browser, callback in callbacks]
    async with asyncio.timeout(10), aiohttp.ClientSession() as probe:
        while len(house.provider.token_requests) < 10:
            await asyncio.sleep(0.01)
        for _ in range(20):
            async with probe.get(house.gateway.admin + "/livez") as alive:
                assert alive.status == 200
            assert await house.whoami(f"{SESSION}={session}") == "alice-sub"
        at_once = len(house.provider.token_requests)
        assert not all(task.done() for task in waiting)
    answers = await asyncio.gather(*waiting)
    for browser, _ in callbacks:
        await browser.__aexit__()

    assert at_once <= 32
    assert {answer.status for answer in answers} <= {503, 504}
    assert all(answer.header("Retry-After") for answer in answers if answer.status == 503)
    assert len({request.form["code"] for request in house.provider.token_requests}) == len(house.provider.token_requests)
    house.provider.behave()
    async with house.browser() as later:
        await house.signed_in(later)


# TLS: an authority of the test's own, and what it should not have signed.


@dataclass(frozen=True)
class Issued:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def issue(
    name: str,
    *,
    by: Issued | None = None,
    names: list[x509.GeneralName] | None = None,
    age: timedelta = timedelta(),
    authority: bool = False,
) -> Issued:
    """A certificate for ``name``, signed ``by`` an authority or by itself; ``age`` moves its month of validity into the past."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begun = datetime.now(UTC) - timedelta(days=1) - age
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if by is None else by.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begun)
        .not_valid_after(begun + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key((key if by is None else by.key).public_key()), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Issued(builder.sign(key if by is None else by.key, SHA256()), key)


def pem(issued: Issued) -> bytes:
    private = issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return issued.certificate.public_bytes(Encoding.PEM) + private


def speak_tls_1_0_alone(context: ssl.SSLContext) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1


LOOPBACK = [x509.IPAddress(ip_address("127.0.0.1"))]
ELSEWHERE = [x509.DNSName("op.example"), x509.IPAddress(ip_address("127.0.0.2"))]


async def test_only_a_provider_with_a_good_certificate_is_spoken_to(house: House, tmp_path: Path) -> None:
    """TK-16: expired, another name, self-signed, the name in the common name alone, another authority, TLS of long ago; and a good one."""
    authority, stranger = issue("authority of the test", authority=True), issue("authority of a stranger", authority=True)
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    good = issue("127.0.0.1", by=authority, names=LOOPBACK)
    cases: dict[str, tuple[Issued, bool, bool]] = {
        "good": (good, True, False),
        "expired": (issue("127.0.0.1", by=authority, names=LOOPBACK, age=timedelta(days=60)), False, False),
        "not yet valid": (issue("127.0.0.1", by=authority, names=LOOPBACK, age=timedelta(days=-10)), False, False),
        "another host": (issue("127.0.0.1", by=authority, names=ELSEWHERE), False, False),
        "self-signed": (issue("127.0.0.1", names=LOOPBACK), False, False),
        "common name alone": (issue("127.0.0.1", by=authority), False, False),
        "another authority": (issue("127.0.0.1", by=stranger, names=LOOPBACK), False, False),
        "TLS 1.0": (good, False, True),
    }
    limit = asyncio.Semaphore(2)

    async def one(name: str, issued: Issued, accepted: bool, old: bool) -> None:
        folder = tmp_path / name.replace(" ", "-")
        folder.mkdir()
        (folder / "server.pem").write_bytes(pem(issued))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem")
        if old:
            speak_tls_1_0_alone(context)
        async with (
            limit,
            HostileProvider(ssl_context=context) as provider,
            hostile_house(folder, store=house.store, provider=provider, provider_settings={"ca_file": str(ca_file)}) as other,
            other.browser() as browser,
        ):
            answer = await browser.ask(f"{PUBLIC}/page")
            if accepted:
                assert answer.status == 303
                assert (answer.location or "").startswith(provider.issuer + "/authorize?")
                return
            assert provider.discovery_requests == [], name
            assert answer.status in {502, 503}, name
            await other.refused(answer, status=answer.status)
            assert answer.all("Set-Cookie") == []
            assert "certificate" in other.gateway.log or old

    await asyncio.gather(*(one(name, *case) for name, case in cases.items()))


async def test_without_a_ca_file_the_authority_of_the_test_is_unknown(house: House, tmp_path: Path) -> None:
    """TK-16: the system's authorities alone."""
    authority = issue("authority of the test", authority=True)
    (tmp_path / "server.pem").write_bytes(pem(issue("127.0.0.1", by=authority, names=LOOPBACK)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    async with (
        HostileProvider(ssl_context=context) as provider,
        hostile_house(tmp_path, store=house.store, provider=provider) as other,
        other.browser() as browser,
    ):
        await other.refused(await browser.ask(f"{PUBLIC}/page"), status=502)
        assert provider.discovery_requests == []


async def test_every_row_has_its_place() -> None:
    every_row_has_its_place("TK", "01 02 04 05 07 08 10 11 13 14 16 17 19 20 22 23 25 26 28 29", globals(), NOT_YET)
