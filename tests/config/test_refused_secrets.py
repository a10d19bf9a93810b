"""Secrets come from the environment or from files alone, session keys are random, and no fault holds any of it.

Each row: what is written otherwise in the valid configuration, and exactly what its operator reads.
"""

from __future__ import annotations

import pytest

from tests.support.config_files import ADMIN_LISTEN, CLIENT_SECRET, KEYS, STORE, damaged, faults_of, write_secret_files

INLINE = "a secret is never written here; write {env: NAME} or {file: path}, and change the secret if this file was shared"
EXACTLY_ONE = "has to be exactly one of env and file; write {env: NAME} or {file: path}"
NO_PATH = "not the path of a file; write {file: /run/secrets/name}"
NO_KEY = "a session key is 32 bytes in base64url (43 characters); make one with: gateway keys new"
GUESSABLE = "not a random key, so it can be guessed; make one with: gateway keys new"
KEY_TWICE = "this key stands here twice; keep one"
EMPTY = "the secret is empty; put its value where this points"

SECRETS = [
    pytest.param(
        {CLIENT_SECRET: "    client_secret: hunter2\n"}, {"10:20 providers[0].client_secret": INLINE}, id="a client secret inline"
    ),
    pytest.param(
        {CLIENT_SECRET: "    client_secret: 12345678\n"},
        {"10:20 providers[0].client_secret": INLINE},
        id="a client secret inline, as a number",
    ),
    pytest.param(
        {CLIENT_SECRET: "    client_secret: [hunter2]\n"},
        {"10:20 providers[0].client_secret": INLINE},
        id="a client secret inline, as a list",
    ),
    pytest.param(
        {CLIENT_SECRET: "    client_secret: {hunter2: }\n"},
        {"10:20 providers[0].client_secret": EXACTLY_ONE},
        id="a client secret as a key",
    ),
    pytest.param(
        {CLIENT_SECRET: "    client_secret:\n      value: hunter2\n"},
        {"11:7 providers[0].client_secret": EXACTLY_ONE},
        id="a client secret under a key of its own",
    ),
    pytest.param(
        {CLIENT_SECRET: "    client_secret: {env: CLIENT_SECRET, file: secret}\n"},
        {"10:20 providers[0].client_secret": EXACTLY_ONE},
        id="a client secret from two places",
    ),
    pytest.param(
        {CLIENT_SECRET: "    client_secret: {env: hunter2!}\n"},
        {"10:20 providers[0].client_secret": ("not the name of an environment variable; write {env: NAME} with letters, digits and _")},
        id="a client secret where a name belongs",
    ),
    pytest.param(
        {CLIENT_SECRET: "    client_secret: {env: HUNTER2}\n"},
        {"10:20 providers[0].client_secret": ("the environment variable named here is not set; set it where the gateway is started")},
        id="a variable that is not set",
    ),
    pytest.param(
        {CLIENT_SECRET: "    client_secret: {env: EMPTY}\n"}, {"10:20 providers[0].client_secret": EMPTY}, id="a variable that is empty"
    ),
    pytest.param(
        {CLIENT_SECRET: "    client_secret: {env: TWO_LINES}\n"},
        {"10:20 providers[0].client_secret": ("the secret holds control characters or several lines; it has to be one line of text")},
        id="a variable of two lines",
    ),
    pytest.param(
        {CLIENT_SECRET: "    client_secret: {file: hunter2}\n"},
        {"10:20 providers[0].client_secret": "no such file; a relative path starts from the folder of the configuration file"},
        id="a file that is not there",
    ),
    pytest.param(
        {CLIENT_SECRET: "    client_secret: {file: folder}\n"},
        {"10:20 providers[0].client_secret": ("the file cannot be read (Is a directory); name one that the gateway's user may read")},
        id="a file that is a folder",
    ),
    pytest.param(
        {CLIENT_SECRET: "    client_secret: {file: pipe}\n"},
        {"10:20 providers[0].client_secret": "not a regular file; name a file that holds the secret alone"},
        id="a file that is a pipe",
    ),
    pytest.param(
        {CLIENT_SECRET: "    client_secret: {file: empty}\n"}, {"10:20 providers[0].client_secret": EMPTY}, id="a file that is empty"
    ),
    pytest.param(
        {CLIENT_SECRET: "    client_secret: {file: binary}\n"},
        {"10:20 providers[0].client_secret": "the file is not text; it has to hold one line in UTF-8"},
        id="a file that is not text",
    ),
    pytest.param(
        {CLIENT_SECRET: "    client_secret: {file: large}\n"},
        {"10:20 providers[0].client_secret": "larger than 64 KiB; name a file that holds the secret alone"},
        id="a file that is large",
    ),
    pytest.param(
        {CLIENT_SECRET: '    client_secret: {file: ""}\n'}, {"10:20 providers[0].client_secret": NO_PATH}, id="a file without a name"
    ),
    pytest.param(
        {CLIENT_SECRET: '    client_secret: {file: "a\\0b"}\n'},
        {"10:20 providers[0].client_secret": NO_PATH},
        id="a file whose name ends a string",
    ),
    pytest.param(
        {CLIENT_SECRET: "    client_secret: *hunter2\n"},
        {"10:20 providers[0].client_secret": "aliases are not accepted; write the value out"},
        id="a secret with an alias",
    ),
    pytest.param(
        {CLIENT_SECRET: "    client_secret: !hunter2 x\n"},
        {"10:20 providers[0].client_secret": "tags such as !!str or !!python/object are not accepted; write a plain value"},
        id="a secret with a tag",
    ),
    pytest.param(
        {CLIENT_SECRET: "    client_secret: !hunter2!x y\n"},
        {"10:20": ("not valid YAML: found undefined tag handle (not shown); mend the syntax here or just above")},
        id="a secret with an unknown tag handle",
    ),
    pytest.param(
        {CLIENT_SECRET: "    client_secret: @hunter2\n"},
        {"10:20": ("not valid YAML: found character '@' that cannot start any token; mend the syntax here or just above")},
        id="a secret with a reserved character",
    ),
    pytest.param(
        {CLIENT_SECRET: "    client_secret: %hunter2\n"},
        {"10:20": ("not valid YAML: found character '%' that cannot start any token; mend the syntax here or just above")},
        id="a secret with a percent sign",
    ),
    pytest.param(
        {CLIENT_SECRET: "    client_secret: 'hunter2\n"},
        {"21:1": ("not valid YAML: found unexpected end of stream; mend the syntax here or just above")},
        id="a secret with an open quote",
    ),
    pytest.param(
        {CLIENT_SECRET: "    client_secret: {hunter2\n"},
        {"11:8": ("not valid YAML: expected ',' or '}', but got ':'; mend the syntax here or just above")},
        id="a secret with an open brace",
    ),
    pytest.param({ADMIN_LISTEN: ADMIN_LISTEN + "  token: hunter2\n"}, {"6:10 admin.token": INLINE}, id="an admin token inline"),
    pytest.param(
        {ADMIN_LISTEN: ADMIN_LISTEN + "  token: {env: SHORT}\n"},
        {"6:10 admin.token": "a token has 16 to 4096 ASCII characters without spaces; make a new one"},
        id="an admin token that can be tried out",
    ),
    pytest.param(
        {ADMIN_LISTEN: ADMIN_LISTEN + "  token: {env: NOT_SET}\n"},
        {"6:10 admin.token": "the environment variable named here is not set; set it where the gateway is started"},
        id="an admin token that is not set",
    ),
    pytest.param(
        {STORE: "  store: {env: NOT_SET}\n"},
        {"12:10 session.store": "the environment variable named here is not set; set it where the gateway is started"},
        id="a store that is not set",
    ),
    pytest.param(
        {CLIENT_SECRET: "    client_secret: {env: LONG}\n"},
        {"10:20 providers[0].client_secret": "longer than 4096 characters; copy it from the provider again"},
        id="a client secret that is none",
    ),
    pytest.param({KEYS: "  keys: []\n"}, {"13:9 session.keys": "has too few items; write at least 1"}, id="no keys"),
    pytest.param(
        {KEYS: "  keys: {env: SESSION_KEY}\n"},
        {"13:9 session.keys": "has to be a list; write [one, another]"},
        id="one key instead of a list",
    ),
    pytest.param({KEYS: "  keys: [hunter2]\n"}, {"13:10 session.keys[0]": INLINE}, id="a key inline"),
    pytest.param({KEYS: "  keys: [{env: SHORT}]\n"}, {"13:10 session.keys[0]": NO_KEY}, id="a key that is short"),
    pytest.param({KEYS: "  keys: [{env: HEX_KEY}]\n"}, {"13:10 session.keys[0]": NO_KEY}, id="a key in hexadecimal"),
    pytest.param({KEYS: "  keys: [{env: ZERO_KEY}]\n"}, {"13:10 session.keys[0]": GUESSABLE}, id="a key of one byte"),
    pytest.param({KEYS: "  keys: [{env: COUNTING_KEY}]\n"}, {"13:10 session.keys[0]": GUESSABLE}, id="a key that counts"),
    pytest.param({KEYS: "  keys: [{env: TEXT_KEY}]\n"}, {"13:10 session.keys[0]": GUESSABLE}, id="a key that is a sentence"),
    pytest.param({KEYS: "  keys: [{env: TWICE_KEY}]\n"}, {"13:10 session.keys[0]": GUESSABLE}, id="a key that is one half twice"),
    pytest.param(
        {KEYS: "  keys: [{env: UNCANONICAL_KEY}]\n"},
        {"13:10 session.keys[0]": ("not canonical base64url; make one with: gateway keys new")},
        id="a key with bits to spare",
    ),
    pytest.param(
        {KEYS: "  keys: [{env: SESSION_KEY}, {env: OTHER_KEY}, {env: SESSION_KEY}]\n"},
        {"13:48 session.keys[2]": KEY_TWICE},
        id="a key twice",
    ),
    pytest.param(
        {KEYS: "  keys: [{env: SESSION_KEY}, {env: PADDED_KEY}]\n"}, {"13:30 session.keys[1]": KEY_TWICE}, id="a key twice, once padded"
    ),
    pytest.param(
        {STORE: "  store: {env: SHORT}\n"},
        {
            "12:10 session.store": (
                "the store's URL starts with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://; "
                "write redis://host:port/0, rediss://host:port/0 or memory"
            )
        },
        id="a store URL that is none",
    ),
    pytest.param(
        {STORE: "  store: {env: STORE_WITH_OPTIONS}\n"},
        {
            "12:10 session.store": (
                "the store's URL takes these options, each once: db, ssl_ca_certs, ssl_certfile, ssl_keyfile; "
                "write redis://host:port/0, rediss://host:port/0 or memory"
            )
        },
        id="a store URL with options",
    ),
]


@pytest.mark.parametrize(("changes", "faults"), SECRETS)
def test_a_broken_configuration_is_refused_with_every_fault_and_its_remedy(tmp_path, changes, faults):
    write_secret_files(tmp_path)
    found = faults_of(damaged(changes), tmp_path)
    assert found == [f"{place}: {text}" for place, text in faults.items()]
    assert "hunter2" not in "".join(found).lower()
