"""What would break an invariant of the gateway is refused: values that do not go together, routes, headers, loops.

Each row: what is written otherwise in the valid configuration, and exactly what its operator reads.
"""

from __future__ import annotations

import pytest

from tests.support.config_files import (
    ACCESS,
    ADMIN_LISTEN,
    CLIENT_ID,
    CLIENT_SECRET,
    ISSUER,
    LISTEN,
    PUBLIC_ROUTE,
    PUBLIC_URL,
    ROOT_PATH,
    STORE,
    UPSTREAM,
    damaged,
    faults_of,
    write_secret_files,
)

SAME_LISTENER = "the same address as server.listen, where everybody could reach it; take another port"
OUR_PARAMETER = "the gateway sets this parameter itself, or it would be in a URL; remove it"
PLAIN_RETURN = "plain http beyond loopback; write https, or insecure_http: allowed in server"
NO_ROUTE_PATH = "not the path of a route; write it plainly, beginning with /, without escapes, ;, //, ?, blanks or dot segments"
OUR_ENDPOINTS = "these are the gateway's own endpoints (server.prefix), which no route can take; choose another path or prefix"
ONE_PATH = "routes[0] takes the same path of the same host; keep one"
NOT_OUR_HOST = "not the host of a server.public_url, so no request could reach it; add its URL there"
MEANT_OTHERWISE = "this header means something to browsers and servers already; take one such as X-Forwarded-User"
NO_HEADER = "not the name of a header; write letters, digits and - such as X-Forwarded-User"
ONE_HEADER = "the same header to an app that ignores case, - and _ as one above; keep one"
LOOP = "this is server.listen: every request would come back for ever; name the app's own address"

CONTRADICTIONS = [
    pytest.param(
        {UPSTREAM: "    upstream: [http://app:3000, http://app:3000]\n"},
        {"19:33 routes[1].upstream[1]": "this app stands here twice; keep one"},
        id="one app twice",
    ),
    pytest.param(
        {UPSTREAM: "    upstream: [http://app:3000, http://127.0.0.1:8080]\n"},
        {"19:33 routes[1].upstream[1]": LOOP},
        id="one of several apps is the gateway",
    ),
    pytest.param(
        {ACCESS: ACCESS + "    tls: {server_name: app}\n"},
        {"21:10 routes[1].tls": "there is no https:// in upstream, so nothing here is used; remove it, or write https://"},
        id="TLS to an app without",
    ),
    pytest.param(
        {UPSTREAM: "    upstream: https://app\n    tls: {key: missing.pem}\n"},
        {"20:10 routes[1].tls": "a certificate needs its key and a key its certificate; write both"},
        id="a certificate without its key",
    ),
    pytest.param(
        {UPSTREAM: "    upstream: https://app\n    tls: {ca_file: missing.pem}\n"},
        {
            "20:10 routes[1].tls": (
                "its files cannot be used (No such file or directory); a relative path starts from the folder of the configuration file"
            )
        },
        id="a missing file of authorities",
    ),
    pytest.param(
        {UPSTREAM: "    health: {path: /healthz}\n    strip_prefix: true\n"},
        {
            "19:13 routes[1].health": "this route has no upstream, so nothing is sent anywhere; remove this key, or write upstream",
            "20:19 routes[1].strip_prefix": "this route has no upstream, so nothing is sent anywhere; remove this key, or write upstream",
        },
        id="a check of no app",
    ),
    pytest.param(
        {PUBLIC_URL: "  public_url: http://apps.example.org\n"},
        {"3:15 server.public_url": ("plain http beyond loopback sends cookies in clear; write https, or insecure_http: allowed beside it")},
        id="plain http beyond loopback",
    ),
    pytest.param(
        {PUBLIC_URL: "  public_url: http://apps.example.org\n  insecure_http: true\n"},
        {"4:18 server.insecure_http": "has to be allowed"},
        id="plain http beyond loopback, misspelt permission",
    ),
    pytest.param(
        {PUBLIC_URL: "  public_url: [https://apps.example.org, https://apps.example.org:443]\n"},
        {"3:42 server.public_url[1]": "this origin stands here twice; keep one"},
        id="one origin twice",
    ),
    pytest.param(
        {PUBLIC_URL: "  public_url: [https://apps.example.org, http://apps.example.org]\n  insecure_http: allowed\n"},
        {"3:42 server.public_url[1]": ("its Host header is that of an origin above, so the two could not be told apart; keep one")},
        id="two origins with one Host",
    ),
    pytest.param(
        {LISTEN: LISTEN + "  workers: 2\n"},
        {"13:10 session.store": ("memory belongs to one process, and server.workers asks for more; write a redis:// URL")},
        id="more than one worker with sessions in memory",
    ),
    pytest.param(
        {LISTEN: LISTEN + "  trusted_proxies: [10.0.0.0/8, unix]\n"},
        {
            "3:33 server.trusted_proxies[1]": (
                "unix trusts the peers of a Unix socket, and listen is none; write listen: unix:/run/gateway.sock, or name networks"
            )
        },
        id="trusting a Unix socket that nobody listens on",
    ),
    pytest.param(
        {LISTEN: LISTEN + "  proxy_protocol: true\n"},
        {
            "3:19 server.proxy_protocol": (
                "the PROXY protocol is believed from trusted_proxies alone, and there are none; "
                "name the networks of the balancers that send it"
            )
        },
        id="the PROXY protocol from nobody",
    ),
    pytest.param({LISTEN: LISTEN + "  workers: 0\n"}, {"3:12 server.workers": "out of bounds; write 1 or more"}, id="no workers"),
    pytest.param(
        {ADMIN_LISTEN: "  listen: 127.0.0.1:8080\n"}, {"5:11 admin.listen": SAME_LISTENER}, id="the admin listener on the public one"
    ),
    pytest.param(
        {ADMIN_LISTEN: "  listen: localhost:8080\n"},
        {"5:11 admin.listen": SAME_LISTENER},
        id="the admin listener on the public one, by name",
    ),
    pytest.param(
        {ADMIN_LISTEN: "  listen: 0.0.0.0:8080\n"},
        {"5:11 admin.listen": SAME_LISTENER},
        id="the admin listener on the public one, on every address",
    ),
    pytest.param(
        {LISTEN: "  listen: unix:/run/gateway.sock\n", ADMIN_LISTEN: "  listen: unix:/run/gateway.sock\n"},
        {"5:11 admin.listen": SAME_LISTENER},
        id="both listeners on one socket",
    ),
    pytest.param(
        {ISSUER: "    issuer: http://id.example.org\n"},
        {
            "8:13 providers[0].issuer": (
                "plain http beyond loopback lets anybody on the path sign in as anybody; write https, or insecure_http: allowed beside it"
            )
        },
        id="an issuer with plain http",
    ),
    pytest.param(
        {
            CLIENT_SECRET: CLIENT_SECRET
            + "  - id: other\n    issuer: https://other.example.org\n    client_id: gateway\n    client_secret: {env: CLIENT_SECRET}\n"
        },
        {"11:5 providers[1]": "more than one provider is not built yet; keep one"},
        id="two providers",
    ),
    pytest.param(
        {CLIENT_ID: CLIENT_ID + "    authorization_params: {prompt: login, state: x}\n"},
        {"10:50 providers[0].authorization_params.state": OUR_PARAMETER},
        id="a parameter that is ours",
    ),
    pytest.param(
        {CLIENT_ID: CLIENT_ID + "    authorization_params: {Redirect_URI: x}\n"},
        {"10:42 providers[0].authorization_params.Redirect_URI": OUR_PARAMETER},
        id="a parameter that is ours, in capitals",
    ),
    pytest.param(
        {CLIENT_ID: CLIENT_ID + "    authorization_params: {client_secret: hunter2}\n"},
        {"10:43 providers[0].authorization_params.client_secret": OUR_PARAMETER},
        id="a secret in a URL",
    ),
    pytest.param(
        {CLIENT_ID: CLIENT_ID + "    authorization_params: {'a b': x}\n"},
        {"10:35 providers[0].authorization_params.?": "a parameter's name has letters, digits and . _ ~ - alone; correct it"},
        id="a parameter's name with a space",
    ),
    pytest.param(
        {CLIENT_ID: CLIENT_ID + '    authorization_params: {a: "x\\n"}\n'},
        {"10:31 providers[0].authorization_params.a": "a parameter's value is printable text of at most 1024 characters; correct it"},
        id="a parameter's value with a line end",
    ),
    pytest.param(
        {CLIENT_ID: CLIENT_ID + "    connect_timeout: 20s\n"},
        {"10:22 providers[0].connect_timeout": "longer than total_timeout, so it could never be reached; write less"},
        id="a longer part than the whole",
    ),
    pytest.param(
        {STORE: STORE + "  idle: 2h\n  lifetime: 1h\n"},
        {"13:9 session.idle": "longer than lifetime, so it could never be reached; write less"},
        id="idle for longer than a lifetime",
    ),
    pytest.param(
        {STORE: STORE + "  return_to: [http://portal.example.org]\n"},
        {"13:15 session.return_to[0]": PLAIN_RETURN},
        id="a return over plain http",
    ),
    pytest.param(
        {STORE: STORE + "  return_to: ['http://*.apps.example.org']\n"},
        {"13:15 session.return_to[0]": PLAIN_RETURN},
        id="a return over plain http, by wildcard",
    ),
    pytest.param({ROOT_PATH: "  - path: /a%2fb\n"}, {"18:11 routes[1].path": NO_ROUTE_PATH}, id="a path with an escape"),
    pytest.param({ROOT_PATH: "  - path: /public/../admin\n"}, {"18:11 routes[1].path": NO_ROUTE_PATH}, id="a path with a dot segment"),
    pytest.param({ROOT_PATH: "  - path: //admin\n"}, {"18:11 routes[1].path": NO_ROUTE_PATH}, id="a path with two slashes"),
    pytest.param({ROOT_PATH: "  - path: /admin?x\n"}, {"18:11 routes[1].path": NO_ROUTE_PATH}, id="a path with a query"),
    pytest.param({ROOT_PATH: "  - path: /admin;x\n"}, {"18:11 routes[1].path": NO_ROUTE_PATH}, id="a path with a parameter"),
    pytest.param({ROOT_PATH: "  - path: admin\n"}, {"18:11 routes[1].path": NO_ROUTE_PATH}, id="a path that is relative"),
    pytest.param(
        {ROOT_PATH: "  - path: /admin/*\n"},
        {"18:11 routes[1].path": "a route takes everything below its path already; write it without *"},
        id="a path with a wildcard",
    ),
    pytest.param({ROOT_PATH: "  - path: ^/admin\n"}, {"18:11 routes[1].path": NO_ROUTE_PATH}, id="a path that is an expression"),
    pytest.param({ROOT_PATH: "  - path: /oauth2/start\n"}, {"18:11 routes[1].path": OUR_ENDPOINTS}, id="a path below our own prefix"),
    pytest.param({ROOT_PATH: "  - path: /oauth2\n"}, {"18:11 routes[1].path": OUR_ENDPOINTS}, id="our own prefix"),
    pytest.param(
        {PUBLIC_URL: PUBLIC_URL + "  prefix: /auth\n", ROOT_PATH: "  - path: /auth/\n"},
        {"19:11 routes[1].path": OUR_ENDPOINTS},
        id="a path below another prefix",
    ),
    pytest.param({ROOT_PATH: "  - path: /public/\n"}, {"18:11 routes[1].path": ONE_PATH}, id="one path twice"),
    pytest.param(
        {PUBLIC_ROUTE: "  - {path: /, host: apps.example.org}\n", ACCESS: ACCESS + "    host: [apps.example.org]\n"},
        {"16:11 routes[1].path": ONE_PATH},
        id="one path twice for one host",
    ),
    pytest.param({ACCESS: ACCESS + "    host: evil.example\n"}, {"21:11 routes[1].host": NOT_OUR_HOST}, id="a host that is not ours"),
    pytest.param(
        {ACCESS: ACCESS + "    host: [apps.example.org, evil.example]\n"},
        {"21:30 routes[1].host[1]": NOT_OUR_HOST},
        id="a host that is not ours, in a list",
    ),
    pytest.param(
        {ACCESS: ACCESS + "    host: apps.example.org:8443\n"},
        {"21:11 routes[1].host": NOT_OUR_HOST},
        id="a host with a port that is not ours",
    ),
    pytest.param(
        {ACCESS: ACCESS + "    host: []\n"},
        {"21:11 routes[1].host": "an empty list takes no request; name a host, or remove the key for every host"},
        id="no host",
    ),
    pytest.param(
        {PUBLIC_ROUTE: PUBLIC_ROUTE + "    identity: {X-Forwarded-User: sub}\n"},
        {"18:15 routes[0].identity": "a public route carries no identity; remove it, or write access: optional"},
        id="identity on a public route",
    ),
    pytest.param(
        {ACCESS: ACCESS + "    identity: {Connection: sub}\n"},
        {"21:28 routes[1].identity.Connection": MEANT_OTHERWISE},
        id="a header that is hop-by-hop",
    ),
    pytest.param(
        {ACCESS: ACCESS + "    identity: {Content_Length: sub}\n"},
        {"21:32 routes[1].identity.Content_Length": MEANT_OTHERWISE},
        id="a header that frames, with an underscore",
    ),
    pytest.param(
        {ACCESS: ACCESS + "    identity: {Host: sub}\n"}, {"21:22 routes[1].identity.Host": MEANT_OTHERWISE}, id="a header that is the Host"
    ),
    pytest.param(
        {ACCESS: ACCESS + "    identity: {Cookie: sub}\n"},
        {"21:24 routes[1].identity.Cookie": MEANT_OTHERWISE},
        id="a header that is the cookie",
    ),
    pytest.param(
        {ACCESS: ACCESS + "    identity: {X-Forwarded-For: sub}\n"},
        {"21:33 routes[1].identity.X-Forwarded-For": MEANT_OTHERWISE},
        id="a header that names the client",
    ),
    pytest.param(
        {ACCESS: ACCESS + "    identity: {Sec-Fetch-Site: sub}\n"},
        {"21:32 routes[1].identity.Sec-Fetch-Site": MEANT_OTHERWISE},
        id="a header that browsers set",
    ),
    pytest.param(
        {ACCESS: ACCESS + "    identity: {Authorization: sub}\n"},
        {"21:31 routes[1].identity.Authorization": "Authorization is no claim; take a name such as X-Forwarded-User"},
        id="a claim in Authorization",
    ),
    pytest.param(
        {ACCESS: ACCESS + "    identity: {Authorization: 'token:access'}\n"},
        {
            "21:31 routes[1].identity.Authorization": (
                "an access token in Authorization is not built yet; write X-Forwarded-Access-Token: token:access"
            )
        },
        id="a token in Authorization",
    ),
    pytest.param(
        {ACCESS: ACCESS + "    identity: {'X User': sub}\n"}, {"21:26 routes[1].identity.?": NO_HEADER}, id="a header with a space"
    ),
    pytest.param(
        {ACCESS: ACCESS + '    identity: {"X-User\\r\\nX-Admin": sub}\n'},
        {"21:37 routes[1].identity.?": NO_HEADER},
        id="a header with a line end",
    ),
    pytest.param({ACCESS: ACCESS + "    identity: {'---': sub}\n"}, {"21:23 routes[1].identity.?": NO_HEADER}, id="a header of dashes"),
    pytest.param(
        {ACCESS: ACCESS + "    identity: {X-User: sub, X_User: email, x.user: name}\n"},
        {"21:37 routes[1].identity.X_User": ONE_HEADER, "21:52 routes[1].identity.?": ONE_HEADER},
        id="two headers that are one",
    ),
    pytest.param(
        {ACCESS: ACCESS + "    identity: {X-Token: 'token:refresh'}\n"},
        {"21:25 routes[1].identity.X-Token": "there is no such token; write token:access or token:id"},
        id="a token that is none",
    ),
    pytest.param(
        {ACCESS: ACCESS + "    identity: {X-Token: ''}\n"},
        {"21:25 routes[1].identity.X-Token": "not a source; write the name of a claim, token:access or token:id"},
        id="a claim without a name",
    ),
    pytest.param(
        {UPSTREAM: "    upstream: http://app:3000/base\n"},
        {
            "19:15 routes[1].upstream": (
                "must be an origin only, without a path, query or fragment; write http://host:port, https://host:port or unix:/run/app.sock"
            )
        },
        id="an upstream with a path",
    ),
    pytest.param(
        {UPSTREAM: "    upstream: http://user:hunter2@app:3000\n"},
        {"19:15 routes[1].upstream": ("must not hold credentials; write http://host:port, https://host:port or unix:/run/app.sock")},
        id="an upstream with a password",
    ),
    pytest.param(
        {UPSTREAM: "    upstream: http://user:hunter2/@app:3000\n"},
        {"19:15 routes[1].upstream": "is not a URL; write http://host:port, https://host:port or unix:/run/app.sock"},
        id="an upstream with a password and a slash",
    ),
    pytest.param(
        {UPSTREAM: "    upstream: app:3000\n"},
        {
            "19:15 routes[1].upstream": (
                "must begin with http://, https:// or unix:/; write http://host:port, https://host:port or unix:/run/app.sock"
            )
        },
        id="an upstream without a scheme",
    ),
    pytest.param({UPSTREAM: "    upstream: http://127.0.0.1:8080\n"}, {"19:15 routes[1].upstream": LOOP}, id="an upstream that is us"),
    pytest.param(
        {UPSTREAM: "    upstream: http://localhost:8080\n"}, {"19:15 routes[1].upstream": LOOP}, id="an upstream that is us, by name"
    ),
    pytest.param(
        {UPSTREAM: "    upstream: http://127.0.0.1:9090\n"},
        {"19:15 routes[1].upstream": ("this is admin.listen, which must never be reached from outside; name the app's own address")},
        id="an upstream that is the admin listener",
    ),
    pytest.param(
        {LISTEN: "  listen: unix:/run/gateway.sock\n", UPSTREAM: "    upstream: unix:/run/gateway.sock\n"},
        {"19:15 routes[1].upstream": LOOP},
        id="an upstream that is us over a socket",
    ),
]


@pytest.mark.parametrize(("changes", "faults"), CONTRADICTIONS)
def test_a_broken_configuration_is_refused_with_every_fault_and_its_remedy(tmp_path, changes, faults):
    write_secret_files(tmp_path)
    found = faults_of(damaged(changes), tmp_path)
    assert found == [f"{place}: {text}" for place, text in faults.items()]
    assert "hunter2" not in "".join(found).lower()
