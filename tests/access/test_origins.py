"""Which Host is ours, and under which origin."""

from __future__ import annotations

import pytest

from gateway.access.origins import Origin, Origins
from gateway.errors import HeadersRefused, HostUnknown

APPS = Origin("https", "apps.example.org", 443)
ODD_PORT = Origin("https", "apps.example.org", 8443)
PLAIN = Origin("http", "127.0.0.1", 8080)
V6 = Origin("http", "[::1]", 8080)
ORIGINS = Origins([APPS, ODD_PORT, PLAIN, V6])


@pytest.mark.parametrize(
    ("url", "origin", "text"),
    [
        pytest.param("https://apps.example.org", APPS, "https://apps.example.org", id="default port"),
        pytest.param("https://apps.example.org/", APPS, "https://apps.example.org", id="slash at the end"),
        pytest.param("HTTPS://Apps.Example.org:443", APPS, "https://apps.example.org", id="capitals and the default port"),
        pytest.param("https://apps.example.org:8443", ODD_PORT, "https://apps.example.org:8443", id="another port"),
        pytest.param("http://127.0.0.1:8080", PLAIN, "http://127.0.0.1:8080", id="IPv4"),
        pytest.param("http://[0:0::1]:8080", V6, "http://[::1]:8080", id="IPv6, shortened"),
    ],
)
def test_a_public_url_is_read(url, origin, text):
    assert Origin.parse(url) == origin
    assert origin.text == text
    assert Origin.parse(text) == origin


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "apps.example.org",
            "ftp://apps.example.org",
            "https:apps.example.org",
            "https://",
            "https:///",
            "https://a/b",
            "https://a?b",
        ),
        *("https://a#b", "https://u@a", "https://a b", "https://a\\b", "https://a:", "https://a:0", "https://a:65536", "https://a:1:2"),
        *(
            "https://.a",
            "https://a..b",
            "https://a.",
            "https://[::1",
            "https://[zz]",
            "https://[::1%25eth0]",
            "https://\u00e9.example",
            "https://a%41",
        ),
        "https://" + "a" * 300,
    ],
)
def test_what_is_no_origin_is_refused(url):
    with pytest.raises(ValueError, match="must"):
        Origin.parse(url)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        pytest.param("apps.example.org", APPS, id="as written"),
        pytest.param("APPS.example.org", APPS, id="another case"),
        pytest.param("apps.example.org:443", APPS, id="default port spelt out"),
        pytest.param("apps.example.org:8443", ODD_PORT, id="another port"),
        pytest.param("127.0.0.1:8080", PLAIN, id="IPv4"),
        pytest.param("[::1]:8080", V6, id="IPv6"),
        pytest.param("[0:0:0::1]:8080", V6, id="IPv6 written longer"),
    ],
)
def test_a_host_of_ours_is_known(host, origin):
    assert ORIGINS.for_host(host) is origin


@pytest.mark.parametrize(
    "host", ["evil.example", "apps.example.org.", "apps.example.org:80", "127.0.0.1", "apps.example.org.evil.example", "localhost:8080"]
)
def test_or_89_another_host_is_misdirected(host):
    with pytest.raises(HostUnknown):
        ORIGINS.for_host(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "a/b",
        "a@b",
        "a, b",
        "a b",
        "a:99999",
        "a:",
        "a:x",
        "apps.example.org\n",
        "apps.example.org\\",
        "[::1",
        "[1]:1",
        "[1:2]",
        "\u00e9",
        "a" * 300,
        "https://a",
    ],
)
def test_what_is_no_host_is_refused(host):
    with pytest.raises(HeadersRefused):
        ORIGINS.for_host(host)


def test_a_forwarded_url_has_to_be_of_an_origin_of_ours():
    assert ORIGINS.for_url("https", "apps.example.org") is APPS
    assert ORIGINS.for_url("https", "Apps.Example.Org:8443") is ODD_PORT
    for scheme, authority in (("http", "apps.example.org"), ("https", "other-app.example"), ("http", "apps.example.org:443")):
        with pytest.raises(HostUnknown):
            ORIGINS.for_url(scheme, authority)
    with pytest.raises(HeadersRefused):
        ORIGINS.for_url("https", "a b")


def test_two_origins_that_a_host_cannot_tell_apart_are_refused():
    with pytest.raises(ValueError, match="told apart"):
        Origins([APPS, Origin("http", "apps.example.org", 80)])
    with pytest.raises(ValueError, match="at least one"):
        Origins([])
    assert list(Origins([APPS, APPS])) == [APPS, APPS]
