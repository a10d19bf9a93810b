"""What an operator wrote arrives in the rooms: values, defaults, derived names, and the same from Python as from YAML."""

from __future__ import annotations

import datetime as dt
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.access.routes import Access
from gateway.access.target import canonical_target
from gateway.access.trusted_proxies import TrustedProxies
from gateway.config.compiling import Listen, load_settings, settings_from
from gateway.config.settings import ConnectionLimits
from gateway.errors import ConfigRefused
from gateway.oidc.registration import ClientAuth, Secret
from gateway.proxy.headers import fold
from gateway.proxy.upgrades import TunnelRules
from gateway.session.refresh_rules import Follows, RefreshRules
from gateway.session.store.redis_options import RedisOptions
from tests.support.certificates import make_certificates
from tests.support.config_files import (
    ACCESS,
    ADMIN_LISTEN,
    CLIENT_ID,
    ENVIRON,
    ISSUER,
    KEY,
    LISTEN,
    PUBLIC_URL,
    ROOT_PATH,
    STORE,
    UPSTREAM,
    damaged,
)

FOUR = (
    ("X-Forwarded-User", "sub"),
    ("X-Forwarded-Email", "email"),
    ("X-Forwarded-Groups", "groups"),
    ("X-Forwarded-Preferred-Username", "preferred_username"),
)


def an_authority():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + dt.timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def load(folder, changes):
    (folder / "gateway.yaml").write_text(damaged(changes))
    return load_settings(folder / "gateway.yaml", environ=ENVIRON)


def settings_of(folder, changes):
    settings, warnings = load(folder, changes)
    assert warnings == ()
    return settings


def test_what_is_not_written_has_its_default(tmp_path):
    settings = settings_of(tmp_path, {LISTEN: "", ADMIN_LISTEN: "  listen: none\n"})
    assert settings.server.listen == Listen("127.0.0.1", 8080)
    assert settings.server.prefix == "/oauth2"
    assert settings.server.trusted_proxies == TrustedProxies()
    assert settings.server.proxy_protocol is False
    assert settings.server.limits == ConnectionLimits()
    assert (settings.server.workers, settings.server.shutdown_grace, settings.server.shutdown_delay) == (1, 30.0, 0.0)
    assert settings.server.cookie_suffix == ""
    assert settings.admin.listen is None
    assert settings.admin.token is None
    assert settings.provider.id == "main"
    assert settings.provider.scopes == ("openid", "profile", "email")
    assert settings.provider.client_auth is ClientAuth.AUTO
    assert settings.provider.id_token_algs == ("RS256",)
    assert settings.provider.insecure_http is False
    assert dict(settings.provider.authorization_params) == {}
    assert settings.provider.ca_file is None
    assert (settings.provider.connect_timeout, settings.provider.total_timeout, settings.provider.clock_skew) == (5.0, 10.0, 60.0)
    assert settings.provider.refresh_timeout == 30.0
    lifetimes = settings.session.lifetimes
    assert (lifetimes.idle, lifetimes.lifetime, lifetimes.login) == (1800.0, 43200.0, 600.0)
    assert settings.session.return_to == ()
    assert settings.refresh == RefreshRules(follows=Follows.NONE, ahead=None, skew=60.0, sends_id_token=False)


def test_refreshes_go_by_the_session_the_provider_and_the_routes():
    settings = settings_from(
        {
            **minimal(),
            "session": {**minimal()["session"], "refresh_ahead": "2m", "session_follows": "id_token"},
            "providers": [{**minimal()["providers"][0], "clock_skew": "5s"}],
            "routes": [{"path": "/", "upstream": "http://127.0.0.1:3000", "identity": {"X-Token": "token:id"}}],
        }
    )
    assert settings.refresh == RefreshRules(follows=Follows.ID_TOKEN, ahead=120.0, skew=5.0, sends_id_token=True)


def test_the_admin_section_may_be_left_out():
    settings = settings_from(minimal())
    assert settings.admin.listen == Listen("127.0.0.1", 9090)


@pytest.mark.parametrize(
    ("written", "listen"),
    [
        pytest.param("127.0.0.1:8080", Listen("127.0.0.1", 8080), id="IPv4"),
        pytest.param("0.0.0.0:80", Listen("0.0.0.0", 80), id="every IPv4 address"),  # noqa: S104 - read, not bound
        pytest.param("'[::1]:8080'", Listen("::1", 8080), id="IPv6"),
        pytest.param("'[::]:8080'", Listen("::", 8080), id="every address"),
        pytest.param("localhost:8080", Listen("localhost", 8080), id="a name"),
        pytest.param("127.0.0.1:0", Listen("127.0.0.1", 0), id="a port that the system chooses"),
        pytest.param("unix:/run/gateway.sock", Listen(None, None, "/run/gateway.sock"), id="a socket"),
    ],
)
def test_listen(tmp_path, written, listen):
    assert settings_of(tmp_path, {LISTEN: f"  listen: {written}\n"}).server.listen == listen


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        pytest.param("30s", 30.0, id="seconds"),
        pytest.param("10m", 600.0, id="minutes"),
        pytest.param("1h", 3600.0, id="an hour"),
        pytest.param("45", 45.0, id="a number is seconds"),
        pytest.param("0s", 0.0, id="none"),
        pytest.param("0", 0.0, id="the number none"),
    ],
)
def test_durations(tmp_path, written, seconds):
    assert settings_of(tmp_path, {PUBLIC_URL: f"{PUBLIC_URL}  shutdown_grace: {written}\n"}).server.shutdown_grace == seconds


def test_more_than_one_worker_with_a_store_that_they_can_share(tmp_path):
    changes = {LISTEN: f"{LISTEN}  workers: 4\n  shutdown_delay: 5s\n", STORE: "  store: redis://127.0.0.1:6379/0\n"}
    server = settings_of(tmp_path, changes).server
    assert (server.workers, server.shutdown_delay) == (4, 5.0)


@pytest.mark.parametrize(
    ("written", "origins"),
    [
        pytest.param("https://apps.example.org", ["https://apps.example.org"], id="one"),
        pytest.param("https://apps.example.org:443", ["https://apps.example.org"], id="with its own port"),
        pytest.param("https://apps.example.org:8443", ["https://apps.example.org:8443"], id="with another port"),
        pytest.param("[https://a.example.org, https://b.example.org]", ["https://a.example.org", "https://b.example.org"], id="two"),
        pytest.param("http://127.0.0.1:8080", ["http://127.0.0.1:8080"], id="plain http on loopback"),
        pytest.param("http://localhost:8080", ["http://localhost:8080"], id="plain http on localhost"),
        pytest.param("'http://[::1]:8080'", ["http://[::1]:8080"], id="plain http on IPv6 loopback"),
        pytest.param("http://apps.internal\n  insecure_http: allowed", ["http://apps.internal"], id="plain http where it is allowed"),
    ],
)
def test_public_urls(tmp_path, written, origins):
    settings = settings_of(tmp_path, {PUBLIC_URL: f"  public_url: {written}\n"})
    assert [origin.text for origin in settings.server.origins] == origins


def test_trusted_proxies(tmp_path):
    settings = settings_of(tmp_path, {PUBLIC_URL: PUBLIC_URL + "  trusted_proxies: [10.0.0.0/8, 192.0.2.7, 'fd00::/8']\n"})
    assert settings.server.trusted_proxies == TrustedProxies(tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "192.0.2.7/32", "fd00::/8"))))


def test_the_peers_of_a_unix_socket(tmp_path):
    settings = settings_of(
        tmp_path,
        {LISTEN: "  listen: unix:/run/gateway.sock\n", PUBLIC_URL: PUBLIC_URL + "  trusted_proxies: [unix]\n  proxy_protocol: true\n"},
    )
    assert settings.server.trusted_proxies == TrustedProxies(unix=True)
    assert settings.server.proxy_protocol is True


def test_limits_of_connections(tmp_path):
    written = "  header_timeout: 5s\n  body_timeout: 1m\n  keepalive_timeout: 20s\n  connections: 500\n  connections_per_peer: 20\n"
    written += "  body_min_rate: 0\n"
    assert settings_of(tmp_path, {PUBLIC_URL: PUBLIC_URL + written}).server.limits == ConnectionLimits(5.0, 60.0, 20.0, 500, 20, 0.0)


@pytest.mark.parametrize(
    ("written", "insecure"),
    [
        pytest.param("https://id.example.org/realms/main/", False, id="a path and its slash stay"),
        pytest.param("https://ID.example.org:443", False, id="case and port stay: the metadata has to say the same"),
        pytest.param("http://127.0.0.1:9000", False, id="plain http on loopback"),
        pytest.param("http://id.internal\n    insecure_http: allowed", True, id="plain http where it is allowed"),
    ],
)
def test_the_issuer_is_never_normalised(tmp_path, written, insecure):
    settings = settings_of(tmp_path, {ISSUER: f"    issuer: {written}\n"})
    assert settings.provider.issuer == written.partition("\n")[0]
    assert settings.provider.insecure_http is insecure


def test_everything_else_of_a_provider(tmp_path):
    (tmp_path / "ca.pem").write_bytes(an_authority())
    more = """\
    client_auth: client_secret_post
    scopes: [openid, groups]
    id_token_signing_algs: [ES256, EdDSA]
    authorization_params: {prompt: login, resource: "urn:x y"}
    ca_file: ca.pem
    connect_timeout: 1s
    total_timeout: 2
    refresh_timeout: 1s
    clock_skew: 0s
"""
    provider = settings_of(tmp_path, {CLIENT_ID: CLIENT_ID + more}).provider
    assert provider.client_auth is ClientAuth.POST
    assert provider.scopes == ("openid", "groups")
    assert provider.id_token_algs == ("ES256", "EdDSA")
    assert dict(provider.authorization_params) == {"prompt": "login", "resource": "urn:x y"}
    assert provider.ca_file == str(tmp_path / "ca.pem")
    assert (provider.connect_timeout, provider.total_timeout, provider.clock_skew) == (1.0, 2.0, 0.0)
    assert provider.refresh_timeout == 2.0, "never less than total_timeout"


def test_return_to(tmp_path):
    origins = "['https://portal.example.org:443', 'https://*.Apps.example.org', 'http://localhost:3000']"
    assert settings_of(tmp_path, {STORE: f"{STORE}  return_to: {origins}\n"}).session.return_to == (
        "https://portal.example.org",
        "https://*.apps.example.org",
        "http://localhost:3000",
    )


def test_how_redis_is_used(tmp_path):
    files = make_certificates(tmp_path)
    tls = f"ca_file: {files.authority.name}, certificate: client.pem, key: client.key"
    keys = f"{{prefix: 'apps:', pool: 8, connect_timeout: 3s, timeout: 2s, {tls}}}"
    settings = settings_of(tmp_path, {STORE: f"  store: rediss://redis/0\n  redis: {keys}\n"})
    at = {"ca_file": "authority.pem", "certificate": "client.pem", "key": "client.key"}
    assert settings.session.redis == RedisOptions(
        prefix="apps:", connections=8, connect_timeout=3.0, timeout=2.0, **{key: str(tmp_path / name) for key, name in at.items()}
    )
    assert settings_of(tmp_path, {}).session.redis == RedisOptions()


def test_files_that_the_url_names_are_looked_at(tmp_path):
    files = make_certificates(tmp_path)
    url = f"rediss://redis/0?{files.options}"
    assert settings_of(tmp_path, {STORE: f"  store: {url}\n"}).session.store == Secret(url)
    files.authority.unlink()
    with pytest.raises(ConfigRefused) as refused:
        settings_of(tmp_path, {STORE: f"  store: {url}\n"})
    assert "the files for TLS that it names cannot be used (No such file or directory)" in refused.value.faults[0]


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        pytest.param("redis://127.0.0.1:6379/0", False, id="on loopback"),
        pytest.param("redis://localhost", False, id="on localhost"),
        pytest.param("rediss://redis.example.org:6379/3", False, id="by TLS"),
        pytest.param("rediss://gateway@redis.example.org", False, id="with a user"),
        pytest.param("redis+sentinel://localhost:26379,127.0.0.1/main/0", False, id="by sentinels on loopback"),
        pytest.param("redis+sentinel://localhost,redis/main/0", True, id="by sentinels of which one is beyond loopback"),
        pytest.param("rediss+sentinel://redis/main", False, id="by sentinels with TLS"),
        pytest.param("redis+cluster://redis", True, id="a cluster in clear"),
        pytest.param("rediss+cluster://one,two:7000", False, id="a cluster by TLS"),
        pytest.param("unix:///run/redis.sock", False, id="on a socket"),
        pytest.param("redis://redis:6379/0", True, id="in clear, beyond loopback"),
    ],
)
def test_stores_and_the_warning_for_one_in_clear(tmp_path, url, warned):
    settings, warnings = load(tmp_path, {STORE: f"  store: {url}\n"})
    assert settings.session.store == Secret(url)
    assert [str(warning).rpartition("gateway.yaml:")[2].partition(": ")[0] for warning in warnings] == warned * ["12:10 session.store"]


@pytest.mark.parametrize(
    ("grace", "more", "store", "warned"),
    [
        pytest.param("30s", "", "redis://127.0.0.1", False, id="as long as a refresh"),
        pytest.param("29s", "", "redis://127.0.0.1", True, id="shorter"),
        pytest.param("29s", "    refresh_timeout: 29s\n", "redis://127.0.0.1", False, id="with less time for a refresh"),
        pytest.param("30s", "    total_timeout: 31s\n", "redis://127.0.0.1", True, id="with more time for everything"),
        pytest.param("1s", "", "memory", False, id="where a stop ends all sessions anyway"),
    ],
)
def test_a_grace_that_cuts_refreshes_is_a_warning(tmp_path, grace, more, store, warned):
    changes = {PUBLIC_URL: f"{PUBLIC_URL}  shutdown_grace: {grace}\n", CLIENT_ID: CLIENT_ID + more, STORE: f"  store: {store}\n"}
    _, warnings = load(tmp_path, changes)
    assert [str(warning).rpartition("gateway.yaml:")[2].partition(": ")[0] for warning in warnings] == warned * [
        "4:19 server.shutdown_grace"
    ]


@pytest.mark.parametrize(
    ("admin", "warned"),
    [
        pytest.param("  listen: 0.0.0.0:9090\n", ["5:11 admin.listen"], id="everywhere"),
        pytest.param("  listen: 0.0.0.0:9090\n  token: {env: CLIENT_SECRET}\n", ["5:11 admin.listen"], id="everywhere, with a token"),
        pytest.param("  listen: '[::1]:9090'\n", [], id="on loopback"),
        pytest.param("  listen: '[::1]:9090'\n  token: {env: CLIENT_SECRET}\n", [], id="on loopback, with a token"),
        pytest.param("  listen: none\n  token: {env: CLIENT_SECRET}\n", ["6:10 admin.token"], id="a token for nothing"),
        pytest.param("  listen: unix:/run/admin.sock\n", [], id="on a socket"),
        pytest.param("  listen: none\n", [], id="nowhere"),
    ],
)
def test_an_admin_listener_beyond_loopback_is_a_warning_and_so_is_a_token_without_a_listener(tmp_path, admin, warned):
    (tmp_path / "gateway.yaml").write_text(damaged({ADMIN_LISTEN: admin}))
    _, warnings = load_settings(tmp_path / "gateway.yaml", environ=ENVIRON | {"CLIENT_SECRET": "one-secret-without-spaces"})
    assert [str(warning).rpartition("gateway.yaml:")[2].partition(": ")[0] for warning in warnings] == warned


def test_routes_and_upstreams(tmp_path):
    more = """\
    host: [apps.example.org]
    pass_host: false
    identity: {X-User: sub, X-Token: "token:access", X-Roles: "https://example.org/roles"}
  - path: /check/
  - path: /maybe
    access: optional
    upstream: unix:/run/app.sock
"""
    settings = settings_of(tmp_path, {ACCESS: ACCESS + more})
    public, root, check, maybe = settings.routes
    assert [route.index for route in settings.routes] == [0, 1, 2, 3]
    assert (public.path, public.access, public.identity, public.hosts) == ("/public/", Access.PUBLIC, (), None)
    assert root.hosts == {"apps.example.org"}
    assert root.identity == (("X-User", "sub"), ("X-Token", "token:access"), ("X-Roles", "https://example.org/roles"))
    assert (settings.upstreams[0].pass_host, settings.upstreams[1].pass_host) == (True, False)
    assert (check.access, check.identity) == (Access.SIGNED_IN, FOUR), "a forgotten key opens nothing"
    assert (maybe.access, maybe.identity) == (Access.OPTIONAL, FOUR)
    first, second, third, fourth = settings.upstreams
    assert third is None
    assert [str(address) for upstream in (first, second, fourth) for address in upstream.addresses] == [
        "http://public:3000",
        "http://app:3000",
        "unix:/run/app.sock",
    ]
    assert settings.routes.match("apps.example.org", canonical_target("/maybe/x")) is maybe
    assert settings.wanted_claims == {"sub", "email", "groups", "preferred_username", "https://example.org/roles"}


def test_what_may_become_a_tunnel(tmp_path):
    changes = {ACCESS: ACCESS + "    upgrades: [WebSocket, SPDY/3.1]\n    timeouts: {tunnel_idle: 1d}\n"}
    public, root = settings_of(tmp_path, changes).tunnels
    assert public == TunnelRules(upgrades=frozenset({b"websocket"}), idle=3600)
    assert root == TunnelRules(upgrades=frozenset({b"websocket", b"spdy/3.1"}), idle=86400)
    assert settings_of(tmp_path, {ACCESS: ACCESS + "    upgrades: []\n"}).tunnels[1].upgrades == frozenset()


def test_an_empty_identity_is_no_identity(tmp_path):
    settings = settings_of(tmp_path, {ACCESS: ACCESS + "    identity: {}\n"})
    assert [route.identity for route in settings.routes] == [(), ()]


def test_a_route_without_an_upstream_and_one_for_a_port(tmp_path):
    changes = {
        PUBLIC_URL: "  public_url: https://apps.example.org:8443\n",
        UPSTREAM: "",
        ACCESS: ACCESS + "    host: Apps.Example.org:8443\n",
    }
    settings = settings_of(tmp_path, changes)
    assert settings.upstreams[1] is None
    assert list(settings.routes)[1].hosts == {"apps.example.org:8443"}


def test_reserved_headers_are_those_of_every_route_and_those_of_the_gateway_itself(tmp_path):
    settings = settings_of(tmp_path, {ROOT_PATH: "  - path: /x\n    identity: {X-Odd_Name: sub}\n" + ROOT_PATH})
    assert {"xoddname", "xforwardeduser", "xforwardedgroups", "xauthrequestemail"} <= settings.reserved_headers
    assert all(fold(name.encode()) == name.encode() for name in settings.reserved_headers)


def minimal(**server):
    return {
        "server": {"public_url": ["http://127.0.0.1:8080"], **server},
        "providers": [{"issuer": "http://127.0.0.1:9000", "client_id": "demo", "client_secret": Secret("s3cret")}],
        "session": {"store": "memory", "keys": [KEY]},
        "routes": ({"path": "/", "upstream": "http://127.0.0.1:3000"},),
    }


def test_python_may_give_secrets_themselves():
    settings = settings_from(minimal())
    assert settings.provider.client_secret.reveal() == "s3cret"
    assert settings.session.keys == (KEY,)


def test_python_may_also_refer_to_them(tmp_path):
    (tmp_path / "secret").write_text("from a file")
    mapping = minimal()
    mapping["providers"][0]["client_secret"] = {"file": "secret"}
    mapping["session"]["keys"] = [{"env": "SESSION_KEY"}]
    settings = settings_from(mapping, environ=ENVIRON, base=tmp_path)
    assert settings.provider.client_secret.reveal() == "from a file"
    assert settings.session.keys == (KEY,)


@pytest.mark.parametrize(
    ("server", "fault"),
    [
        pytest.param(
            {"workers": 2},
            "settings session.store: memory belongs to one process, and server.workers asks for more; write a redis:// URL",
            id="a contradiction",
        ),
        pytest.param({"listn": 1}, "settings server.listn: unknown key; did you mean listen?", id="an unknown key"),
        pytest.param({"listen": b"x"}, "settings server.listen: has to be text", id="a value of another type"),
        pytest.param({"listen": object()}, "settings server.listen: has to be text", id="any object at all"),
        pytest.param({"listen": {1: 2}}, "settings: a key has to be text", id="a key that is no text"),
        pytest.param(
            {"workers": None}, "settings server.workers: has no value; write one, or remove the key to have its default", id="None"
        ),
    ],
)
def test_python_meets_the_same_faults_without_places(server, fault):
    with pytest.raises(ConfigRefused) as refused:
        settings_from(minimal(**server))
    assert fault in refused.value.faults


def test_bytes_are_no_client_secret():
    mapping = minimal()
    mapping["providers"][0]["client_secret"] = KEY
    with pytest.raises(ConfigRefused) as refused:
        settings_from(mapping)
    assert refused.value.faults == ("settings providers[0].client_secret: bytes are a session key; give a Secret",)


def test_the_store_may_be_named_from_outside():
    mapping = minimal()
    mapping["session"]["store"] = {"env": "STORE"}
    assert settings_from(mapping, environ={"STORE": "memory"}).session.store == "memory"


def test_memory_that_is_named_from_outside_belongs_to_one_process_too():
    mapping = minimal(workers=2)
    mapping["session"]["store"] = {"env": "STORE"}
    with pytest.raises(ConfigRefused) as refused:
        settings_from(mapping, environ={"STORE": "memory"})
    assert refused.value.faults == (
        "settings session.store: memory belongs to one process, and server.workers asks for more; write a redis:// URL",
    )


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        pytest.param(b"short", "a session key is 32 bytes", id="too short"),
        pytest.param(bytes(32), "not a random key", id="one byte"),
    ],
)
def test_keys_from_python_are_judged_like_others(key, fault):
    mapping = minimal()
    mapping["session"]["keys"] = [key]
    with pytest.raises(ConfigRefused) as refused:
        settings_from(mapping)
    assert refused.value.faults[0].startswith(f"settings session.keys[0]: {fault}")
