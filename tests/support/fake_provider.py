"""An OpenID provider on loopback that does the whole flow, and misbehaves exactly as it is told to.

    async with FakeProvider(token_hangs=True) as op:
        op.issuer, op.client_id, op.client_secret       # what to configure the gateway with
        op.misbehaviour.token_hangs = False             # knobs can be turned while it runs
        op.login_as = "bob"                             # who /authorize signs in, at once and without a page
        op.token_requests                               # what /token received, in order: [Received(...), ...]

Every keyword of the constructor that is a field of ``Misbehaviour`` turns that knob; without any it is a correct provider: discovery, JWKS,
/authorize (redirects at once with code, state and iss), /token (client_secret_basic decoded by RFC 6749 appendix B or client_secret_post,
exact redirect_uri, PKCE S256 required, codes good once and for a minute; refresh tokens that rotate, with reuse detection), /revoke,
/end_session (redirects back with state).

For tests without a server: ``signing_key(...)``, ``sign(...)`` and ``verified_claims(...)`` make keys, JWTs and ``VerifiedClaims``;
``sign_in_at(provider, op)`` runs a login without a browser.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import time
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, unquote_plus, urlencode

from aiohttp import web
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from gateway.oidc import base64url
from gateway.oidc.callback import read_callback, validate_callback
from gateway.oidc.id_token import VerifiedClaims, left_half_hash, verify_id_token
from gateway.oidc.jwks import read_jwks
from gateway.oidc.metadata import Metadata, read_metadata
from gateway.oidc.registration import ProviderSettings, Secret

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from gateway.oidc.provider import Provider, SignedIn

USERS: dict[str, dict[str, Any]] = {
    "alice": {"email": "alice@example.org", "email_verified": True, "preferred_username": "alice", "groups": ["staff", "admins"]},
    "bob": {"email": "bob@example.org", "email_verified": True, "preferred_username": "bob", "groups": ["staff"]},
}


@dataclass(slots=True)
class Misbehaviour:
    """One knob a fault; all off is a correct provider.

    Knobs that are mappings are merged over the right answer; a value REMOVED takes a member out.
    """

    # discovery
    discovery_issuer: str | None = None
    discovery_status: int = 200
    discovery_document: dict[str, Any] = field(default_factory=dict)
    discovery_hangs: bool = False
    discovery_redirects_to: str | None = None
    discovery_padding: int = 0
    # jwks
    jwks_status: int = 200
    jwks_hangs: bool = False
    jwks_document: dict[str, Any] | None = None
    jwks_unknown_kid: bool = False
    """The set does not name the key that signs."""
    # authorization response
    iss_wrong: bool = False
    iss_missing: bool = False
    state_wrong: bool = False
    state_missing: bool = False
    code_wrong: bool = False
    authorize_error: str | None = None
    authorize_error_description: str | None = None
    # token endpoint
    token_status: int = 200
    token_error: str | None = None
    token_document: dict[str, Any] = field(default_factory=dict)
    expires_in: Any = 3600
    token_redirects_to: str | None = None
    token_redirect_status: int = 307
    token_hangs: bool = False
    token_delay: float = 0.0
    token_content_type: str | None = "application/json"
    token_content_encoding: str | None = None
    token_body: bytes | None = None
    token_body_endless: bool = False
    token_sets_cookie: bool = False
    token_raw: bytes | None = None
    """These bytes are the whole answer, status line and all; then the connection is closed."""
    token_resets: bool = False
    """The connection is reset in the middle of the body."""
    # id_token
    id_token_missing: bool = False
    id_token_alg_none: bool = False
    id_token_raw: str | None = None
    id_token_claims: dict[str, Any] = field(default_factory=dict)
    id_token_header: dict[str, Any] = field(default_factory=dict)
    id_token_signature_broken: bool = False
    id_token_hs256_with_public_key: bool = False
    nonce_wrong: bool = False
    at_hash_wrong: bool = False
    # refresh
    refresh_rotates: bool = True
    """Each refresh gives a new refresh token; whoever uses an old one ends the whole grant (RFC 9700 section 4.14.2)."""
    refresh_grace: float = 0.0
    """Seconds for which an old refresh token still gives the new one."""
    refresh_token_missing: bool = False
    """The code gives no refresh token."""
    refresh_status: int = 200
    """Anything else is the answer, before anything is granted."""
    refresh_error: str | None = None
    refresh_retry_after: str | None = None
    refresh_page: int | None = None
    """The answer is a page of HTML with this status, before anything is granted."""
    refresh_hangs: bool = False
    refresh_delay: float = 0.0
    """Seconds before anything is granted."""
    refresh_answer_delay: float = 0.0
    """Seconds between the grant and its answer."""
    refresh_held: asyncio.Event | None = None
    """Nothing is granted before this is set."""
    refresh_gate: asyncio.Event | None = None
    """It is granted, and answered when this is set."""
    refresh_answer_lost: bool = False
    """It is granted, and the answer never comes."""
    refresh_document: dict[str, Any] = field(default_factory=dict)
    refresh_id_token_missing: bool = False
    refresh_id_token_claims: dict[str, Any] = field(default_factory=dict)
    # sign-out
    revoke_status: int = 200
    revoke_hangs: bool = False
    revoke_fails_for: tuple[str, ...] = ()
    """``revoke_status`` is the answer for tokens with these hints alone; for all without any."""
    revoke_retry_after: str | None = None


REMOVED: Any = object()
"""As a value in a knob's mapping: take this member out."""


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived; ``form`` is the decoded body."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    form: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Grant:
    user: str
    redirect_uri: str
    nonce: str | None
    code_challenge: str | None
    scope: str
    made: float
    refreshed: bool = False


@dataclass(slots=True)
class Family:
    """The refresh tokens of one login: the one that is good now, and when each of the others was replaced."""

    grant: _Grant
    current: str
    replaced: dict[str, float] = field(default_factory=dict)
    ended: bool = False
    refreshes: int = 0


class FakeProvider:
    """See the module's docstring. ``ssl_context`` makes it speak TLS; ``host`` is what the issuer is called."""

    def __init__(
        self,
        *,
        client_id: str = "gateway",
        client_secret: str = "secret with space, + and %",
        login_as: str = "alice",
        auth_methods: list[str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Any = time.time,
        **knobs: Any,
    ) -> None:
        self.client_id, self.client_secret, self.login_as = client_id, client_secret, login_as
        self.misbehaviour = Misbehaviour(**knobs)
        self.auth_methods = auth_methods if auth_methods is not None else ["client_secret_basic", "client_secret_post"]
        self.users: dict[str, dict[str, Any]] = {name: dict(claims) for name, claims in USERS.items()}
        self.key = signing_key("RS256", kid="key-1")
        self.alg = "RS256"
        self.code_verifier = secrets.token_urlsafe(32)
        self.discovery_requests: list[Received] = []
        self.jwks_requests: list[Received] = []
        self.authorize_requests: list[Received] = []
        self.token_requests: list[Received] = []
        self.revoke_requests: list[Received] = []
        self.end_session_requests: list[Received] = []
        self.other_requests: list[Received] = []
        self.codes_issued: list[str] = []
        self.tokens_issued: list[dict[str, Any]] = []
        self.revoked: list[str] = []
        self.refresh_requests: list[Received] = []
        self.families: dict[str, Family] = {}
        """By refresh token, old ones too."""
        self.reuses = 0
        """How often somebody came with a refresh token that was replaced."""
        self._grants: dict[str, _Grant] = {}
        self._ssl_context, self._host, self._port, self._clock = ssl_context, host, port, clock
        self._released = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self.issuer = ""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; after ``stop`` it listens on the same port again."""
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._discovery)
        app.router.add_get("/jwks", self._jwks)
        app.router.add_get("/authorize", self._authorize)
        app.router.add_post("/token", self._token)
        app.router.add_post("/revoke", self._revoke)
        app.router.add_get("/end_session", self._end_session)
        app.router.add_route("*", "/{rest:.*}", self._other)
        self._released = asyncio.Event()
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._ssl_context)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.issuer = f"{'https' if self._ssl_context else 'http'}://{self._host}:{self._port}"

    async def stop(self) -> None:
        """Stop listening: the provider is down."""
        self._released.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def rotate_key(self, kid: str, alg: str = "RS256") -> None:
        """Sign with another key from now on, and publish that one alone."""
        self.key, self.alg = signing_key(alg, kid=kid), alg

    def set_clock(self, clock: Callable[[], float]) -> None:
        """Go by another clock from now on; epoch seconds."""
        self._clock = clock

    @property
    def refreshes(self) -> int:
        """How many refreshes were granted."""
        return sum(family.refreshes for family in {id(family): family for family in self.families.values()}.values())

    def end_grants(self) -> None:
        """Have every sign-in end here, as an administrator of the provider would."""
        for family in self.families.values():
            family.ended = True

    def settings(self, **changes: Any) -> ProviderSettings:
        """Settings of the gateway for this provider, with short timeouts."""
        values: dict[str, Any] = {
            "id": "main",
            "issuer": self.issuer,
            "client_id": self.client_id,
            "client_secret": Secret(self.client_secret),
            "connect_timeout": 2.0,
            "total_timeout": 2.0,
            "refresh_timeout": changes.get("total_timeout", 2.0),
        }
        return ProviderSettings(**(values | changes))

    def document(self) -> dict[str, Any]:
        """The discovery document, as the knobs have it."""
        right: dict[str, Any] = {
            "issuer": self.misbehaviour.discovery_issuer or self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "revocation_endpoint": f"{self.issuer}/revoke",
            "end_session_endpoint": f"{self.issuer}/end_session",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self.alg],
            "token_endpoint_auth_methods_supported": self.auth_methods,
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            "padding": "x" * self.misbehaviour.discovery_padding,
        }
        return merged(right, self.misbehaviour.discovery_document)

    def grant_code(self, code: str, *, redirect_uri: str, nonce: str, code_verifier: str, scope: str = "openid") -> None:
        """Have ``code`` issued as if ``login_as`` had come by /authorize: for tests without a browser."""
        challenge = base64url.encode(hashlib.sha256(code_verifier.encode()).digest())
        self._grants[code] = _Grant(self.login_as, redirect_uri, nonce, challenge, scope, self._clock())
        self.codes_issued.append(code)

    async def _discovery(self, request: web.Request) -> web.StreamResponse:
        self.discovery_requests.append(await received(request))
        if self.misbehaviour.discovery_hangs:
            await self._released.wait()
        if self.misbehaviour.discovery_redirects_to:
            raise web.HTTPFound(self.misbehaviour.discovery_redirects_to)
        return web.json_response(self.document(), status=self.misbehaviour.discovery_status)

    async def _jwks(self, request: web.Request) -> web.StreamResponse:
        self.jwks_requests.append(await received(request))
        if self.misbehaviour.jwks_hangs:
            await self._released.wait()
        published = self.key.as_dict(private=False) | ({"kid": "another"} if self.misbehaviour.jwks_unknown_kid else {})
        document = self.misbehaviour.jwks_document or {"keys": [published]}
        return web.json_response(document, status=self.misbehaviour.jwks_status)

    async def _authorize(self, request: web.Request) -> web.StreamResponse:
        got = await received(request)
        self.authorize_requests.append(got)
        query, bad = got.query, self.misbehaviour
        if (
            query.get("client_id") != self.client_id
            or query.get("response_type") != "code"
            or "openid" not in query.get("scope", "").split()
        ):
            return web.Response(status=400, text="not an authorization request for this client")
        answer: dict[str, str] = {}
        if bad.authorize_error:
            answer["error"] = bad.authorize_error
            if bad.authorize_error_description:
                answer["error_description"] = bad.authorize_error_description
        elif query.get("code_challenge_method") != "S256" or len(query.get("code_challenge", "")) != 43:
            answer["error"] = "invalid_request"
        else:
            code = secrets.token_urlsafe(24)
            self._grants[code] = _Grant(
                self.login_as, query["redirect_uri"], query.get("nonce"), query.get("code_challenge"), query["scope"], self._clock()
            )
            self.codes_issued.append(code)
            answer["code"] = code + "x" if bad.code_wrong else code
        if not bad.state_missing and "state" in query:
            answer["state"] = query["state"] + "x" if bad.state_wrong else query["state"]
        if not bad.iss_missing:
            answer["iss"] = "https://evil.example" if bad.iss_wrong else self.issuer
        joint = "&" if "?" in query["redirect_uri"] else "?"
        return web.Response(status=303, headers={"Location": f"{query['redirect_uri']}{joint}{urlencode(answer)}"})

    async def _token(self, request: web.Request) -> web.StreamResponse:
        got = await received(request)
        self.token_requests.append(got)
        bad = self.misbehaviour
        if bad.token_hangs:
            await self._released.wait()
        await asyncio.sleep(bad.token_delay)
        if got.form.get("grant_type") == "refresh_token":
            return await self._refresh(got)
        if bad.token_redirects_to:
            return web.Response(status=bad.token_redirect_status, headers={"Location": bad.token_redirects_to})
        if bad.token_raw is not None:
            assert request.transport is not None
            request.transport.write(bad.token_raw)
            request.transport.close()
            return web.Response()
        if bad.token_body_endless or bad.token_resets:
            return await self._token_streamed(request)
        status, document = (bad.token_status, {"error": bad.token_error}) if bad.token_error else self._grant(got)
        if bad.token_error is None and status == 200:
            status = bad.token_status
        body = bad.token_body if bad.token_body is not None else json.dumps(document).encode()
        if bad.token_content_type is None:
            response: web.Response = _Untyped(status=status, body=body)
        else:
            response = web.Response(status=status, body=body, headers={"Content-Type": bad.token_content_type})
        if bad.token_content_encoding:
            response.headers["Content-Encoding"] = bad.token_content_encoding
        if bad.token_sets_cookie:
            response.headers["Set-Cookie"] = "op=alice; Path=/"
        return response

    async def _token_streamed(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(b'{"padding": "')
        if self.misbehaviour.token_resets:
            assert request.transport is not None
            request.transport.abort()
            return response
        while not self._released.is_set():
            await response.write(b"x" * 65536)
        return response

    def _grant(self, got: Received) -> tuple[int, dict[str, Any]]:
        """What a correct provider answers, or a refusal; then the knobs on tokens."""
        if not self._client_is_authentic(got):
            return 401, {"error": "invalid_client"}
        grant = self._grants.pop(got.form.get("code", ""), None)
        verifier = got.form.get("code_verifier", "")
        if got.form.get("grant_type") != "authorization_code" or grant is None or self._clock() - grant.made > 60:
            return 400, {"error": "invalid_grant"}
        challenge = base64url.encode(hashlib.sha256(verifier.encode()).digest())
        if got.form.get("redirect_uri") != grant.redirect_uri or challenge != grant.code_challenge:
            return 400, {"error": "invalid_grant"}
        bad, access_token = self.misbehaviour, secrets.token_urlsafe(24)
        document: dict[str, Any] = {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": bad.expires_in,
            "scope": grant.scope,
        }
        if not bad.refresh_token_missing:
            document["refresh_token"] = secrets.token_urlsafe(24)
            self.families[document["refresh_token"]] = Family(replace(grant, made=self._clock()), document["refresh_token"])
        if not bad.id_token_missing:
            document["id_token"] = self._id_token(grant, access_token)
        document = merged(document, bad.token_document)
        self.tokens_issued.append(document)
        return 200, document

    async def _refresh(self, got: Received) -> web.StreamResponse:
        self.refresh_requests.append(got)
        bad = self.misbehaviour
        if bad.refresh_hangs:
            await self._released.wait()
        if bad.refresh_held is not None:
            await bad.refresh_held.wait()
        await asyncio.sleep(bad.refresh_delay)
        if bad.refresh_page is not None:
            return web.Response(status=bad.refresh_page, text="<!doctype html><title>Back soon</title>", content_type="text/html")
        if bad.refresh_error or bad.refresh_status != 200:
            headers = {} if bad.refresh_retry_after is None else {"Retry-After": bad.refresh_retry_after}
            return web.json_response({"error": bad.refresh_error or "server_error"}, status=bad.refresh_status, headers=headers)
        status, document = self._refreshed(got)
        if bad.refresh_answer_lost:
            await self._released.wait()
        if bad.refresh_gate is not None:
            await bad.refresh_gate.wait()
        await asyncio.sleep(bad.refresh_answer_delay)
        return web.json_response(document, status=status)

    def _refreshed(self, got: Received) -> tuple[int, dict[str, Any]]:
        """What a correct provider answers to a refresh token; it rotates unless told otherwise; an old one ends the grant."""
        if not self._client_is_authentic(got):
            return 401, {"error": "invalid_client"}
        bad, token = self.misbehaviour, got.form.get("refresh_token", "")
        family = self.families.get(token)
        if family is None or family.ended or "scope" in got.form:
            return 400, {"error": "invalid_grant"}
        if token != family.current:
            self.reuses += 1
            if self._clock() - family.replaced[token] > bad.refresh_grace:
                family.ended = True
                return 400, {"error": "invalid_grant"}
        elif bad.refresh_rotates:
            family.replaced[token] = self._clock()
            family.current = secrets.token_urlsafe(24)
            self.families[family.current] = family
        family.refreshes += 1
        access_token = secrets.token_urlsafe(24)
        document: dict[str, Any] = {"access_token": access_token, "token_type": "Bearer", "expires_in": bad.expires_in}
        if bad.refresh_rotates:
            document["refresh_token"] = family.current
        if not bad.refresh_id_token_missing:
            document["id_token"] = self._id_token(replace(family.grant, nonce=None, refreshed=True), access_token)
        document = merged(document, bad.refresh_document)
        self.tokens_issued.append(document)
        return 200, document

    def _client_is_authentic(self, got: Received) -> bool:
        scheme, _, credentials = got.headers.get("Authorization", "").partition(" ")
        in_body = "client_secret" in got.form
        if scheme.lower() == "basic" and not in_body and "client_secret_basic" in self.auth_methods:
            name, _, secret = base64.b64decode(credentials).decode("ascii").partition(":")
            return (unquote_plus(name), unquote_plus(secret)) == (self.client_id, self.client_secret)
        if not scheme and in_body and "client_secret_post" in self.auth_methods:
            return (got.form.get("client_id"), got.form["client_secret"]) == (self.client_id, self.client_secret)
        return False

    def _id_token(self, grant: _Grant, access_token: str) -> str:
        bad, now = self.misbehaviour, int(self._clock())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "sub": f"{grant.user}-sub",
            "aud": self.client_id,
            "exp": now + 300,
            "iat": now,
            "auth_time": int(grant.made) if grant.refreshed else now,
            "sid": f"{grant.user}-sid",
            "at_hash": left_half_hash("other" if bad.at_hash_wrong else access_token, self.alg),
            **self.users[grant.user],
        }
        if grant.nonce is not None:
            claims["nonce"] = grant.nonce + ("x" if bad.nonce_wrong else "")
        claims = merged(claims, bad.id_token_claims)
        if grant.refreshed:
            claims = merged(claims, bad.refresh_id_token_claims)
        if bad.id_token_raw is not None:
            return bad.id_token_raw
        if bad.id_token_alg_none:
            return f"{part({'alg': 'none'})}.{part(claims)}."
        if bad.id_token_hs256_with_public_key:
            return sign_hs256(claims, self.key.as_pem(private=False))
        token = sign(claims, self.key, self.alg, merged({"kid": self.key.kid}, bad.id_token_header))
        if bad.id_token_signature_broken:
            head, _, signature = token.rpartition(".")
            token = f"{head}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"
        return token

    async def _revoke(self, request: web.Request) -> web.StreamResponse:
        got = await received(request)
        self.revoke_requests.append(got)
        if self.misbehaviour.revoke_hangs:
            await self._released.wait()
        if not self._client_is_authentic(got):
            return web.json_response({"error": "invalid_client"}, status=401)
        hints, retry_after = self.misbehaviour.revoke_fails_for, self.misbehaviour.revoke_retry_after
        status = 200 if hints and got.form.get("token_type_hint") not in hints else self.misbehaviour.revoke_status
        if status == 200:
            self.revoked.append(got.form.get("token", ""))
            if (family := self.families.get(got.form.get("token", ""))) is not None:
                family.ended = True
        return web.Response(status=status, headers={} if retry_after is None else {"Retry-After": retry_after})

    async def _end_session(self, request: web.Request) -> web.StreamResponse:
        got = await received(request)
        self.end_session_requests.append(got)
        back = got.query.get("post_logout_redirect_uri")
        if back is None:
            return web.Response(text="signed out")
        state = urlencode({"state": got.query["state"]}) if "state" in got.query else ""
        return web.Response(status=303, headers={"Location": f"{back}{'?' if state else ''}{state}"})

    async def _other(self, request: web.Request) -> web.StreamResponse:
        self.other_requests.append(await received(request))
        return web.Response(status=404)


class _Untyped(web.Response):
    """A response that leaves Content-Type out, which aiohttp otherwise adds."""

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall("Content-Type", None)


async def sign_in_at(provider: Provider, op: FakeProvider) -> SignedIn:
    """A whole login at ``op`` without a browser: what ``Provider.redeem`` gives, or raises."""
    metadata = await provider.metadata()
    redirect_uri, nonce = "http://127.0.0.1:8080/oauth2/callback", "nonce-1"
    op.grant_code("code-1", redirect_uri=redirect_uri, nonce=nonce, code_verifier=op.code_verifier)
    query = urlencode({"code": "code-1", "state": "state-1", "iss": op.issuer})
    callback = validate_callback(read_callback(query), expected_state="state-1", metadata=metadata)
    return await provider.redeem(callback, code_verifier=op.code_verifier, nonce=nonce, redirect_uri=redirect_uri)


async def received(request: web.Request) -> Received:
    """What arrived, decoded."""
    body = (await request.read()).decode("ascii", "replace")
    return Received(
        method=request.method,
        path=request.path,
        query=dict(parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True)),
        headers={name.title(): value for name, value in request.headers.items()},
        form=dict(parse_qsl(body, keep_blank_values=True)),
    )


def merged(right: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The members of both, ``changes`` winning; a value REMOVED takes its member out."""
    return {name: value for name, value in {**right, **changes}.items() if value is not REMOVED}


def part(value: Any) -> str:
    """One part of a compact JWT: bytes as they are, anything else as JSON."""
    return base64url.encode(value if isinstance(value, bytes) else json.dumps(value).encode())


_KEYS: dict[tuple[str, str | None], RSAKey | ECKey | OKPKey] = {}
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}


def signing_key(alg: str, *, kid: str | None = "key-1") -> RSAKey | ECKey | OKPKey:
    """A private key for an algorithm; the same one for the same arguments, since RSA keys take long to make."""
    if (alg, kid) not in _KEYS:
        parameters: Any = {"kid": kid} if kid is not None else {}
        if alg in _CURVES:
            _KEYS[alg, kid] = ECKey.generate_key(_CURVES[alg], parameters)
        elif alg in ("EdDSA", "Ed25519"):
            _KEYS[alg, kid] = OKPKey.generate_key("Ed25519", parameters)
        else:
            _KEYS[alg, kid] = RSAKey.generate_key(2048, parameters)
    return _KEYS[alg, kid]


def sign(claims: Any, key: RSAKey | ECKey | OKPKey, alg: str, header: Mapping[str, Any] | bytes | None = None) -> str:
    """A compact JWS of anything under any header: the signature is good, whatever the rest says; ``alg`` is added unless given."""
    head = header if isinstance(header, bytes) else merged({"alg": alg}, header or {})
    signing_input = f"{part(head)}.{part(claims)}"
    signature = JWSRegistry.algorithms[alg].sign(signing_input.encode(), key)
    return f"{signing_input}.{base64url.encode(signature)}"


def sign_hs256(claims: Any, secret: bytes, kid: str | None = "key-1") -> str:
    """A compact JWS under HS256 with any bytes as its key."""
    signing_input = f"{part({'alg': 'HS256', 'kid': kid})}.{part(claims)}"
    digest = hashlib.sha256
    pad = (digest(secret).digest() if len(secret) > 64 else secret).ljust(64, b"\0")
    inner = digest(bytes(byte ^ 0x36 for byte in pad) + signing_input.encode()).digest()
    return f"{signing_input}.{base64url.encode(digest(bytes(byte ^ 0x5C for byte in pad) + inner).digest())}"


def example_settings(**changes: Any) -> ProviderSettings:
    """Settings for a provider at https://op.example that nobody runs."""
    values: dict[str, Any] = {"id": "main", "issuer": "https://op.example", "client_id": "gateway", "client_secret": Secret("s3cret")}
    return ProviderSettings(**(values | changes))


def example_metadata(settings: ProviderSettings | None = None, **changes: Any) -> Metadata:
    """Metadata of that provider; keywords are members of its discovery document."""
    settings = settings or example_settings()
    document = {name: f"{settings.issuer}/{name}" for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")}
    return read_metadata(merged({"issuer": settings.issuer, **document}, changes), settings)


def verified_claims(*, now: float = 1_700_000_000.0, **claims: Any) -> VerifiedClaims:
    """``VerifiedClaims`` by the one way there is: a signed id_token that passes. Keywords are claims over a valid set."""
    settings, key = example_settings(), signing_key("RS256")
    valid = {"iss": settings.issuer, "sub": "alice-sub", "aud": settings.client_id, "exp": int(now) + 300, "iat": int(now), "nonce": "n"}
    token = sign(merged(valid, claims), key, "RS256", {"kid": key.kid})
    keys = read_jwks({"keys": [key.as_dict(private=False)]}, provider="main")
    return verify_id_token(token, keys=keys, settings=settings, metadata=example_metadata(), nonce="n", access_token=None, now=now)


assert {knob.name for knob in fields(Misbehaviour)}.isdisjoint({"client_id", "client_secret", "login_as", "host", "port", "clock"})
