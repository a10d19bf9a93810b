"""One reading tells everything: a broken key hides nothing but what would follow from it."""

from __future__ import annotations

import pytest

from gateway.config.faults import did_you_mean
from tests.support.config_files import VALID, faults_of

MANY = """\
server:
  listn: 127.0.0.1:8080
  public_url: [https://apps.example.org/x]
  workers: 0
  trusted_proxies: [0.0.0.0/0, 10.0.0.1/8]
admin:
  listen: 0.0.0.0:8080
providers:
  - issuer: http://id.example.org
    client_id: 123
    client_secret: hunter2
    scopes: [profile]
    connect_timeout: 20s
  - {}
session:
  store: redis+sentinel://x
  keys: [{env: NOT_SET}, {file: not_there}]
  idle: 13h
routes:
  - path: /oauth2/x
    host: apps.example.org
    access: {allow: x}
    upstream: http://127.0.0.1:8080
  - path: /a*
    identity: {Cookie: sub}
  - pth: /
"""


def test_every_fault_is_told_at_once_in_the_order_of_the_file(tmp_path):
    assert [line.partition(": ")[0] for line in faults_of(MANY, tmp_path)] == [
        "2:3 server.listn",
        "3:16 server.public_url[0]",
        "4:12 server.workers",
        "5:21 server.trusted_proxies[0]",
        "5:32 server.trusted_proxies[1]",
        "9:13 providers[0].issuer",
        "10:16 providers[0].client_id",
        "11:20 providers[0].client_secret",
        "12:13 providers[0].scopes",
        "13:22 providers[0].connect_timeout",
        "14:5 providers[1].issuer",
        "14:5 providers[1].client_id",
        "14:5 providers[1].client_secret",
        "14:5 providers[1]",
        "16:10 session.store",
        "17:10 session.keys[0]",
        "17:26 session.keys[1]",
        "18:9 session.idle",
        "20:11 routes[0].path",
        "22:13 routes[0].access",
        "23:15 routes[0].upstream",
        "24:11 routes[1].path",
        "25:24 routes[1].identity.Cookie",
        "26:5 routes[2].pth",
    ]


@pytest.mark.parametrize(
    ("line", "otherwise"),
    [
        pytest.param("  listen: 127.0.0.1:9090\n", "  listen: 127.0.0.1\n", id="a broken admin listener is not compared with the default"),
        pytest.param("  listen: 127.0.0.1:8080\n", "  lissten: 127.0.0.1:9090\n", id="a misspelt listener is not taken for the default"),
        pytest.param("  - path: /\n", "  - pth: /\n", id="a misspelt path takes no other route's"),
        pytest.param("  - path: /\n", "  - path: [/]\n", id="a broken path takes no other route's"),
        pytest.param("    issuer: https://id.example.org\n", "    isuer: http://id.example.org\n", id="a misspelt issuer is not judged"),
        pytest.param("  public_url: https://apps.example.org\n", "  public_url: nowhere\n", id="no route has a foreign host then"),
    ],
)
def test_one_mistake_is_one_fault(tmp_path, line, otherwise):
    routes_with_a_host = VALID + "    host: apps.example.org\n"
    assert routes_with_a_host.count(line) == 1
    assert len(faults_of(routes_with_a_host.replace(line, otherwise), tmp_path)) == 1


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        pytest.param("publicurl", "public_url", id="a missing underscore"),
        pytest.param("PUBLIC_URL", "public_url", id="capitals"),
        pytest.param("public_urls", "public_url", id="a plural"),
        pytest.param("colour", None, id="nothing near"),
        pytest.param("public_url" * 20, None, id="longer than any key of ours"),
    ],
)
def test_did_you_mean(written, meant):
    assert did_you_mean(written, ("listen", "public_url", "prefix")) == meant
