"""Keys that are unknown, missing, empty or hold the wrong kind of value are refused, with the place and the remedy.

Each row: what is written otherwise in the valid configuration, and exactly what its operator reads.
"""

from __future__ import annotations

import pytest

from tests.support.config_files import (
    ACCESS,
    ADMIN,
    ADMIN_LISTEN,
    CLIENT_ID,
    CLIENT_SECRET,
    ID,
    ISSUER,
    KEYS,
    LISTEN,
    PUBLIC_ROUTE,
    PUBLIC_URL,
    ROOT_PATH,
    ROUTES,
    SESSION,
    STORE,
    UPSTREAM,
    damaged,
    faults_of,
    write_secret_files,
)

NO_VALUE = "has no value; write one, or remove the key to have its default"

KEYS_OF_SECTIONS = [
    pytest.param(
        {LISTEN: "  listn: 127.0.0.1:8080\n"},
        {"2:3 server.listn": "unknown key; did you mean listen?"},
        id="an unknown key, near one of ours",
    ),
    pytest.param(
        {PUBLIC_URL: "  public-url: https://apps.example.org\n"},
        {"3:3 server.public-url": "unknown key; did you mean public_url?"},
        id="a required key, misspelt",
    ),
    pytest.param(
        {ADMIN_LISTEN: ADMIN_LISTEN + "  colour: red\n"},
        {"6:3 admin.colour": "unknown key; the keys here are listen, token"},
        id="an unknown key, near none",
    ),
    pytest.param(
        {ADMIN: "administration:\n"},
        {"4:1 administration": "unknown key; the keys here are server, admin, providers, session, routes"},
        id="an unknown section",
    ),
    pytest.param(
        {CLIENT_SECRET: CLIENT_SECRET + "    'secret hunter2': x\n"},
        {
            "11:5 providers[0].?": (
                "unknown key; the keys here are id, issuer, insecure_http, client_id, client_secret, "
                "client_auth, scopes, response_mode, id_token_signing_algs, authorization_params, "
                "ca_file, connect_timeout, total_timeout, refresh_timeout, clock_skew"
            )
        },
        id="a key that may hold a secret is not shown",
    ),
    pytest.param(
        {CLIENT_SECRET: "    client_secret:hunter2: x\n"},
        {"10:5 providers[0].?": "unknown key; did you mean client_secret?"},
        id="a missing space after a colon",
    ),
    pytest.param(
        {ISSUER: ""},
        {
            "7:5 providers[0].issuer": (
                "missing; write it: The issuer identifier, character for character as the provider's metadata has it"
            )
        },
        id="a required key left out",
    ),
    pytest.param(
        {SESSION: "", STORE: "", KEYS: ""},
        {"1:1 session": "missing; write it: Where sessions live: at least store and keys"},
        id="a required section left out",
    ),
    pytest.param({ACCESS: "    access:\n"}, {"20:12 routes[1].access": NO_VALUE}, id="a key without a value"),
    pytest.param({ACCESS: ACCESS + "    host:\n"}, {"21:10 routes[1].host": NO_VALUE}, id="an empty host does not open every host"),
    pytest.param({ADMIN_LISTEN: ""}, {"4:7 admin": NO_VALUE}, id="a section without a value"),
    pytest.param(
        {ADMIN: "admin: none\n", ADMIN_LISTEN: ""},
        {"4:8 admin": "has to be a mapping of keys (listen, token)"},
        id="a section that is a word",
    ),
    pytest.param(
        {ID: "    id: main\n"},
        {
            "7:5 providers": (
                "has to be a list; begin each item with - (id, issuer, insecure_http, client_id, "
                "client_secret, client_auth, scopes, response_mode, id_token_signing_algs, "
                "authorization_params, ca_file, connect_timeout, total_timeout, refresh_timeout, clock_skew)"
            )
        },
        id="a list that is a mapping",
    ),
    pytest.param(
        {ROOT_PATH: "  - everything\n" + ROOT_PATH},
        {
            "18:5 routes[1]": "has to be a mapping of keys (path, host, upstream, access, identity, pass_host, strip_prefix, add_prefix, "
            "timeouts, upgrades, pool, tls, health)"
        },
        id="an item that is a word",
    ),
    pytest.param(
        {ROUTES: "routes: []\n", PUBLIC_ROUTE: "", ROOT_PATH: "", UPSTREAM: "", ACCESS: ""},
        {"14:9 routes": "is empty; write at least one"},
        id="no routes",
    ),
    pytest.param(
        {ROUTES: ROUTES + "  - {path: /x}\n" * 1000},
        {"15:3 routes": "has more than 1000 items; write fewer"},
        id="routes without end",
    ),
    pytest.param(
        {CLIENT_ID: "    client_id: 123\n"},
        {"9:16 providers[0].client_id": "has to be text; put it in quotes"},
        id="a number where text belongs",
    ),
    pytest.param(
        {CLIENT_ID: "    client_id: true\n"},
        {"9:16 providers[0].client_id": "has to be text; put it in quotes"},
        id="a boolean where text belongs",
    ),
    pytest.param(
        {CLIENT_ID: "    client_id: [gateway]\n"}, {"9:16 providers[0].client_id": "has to be text"}, id="a list where text belongs"
    ),
    pytest.param(
        {ACCESS: ACCESS + "    pass_host: yes\n"},
        {"21:16 routes[1].pass_host": "has to be true, false or a host"},
        id="text where a boolean belongs",
    ),
    pytest.param(
        {LISTEN: LISTEN + '  workers: "1"\n'}, {"3:12 server.workers": "has to be a whole number"}, id="text where a number belongs"
    ),
    pytest.param(
        {ACCESS: ACCESS + "    identity: [sub]\n"},
        {"21:15 routes[1].identity": "has to be a mapping; write {name: value}"},
        id="a mapping that is a list",
    ),
    pytest.param(
        {ACCESS: ACCESS + "    identity: {X-User-Id: 1}\n"},
        {"21:27 routes[1].identity.X-User-Id": "has to be text; put it in quotes"},
        id="a claim that is a number",
    ),
]


@pytest.mark.parametrize(("changes", "faults"), KEYS_OF_SECTIONS)
def test_a_broken_configuration_is_refused_with_every_fault_and_its_remedy(tmp_path, changes, faults):
    write_secret_files(tmp_path)
    found = faults_of(damaged(changes), tmp_path)
    assert found == [f"{place}: {text}" for place, text in faults.items()]
    assert "hunter2" not in "".join(found).lower()
