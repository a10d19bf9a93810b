"""The demo as a newcomer meets it: ``gateway demo``, a browser, alice."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import pytest
from playwright.async_api import expect

from tests.support.browser import chromium
from tests.support.demo_process import demo_process
from tests.support.leaks import sweep

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from playwright.async_api import BrowserContext, Page, Request

    from tests.support.demo_process import DemoProcess

pytestmark = pytest.mark.browser

DEEP_LINK = "/orders/2026/november?sort=due&view=open%20items&q=a%2Fb"
SECRET_PARAMETERS = {"code", "state", "nonce", "id_token_hint", "code_challenge"}


class Visitor:
    """One browser profile: what it asked for, what its console said, and the secrets that passed through its address bar."""

    def __init__(self, demo: DemoProcess, context: BrowserContext) -> None:
        self.demo, self.context = demo, context
        self.secrets: dict[str, str] = {}
        self.console: list[str] = []
        context.on("request", self._note)
        context.on("console", lambda message: self.console.append(message.text))
        context.on("weberror", lambda error: self.console.append(str(error.error)))

    def _note(self, request: Request) -> None:
        for name, value in parse_qsl(urlsplit(request.url).query):
            if name in SECRET_PARAMETERS:
                self.secrets[value] = name
                sweep.secret(value, name)

    async def open(self, path: str) -> Page:
        page = await self.context.new_page()
        await page.goto(self.demo.url + path)
        return page

    async def sign_in(self, path: str = "/", who: str = "Alice Arden") -> Page:
        """Open a page behind the gateway and choose somebody on the provider's page."""
        page = await self.open(path)
        assert page.url.startswith(self.demo.provider + "/oauth2/authorize?")
        await page.get_by_role("button", name=who).click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("Hello")
        return page

    async def sign_out(self, page: Page) -> None:
        """By the app's link, the gateway's button and the provider's button, to the page that says so."""
        await page.get_by_role("navigation").get_by_role("link", name="Sign out").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Sign out?")
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Sign out here too?")
        assert page.url.startswith(self.demo.provider)
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("You are signed out")
        assert page.url.startswith(self.demo.url + "/oauth2/signed_out")

    async def cookies(self) -> dict[str, dict]:
        return {cookie["name"]: cookie for cookie in await self.context.cookies()}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoProcess]:
    with demo_process(tmp_path_factory.mktemp("demo")) as running:
        yield running


@pytest.fixture
async def visitor(request: pytest.FixtureRequest) -> AsyncIterator[Visitor]:
    async with chromium() as browser:
        # After the browser was found: where it is missing, no demo has to start.
        demo = request.getfixturevalue("demo")
        context = await browser.new_context(viewport={"width": 1100, "height": 900})
        context.set_default_timeout(20_000)
        yield Visitor(demo, context)
        await context.close()


def received(name: str, value: str) -> re.Pattern[str]:
    """A row of the app's table of headers."""
    return re.compile(rf"^{re.escape(name)} from the gateway\s*{re.escape(value)}$")


async def test_a_deep_link_leads_through_the_provider_to_exactly_that_address(visitor: Visitor) -> None:
    page = await visitor.sign_in(DEEP_LINK)

    assert page.url == visitor.demo.url + DEEP_LINK
    await expect(page.get_by_role("heading", level=1)).to_have_text("Hello, alice.")
    rows = page.get_by_role("row")
    for name, value in (
        ("X-Forwarded-User", "alice"),
        ("X-Forwarded-Email", "alice@example.org"),
        ("X-Forwarded-Groups", "staff,admins"),
        ("X-Forwarded-Preferred-Username", "alice"),
    ):
        await expect(rows.filter(has_text=received(name, value))).to_have_count(1)
    await expect(page.locator(".line")).to_have_text(f"GET {DEEP_LINK}")


async def test_the_app_sees_neither_the_cookie_nor_a_token(visitor: Visitor) -> None:
    page = await visitor.sign_in()
    names = await page.get_by_role("rowheader").all_inner_texts()
    assert not [name for name in names if name.lower().startswith(("cookie", "authorization"))]
    assert not [name for name in names if "token" in name.lower()]


async def test_a_form_and_a_websocket_pass(visitor: Visitor) -> None:
    page = await visitor.sign_in()
    await page.get_by_label("A message to echo").fill("über the wire")
    await page.get_by_role("button", name="Send a message").click()
    await expect(page.locator("#socket-out")).to_have_text("Connected as alice.\nEcho: über the wire")
    await page.get_by_label("A note for the app").fill("two & two = <four>")
    await page.get_by_role("button", name="Send the form").click()
    await expect(page.get_by_role("region", name="The form arrived")).to_contain_text("two & two = <four>")
    await expect(page.locator(".line")).to_have_text("POST /notes")
    assert visitor.console == []


async def test_userinfo_tells_who_and_until_when_and_no_token(visitor: Visitor) -> None:
    page = await visitor.sign_in()
    await page.get_by_role("link", name="Open userinfo").click()
    told = json.loads(await page.inner_text("body"))
    assert told["user"] == "alice"
    assert told["email"] == "alice@example.org"
    assert told["groups"] == ["staff", "admins"]
    assert set(told) == {"issuer", "user", "email", "groups", "preferred_username", "session"}


async def test_scripts_can_read_nothing_that_is_secret(visitor: Visitor) -> None:
    page = await visitor.sign_in(DEEP_LINK)
    readable = await page.evaluate("() => [document.cookie, {...localStorage}, {...sessionStorage}]")
    assert readable == ["", {}, {}]
    cookies = await visitor.cookies()
    assert list(cookies) == [f"gateway-{visitor.demo.port}"]
    (session,) = cookies.values()
    assert (session["httpOnly"], session["sameSite"], session["path"]) == (True, "Lax", "/")
    sweep.secret(session["value"], "session cookie")
    assert {"code", "state", "nonce"} <= set(visitor.secrets.values())
    for shown in (page, await visitor.open("/oauth2/userinfo"), await visitor.open("/oauth2/sign_out"), await visitor.open("/public/")):
        content = await shown.content()
        sweep.output(content, f"page {urlsplit(shown.url).path}")
        assert session["value"] not in content
        assert not [name for value, name in visitor.secrets.items() if value in content]
        assert "eyJ" not in content, "nothing that looks like a JWT"


async def test_after_signing_out_scripts_get_401_and_the_old_cookie_is_worth_nothing(visitor: Visitor) -> None:
    page = await visitor.sign_in()
    (old,) = (await visitor.cookies()).values()
    await page.get_by_role("button", name="Ask who I am").click()
    await expect(page.locator("#ask-out")).to_have_text('200: {"user": "alice", "groups": ["staff", "admins"]}')

    await visitor.sign_out(await visitor.open("/"))

    assert await visitor.cookies() == {}
    await page.get_by_role("button", name="Ask who I am").click()
    await expect(page.locator("#ask-out")).to_contain_text("401: signed out.")
    await page.get_by_role("button", name="Send a message").click()
    await expect(page.locator("#socket-out")).to_have_text("Refused: you are signed out.")
    await visitor.context.add_cookies([old])
    page = await visitor.open(DEEP_LINK)
    assert page.url.startswith(visitor.demo.provider), "the old cookie signs nobody in"


async def test_after_signing_out_somebody_else_can_sign_in(visitor: Visitor) -> None:
    page = await visitor.sign_in()
    await visitor.sign_out(page)
    await page.get_by_role("link", name="Sign in again").click()
    await page.get_by_role("button", name="Bob Bell").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Hello, bob.")


async def test_cancelling_ends_at_one_page_with_one_way_on(visitor: Visitor) -> None:
    page = await visitor.open(DEEP_LINK)
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.get_by_text("login_denied")).to_be_visible()
    assert page.url.startswith(visitor.demo.url + "/oauth2/callback?")
    assert f"gateway-{visitor.demo.port}" not in await visitor.cookies()
    await page.get_by_role("link").click()
    await page.get_by_role("button", name="Alice Arden").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Hello, alice.")


async def test_the_public_page_knows_nobody_even_while_signed_in(visitor: Visitor) -> None:
    page = await visitor.sign_in()
    await page.get_by_role("link", name="Public page").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Anybody may read this.")
    await expect(page.get_by_text("from the gateway")).to_have_count(0)


async def test_localhost_is_another_origin_with_a_session_of_its_own(visitor: Visitor) -> None:
    await visitor.sign_in()
    page = await visitor.context.new_page()
    await page.goto(f"http://localhost:{visitor.demo.port}/")
    await page.get_by_role("button", name="Bob Bell").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Hello, bob.")
    assert urlsplit(page.url).hostname == "localhost"


async def test_signing_in_takes_no_mouse(visitor: Visitor) -> None:
    page = await visitor.open(DEEP_LINK)
    await expect(page.get_by_role("button", name="Alice Arden")).to_be_focused()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Bob Bell")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Hello, bob.")
    assert page.url == visitor.demo.url + DEEP_LINK
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the page")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("main")).to_be_focused()


UNLABELLED = """() => [...document.querySelectorAll('input:not([type=hidden]), button, a, select, textarea')]
    .filter(one => !(one.labels?.length || one.textContent.trim() || one.getAttribute('aria-label')))
    .map(one => one.outerHTML)"""
UNFOCUSABLE = """() => [...document.querySelectorAll('input:not([type=hidden]), button, a[href]')]
    .filter(one => { one.focus(); return document.activeElement !== one; }).map(one => one.outerHTML)"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_keeps_the_basics_of_accessibility(visitor: Visitor, scheme: str) -> None:
    provider = await visitor.open("/")
    pages = {"provider": provider}
    pages["app"] = await visitor.sign_in(DEEP_LINK)
    pages["public"] = await visitor.open("/public/")
    pages["sign out"] = await visitor.open("/oauth2/sign_out")
    pages["signed out"] = await visitor.open("/oauth2/signed_out")
    pages["refused"] = await visitor.open("/oauth2/callback?code=a-code&state=a-state")
    pages["not canonical"] = await visitor.open("/a%2F..%2Fb")
    for name, page in pages.items():
        await page.emulate_media(color_scheme=scheme)
        await page.set_viewport_size({"width": 320, "height": 640})
        assert await page.get_attribute("html", "lang") == "en", name
        assert await page.title(), name
        assert await page.get_by_role("heading", level=1).count() == 1, name
        assert await page.get_by_role("main").count() == 1, name
        assert await page.evaluate(UNLABELLED) == [], name
        assert await page.evaluate(UNFOCUSABLE) == [], name
        assert await page.evaluate("document.documentElement.scrollWidth") <= 320, name
    assert not [line for line in visitor.console if "Content Security Policy" in line]


async def test_the_demo_prints_what_to_open_and_stays_on_loopback(demo: DemoProcess) -> None:
    assert f"Open       {demo.url}/" in demo.printed
    assert demo.provider in demo.printed
    assert not re.findall(r"https?://(?!127\.0\.0\.1)", demo.printed)
