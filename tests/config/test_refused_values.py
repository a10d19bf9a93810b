"""A value is read in one way or refused with its place and remedy, and what is not built yet is refused as well.

Each row: what is written otherwise in the valid configuration, and exactly what its operator reads.
"""

from __future__ import annotations

import pytest

from tests.support.config_files import ACCESS, CLIENT_ID, ID, ISSUER, LISTEN, PUBLIC_URL, STORE, damaged, faults_of, write_secret_files

NO_LISTEN = "not an address to listen on; write host:port, [::1]:port or unix:/run/gateway.sock (0.0.0.0:port for every address)"
NO_SOCKET = "the path of a socket begins with / and has at most 107 bytes; write unix:/run/gateway.sock"
NO_ORIGIN = (
    "must be a scheme, a host and at most a port, without path, query, user or blanks; "
    "write scheme and host alone, such as https://apps.example.org"
)
NO_SCHEME = "must begin with https:// or http://; write scheme and host alone, such as https://apps.example.org"
NO_IPV4 = "neither a host name nor an IPv4 address; write all four numbers, such as 127.0.0.1"
NO_PREFIX = "not a prefix; write one or more plain segments without a trailing slash, such as /oauth2"
NO_DURATION = "not a duration; write 30s, 10m, 12h, 1d or a whole number of seconds"
GRACE_BOUNDS = "out of bounds; write a duration from 0s to 1h"
STRANGERS = "this trusts strangers to say who they are and where they come from; name the networks of your own proxies"
NO_ISSUER = "not an issuer; copy the provider's own exactly: https://host/path, with no query, fragment or user name"
NO_STORE = (
    "the store's URL starts with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://; "
    "write redis://host:port/0, rediss://host:port/0 or memory"
)
PASSWORD = "a password is never written here; write the whole URL as {env: NAME} or {file: path}"
LOGIN_BOUNDS = "out of bounds; write a duration from 1m to 1h"
NO_CLIENT_ID = "has to be 1 to 512 printable ASCII characters; copy it from the provider"

NO_PROTOCOL = "not the name of a protocol; write it as in an Upgrade header, such as websocket"
UNJUDGED = "carries requests that no route would judge; it cannot be let through"

VALUES = [
    pytest.param(
        {ACCESS: ACCESS + "    timeouts: {connet: 5s}\n"},
        {"21:24 routes[1].timeouts.connet": "unknown key; see config.example.yaml"},
        id="an unknown time limit",
    ),
    pytest.param(
        {ACCESS: ACCESS + "    timeouts: {idle: 0s}\n"},
        {"21:22 routes[1].timeouts.idle": "out of bounds; write a duration from 1s to 24h"},
        id="no time at all",
    ),
    pytest.param(
        {ACCESS: ACCESS + "    pool: {connections: 0}\n"},
        {"21:25 routes[1].pool.connections": "out of bounds; write 1 or more"},
        id="no connections",
    ),
    pytest.param({ACCESS: ACCESS + "    health: {}\n"}, {"21:13 routes[1].health.path": "missing; write it"}, id="a check of nothing"),
    pytest.param(
        {ACCESS: ACCESS + "    health: {path: /a/../b}\n"},
        {"21:20 routes[1].health.path": "not a path; write it as it is to be sent, such as /healthz"},
        id="a check of a path that is none",
    ),
    pytest.param(
        {ACCESS: ACCESS + "    health: soon\n"},
        {"21:13 routes[1].health": "has to be a mapping of keys; see config.example.yaml"},
        id="a check in a word",
    ),
    pytest.param(
        {ACCESS: ACCESS + "    add_prefix: v2/\n"},
        {"21:17 routes[1].add_prefix": "not a prefix; write one or more plain segments without a trailing slash, such as /oauth2"},
        id="a prefix that is none",
    ),
    pytest.param(
        {ACCESS: ACCESS + "    pass_host: app/x\n"},
        {"21:16 routes[1].pass_host": "not a host; write it without scheme and path, such as apps.example.org"},
        id="a Host that is none",
    ),
    pytest.param({ACCESS: ACCESS + "    upgrades: [h2c]\n"}, {"21:16 routes[1].upgrades[0]": UNJUDGED}, id="h2c as an upgrade"),
    pytest.param(
        {ACCESS: ACCESS + "    upgrades: [websocket, TLS/1.0]\n"}, {"21:27 routes[1].upgrades[1]": UNJUDGED}, id="TLS as an upgrade"
    ),
    pytest.param({ACCESS: ACCESS + "    upgrades: [a b]\n"}, {"21:16 routes[1].upgrades[0]": NO_PROTOCOL}, id="an upgrade in two words"),
    pytest.param(
        {ACCESS: ACCESS + "    upgrades: [a, A]\n"},
        {"21:15 routes[1].upgrades": "a value stands here twice; keep one"},
        id="an upgrade twice",
    ),
    pytest.param({LISTEN: "  listen: 127.0.0.1\n"}, {"2:11 server.listen": NO_LISTEN}, id="listen without a port"),
    pytest.param({LISTEN: "  listen: :8080\n"}, {"2:11 server.listen": NO_LISTEN}, id="listen without a host"),
    pytest.param({LISTEN: "  listen: ::1:8080\n"}, {"2:11 server.listen": NO_LISTEN}, id="listen on an IPv6 address without brackets"),
    pytest.param({LISTEN: "  listen: 127.0.0.1:65536\n"}, {"2:11 server.listen": NO_LISTEN}, id="listen on a port beyond the last"),
    pytest.param({LISTEN: "  listen: 127.1:8080\n"}, {"2:11 server.listen": NO_IPV4}, id="listen on a short IPv4 address"),
    pytest.param({LISTEN: "  listen: unix:run/gateway.sock\n"}, {"2:11 server.listen": NO_SOCKET}, id="a relative socket"),
    pytest.param(
        {LISTEN: f"  listen: unix:/{'a' * 107}\n"},
        {"2:11 server.listen": NO_SOCKET},
        id="a socket with a long path",
    ),
    pytest.param(
        {PUBLIC_URL: "  public_url: https://apps.example.org/x\n"}, {"3:15 server.public_url": NO_ORIGIN}, id="a public URL with a path"
    ),
    pytest.param(
        {PUBLIC_URL: "  public_url: https://apps.example.org?x\n"}, {"3:15 server.public_url": NO_ORIGIN}, id="a public URL with a query"
    ),
    pytest.param(
        {PUBLIC_URL: "  public_url: https://hunter2@apps.example.org\n"},
        {"3:15 server.public_url": NO_ORIGIN},
        id="a public URL with a user",
    ),
    pytest.param(
        {PUBLIC_URL: "  public_url: apps.example.org\n"}, {"3:15 server.public_url": NO_SCHEME}, id="a public URL without a scheme"
    ),
    pytest.param(
        {PUBLIC_URL: "  public_url: ftp://apps.example.org\n"}, {"3:15 server.public_url": NO_SCHEME}, id="a public URL with another scheme"
    ),
    pytest.param(
        {PUBLIC_URL: "  public_url: https://*.example.org\n"}, {"3:15 server.public_url": NO_ORIGIN}, id="a public URL with a wildcard"
    ),
    pytest.param(
        {PUBLIC_URL: "  public_url: https://äpps.example.org\n"},
        {
            "3:15 server.public_url": (
                "must be ASCII: write an internationalised name in its xn-- form; write scheme and "
                "host alone, such as https://apps.example.org"
            )
        },
        id="a public URL beyond ASCII",
    ),
    pytest.param(
        {PUBLIC_URL: "  public_url: https://0x7f000001\n"},
        {"3:15 server.public_url": NO_IPV4},
        id="a public URL with a number for an address",
    ),
    pytest.param(
        {PUBLIC_URL: "  public_url: []\n"},
        {"3:15 server.public_url": "has too few items; write at least 1"},
        id="an empty list of public URLs",
    ),
    pytest.param(
        {PUBLIC_URL: "  public_url: [https://apps.example.org, nowhere]\n"},
        {"3:42 server.public_url[1]": NO_SCHEME},
        id="the second of two public URLs",
    ),
    pytest.param(
        {PUBLIC_URL: PUBLIC_URL + "  prefix: /oauth2/\n"}, {"4:11 server.prefix": NO_PREFIX}, id="a prefix with a slash at its end"
    ),
    pytest.param({PUBLIC_URL: PUBLIC_URL + "  prefix: /\n"}, {"4:11 server.prefix": NO_PREFIX}, id="a prefix that takes everything"),
    pytest.param({PUBLIC_URL: PUBLIC_URL + "  prefix: oauth2\n"}, {"4:11 server.prefix": NO_PREFIX}, id="a prefix without a slash"),
    pytest.param({PUBLIC_URL: PUBLIC_URL + "  prefix: /a/../b\n"}, {"4:11 server.prefix": NO_PREFIX}, id="a prefix with a dot segment"),
    pytest.param({PUBLIC_URL: PUBLIC_URL + "  prefix: /a%2fb\n"}, {"4:11 server.prefix": NO_PREFIX}, id="a prefix with an escape"),
    pytest.param(
        {PUBLIC_URL: PUBLIC_URL + "  shutdown_grace: 30 s\n"}, {"4:19 server.shutdown_grace": NO_DURATION}, id="a duration without a unit"
    ),
    pytest.param(
        {PUBLIC_URL: PUBLIC_URL + "  shutdown_grace: 2h\n"}, {"4:19 server.shutdown_grace": GRACE_BOUNDS}, id="a duration out of bounds"
    ),
    pytest.param(
        {PUBLIC_URL: PUBLIC_URL + "  shutdown_grace: -1\n"}, {"4:19 server.shutdown_grace": GRACE_BOUNDS}, id="a negative duration"
    ),
    pytest.param(
        {PUBLIC_URL: PUBLIC_URL + "  shutdown_grace: true\n"}, {"4:19 server.shutdown_grace": NO_DURATION}, id="a boolean for a duration"
    ),
    pytest.param(
        {PUBLIC_URL: PUBLIC_URL + "  trusted_proxies: [0.0.0.0/0]\n"},
        {"4:21 server.trusted_proxies[0]": STRANGERS},
        id="trusting everybody",
    ),
    pytest.param(
        {PUBLIC_URL: PUBLIC_URL + "  trusted_proxies: ['::/0']\n"},
        {"4:21 server.trusted_proxies[0]": STRANGERS},
        id="trusting everybody, IPv6",
    ),
    pytest.param(
        {PUBLIC_URL: PUBLIC_URL + "  trusted_proxies: [0.0.0.0/1, 128.0.0.0/1]\n"},
        {"4:21 server.trusted_proxies[0]": STRANGERS, "4:32 server.trusted_proxies[1]": STRANGERS},
        id="trusting everybody, in two halves",
    ),
    pytest.param(
        {PUBLIC_URL: PUBLIC_URL + "  trusted_proxies: ['::ffff:0.0.0.0/96']\n"},
        {"4:21 server.trusted_proxies[0]": STRANGERS},
        id="trusting everybody, IPv4 inside IPv6",
    ),
    pytest.param(
        {PUBLIC_URL: PUBLIC_URL + "  trusted_proxies: [10.0.0.1/24]\n"},
        {"4:21 server.trusted_proxies[0]": ("this address has bits set beyond the network; write 10.0.0.0/24, or the address alone")},
        id="a network with bits beyond it",
    ),
    pytest.param(
        {PUBLIC_URL: PUBLIC_URL + "  trusted_proxies: [proxy]\n"},
        {"4:21 server.trusted_proxies[0]": "not a network in CIDR form; write one such as 10.0.0.0/24 or fd00::/64"},
        id="a network that is none",
    ),
    pytest.param(
        {ID: "  - id: our provider\n"},
        {"7:9 providers[0].id": ("not a provider's id; write up to 32 lower-case letters, digits, - and _, such as main")},
        id="a provider id with a space",
    ),
    pytest.param({ISSUER: "    issuer: https://id.example.org?x\n"}, {"8:13 providers[0].issuer": NO_ISSUER}, id="an issuer with a query"),
    pytest.param(
        {ISSUER: "    issuer: https://hunter2@id.example.org\n"}, {"8:13 providers[0].issuer": NO_ISSUER}, id="an issuer with a user"
    ),
    pytest.param({ISSUER: "    issuer: id.example.org\n"}, {"8:13 providers[0].issuer": NO_ISSUER}, id="an issuer that is no URL"),
    pytest.param({CLIENT_ID: '    client_id: ""\n'}, {"9:16 providers[0].client_id": NO_CLIENT_ID}, id="an empty client_id"),
    pytest.param({CLIENT_ID: '    client_id: "a\\n"\n'}, {"9:16 providers[0].client_id": NO_CLIENT_ID}, id="a client_id with a line end"),
    pytest.param(
        {CLIENT_ID: CLIENT_ID + "    client_auth: private_key_jwt\n"},
        {"10:18 providers[0].client_auth": "this is not built yet; write auto, client_secret_basic or client_secret_post"},
        id="client_auth that is not built",
    ),
    pytest.param(
        {CLIENT_ID: CLIENT_ID + "    client_auth: client_secret_basics\n"},
        {"10:18 providers[0].client_auth": "not a value of this key; did you mean client_secret_basic?"},
        id="client_auth misspelt",
    ),
    pytest.param(
        {CLIENT_ID: CLIENT_ID + "    response_mode: form_post\n"},
        {"10:20 providers[0].response_mode": "this is not built yet; write query"},
        id="response_mode that is not built",
    ),
    pytest.param(
        {CLIENT_ID: CLIENT_ID + "    scopes: [profile]\n"},
        {"10:13 providers[0].scopes": "without openid there is no id_token and nobody can be signed in; add openid"},
        id="scopes without openid",
    ),
    pytest.param(
        {CLIENT_ID: CLIENT_ID + "    scopes: openid profile\n"},
        {"10:13 providers[0].scopes": "has to be a list; write [one, another]"},
        id="scopes in one text",
    ),
    pytest.param(
        {CLIENT_ID: CLIENT_ID + "    scopes: [openid profile]\n"},
        {"10:14 providers[0].scopes[0]": ("not a scope; write each scope as an item of its own, such as [openid, profile, email]")},
        id="scopes in one item",
    ),
    pytest.param(
        {CLIENT_ID: CLIENT_ID + "    scopes: [openid, email, email]\n"},
        {"10:13 providers[0].scopes": "a scope stands here twice; keep one"},
        id="a scope twice",
    ),
    pytest.param(
        {CLIENT_ID: CLIENT_ID + "    scopes: []\n"}, {"10:13 providers[0].scopes": "has too few items; write at least 1"}, id="no scopes"
    ),
    pytest.param(
        {CLIENT_ID: CLIENT_ID + "    id_token_signing_algs: [none]\n"},
        {
            "10:29 providers[0].id_token_signing_algs[0]": (
                "not a value of this key; write RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512 or EdDSA"
            )
        },
        id="id_tokens without a signature",
    ),
    pytest.param(
        {CLIENT_ID: CLIENT_ID + "    id_token_signing_algs: [HS256]\n"},
        {"10:29 providers[0].id_token_signing_algs[0]": "not a value of this key; did you mean RS256?"},
        id="id_tokens signed with the client secret",
    ),
    pytest.param(
        {CLIENT_ID: CLIENT_ID + "    id_token_signing_algs: [RS256, RS256]\n"},
        {"10:28 providers[0].id_token_signing_algs": "a value stands here twice; keep one"},
        id="an algorithm twice",
    ),
    pytest.param(
        {CLIENT_ID: CLIENT_ID + "    clock_skew: 1h\n"},
        {"10:17 providers[0].clock_skew": "out of bounds; write a duration from 0s to 300s"},
        id="clock skew without bounds",
    ),
    pytest.param(
        {CLIENT_ID: CLIENT_ID + "    connect_timeout: 0s\n"},
        {"10:22 providers[0].connect_timeout": "out of bounds; write a duration from 1s to 60s"},
        id="no time to connect",
    ),
    pytest.param(
        {CLIENT_ID: CLIENT_ID + "    ca_file: nowhere.pem\n"},
        {
            "10:14 providers[0].ca_file": (
                "cannot be read (No such file or directory); a relative path starts from the folder of the configuration file"
            )
        },
        id="a ca_file that is not there",
    ),
    pytest.param(
        {CLIENT_ID: CLIENT_ID + "    ca_file: gateway.yaml\n"},
        {"10:14 providers[0].ca_file": ("not a file of PEM certificates; name one that begins with -----BEGIN CERTIFICATE-----")},
        id="a ca_file that is none",
    ),
    pytest.param({STORE: "  store: memcached://cache:11211\n"}, {"12:10 session.store": NO_STORE}, id="a store of another kind"),
    pytest.param(
        {STORE: "  store: redis+sentinel://redis:26379\n"},
        {
            "12:10 session.store": (
                "a Sentinel's URL names the service after its hosts: redis+sentinel://host:26379/service/0; "
                "write redis://host:port/0, rediss://host:port/0 or memory"
            )
        },
        id="Sentinel without a service",
    ),
    pytest.param(
        {STORE: "  store: redis+cluster://127.1:6379\n"},
        {"12:10 session.store": "neither a host name nor an IPv4 address; write all four numbers, such as 127.0.0.1"},
        id="a cluster's node that can be read in two ways",
    ),
    pytest.param(
        {STORE: "  store: redis+sentinel://redis/main?sentinel_password=hunter2\n"},
        {"12:10 session.store": PASSWORD},
        id="a store with a password for sentinels",
    ),
    pytest.param(
        {STORE: "  store: memory\n  redis: {pool: 8}\n"},
        {"13:10 session.redis": "the store is memory, so nothing here is used; remove it, or write a redis:// URL as store"},
        id="keys for Redis beside memory",
    ),
    pytest.param(
        {STORE: STORE + "  redis: {prefix: 'a{b}:'}\n"},
        {"13:19 session.redis.prefix": "not a prefix of keys; write up to 64 letters, digits and . _ : - such as gateway:"},
        id="a prefix that would part a session's keys",
    ),
    pytest.param(
        {STORE: STORE + "  redis: {pool: 0}\n"}, {"13:17 session.redis.pool": "out of bounds; write 1 or more"}, id="no connection at all"
    ),
    pytest.param(
        {STORE: STORE + "  redis: {timeout: 0s}\n"},
        {"13:20 session.redis.timeout": "out of bounds; write a duration from 1s to 10s"},
        id="no time to answer",
    ),
    pytest.param(
        {STORE: STORE + "  redis: {password: hunter2}\n"},
        {"13:21 session.redis.password": "unknown key; see config.example.yaml"},
        id="a password among the keys for Redis",
    ),
    pytest.param(
        {STORE: "  store: redis://127.0.0.1/0\n  redis: {ca_file: gateway.yaml}\n"},
        {"13:10 session.redis": "the store is reached without TLS, so its files are not used; remove them, or write rediss://"},
        id="files for TLS without TLS",
    ),
    pytest.param(
        {STORE: "  store: rediss://redis/0\n  redis: {ca_file: gateway.yaml}\n"},
        {
            "13:10 session.redis": (
                "the files for TLS cannot be used (not PEM, or a key of another certificate); "
                "a relative path starts from the folder of the configuration file"
            )
        },
        id="authorities that are none",
    ),
    pytest.param(
        {STORE: "  store: rediss+cluster://redis\n  redis: {certificate: nowhere.pem, key: nowhere.key}\n"},
        {
            "13:10 session.redis": (
                "the files for TLS cannot be used (No such file or directory); "
                "a relative path starts from the folder of the configuration file"
            )
        },
        id="a client certificate that is not there",
    ),
    pytest.param(
        {STORE: "  store: rediss://redis/0\n  redis: {key: nowhere.key}\n"},
        {
            "12:10 session.store": (
                "a client certificate of the store needs its key, and a key its certificate; "
                "write redis://host:port/0, rediss://host:port/0 or memory"
            )
        },
        id="a key without a certificate",
    ),
    pytest.param(
        {STORE: "  store: rediss://redis:6379/0?ssl_cert_reqs=none\n"},
        {
            "12:10 session.store": (
                "the store's URL takes these options, each once: db, ssl_ca_certs, ssl_certfile, ssl_keyfile; "
                "write redis://host:port/0, rediss://host:port/0 or memory"
            )
        },
        id="a store with options",
    ),
    pytest.param({STORE: "  store: rediss://:hunter2@redis:6379/0\n"}, {"12:10 session.store": PASSWORD}, id="a store with a password"),
    pytest.param(
        {STORE: "  store: rediss://user:hunter2@redis:6379/0\n"}, {"12:10 session.store": PASSWORD}, id="a store with user and password"
    ),
    pytest.param({STORE: STORE + "  login: 30s\n"}, {"13:10 session.login": LOGIN_BOUNDS}, id="login in no time"),
    pytest.param({STORE: STORE + "  login: 2h\n"}, {"13:10 session.login": LOGIN_BOUNDS}, id="login without end"),
    pytest.param(
        {STORE: STORE + "  refresh_ahead: 2h\n"},
        {"13:18 session.refresh_ahead": "out of bounds; write a duration from 1s to 1h"},
        id="refreshes long before they are due",
    ),
    pytest.param(
        {STORE: STORE + "  session_follows: refresh-token\n"},
        {"13:20 session.session_follows": "not a value of this key; did you mean refresh_token?"},
        id="a session that follows something else",
    ),
    pytest.param(
        {STORE: STORE + "  lifetime: 1000d\n"},
        {"13:13 session.lifetime": "out of bounds; write a duration from 1s to 90d"},
        id="sessions without end",
    ),
    pytest.param(
        {STORE: STORE + "  return_to: ['https://*.org']\n"},
        {
            "13:15 session.return_to[0]": (
                "this stands for hosts of strangers too; name a domain of yours, such as https://*.apps.example.org"
            )
        },
        id="return_to a whole top-level domain",
    ),
    pytest.param(
        {STORE: STORE + "  return_to: ['https://*.0.0.1']\n"}, {"13:15 session.return_to[0]": NO_IPV4}, id="return_to any address"
    ),
    pytest.param(
        {STORE: STORE + "  return_to: [https://portal.example.org/x]\n"},
        {"13:15 session.return_to[0]": NO_ORIGIN},
        id="return_to with a path",
    ),
    pytest.param({STORE: STORE + "  return_to: ['*']\n"}, {"13:15 session.return_to[0]": NO_SCHEME}, id="return_to anything"),
    pytest.param(
        {ACCESS: "    access: {allow: {groups: [staff]}}\n"},
        {"20:13 routes[1].access": ("a rule such as {allow: ...} is not built yet; write public, optional or signed_in")},
        id="access by rule is not built",
    ),
    pytest.param(
        {ACCESS: "    access: signedin\n"},
        {"20:13 routes[1].access": "not a value of this key; did you mean signed_in?"},
        id="access misspelt",
    ),
    pytest.param(
        {ACCESS: "    access: true\n"}, {"20:13 routes[1].access": "has to be public, optional or signed_in"}, id="access by a boolean"
    ),
    pytest.param(
        {ACCESS: ACCESS + "    host: https://apps.example.org\n"},
        {"21:11 routes[1].host": "not a host; write it without scheme and path, such as apps.example.org"},
        id="a host with a scheme",
    ),
]


@pytest.mark.parametrize(("changes", "faults"), VALUES)
def test_a_broken_configuration_is_refused_with_every_fault_and_its_remedy(tmp_path, changes, faults):
    write_secret_files(tmp_path)
    found = faults_of(damaged(changes), tmp_path)
    assert found == [f"{place}: {text}" for place, text in faults.items()]
    assert "hunter2" not in "".join(found).lower()
