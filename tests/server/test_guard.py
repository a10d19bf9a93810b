"""The rules for a request line, one by one: what aiohttp's parser lets through and the guard does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.target import canonical_target
from gateway.errors import (
    MethodRefused,
    TargetRefused,
    VersionRefused,
)
from gateway.server.guard import check_request_line, origin_form

HOST = (b"Host", b"app.example")


@pytest.mark.parametrize("version", [(1, 1), (1, 0)])
def test_two_versions_are_spoken(version):
    check_request_line("GET", version)


@pytest.mark.parametrize("version", [(0, 9), (2, 0), (1, 2), (3, 0)])
def test_no_other_version_is(version):
    with pytest.raises(VersionRefused):
        check_request_line("GET", version)


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
def test_methods_that_are_never_served_say_which_are(method):
    with pytest.raises(MethodRefused) as refused:
        check_request_line(method, (1, 1))
    assert "GET" in refused.value.allow


@pytest.mark.parametrize(
    ("target", "path"),
    [
        pytest.param("/a?b", "/a?b", id="origin-form"),
        pytest.param("http://app.example/a?b", "/a?b", id="absolute-form"),
        pytest.param("HTTPS://APP.EXAMPLE/a", "/a", id="in capitals"),
        pytest.param("http://app.example", "/", id="without a path"),
        pytest.param("http://app.example?b", "/?b", id="with a query alone"),
        pytest.param("http://app.example//evil.example/x", "//evil.example/x", id="OR-86 two slashes, which the canonicaliser refuses"),
    ],
)
def test_a_target_of_our_own_host_becomes_its_path(target, path):
    assert origin_form(target, "app.example") == path


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("http://evil.example/x", id="PN-28 another host"),
        pytest.param("https://evil/admin", id="PN-28 another host, https"),
        pytest.param("ftp://app.example/x", id="PN-28 another scheme"),
        pytest.param("http://a@app.example/x", id="PN-28 a user"),
        pytest.param("http://app.example:80/x", id="a port that Host has not"),
        pytest.param("http://app.example.evil.example/x", id="a longer host"),
        pytest.param("http:///x", id="no host"),
        pytest.param("http:/app.example/x", id="one slash"),
        pytest.param("http://app.example\\@evil.example/x", id="a backslash"),
        pytest.param("app.example:80", id="PN-29 authority-form"),
        pytest.param("*", id="asterisk-form"),
        pytest.param("", id="nothing"),
    ],
)
def test_other_absolute_targets_are_refused(target):
    with pytest.raises(TargetRefused):
        origin_form(target, "app.example")


@given(st.text(alphabet="htps:/app.exml@?#\\%2e\t \u2025", max_size=40))
def test_an_absolute_target_has_no_other_readings_than_a_direct_one(text):
    try:
        through = canonical_target(origin_form("http://app.example/" + text, "app.example"))
    except TargetRefused:
        with pytest.raises(TargetRefused):
            canonical_target("/" + text)
    else:
        assert through == canonical_target("/" + text)
