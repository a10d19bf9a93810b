from __future__ import annotations

import pytest

from gateway.proxy.upstream import UpstreamAddress, parse_upstream


@pytest.mark.parametrize(
    ("url", "address", "authority"),
    [
        ("http://app:3000", UpstreamAddress("http", "app", 3000), "app:3000"),
        ("http://app", UpstreamAddress("http", "app", 80), "app"),
        ("https://App.Example.org/", UpstreamAddress("https", "app.example.org", 443), "app.example.org"),
        ("https://app:80", UpstreamAddress("https", "app", 80), "app:80"),
        ("http://127.0.0.1:8000", UpstreamAddress("http", "127.0.0.1", 8000), "127.0.0.1:8000"),
        ("http://[::1]:8000", UpstreamAddress("http", "::1", 8000), "[::1]:8000"),
        ("http://[2001:DB8::1]", UpstreamAddress("http", "2001:db8::1", 80), "[2001:db8::1]"),
        ("http://my_app:3000", UpstreamAddress("http", "my_app", 3000), "my_app:3000"),
        ("unix:/run/app.sock", UpstreamAddress("http", "localhost", 0, "/run/app.sock"), "localhost"),
        ("unix:///run/app.sock", UpstreamAddress("http", "localhost", 0, "/run/app.sock"), "localhost"),
    ],
)
def test_addresses_are_read(url, address, authority):
    assert parse_upstream(url) == address
    assert parse_upstream(url).authority == authority
    assert parse_upstream(str(address)) == address


@pytest.mark.parametrize(
    "url",
    [
        "", "app:3000", "ftp://app", "//app", "http://", "http://:80", "http://app:", "http://app:0", "http://app:65536", "http://app:x",
        "http://user:secret@app", "http://@app", "http://app/path", "http://app?", "http://app/?q", "http://app#", "http://app\\evil",
        "http://a b", "http://äpp", "http://app\r\n", "http://[::1", "http://[v1.x]", "http://[app]", "http://a..b", "http://-a", "http://a/..",
        "unix:", "unix:run/app.sock", "unix:/" + "a" * 200, "unix:/a\0b", "http://" + "a" * 64, "http://%61pp",
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_a_plain_text(url):
    with pytest.raises(ValueError, match=r"^(has|is|must|needs) "):
        parse_upstream(url)
