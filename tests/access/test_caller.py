"""CS-11: who is sent to sign in, and who gets a 401."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from gateway.access.caller import is_navigation

PAGE = {"accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
NAVIGATE = {**PAGE, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document", "sec-fetch-site": "none"}


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        pytest.param("GET", NAVIGATE, id="a browser's navigation"),
        pytest.param("HEAD", NAVIGATE, id="its HEAD"),
        pytest.param("GET", {**NAVIGATE, "sec-fetch-site": "cross-site"}, id="a link on another site"),
        pytest.param("GET", {**NAVIGATE, "upgrade-insecure-requests": "1"}, id="a wish for https is no upgrade"),
        pytest.param("GET", {**NAVIGATE, "sec-fetch-dest": "iframe", "sec-fetch-site": "same-origin"}, id="a frame of our own page"),
        pytest.param("GET", {**NAVIGATE, "sec-fetch-dest": "frame", "sec-fetch-site": "same-site"}, id="a frame of a page of our site"),
        pytest.param("GET", PAGE, id="a browser without Fetch Metadata"),
        pytest.param("GET", {"accept": "TEXT/HTML"}, id="media types have no case"),
    ],
)
def test_a_person_is_sent_to_sign_in(method, headers):
    assert is_navigation(method, headers)
    assert is_navigation(method, CIMultiDict((name.title(), value) for name, value in headers.items()))


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        pytest.param("POST", NAVIGATE, id="a form: its body would be lost"),
        pytest.param("get", NAVIGATE, id="a method in small letters is another method"),
        pytest.param("GET", {}, id="no headers at all"),
        pytest.param("GET", {"accept": "*/*"}, id="curl"),
        pytest.param("GET", {"accept": "application/json"}, id="an API client"),
        pytest.param("GET", {**PAGE, "x-requested-with": "XMLHttpRequest"}, id="XHR of an old library"),
        pytest.param("GET", {**NAVIGATE, "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}, id="fetch, with Accept spoofed"),
        pytest.param("GET", {**NAVIGATE, "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, id="an image"),
        pytest.param("GET", {**NAVIGATE, "sec-fetch-mode": "websocket"}, id="a WebSocket"),
        pytest.param("GET", {**PAGE, "upgrade": "websocket"}, id="a WebSocket without Fetch Metadata"),
        pytest.param("GET", {"accept": "text/event-stream"}, id="server-sent events"),
        pytest.param("GET", {"accept": "text/event-stream, text/html"}, id="server-sent events among others"),
        pytest.param("GET", {**NAVIGATE, "sec-fetch-dest": "iframe", "sec-fetch-site": "cross-site"}, id="a frame of another site"),
        pytest.param("GET", {**NAVIGATE, "sec-fetch-dest": "iframe", "sec-fetch-site": "none"}, id="a frame of nobody"),
        pytest.param("GET", {**NAVIGATE, "sec-fetch-dest": "object", "sec-fetch-site": "same-origin"}, id="an object element"),
        pytest.param("GET", {**NAVIGATE, "sec-fetch-dest": "embed", "sec-fetch-site": "same-origin"}, id="an embed element"),
        pytest.param("GET", {**PAGE, "sec-fetch-mode": "navigate"}, id="a navigation to nowhere"),
        pytest.param("GET", {**NAVIGATE, "sec-purpose": "prefetch"}, id="a prefetch"),
        pytest.param("GET", {**NAVIGATE, "sec-purpose": "prefetch;prerender"}, id="a prerender"),
        pytest.param("GET", {**NAVIGATE, "purpose": "prefetch"}, id="a prefetch of an older browser"),
    ],
)
def test_a_program_gets_a_plain_401(method, headers):
    assert not is_navigation(method, headers)
