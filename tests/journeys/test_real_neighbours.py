"""nginx and Caddy as front proxies and as upstreams: every shape of exchange goes through them and the gateway, and back.

Four chains: client, proxy, gateway, app; and client, gateway, proxy, app. All parts are real programs; the tests are the same for all.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio
from yarl import URL

from tests.support.exchange_app import exchange_app, pattern
from tests.support.gateway_process import gateway, new_key_file
from tests.support.mirror_app import values
from tests.support.mock_provider import mock_provider
from tests.support.ports import free_port
from tests.support.processes import until
from tests.support.programs import CADDY_OPTIONS, Program, caddy, nginx, running
from tests.support.redis_servers import redis_server
from tests.support.user_agent import UserAgent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.exchange_app import ExchangeApp
    from tests.support.gateway_process import GatewayProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

LENGTH = 10 * 2**20
CLIENT = "127.0.0.2"
"""Where the client connects from: a loopback address that is no trusted proxy."""
PATIENCE = 30.0

_NGINX = """
    map $http_upgrade $connection_up {{ default upgrade; "" ""; }}
    upstream next {{ server 127.0.0.1:{next_port}; keepalive 16; }}
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 0;
        keepalive_timeout 120s;
        location / {{
            proxy_pass http://next;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_up;
            proxy_request_buffering off;
            {forwarded}
        }}
    }}
"""
_NGINX_IN_FRONT = """
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
"""
_CADDY = """
{{{options}{trusted}}}
http://:{port} {{
    reverse_proxy 127.0.0.1:{next_port}
}}
"""
_CADDY_BEHIND = """
    servers {
        trusted_proxies static 127.0.0.1/32
    }
"""


class Chain:
    """``url`` is where the client asks; ``hops`` are the ports on the way; ``session`` is alice's cookie."""

    def __init__(self, kind: str, place: str, *, gateway_port: int, proxy_port: int, folder: Path) -> None:
        self.kind, self.place, self.folder = kind, place, folder
        self.gateway_port, self.proxy_port = gateway_port, proxy_port
        self.app: ExchangeApp
        self.proxy: Program
        self.gateway: GatewayProcess
        self.session = ""
        self.options: dict[str, Any] = {}
        self._gateway = AsyncExitStack()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.proxy_port if self.place == 'in front' else self.gateway_port}"

    def program(self) -> Program:
        """The proxy: before the gateway, or between it and the app."""
        front = self.place == "in front"
        next_port = self.gateway_port if front else self.app.port
        ports = {"port": self.proxy_port, "next_port": next_port}
        if self.kind == "nginx":
            return nginx(self.folder, _NGINX.format(forwarded=_NGINX_IN_FRONT if front else "", **ports), self.proxy_port)
        return caddy(self.folder, _CADDY.format(options=CADDY_OPTIONS, trusted="" if front else _CADDY_BEHIND, **ports), self.proxy_port)

    async def start_gateway(self) -> None:
        self.gateway = await self._gateway.enter_async_context(gateway(self.folder, port=self.gateway_port, **self.options))

    async def stop_gateway(self) -> None:
        await self._gateway.aclose()

    def client(self) -> aiohttp.ClientSession:
        """Somebody with the session, at ``CLIENT``. One connection, which is kept."""
        connector = aiohttp.TCPConnector(limit=1, local_addr=(CLIENT, 0))
        return aiohttp.ClientSession(self.url, connector=connector, headers={"Cookie": self.session}, cookie_jar=aiohttp.DummyCookieJar())

    async def mirror(self, client: aiohttp.ClientSession, **options: Any) -> dict[str, Any]:
        async with client.get(URL(f"{self.url}/mirror?q=a%2Fb", encoded=True), **options) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def post(self, client: aiohttp.ClientSession) -> None:
        async with client.post("/up", data=b"as before") as answer:
            assert (await answer.json())["length"] == len(b"as before")

    async def raw(self, *requests: bytes) -> bytes:
        """These requests at once on one connection, whose last says close; all that comes back."""
        port = urlsplit(self.url).port
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(CLIENT, 0))
            common = f"Host: 127.0.0.1:{port}\r\nCookie: {self.session}\r\n".encode()
            for request in requests:
                line, _, rest = request.partition(b"\r\n")
                writer.write(line + b"\r\n" + common + rest + b"\r\n")
            received = await reader.read(-1)
            writer.close()
        return received


def connections_to(port: int) -> set[str]:
    """The far ends of every connection to a port of loopback that the kernel knows of, those just closed too."""
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    ends = [(fields[1], fields[2]) for fields in lines if fields[3] != "0A"]
    at = f":{port:04X}"
    return {here for here, there in ends if there.endswith(at)} | {there for here, there in ends if here.endswith(at)}


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=[
        pytest.param(("nginx", "in front"), id="nginx in front", marks=pytest.mark.nginx),
        pytest.param(("nginx", "behind"), id="nginx behind", marks=pytest.mark.nginx),
        pytest.param(("caddy", "in front"), id="Caddy in front"),
        pytest.param(("caddy", "behind"), id="Caddy behind"),
    ],
)
async def chain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Chain]:
    kind, place = request.param
    found = Chain(kind, place, gateway_port=free_port(), proxy_port=free_port(), folder=tmp_path_factory.mktemp("chain"))
    with mock_provider() as provider:
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(redis_server())
            found.app = await stack.enter_async_context(exchange_app())
            found.proxy = await stack.enter_async_context(running(found.program()))
            found.options = {
                "issuer": provider.issuer,
                "client_id": provider.client_id,
                "client_secret": provider.client_secret,
                "store": store.url,
                "upstream": found.app.url if place == "in front" else found.proxy.url,
                "key_files": [new_key_file(found.folder)],
                "server": {"public_url": found.url, "trusted_proxies": ["127.0.0.1/32"]},
            }
            await found.start_gateway()
            stack.push_async_callback(found.stop_gateway)
            async with UserAgent(found.url) as browser:
                answer = await provider.sign_in(browser, found.url + "/mirror?signed=in", "alice")
                assert (answer.status, answer.url) == (200, found.url + "/mirror?signed=in")
                found.session = "; ".join(f"{cookie.key}={cookie.value}" for cookie in browser.cookies if cookie.key == "gateway")
            yield found


@pytest_asyncio.fixture(loop_scope="module")
async def client(chain: Chain) -> AsyncIterator[aiohttp.ClientSession]:
    async with chain.client() as session:
        yield session


async def test_the_app_learns_who_it_is_and_where_they_are_and_nothing_that_the_client_made_up(
    chain: Chain, client: aiohttp.ClientSession
) -> None:
    spoofed = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Proto": "gopher",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-User": "root",
        "Forwarded": "for=203.0.113.9;host=evil.example",
        "X-Real-IP": "203.0.113.9",
        "Theme": "dark",
    }
    seen = await chain.mirror(client, headers=spoofed)
    headers, host = seen["headers"], urlsplit(chain.url).netloc

    assert (seen["method"], seen["target"]) == ("GET", "/mirror?q=a%2Fb")
    assert values(headers, "Host") == [host]
    assert values(headers, "X-Forwarded-User") == ["alice"]
    assert values(headers, "Theme") == ["dark"]
    assert values(headers, "Cookie") == []
    (client_address, *_) = ",".join(values(headers, "X-Forwarded-For")).split(",")
    assert client_address == CLIENT
    assert values(headers, "X-Forwarded-Proto") == ["http"]
    assert values(headers, "X-Forwarded-Host") == [host]
    assert values(headers, "Forwarded") == [f'for={CLIENT};host="{host}";proto=http']
    assert "203.0.113.9" not in json.dumps(headers)


async def test_connections_are_kept_on_every_hop(chain: Chain, client: aiohttp.ClientSession) -> None:
    await chain.mirror(client)
    before = [connections_to(port) for port in (chain.gateway_port, chain.proxy_port, chain.app.port)]
    for _ in range(40):
        await chain.mirror(client)
    after = [connections_to(port) for port in (chain.gateway_port, chain.proxy_port, chain.app.port)]

    assert [len(now - then) for now, then in zip(after, before, strict=True)] == [0, 0, 0]


@pytest.mark.parametrize("kind", ["down", "down-chunked"])
async def test_ten_megabytes_down(chain: Chain, client: aiohttp.ClientSession, kind: str) -> None:
    for seed in (1, 2):
        async with client.get(f"/{kind}/{seed}/{LENGTH}") as answer:
            body = await answer.read()
            assert answer.status == 200
            assert (answer.headers.get("Content-Length"), answer.headers.get("Transfer-Encoding")) == (
                (str(LENGTH), None) if kind == "down" else (None, "chunked")
            )
        assert body == pattern(seed, LENGTH)
    await chain.mirror(client)


@pytest.mark.parametrize("chunked", [False, True], ids=["known length", "chunked"])
async def test_ten_megabytes_up(chain: Chain, client: aiohttp.ClientSession, chunked: bool) -> None:
    for seed in (3, 4):
        body = pattern(seed, LENGTH)

        async def pieces(body: bytes = body) -> AsyncIterator[bytes]:
            for start in range(0, LENGTH, 50_001):
                yield body[start : start + 50_001]

        async with client.post("/up", data=pieces() if chunked else io.BytesIO(body)) as answer:
            told = await answer.json()
        framing = (
            {"Content-Length": None, "Transfer-Encoding": "chunked"}
            if chunked
            else {"Content-Length": str(LENGTH), "Transfer-Encoding": None}
        )
        assert told == {"sha256": hashlib.sha256(body).hexdigest(), "length": LENGTH, "framing": framing}
    await chain.mirror(client)


async def test_answers_without_a_body_leave_the_connection_in_step(chain: Chain) -> None:
    """HEAD has the length of the GET, 204 and 304 have no body; what follows on the connection is the next answer."""
    received = await chain.raw(
        b"HEAD /down/1/5000 HTTP/1.1\r\n",
        b"GET /nothing HTTP/1.1\r\n",
        b'GET /cached HTTP/1.1\r\nIf-None-Match: "one"\r\n',
        b"HEAD /down-chunked/1/5000 HTTP/1.1\r\n",
        b"GET /cached HTTP/1.1\r\nConnection: close\r\n",
    )

    heads = received.split(b"\r\n\r\n")
    assert [head.split(b" ")[1] for head in heads[:-1]] == [b"200", b"204", b"304", b"200", b"200"]
    assert b"content-length: 5000" in heads[0].lower()
    assert b"content-length" not in heads[1].lower()
    assert b'etag: "one"' in heads[2].lower()
    assert heads[-1] == b"cached"


async def test_early_hints_come_first(chain: Chain) -> None:
    if chain.kind == "nginx":
        pytest.skip("nginx knows 103 Early Hints from 1.29 on: before, it takes one for the answer")
    received = await chain.raw(b"GET /hints HTTP/1.1\r\nConnection: close\r\n")

    hint, head, body = received.split(b"\r\n\r\n")
    assert hint.startswith(b"HTTP/1.1 103 Early Hints\r\n")
    assert b"link: </style.css>" in hint.lower()
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body == b"after the hints"


async def test_a_websocket_goes_through(chain: Chain, client: aiohttp.ClientSession) -> None:
    async with client.ws_connect("/socket", origin=chain.url, max_msg_size=2**24, protocols=()) as socket:
        for text in ("one", "zwölf", "x" * 70_000):
            await socket.send_str(text)
            assert await socket.receive_str(timeout=PATIENCE) == text
        binary = pattern(5, 2**20)
        await socket.send_bytes(binary)
        assert await socket.receive_bytes(timeout=PATIENCE) == binary
        await socket.ping()
        await socket.send_str("bye")
        told = await socket.receive(timeout=PATIENCE)
        assert (told.type, told.data) == (aiohttp.WSMsgType.CLOSE, 4001)
    await until(lambda: chain.app.open["socket"] == 0)


async def test_a_websocket_from_another_site_does_not(chain: Chain, client: aiohttp.ClientSession) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.ws_connect("/socket", origin="https://evil.example")
    assert refused.value.status == 403
    assert chain.app.open.get("socket", 0) == 0


async def test_a_reader_who_goes_away_ends_the_download_at_the_app(chain: Chain) -> None:
    async with chain.client() as leaving, leaving.get("/endless") as answer:
        assert await answer.content.readany()
        assert chain.app.open["endless"] == 1
        answer.close()
        await until(lambda: chain.app.open["endless"] == 0)
    async with chain.client() as client:
        await chain.mirror(client)


@pytest.mark.parametrize("chunked", [False, True], ids=["known length", "chunked"])
async def test_a_sender_who_goes_away_has_not_sent_a_whole_body(chain: Chain, chunked: bool) -> None:
    whole = chain.app.whole
    port = urlsplit(chain.url).port
    _, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(CLIENT, 0))
    framing = "Transfer-Encoding: chunked\r\n\r\n186A0\r\n" if chunked else "Content-Length: 1000000\r\n\r\n"
    writer.write(f"POST /up HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nCookie: {chain.session}\r\n{framing}".encode() + bytes(50_000))
    await writer.drain()
    await until(lambda: chain.app.open.get("up", 0) == 1)
    writer.close()
    await until(lambda: chain.app.open["up"] == 0)

    assert chain.app.whole == whole
    async with chain.client() as client:
        await chain.mirror(client)


@pytest.mark.parametrize("kind", ["broken", "broken-chunked"])
async def test_an_answer_that_breaks_off_is_broken_for_the_client_too(chain: Chain, client: aiohttp.ClientSession, kind: str) -> None:
    """As a body that ends too early, or as 502 by whoever knew of its end before the head was passed on; never as a whole answer."""
    try:
        async with client.get(f"/{kind}") as answer:
            await answer.read()
        assert answer.status == 502
    except aiohttp.ClientPayloadError:
        pass
    await chain.mirror(client)


async def test_an_app_that_is_started_anew_is_reached_without_a_word_of_failure(chain: Chain, client: aiohttp.ClientSession) -> None:
    for first in (chain.mirror, chain.post, chain.mirror):
        await chain.mirror(client)
        await chain.app.restart()
        await first(client)
        await chain.post(client)


async def test_the_hop_in_the_middle_is_started_anew_with_connections_kept_to_it(chain: Chain, client: aiohttp.ClientSession) -> None:
    for first in (chain.mirror, chain.post):
        await chain.mirror(client)
        if chain.place == "behind":
            await chain.proxy.restart()
        else:
            await chain.stop_gateway()
            await chain.start_gateway()
        await first(client)
        await chain.post(client)
