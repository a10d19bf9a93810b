"""What may be written in the configuration: every key, its form, its default and its reason, in one place.

Answers invariant 16: unknown keys are faults, nothing is coerced, and a value for a feature that is not built yet is refused, never
ignored. The docstrings below are what editors show (``gateway schema``); ``config.example.yaml`` and
``docs/reference/configuration.md`` are compared with these models by tests.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema

from gateway.access.origins import Origin
from gateway.config import addresses, values
from gateway.config.forms import DURATION_FORM as _DURATION_FORM
from gateway.config.forms import Section, Text
from gateway.config.forms import default as _default
from gateway.config.forms import or_list as _or_list
from gateway.config.forms import reader as _reader
from gateway.config.forms import written as _written
from gateway.config.secrets import SecretSource, secret_source
from gateway.config.settings import Listen
from gateway.config.store_keys import StoreRedis  # noqa: TC001 - pydantic reads it
from gateway.config.upstream_keys import RouteHealth, RoutePool, RouteTimeouts, RouteTls, host_rule
from gateway.proxy.upgrades import check_protocol

ID_TOKEN_ALGS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Asymmetric algorithms alone: ``none`` and HMAC under the client secret are never accepted."""

CLIENT_AUTH: Final = ("auto", "client_secret_basic", "client_secret_post")
LATER_CLIENT_AUTH: Final = ("private_key_jwt", "client_secret_jwt", "tls_client_auth", "self_signed_tls_client_auth", "none")
RESPONSE_MODES: Final = ("query",)
LATER_RESPONSE_MODES: Final = ("form_post", "query.jwt", "form_post.jwt", "jwt", "fragment")
SESSION_FOLLOWS: Final = ("none", "refresh_token", "id_token")
ACCESS: Final = ("public", "optional", "signed_in")
MAX_LIST: Final = 1000


def _listen_or_none(value: object) -> Listen | None:
    return None if value == "none" else addresses.read_listen(values.text(value))


def _store(value: object) -> str | SecretSource:
    if isinstance(value, dict) or not isinstance(value, str):
        return secret_source(value)
    if value == "memory":
        return value
    if addresses.read_store(value).has_password:
        raise ValueError("a password is never written here; write the whole URL as {env: NAME} or {file: path}")
    return value


_SECRET_FORM: dict[str, Any] = {
    "oneOf": [
        {"type": "object", "properties": {"env": {"type": "string"}}, "required": ["env"], "additionalProperties": False},
        {"type": "object", "properties": {"file": {"type": "string"}}, "required": ["file"], "additionalProperties": False},
    ]
}


ListenValue: TypeAlias = Annotated[Listen, _reader(addresses.read_listen), _written()]
ListenOrNone: TypeAlias = Annotated[Listen | None, PlainValidator(_listen_or_none), _written()]
OriginValue: TypeAlias = Annotated[Origin, _reader(addresses.read_origin), _written("^https?://[^/?#@]+$")]
SecretValue: TypeAlias = Annotated[SecretSource, PlainValidator(secret_source), WithJsonSchema(_SECRET_FORM)]
Allowed: TypeAlias = Annotated[str, PlainValidator(values.choice(("allowed",))), _written(options=("allowed",))]


class Server(Section):
    """The public listener: what browsers reach, directly or through a proxy."""

    listen: ListenValue = _default("127.0.0.1:8080")
    """Where the gateway listens: host:port, [::1]:port or unix:/run/gateway.sock."""
    public_url: Annotated[
        list[OriginValue],
        BeforeValidator(_or_list),
        Field(min_length=1, max_length=MAX_LIST),
        WithJsonSchema({"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
    ]
    """The origin that browsers see, or a list of them. Redirect URIs and cookies derive from it, never from a request."""
    insecure_http: Allowed | None = None
    """Write `allowed` to accept a public_url (or a session.return_to) with plain http beyond loopback: cookies then travel in clear."""
    prefix: Annotated[str, _reader(addresses.read_prefix), _written("^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+$")] = _default("/oauth2")
    """The path of the gateway's own endpoints; everything else belongs to the apps."""
    workers: int = Field(default=1, ge=1, le=1024)
    """How many processes serve. More than one shares the port and needs a store that is not memory."""
    trusted_proxies: list[Annotated[Any, _reader(addresses.read_proxies), _written()]] = Field(default=[], max_length=MAX_LIST)
    """Networks (CIDR) whose X-Forwarded-* headers are believed, or unix for a Unix socket's peers. Nobody's by default."""
    proxy_protocol: bool = False
    """Whether every connection begins with a PROXY protocol header (version 1 or 2) of a trusted proxy, which names the client."""
    header_timeout: Annotated[float, PlainValidator(values.duration("1s", "5m")), _DURATION_FORM] = _default("15s")
    """How long the head of a request may take to arrive, on a new connection from its beginning."""
    body_timeout: Annotated[float, PlainValidator(values.duration("1s", "1h")), _DURATION_FORM] = _default("30s")
    """How long a body that is waited for may bring no byte."""
    body_min_rate: int = Field(default=240, ge=0, le=1048576)
    """How many bytes a second a body that is waited for has to bring, over 30 seconds; 0 for no such bound."""
    keepalive_timeout: Annotated[float, PlainValidator(values.duration("1s", "1h")), _DURATION_FORM] = _default("75s")
    """How long a connection may stay open without a request."""
    connections: int = Field(default=16384, ge=16, le=1000000)
    """How many connections each worker holds; further ones are closed at once."""
    connections_per_peer: int = Field(default=1000, ge=1, le=1000000)
    """How many of them one address may have (an IPv6 /64 counts as one); trusted proxies may have all."""
    shutdown_grace: Annotated[float, PlainValidator(values.duration("0s", "1h")), _DURATION_FORM] = _default("30s")
    """How long requests in flight may take to end after SIGTERM."""
    shutdown_delay: Annotated[float, PlainValidator(values.duration("0s", "5m")), _DURATION_FORM] = _default("0s")
    """How long to go on accepting after SIGTERM while /readyz says 503; it comes before shutdown_grace."""


class Admin(Section):
    """The listener for probes and operators, never on the public one."""

    listen: ListenOrNone = _default("127.0.0.1:9090")
    """Where /livez, /readyz and the session API answer, or `none` for no such listener."""
    token: SecretValue | None = None
    """The bearer token of the session API, at least 16 characters; without it that API is off."""


class Provider(Section):
    """An OpenID Connect provider, and how this gateway is registered there."""

    id: Annotated[str, PlainValidator(values.provider_id), _written("^[a-z0-9]([a-z0-9_-]{0,30}[a-z0-9])?$")] = _default("main")
    """The provider's name in logs and in sessions; changing it signs everybody out."""
    issuer: Annotated[str, _reader(addresses.read_issuer), _written("^[Hh][Tt][Tt][Pp][Ss]?://[^?#]+$")]
    """The issuer identifier, character for character as the provider's metadata has it."""
    insecure_http: Allowed | None = None
    """Write `allowed` to accept an issuer with plain http beyond loopback: whoever is on the path can then sign in as anybody."""
    client_id: Annotated[str, PlainValidator(values.client_id), _written()]
    """The client identifier that the provider gave to this gateway."""
    client_secret: SecretValue
    """The client secret, as {env: NAME} or {file: path}; never inline."""
    client_auth: Annotated[str, PlainValidator(values.choice(CLIENT_AUTH, later=LATER_CLIENT_AUTH)), _written(options=CLIENT_AUTH)] = (
        _default("auto")
    )
    """How the gateway authenticates at the token endpoint; auto takes it from the provider's metadata."""
    scopes: Annotated[
        list[Annotated[str, PlainValidator(values.scope), _written()]],
        Field(min_length=1, max_length=64),
        AfterValidator(values.scopes),
    ] = _default(["openid", "profile", "email"])
    """What to ask for; openid has to be among them."""
    response_mode: Annotated[
        str, PlainValidator(values.choice(RESPONSE_MODES, later=LATER_RESPONSE_MODES)), _written(options=RESPONSE_MODES)
    ] = _default("query")
    """How the provider hands the code over. form_post is not built yet."""
    id_token_signing_algs: Annotated[
        list[Annotated[str, PlainValidator(values.choice(ID_TOKEN_ALGS)), _written(options=ID_TOKEN_ALGS)]],
        Field(min_length=1, max_length=len(ID_TOKEN_ALGS)),
        AfterValidator(values.distinct),
    ] = _default(["RS256"])
    """The algorithms that may sign an id_token; any other is refused whatever the token says of itself."""
    authorization_params: dict[str, Text] = Field(default={}, max_length=32)
    """Further parameters of the authorization request, such as prompt or login_hint; none of those that the gateway sets itself."""
    ca_file: Text | None = None
    """A PEM file with the authorities to trust for this provider instead of the system's."""
    connect_timeout: Annotated[float, PlainValidator(values.duration("1s", "60s")), _DURATION_FORM] = _default("5s")
    """How long a connection to the provider may take to stand."""
    total_timeout: Annotated[float, PlainValidator(values.duration("1s", "120s")), _DURATION_FORM] = _default("10s")
    """How long one exchange with the provider may take from beginning to end."""
    refresh_timeout: Annotated[float, PlainValidator(values.duration("1s", "120s")), _DURATION_FORM] = _default("30s")
    """How long the provider may take to renew tokens, beside all requests; never less than total_timeout."""
    clock_skew: Annotated[float, PlainValidator(values.duration("0s", "300s")), _DURATION_FORM] = _default("60s")
    """How far the provider's clock may be from ours."""


class Session(Section):
    """Where sessions live, under which keys, and for how long."""

    store: Annotated[
        SecretSource | str,
        PlainValidator(_store),
        WithJsonSchema(
            {"anyOf": [{"type": "string", "pattern": r"^(memory|(rediss?(\+(sentinel|cluster))?|unix)://[^#]+)$"}, *_SECRET_FORM["oneOf"]]}
        ),
    ]
    """redis://host:port/0, rediss://, unix://, redis+sentinel://, redis+cluster://, as {env: NAME} or {file: path} too; or memory."""
    redis: StoreRedis = _default({})
    """How Redis is used: prefix, pool, connect_timeout, timeout, ca_file, certificate, key."""
    keys: Annotated[list[SecretValue], Field(min_length=1, max_length=16)]
    """32 random bytes in base64url each, newest first: the first seals, all open. Keep a retired key listed for at least `lifetime`."""
    idle: Annotated[float, PlainValidator(values.duration("1s", "90d")), _DURATION_FORM] = _default("30m")
    """A session ends when nothing used it for this long."""
    lifetime: Annotated[float, PlainValidator(values.duration("1s", "90d")), _DURATION_FORM] = _default("12h")
    """A session ends this long after its sign-in, used or not."""
    login: Annotated[float, PlainValidator(values.duration("1m", "1h")), _DURATION_FORM] = _default("10m")
    """How long a login may take from the first redirect to the callback."""
    outage_grace: Annotated[float, PlainValidator(values.duration("0s", "1h")), _DURATION_FORM] = _default("30s")
    """How long the sessions that a process knows serve on after the store's last word; 0 not at all."""
    refresh_ahead: Annotated[float, PlainValidator(values.duration("1s", "1h")), _DURATION_FORM] | None = None
    """How long before tokens expire they are renewed. Without it: a fifth of their lifetime, at most 5m, and at least clock_skew."""
    session_follows: Annotated[str, PlainValidator(values.choice(SESSION_FOLLOWS)), _written(options=SESSION_FOLLOWS)] = _default("none")
    """Whose end is the session's too: none, refresh_token (no way to a valid access token), id_token (its newest one has expired)."""
    return_to: list[Annotated[str, _reader(addresses.read_return_origin), _written("^https?://[^/?#@]+$")]] = Field(
        default=[], max_length=MAX_LIST
    )
    """Origins besides our own that `rd` may name; https://*.apps.example.org stands for every host below."""


class Route(Section):
    """One part of the public paths: who may enter and where it leads. The longest path wins."""

    path: Text
    """The path that the route takes, with everything below it."""
    host: Annotated[
        list[Annotated[str, _reader(addresses.read_authority), _written()]] | None,
        BeforeValidator(lambda value: None if value is None else _or_list(value)),
        WithJsonSchema({"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
    ] = None
    """The host, or a list; each is the host of a public_url. Without it, every host of public_url."""
    upstream: Annotated[
        list[Text] | None,
        BeforeValidator(lambda value: None if value is None else _or_list(value)),
        Field(min_length=1, max_length=64),
        WithJsonSchema({"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
    ] = None
    """The app, or a list of its replicas: http://host:port, https://host:port, unix:/run/app.sock. Without it: forward-auth alone."""
    access: Annotated[
        str,
        PlainValidator(values.choice(ACCESS, otherwise="a rule such as {allow: ...}")),
        _written(options=ACCESS),
    ] = _default("signed_in")
    """Who may enter: public (everybody, without identity), optional (everybody, with identity if there is one), signed_in."""
    identity: dict[str, Text] | None = Field(default=None, max_length=64)
    """Header: claim, what the app learns of the person; token:access and token:id are tokens. `{}` for nothing."""
    pass_host: Annotated[bool | str, PlainValidator(host_rule), WithJsonSchema({"type": ["boolean", "string"]})] = True
    """The app sees the Host that the browser sent; false: the app's own host and port; a name: that name."""
    strip_prefix: bool = False
    """The app sees the path without the route's `path`: /api/x as /x."""
    add_prefix: Annotated[str, _reader(addresses.read_prefix), _written("^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+$")] | None = None
    """What the app sees before the path, after strip_prefix."""
    timeouts: RouteTimeouts = _default({})
    """How long the app may take: connect, response_header, idle, total, tunnel_idle."""
    upgrades: Annotated[
        list[Annotated[str, _reader(check_protocol), _written()]], Field(max_length=16), AfterValidator(values.distinct)
    ] = _default(["websocket"])
    """Protocols that a connection may switch to, as in an Upgrade header; `[]` for none. h2c can never be one."""
    pool: RoutePool = _default({})
    """The connections to each address of the app: connections, waiting, idle, max_age."""
    tls: RouteTls | None = None
    """For https apps: ca_file, server_name, certificate, key."""
    health: RouteHealth | None = None
    """An active check of each address: path, interval, timeout."""


class Configuration(Section):
    """The whole file."""

    server: Server
    """The public listener: at least its public_url."""
    admin: Admin = _default({})
    """The listener for probes and operators."""
    providers: Annotated[list[Provider], Field(min_length=1, max_length=MAX_LIST)]
    """Who signs people in: one provider with issuer, client_id and client_secret. More than one is not built yet."""
    session: Session
    """Where sessions live: at least store and keys."""
    routes: Annotated[list[Route], Field(min_length=1, max_length=MAX_LIST)]
    """What is behind the gateway: at least one route with its path. A path without a route answers 404."""
