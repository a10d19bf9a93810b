"""The gateway's own pages: escaped, without script, small, legible, with one way on."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.server.pages import PAGE_HEADERS, SIGN_OUT_PAGE_HEADERS, error_page, sign_out_page, signed_out_page

EVIL = """<script>alert('1')</script>"><img src=x onerror=alert(2)>&amp;{{ 7*7 }}"""


class Page(HTMLParser):
    """What a browser would make of a page: elements with their attributes, and the text of each."""

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if self._open:
            self.texts[self._open[-1]] = self.texts.get(self._open[-1], "") + data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def pages():
    return [
        pytest.param(error_page(title="No", text="It went no further.", code="x_y", way_on=("Go home", "/")), id="error"),
        pytest.param(error_page(title="No", text="It went no further.", code="x_y", way_on=None), id="error without a way on"),
        pytest.param(sign_out_page(action="/oauth2/sign_out", return_to="/a?b=c&d=e", name="Alice"), id="sign out"),
        pytest.param(sign_out_page(action="/oauth2/sign_out", return_to=None, name=None), id="sign out, nameless"),
        pytest.param(signed_out_page(way_on=("Sign in again", "/")), id="signed out"),
    ]


@pytest.mark.parametrize("page", pages())
def test_a_page_is_one_small_landmark_with_one_heading(page):
    seen = Page(page)
    assert page.startswith(b"<!doctype html>")
    assert len(page) < 6 * 1024
    assert seen.all("html") == [{"lang": "en"}]
    assert len(seen.all("main")) == 1
    assert len(seen.all("h1")) == 1
    assert seen.texts["title"] == seen.texts["h1"]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in seen.all("meta")


@pytest.mark.parametrize("page", pages())
def test_nothing_runs_and_nothing_comes_from_elsewhere(page):
    seen = Page(page)
    assert not {tag for tag, _ in seen.elements} & {"script", "img", "link", "iframe", "object", "embed", "base"}
    for _, attributes in seen.elements:
        assert not [name for name in attributes if name.startswith("on") or name in {"style", "src"}]
    assert "url(" not in seen.texts["style"]
    assert "@import" not in seen.texts["style"]


@pytest.mark.parametrize("page", pages())
def test_the_policy_names_the_stylesheet_that_the_page_carries(page):
    (style,) = re.findall(rb"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in PAGE_HEADERS["Content-Security-Policy"]


def test_headers_keep_pages_out_of_caches_frames_and_referers():
    policy = PAGE_HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "base-uri 'none'" in policy
    assert "form-action" not in policy
    assert "script-src" not in policy
    assert PAGE_HEADERS["Cache-Control"] == "no-store"
    assert PAGE_HEADERS["Referrer-Policy"] == "no-referrer"
    assert PAGE_HEADERS["X-Content-Type-Options"] == "nosniff"
    assert PAGE_HEADERS["X-Frame-Options"] == "DENY"
    assert {**PAGE_HEADERS, "Referrer-Policy": "same-origin"} == SIGN_OUT_PAGE_HEADERS


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(error_page(title=EVIL, text=EVIL, code=EVIL, way_on=(EVIL, "/" + EVIL)), id="error"),
        pytest.param(sign_out_page(action="/oauth2/sign_out", return_to="/" + EVIL, name=EVIL), id="sign out"),
        pytest.param(signed_out_page(way_on=(EVIL, "/" + EVIL)), id="signed out"),
    ],
)
def test_values_are_text_and_never_markup(page):
    seen = Page(page)
    assert b"<script" not in page
    assert not seen.all("img")
    assert not seen.all("script")
    assert any(EVIL in text for text in seen.texts.values())


@given(st.text(), st.text(), st.text())
def test_whatever_the_values_the_elements_stay_the_same(title, text, name):
    plain = [tag for tag, _ in Page(error_page(title="t", text="t", code="t", way_on=None)).elements]
    assert [tag for tag, _ in Page(error_page(title=title, text=text, code=text, way_on=None)).elements] == plain
    plain = [tag for tag, _ in Page(sign_out_page(action="/", return_to="/", name="n")).elements]
    assert [tag for tag, _ in Page(sign_out_page(action="/", return_to="/" + text, name=name or "n")).elements] == plain


@pytest.mark.parametrize(
    "href",
    [
        pytest.param("javascript:alert(1)", id="javascript"),
        pytest.param("JAVASCRIPT:alert(1)", id="javascript, loud"),
        pytest.param("data:text/html,x", id="data"),
        pytest.param("//evil.example/", id="another host"),
        pytest.param("/\\evil.example/", id="another host by a backslash"),
        pytest.param("oauth2/start", id="relative"),
    ],
)
def test_a_way_on_that_is_no_web_address_has_no_button(href):
    assert not Page(error_page(title="t", text="t", code="t", way_on=("On", href))).all("a")
    assert not Page(signed_out_page(way_on=("On", href))).all("a")
    assert [link["href"] for link in Page(sign_out_page(action="/o", return_to=href, name=None)).all("a")] == ["/"]


def test_the_way_on_is_one_button():
    seen = Page(error_page(title="t", text="t", code="login_expired", way_on=("Sign in", "/oauth2/start?rd=%2Fa&b=1")))
    assert seen.all("a") == [{"class": "button", "href": "/oauth2/start?rd=%2Fa&b=1"}]
    assert seen.texts["a"] == "Sign in"
    assert seen.texts["code"] == "login_expired"


def test_trying_again_names_no_address():
    assert Page(error_page(title="t", text="t", code="c", way_on=("Try again", ""))).all("a") == [{"class": "button", "href": ""}]
    assert Page(sign_out_page(action="/o", return_to="", name=None)).all("a") == [{"class": "plain", "href": "/"}]


def test_signing_out_posts_where_to_come_back_to():
    seen = Page(sign_out_page(action="/oauth2/sign_out", return_to="/a?b=c&d=e", name="Alice <a@example.org>"))
    assert seen.all("form") == [{"method": "post", "action": "/oauth2/sign_out"}]
    assert seen.all("input") == [{"type": "hidden", "name": "rd", "value": "/a?b=c&d=e"}]
    assert seen.texts["strong"] == "Alice <a@example.org>"
    assert len(seen.all("button")) == 1
    assert not Page(sign_out_page(action="/oauth2/sign_out", return_to=None, name=None)).all("input")


def luminance(colour):
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [pytest.param(0, id="light"), pytest.param(1, id="dark")])
@pytest.mark.parametrize(
    ("ink", "ground"),
    [("ink", "card"), ("quiet", "card"), ("accent", "card"), ("on-accent", "accent")],
)
def test_text_has_the_contrast_of_wcag_aa(scheme, ink, ground):
    style = Page(signed_out_page(way_on=("Home", "/"))).texts["style"]
    palette = dict(re.findall(r"--([a-z-]+):(#[0-9a-f]{6})", re.findall(r":root\{(.*?)\}", style)[scheme]))
    assert contrast(palette[ink], palette[ground]) >= 4.5
