"""A whole gateway to be attacked: the process, a real Redis, a provider that misbehaves as told, an unmodified app, a TLS edge in front.

The public origin is ``https://app.example``, as it would be in production; an ``Edge`` is a browser behind the terminator of that TLS.

    async with hostile_house(folder) as house, house.browser() as browser:
        house.provider.misbehaviour.token_hangs = True
        answer = await house.sign_in(browser, "/page")
        await house.refused(answer, status=504)         # no session, nothing kept, no byte upstream, one page with one way on
        await house.recovers(browser, answer)           # and that way leads to a sign-in that works
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import time
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import aiohttp
import redis.asyncio as redis
from typing_extensions import override
from yarl import URL

from gateway.session.cookies import CookieNames
from gateway.session.login import begin_login, login_cookie_name, seal_login
from gateway.session.sealing import Keyring
from tests.support.fake_provider import FakeProvider, Misbehaviour, signing_key
from tests.support.gateway_process import gateway
from tests.support.leaks import sweep
from tests.support.mirror_app import mirror_app, values
from tests.support.redis_servers import redis_server
from tests.support.user_agent import NAVIGATION, SECRET_PARAMETERS, Answer, UserAgent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping
    from pathlib import Path

    from tests.support.gateway_process import GatewayProcess
    from tests.support.mirror_app import MirrorApp
    from tests.support.redis_servers import RedisServer

PUBLIC = "https://app.example"
HOST = "app.example"
CALLBACK = f"{PUBLIC}/oauth2/callback"
START = f"{PUBLIC}/oauth2/start"
SIGN_OUT = f"{PUBLIC}/oauth2/sign_out"
SESSION = "__Host-gateway"
LOGIN = "__Host-gateway-login-"
PATIENCE = 20.0
"""Seconds after which a test that waits for bytes gives up; nothing is measured by it."""


class HostileProvider(FakeProvider):
    """The fake provider, with its id_tokens in the hands of a forger.

    ``forger`` is given the claims of the right id_token and returns the token to hand out. It publishes several keys, so that a token can
    be signed well by a key that must not have signed it.
    """

    def __init__(self, **knobs: Any) -> None:
        super().__init__(**knobs)
        self.forger: Callable[[HostileProvider, dict[str, Any]], str] | None = None
        self.ignores_pkce = False
        self.second_key = signing_key("RS256", kid="key-2")
        self.other_keys = {"ES256": signing_key("ES256", kid="key-ec"), "EdDSA": signing_key("EdDSA", kid="key-ed")}

    def published(self) -> list[dict[str, Any]]:
        return [key.as_dict(private=False) for key in (self.key, self.second_key, *self.other_keys.values())]

    @override
    async def _jwks(self, request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
        if self.misbehaviour.jwks_document is None and not self.misbehaviour.jwks_unknown_kid:
            self.misbehaviour.jwks_document = {"keys": self.published()}
            try:
                return await super()._jwks(request)
            finally:
                self.misbehaviour.jwks_document = None
        return await super()._jwks(request)

    @override
    def _grant(self, got: Any) -> tuple[int, dict[str, Any]]:
        code, verifier = got.form.get("code", ""), got.form.get("code_verifier", "")
        if self.ignores_pkce and code in self._grants:
            challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
            self._grants[code] = replace(self._grants[code], code_challenge=challenge)
        return super()._grant(got)

    @override
    def _id_token(self, grant: Any, access_token: str) -> str:
        token = super()._id_token(grant, access_token)
        if self.forger is None:
            return token
        payload = token.split(".")[1]
        return self.forger(self, json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))))

    def behave(self) -> None:
        """Correct again, with nothing remembered of what it was asked."""
        self.tell_the_sweep()
        self.misbehaviour = Misbehaviour()
        self.forger, self.ignores_pkce, self.login_as = None, False, "alice"
        for asked in (
            self.discovery_requests,
            self.jwks_requests,
            self.authorize_requests,
            self.token_requests,
            self.revoke_requests,
            self.end_session_requests,
            self.other_requests,
            self.codes_issued,
            self.tokens_issued,
            self.revoked,
        ):
            asked.clear()

    def tell_the_sweep(self) -> None:
        """What passed here in confidence must stand in no log and on no page."""
        for code in self.codes_issued:
            sweep.secret(code, "code")
        for asked in self.authorize_requests:
            sweep.secret(asked.query.get("nonce"), "nonce")
        for asked in self.token_requests:
            sweep.secret(asked.form.get("code_verifier"), "code_verifier")
            sweep.secret(asked.form.get("code"), "code")
            sweep.secret(asked.headers.get("Authorization"), "client credentials")
        for document in self.tokens_issued:
            for name in ("access_token", "refresh_token", "id_token"):
                if isinstance(document.get(name), str):
                    sweep.secret(document[name], name)


class Edge(UserAgent):
    """A browser behind a TLS terminator: what is ``https://app.example`` to it reaches the gateway's plain listener.

    ``jar`` holds the cookies of that one origin, in the order in which they were set. Every answer is held to what must be true of all.
    """

    def __init__(self, listener: str, *, public: str = PUBLIC) -> None:
        super().__init__(public)
        self.listener, self.public = listener, public
        self.jar: dict[str, str] = {}

    @override
    async def __aenter__(self) -> Self:
        self.client = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(), connector=aiohttp.TCPConnector(limit=0), max_line_size=65536, max_field_size=65536
        )
        return self

    @override
    async def ask(self, url: str, *, method: str = "GET", headers: Mapping[str, str] = NAVIGATION, data: object = None) -> Answer:
        parts = urlsplit(url)
        if f"{parts.scheme}://{parts.netloc}" != self.public:
            async with self.client.request(method, URL(url, encoded=True), headers=headers, data=data, allow_redirects=False) as response:
                answer = Answer(url, response.status, list(response.headers.items()), await response.read())
            self._note_secrets(answer)
            return answer
        sent = {"Host": parts.netloc} | ({"Cookie": self.cookie_header()} if self.jar else {}) | dict(headers)
        rest = url.removeprefix(self.public).partition("#")[0] or "/"
        where = URL(self.listener + rest, encoded=True)
        async with self.client.request(method, where, headers=sent, data=data, allow_redirects=False) as response:
            answer = Answer(url, response.status, list(response.headers.items()), await response.read())
        sweep.output(answer.text, f"page {parts.path}")
        self._keep_cookies(answer)
        self._note_secrets(answer)
        return answer

    def cookie_header(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.jar.items())

    @override
    def cookie_names(self) -> set[str]:
        return set(self.jar)

    @property
    def logins(self) -> list[str]:
        """The names of the login cookies held."""
        return [name for name in self.jar if "-login-" in name]

    def _keep_cookies(self, answer: Answer) -> None:
        for line in answer.all("Set-Cookie"):
            pair, *attributes = line.split("; ")
            name, _, value = pair.partition("=")
            # RFC 6265bis section 4.1.3.2, CK-22, CK-29: on https nothing weaker is ever set, and never on an answer that a cache may keep.
            if name.startswith("__Host-"):
                assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(attributes)
                assert not any(attribute.lower().startswith("domain") for attribute in attributes)
            else:
                assert not self.public.startswith("https"), f"a cookie without the prefix: {name}"
            assert kept_for_one(answer)
            assert len(pair) <= 1024, f"{name} is larger than 1 KiB"
            self.jar.pop(name, None)
            if value:
                self.jar[name] = value
                sweep.secret(value, "cookie value")
            else:
                assert "Max-Age=0" in attributes

    @staticmethod
    def _note_secrets(answer: Answer) -> None:
        if answer.location is not None:
            for name, value in parse_qsl(urlsplit(answer.location).query):
                if name in SECRET_PARAMETERS:
                    sweep.secret(value, name)


def kept_for_one(answer: Answer) -> bool:
    """Whether no cache keeps this answer for others (RFC 9111): ours are kept by nobody, an app's at the most by the browser."""
    said = {directive.strip().lower() for line in answer.all("Cache-Control") for directive in line.split(",")}
    return said == {"no-store"} or (answer.header("X-App") is not None and bool(said & {"private", "no-store"}) and "public" not in said)


@dataclass(frozen=True)
class Page:
    """What a person sees: how many headings, and every way on (a link's target, or "button")."""

    headings: int
    ways: tuple[str, ...]


class House:
    """A gateway and all that is around it; ``listener`` is where it really listens."""

    def __init__(self, running: GatewayProcess, provider: HostileProvider, store: RedisServer, app: MirrorApp, *, public: str) -> None:
        self.gateway, self.provider, self.store, self.app, self.public = running, provider, store, app, public
        self.redis = redis.Redis.from_url(store.url)

    @property
    def listener(self) -> str:
        return self.gateway.url

    def browser(self) -> Edge:
        return Edge(self.listener, public=self.public)

    async def reset(self) -> None:
        """Nothing stored, nothing asked, a provider that behaves."""
        self.provider.behave()
        await self.redis.flushall()
        self.app.requests.clear()
        self.app.headers.clear()
        self.app.also, self.app.held, self.app.status = {}, None, 200

    async def keys(self) -> set[str]:
        return {key.decode() for key in await self.redis.keys("*")}

    async def sessions(self) -> set[str]:
        """Every key that is not a used login."""
        return {key for key in await self.keys() if not key.startswith("gateway:l:")}

    async def dump(self) -> dict[bytes, tuple[bytes, ...]]:
        """All that the store holds: by key, what stands under it, whatever its type."""
        found: dict[bytes, tuple[bytes, ...]] = {}
        for key in await self.redis.keys("*"):
            match await self.redis.type(key):
                case b"string":
                    found[key] = (await self.redis.get(key),)
                case b"zset":
                    pairs = await self.redis.zrange(key, 0, -1, withscores=True)
                    found[key] = tuple(part for member, score in pairs for part in (member, b"%d" % score))
                case other:
                    raise AssertionError(f"a {other!r} at {key!r}: have it dumped as well")
        return found

    async def to_callback(self, browser: Edge, path: str = "/page") -> str:
        """Begin a login and let the provider answer it; the callback URL that the browser is sent to, not opened yet."""
        answer = await browser.until(self.public + path, self.public + "/oauth2/callback")
        assert answer.location is not None
        return answer.location

    async def sign_in(self, browser: Edge, path: str = "/page") -> Answer:
        """The whole way to the callback; its answer, with no redirect followed."""
        return await browser.ask(await self.to_callback(browser, path))

    async def signed_in(self, browser: Edge, user: str = "alice", path: str = "/page") -> str:
        """Sign in for good; the value of the session cookie."""
        self.provider.login_as = user
        answer = await self.sign_in(browser, path)
        assert answer.status == 303, f"{answer.status}: {answer.text[:400]}"
        assert answer.location == self.public + path
        return browser.jar[SESSION if self.public.startswith("https") else "gateway"]

    async def whoami(self, cookies: str | bytes | list[bytes], *, path: str = "/who") -> Answer | str:
        """Who an API caller with these raw Cookie lines is to the app; the refusal for nobody."""
        lines = cookies if isinstance(cookies, list) else [cookies.encode() if isinstance(cookies, str) else cookies]
        cookie_lines = b"".join(b"Cookie: " + line + b"\r\n" for line in lines)
        head = f"GET {path} HTTP/1.1\r\nHost: {urlsplit(self.public).netloc}\r\nAccept: application/json\r\nConnection: close\r\n".encode()
        answer = await self.raw(head + cookie_lines + b"\r\n")
        if answer.status != 200:
            return answer
        (user,) = values(json.loads(answer.body)["headers"], "X-Forwarded-User")
        return user

    async def raw(self, request: bytes) -> Answer:
        """Send these very bytes on a connection of their own; the first answer on it."""
        parts = urlsplit(self.listener)
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=2**22)
            try:
                writer.write(request)
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                status_line, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
                headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
                answer = Answer(self.public, int(status_line.split(" ")[1]), headers, b"")
                length = answer.header("Content-Length")
                body = b"" if request.startswith(b"HEAD ") else await (reader.read() if length is None else reader.readexactly(int(length)))
            finally:
                writer.close()
        answer = replace(answer, body=body)
        if answer.header("X-App") is None:  # the app shows what it was sent, also what a test sent under a name that is not ours
            sweep.output(answer.text, "raw answer")
        return answer

    async def refused(self, answer: Answer, *, status: int) -> None:
        """The oracle of every refused login: no session, nothing kept, no byte upstream, one page with one way on, nothing to leak."""
        assert answer.status == status, f"{answer.status} at {urlsplit(answer.url).path}: {answer.text[-400:]}"
        await self.nobody_got_in(answer)
        page = read_page(answer)
        assert page.headings == 1
        assert len(page.ways) == 1, page.ways
        assert answer.header("Content-Type") == "text/html; charset=utf-8"
        assert answer.header("Referrer-Policy") == "no-referrer"
        policy = answer.header("Content-Security-Policy") or ""
        assert "frame-ancestors 'none'" in policy
        assert "default-src 'none'" in policy
        assert "Traceback" not in answer.text

    async def nobody_got_in(self, answer: Answer) -> None:
        """No session cookie (only login cookies may go), nothing in the store but used logins, no byte upstream, nothing to cache."""
        for line in answer.all("Set-Cookie"):
            assert line.startswith(LOGIN if self.public.startswith("https") else "gateway-login-"), line.partition("=")[0]
            assert line.partition("=")[2].startswith("; "), "a login cookie was set, not deleted"
        assert answer.location is None
        assert await self.sessions() == set()
        assert self.app.requests == []
        assert answer.header("Cache-Control") == "no-store"

    async def recovers(self, browser: Edge, answer: Answer) -> None:
        """The one way on of a refusal leads this very browser to a sign-in that works, and a stranger's works too."""
        self.provider.behave()
        (way,) = read_page(answer).ways
        url = urljoin(answer.url, way)
        assert url.startswith(self.public + "/"), url
        reached = await browser.open(url)
        assert reached.status == 200, f"{reached.status}: {reached.text[:400]}"
        assert values(json.loads(reached.body)["headers"], "X-Forwarded-User") == ["alice-sub"]
        async with self.browser() as stranger:
            await self.signed_in(stranger, "bob")

    def logged(self, event: str, since: int = 0) -> list[dict[str, Any]]:
        """The log lines of an event, after so many characters of the log."""
        lines = (line for line in self.gateway.log[since:].splitlines() if line.startswith("{"))
        return [entry for entry in map(json.loads, lines) if entry.get("event") == event]

    async def hears(self, event: str) -> list[dict[str, Any]]:
        """The log lines of an event, once there is one: a line is written beside the answer, and not before it."""
        async with asyncio.timeout(PATIENCE):
            while not (lines := self.logged(event)):
                await asyncio.sleep(0.01)
        return lines

    async def close(self) -> None:
        self.provider.tell_the_sweep()
        await self.redis.aclose()


@asynccontextmanager
async def hostile_house(
    folder: Path,
    *,
    public: str = PUBLIC,
    provider: HostileProvider | None = None,
    store: RedisServer | None = None,
    environ: Mapping[str, str] | None = None,
    key_files: list[Path] | None = None,
    provider_settings: Mapping[str, Any] | None = None,
    **changes: Any,
) -> AsyncIterator[House]:
    """All parts, started and ended together. ``provider`` and ``store`` may be running ones; ``changes`` go to the configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    server = {"public_url": public} | changes.pop("server", {})
    settings = {"connect_timeout": "10s", "total_timeout": "10s"} | dict(provider_settings or {})
    async with AsyncExitStack() as stack:
        op = provider or await stack.enter_async_context(HostileProvider())
        redis_process = store or await stack.enter_async_context(redis_server())
        app = await stack.enter_async_context(mirror_app())
        running = await stack.enter_async_context(
            gateway(
                folder,
                issuer=op.issuer,
                client_id=op.client_id,
                client_secret=op.client_secret,
                store=redis_process.url,
                upstream=app.url,
                environ=environ,
                key_files=key_files,
                server=server,
                provider=settings,
                **changes,
            )
        )
        house = House(running, op, redis_process, app, public=public)
        stack.push_async_callback(house.close)
        yield house


class Catcher:
    """A server of somebody else's that nobody should connect to; ``caught`` holds what each connection brought."""

    def __init__(self) -> None:
        self.caught: list[bytes] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._catch, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _catch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.caught.append(await reader.read(65536))
        writer.close()


def parameters(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


def with_parameters(url: str, **changes: str | None) -> str:
    """A callback URL with other parameters; None takes one out."""
    merged = {name: value for name, value in (parameters(url) | changes).items() if value is not None}
    return f"{CALLBACK}?{urlencode(merged)}"


def sealed_login(house: House, *, age: float = 0, key: bytes | None = None, origin: str = PUBLIC) -> tuple[str, str, str]:
    """A login cookie made with the gateway's own key (or another): its name, its value, its state."""
    text = (house.gateway.config.parent / "session_key").read_text().strip()
    keyring = Keyring([key or base64.urlsafe_b64decode(text + "=")])
    names = CookieNames.for_origin(origin)
    login = begin_login(secrets.token_bytes(32), provider="main", return_to="/deep?x=1", now=time.time() - age)
    return login_cookie_name(CookieNames.for_origin(PUBLIC), login.state), seal_login(keyring, login, names), login.state


def sets_session(answer: Answer) -> bool:
    """Whether an answer gives the browser a session."""
    return any(line.startswith(SESSION + "=") for line in answer.all("Set-Cookie"))


def read_page(answer: Answer) -> Page:
    reader = _PageReader()
    reader.feed(answer.text)
    return Page(reader.headings, tuple(reader.ways))


class _PageReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.headings = 0
        self.ways: list[str] = []

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "h1":
            self.headings += 1
        elif tag == "a":
            self.ways.append(dict(attrs).get("href") or "")
        elif tag in {"button", "script", "iframe", "meta"} and dict(attrs).get("http-equiv") is None and tag != "meta":
            self.ways.append(tag)
        elif tag == "meta" and dict(attrs).get("http-equiv") is not None:
            self.ways.append("meta refresh")


def rows_tested(namespace: Mapping[str, Any]) -> Counter[str]:
    """The row ids that the tests of a module name: in the ids of their tables, or as the first words of a test's docstring."""
    found: Counter[str] = Counter()
    for name, test in namespace.items():
        if not name.startswith("test_") or isinstance(test, ModuleType):
            continue
        texts = [(test.__doc__ or "").partition(":")[0]]
        for mark in getattr(test, "pytestmark", []):
            if mark.name == "parametrize":
                texts += [str(case.id or "") for case in mark.args[1] if hasattr(case, "id")]
        for text in texts:
            for word in text.replace(",", " ").split():
                if len(word) == 5 and word[2] == "-" and word[:2].isupper() and word[3:].isdigit():
                    found[word] += 1
    return found


def every_row_has_its_place(
    group: str, numbers: str, namespace: Mapping[str, Any], not_yet: Mapping[str, str], *, also: Iterable[ModuleType] = ()
) -> None:
    """Each row of a group of the corpus is tested, or stands in ``not_yet`` with its reason; and no other row is named.

    ``also`` are other modules that try rows of this group, among those of others.
    """
    rows = {f"{group}-{number}" for number in numbers.split()}
    tested = set(rows_tested(namespace)).union(*({row for row in rows_tested(vars(each)) if row.startswith(group)} for each in also))
    placed = tested | set(not_yet)
    assert placed == rows, f"missing: {sorted(rows - placed)}; unknown: {sorted(placed - rows)}"
    assert not tested & set(not_yet), "tested, so it is there"
