"""CK: a cookie that was changed, planted, doubled, hidden or taken from elsewhere never makes anybody somebody else."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.support.gateway_process import new_key_file
from tests.support.hostile_house import (
    CALLBACK,
    HOST,
    LOGIN,
    PATIENCE,
    PUBLIC,
    SESSION,
    SIGN_OUT,
    START,
    HostileProvider,
    every_row_has_its_place,
    hostile_house,
)
from tests.support.mirror_app import values
from tests.support.redis_servers import redis_server
from tests.support.user_agent import FETCH, NAVIGATION, Answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.support.hostile_house import Edge, House

pytestmark = pytest.mark.asyncio(loop_scope="module")

SAME_ORIGIN_POST = NAVIGATION | {"Origin": PUBLIC, "Sec-Fetch-Site": "same-origin"}

NOT_YET = {
    "CK-20": "SameSite is Lax and no key of the configuration says otherwise",
}


async def is_nobody(house: House, cookies: str | bytes | list[bytes]) -> None:
    """401 for an API caller with these cookies, the one for everybody who is not signed in, and no byte upstream."""
    reached = len(house.app.requests)
    answer = await house.whoami(cookies)
    assert isinstance(answer, Answer), f"taken for {answer}"
    assert answer.status == 401
    assert json.loads(answer.body)["error"] == "login_required"
    assert len([line for line in answer.all("Set-Cookie") if line.startswith(SESSION + "=")]) <= 1
    assert len(house.app.requests) == reached


def _bytes(value: str) -> bytearray:
    return bytearray(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)))


def _flipped(at: int) -> Callable[[str], str]:
    def flip(value: str) -> str:
        blob = _bytes(value)
        blob[at] ^= 1
        return base64.urlsafe_b64encode(blob).rstrip(b"=").decode()

    return flip


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(_flipped(0), id="CK-01 version byte"),
        pytest.param(_flipped(1), id="CK-01 key id"),
        pytest.param(_flipped(4), id="CK-01 end of the key id"),
        pytest.param(_flipped(5), id="CK-01 nonce"),
        pytest.param(_flipped(21), id="CK-01 first byte of the ciphertext"),
        pytest.param(_flipped(-16), id="CK-01 first byte of the tag"),
        pytest.param(_flipped(-1), id="CK-01 last byte of the tag"),
        pytest.param(lambda value: ("B" if value[0] == "A" else "A") + value[1:], id="CK-01 first character"),
        pytest.param(lambda value: value[:-1] + ("B" if value[-1] == "A" else "A"), id="CK-01 last character"),
        pytest.param(lambda value: value[:-1], id="CK-01 one character short"),
        pytest.param(lambda value: value[1:], id="CK-01 first character gone"),
        pytest.param(lambda value: value * 2, id="CK-01 doubled"),
        pytest.param(lambda value: value[len(value) // 2 :] + value[: len(value) // 2], id="CK-01 halves swapped"),
        pytest.param(lambda value: value + "=", id="CK-01 padded"),
        pytest.param(lambda value: value + "A", id="CK-01 one character more"),
        pytest.param(lambda value: value.swapcase(), id="CK-01 case swapped"),
        pytest.param(lambda _: "", id="CK-01 empty"),
        pytest.param(lambda _: "A" * 3000, id="CK-01 3000 characters"),
    ],
)
async def test_a_changed_session_cookie_is_nobody(house: House, browser: Edge, damage: Callable[[str], str]) -> None:
    good = await house.signed_in(browser)
    damaged = damage(good)
    assert damaged != good

    await is_nobody(house, f"{SESSION}={damaged}")
    navigation = await browser.ask(f"{PUBLIC}/page", headers=NAVIGATION | {"Cookie": f"{SESSION}={damaged}"})
    assert navigation.status == 303
    assert (navigation.location or "").startswith(house.provider.issuer + "/authorize?")
    assert house.app.requests == []
    assert await house.whoami(f"{SESSION}={good}") == "alice-sub"


async def test_a_cookie_of_one_purpose_is_none_of_another(house: House, browser: Edge) -> None:
    """CK-02: a login cookie as a session, a session cookie as a login, and both under the names of others."""
    callback = await house.to_callback(browser)
    ((login_name, login),) = browser.jar.items()
    async with house.browser() as other:
        session = await house.signed_in(other)

    await is_nobody(house, f"{SESSION}={login}")
    browser.jar = {login_name: session}
    asked = len(house.provider.token_requests)
    assert (await browser.ask(callback)).status == 400
    assert len(house.provider.token_requests) == asked
    # Sealed to its own name: under another login's name it opens nothing either.
    second = await house.to_callback(browser)
    browser.jar = {browser.logins[-1]: login}
    assert (await browser.ask(second)).status == 400
    assert len(house.provider.token_requests) == asked


async def test_a_cookie_of_another_environment_is_nobody(house: House, browser: Edge, tmp_path: Path) -> None:
    """CK-02: the same names, the same store, another key; and the same key, the same store, another origin."""
    ours = await house.signed_in(browser)
    async with hostile_house(tmp_path / "b", provider=house.provider, store=house.store) as staging, staging.browser() as there:
        theirs = await staging.signed_in(there)
        await is_nobody(house, f"{SESSION}={theirs}")
        await is_nobody(staging, f"{SESSION}={ours}")
    key = house.gateway.config.parent / "session_key"
    async with (
        hostile_house(tmp_path / "c", public="https://b.example", provider=house.provider, store=house.store, key_files=[key]) as sibling,
        sibling.browser() as there,
    ):
        theirs = await sibling.signed_in(there)
        await is_nobody(house, f"{SESSION}={theirs}")
        await is_nobody(sibling, f"{SESSION}={ours}")
        assert await house.whoami(f"{SESSION}={ours}") == "alice-sub"
        assert await sibling.whoami(f"{SESSION}={theirs}") == "alice-sub"


async def test_a_cookie_from_before_a_sign_out_is_nobody(house: House, browser: Edge) -> None:
    """CK-04: here, through the provider, and with a request in flight."""
    captured = await house.signed_in(browser)
    requests = [asyncio.create_task(house.whoami(f"{SESSION}={captured}")) for _ in range(10)]
    answer = await browser.ask(SIGN_OUT, method="POST", headers=SAME_ORIGIN_POST)
    assert answer.status == 303
    assert SESSION not in browser.jar
    await asyncio.gather(*requests)

    await is_nobody(house, f"{SESSION}={captured}")
    assert await house.sessions() == set()
    await browser.open(answer.location or "")
    await is_nobody(house, f"{SESSION}={captured}")


async def test_a_planted_session_does_not_become_the_victims(house: House, browser: Edge) -> None:
    """CK-05: fixation. The attacker's own session is planted, the victim signs in over it."""
    async with house.browser() as attacker:
        planted = await house.signed_in(attacker, "bob")
    browser.jar[SESSION] = planted
    house.provider.login_as = "alice"
    answer = await browser.open(f"{START}?rd=/page")

    assert values(json.loads(answer.body)["headers"], "X-Forwarded-User") == ["alice-sub"]
    assert browser.jar[SESSION] != planted
    await is_nobody(house, f"{SESSION}={planted}")
    assert len({key for key in await house.sessions() if ":s:" in key}) == 1


async def test_a_planted_value_is_never_taken_as_an_id(house: House, browser: Edge) -> None:
    """CK-05: a value of the attacker's choosing, before the login."""
    browser.jar[SESSION] = planted = "A" * 135
    await house.signed_in(browser)

    assert browser.jar[SESSION] != planted
    await is_nobody(house, f"{SESSION}={planted}")


async def test_a_session_id_is_new_at_every_login_and_the_old_one_ends(house: House, browser: Edge) -> None:
    """CK-05: signing in again as oneself."""
    seen = [await house.signed_in(browser)]
    for _ in range(3):
        await browser.open(f"{START}?rd=/page")
        seen.append(browser.jar[SESSION])

    assert len(set(seen)) == 4
    for old in seen[:-1]:
        await is_nobody(house, f"{SESSION}={old}")
    assert await house.whoami(f"{SESSION}={seen[-1]}") == "alice-sub"


async def test_of_two_sessions_neither_is_taken(house: House) -> None:
    """CK-07: and a value that opens nothing takes nothing from one that does, in either order."""
    async with house.browser() as one, house.browser() as two:
        alice, bob = await house.signed_in(one), await house.signed_in(two, "bob")
    bad = alice[:-4] + "AAAA"

    for first, second in ((alice, bob), (bob, alice)):
        await is_nobody(house, f"{SESSION}={first}; {SESSION}={second}")
        await is_nobody(house, [f"{SESSION}={first}".encode(), f"{SESSION}={second}".encode()])
    for pair in ((bad, alice), (alice, bad), (alice, alice), ("", alice), (alice, "")):
        assert await house.whoami(f"{SESSION}={pair[0]}; {SESSION}={pair[1]}") == "alice-sub"
    await is_nobody(house, "; ".join([*(f"{SESSION}={n}" for n in range(50)), f"{SESSION}={bad}"]))


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(["a=1", "{S}"], id="CK-08 in the second line"),
        pytest.param(["{S}", "a=1"], id="CK-08 in the first of two"),
        pytest.param(["a=1", "b=2; c=3", "{S}"], id="CK-08 in the third line"),
        pytest.param(["a=1; b=2", "c=3; {S}; d=4", "e=5"], id="CK-08 in the middle of the second"),
        pytest.param(["", "{S}"], id="CK-08 after an empty line"),
    ],
)
async def test_every_cookie_line_is_read(house: House, browser: Edge, lines: list[str]) -> None:
    good = await house.signed_in(browser)

    sent = [line.replace("{S}", f"{SESSION}={good}").encode() for line in lines]
    assert await house.whoami(sent) == "alice-sub"


async def test_without_the_prefix_a_planted_cookie_is_noticed(house: House, tmp_path: Path) -> None:
    """CK-10, CK-22: on plain http the name is free for siblings; a second live session is nobody, an unreadable one changes nothing."""
    async with (
        hostile_house(
            tmp_path,
            public="http://app.example",
            provider=house.provider,
            store=house.store,
            server={"insecure_http": "allowed"},
        ) as plain,
        plain.browser() as one,
        plain.browser() as two,
    ):
        alice, bob = await plain.signed_in(one), await plain.signed_in(two, "bob")
        assert set(one.jar) == {"gateway"}
        assert await plain.whoami(f"gateway={alice}") == "alice-sub"
        assert await plain.whoami(f"gateway=x; gateway={alice}") == "alice-sub"
        for cookies in (f"gateway={alice}; gateway={bob}", f"gateway={bob}; gateway={alice}", f"{SESSION}={alice}"):
            answer = await plain.whoami(cookies)
            assert isinstance(answer, Answer)
            assert answer.status == 401


async def test_a_cookie_bomb_breaks_nothing(house: House, browser: Edge) -> None:
    """CK-11: 60 cookies of 4 KB, as a sibling subdomain can set them; in one line and in many; and a jar just within the bounds."""
    bomb = "; ".join(f"bomb{number}={'x' * 4000}" for number in range(60))
    many = "\r\nCookie: ".join(f"a{number}=1" for number in range(300))
    for cookies in (bomb, many):
        answer = await house.raw(f"GET /page HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookies}\r\nConnection: close\r\n\r\n".encode())
        assert 400 <= answer.status < 500
        await house.nobody_got_in(answer)
        assert "Traceback" not in answer.text
    good = await house.signed_in(browser)
    within = "; ".join(f"bomb{number}={'x' * 700}" for number in range(10))
    assert await house.whoami(f"{within}; {SESSION}={good}") == "alice-sub"


SPACES = "\u0085\u00a0\u1680\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"


@pytest.mark.parametrize("space", [pytest.param(space, id=f"CK-13 U+{ord(space):04X}") for space in SPACES])
@pytest.mark.parametrize("where", ["before", "behind", "around"])
async def test_only_our_very_name_is_our_cookie(house: House, space: str, where: str) -> None:
    async with house.browser() as one, house.browser() as two:
        alice, bob = await house.signed_in(one), await house.signed_in(two, "bob")
    name = {"before": space + SESSION, "behind": SESSION + space, "around": space + SESSION + space}[where]

    assert await house.whoami(f"{SESSION}={alice}; {name}={bob}") == "alice-sub"
    assert await house.whoami(f"{name}={bob}; {SESSION}={alice}") == "alice-sub"
    await is_nobody(house, f"{name}={bob}")


@pytest.mark.parametrize(
    "planted",
    [
        pytest.param("{S} ={E}", id="CK-14 space behind the name"),
        pytest.param("{S}\t={E}", id="CK-14 tab behind the name"),
        pytest.param("{S}", id="CK-14 no equals sign"),
        pytest.param("={S}={E}", id="CK-14 no name"),
        pytest.param('"{S}"={E}', id="CK-14 name in quotes"),
        pytest.param("$Path=/; $Domain=app.example", id="CK-14 attributes of RFC 2965"),
        pytest.param("__host-gateway={E}", id="CK-14 lower case"),
        pytest.param("__HOST-GATEWAY={E}", id="CK-14 upper case"),
        pytest.param("{S}-login={E}", id="CK-14 longer name"),
        pytest.param('a="x', id="CK-16 a quote that is not closed"),
        pytest.param('a="x; {E}"', id="CK-16 a quoted semicolon"),
        pytest.param("a=1,{S}={E}", id="CK-16 comma"),
        pytest.param("a=1\\; {S}x={E}", id="CK-16 backslash"),
    ],
)
async def test_what_stands_beside_our_cookie_changes_nothing(house: House, planted: str) -> None:
    async with house.browser() as one, house.browser() as two:
        alice, bob = await house.signed_in(one), await house.signed_in(two, "bob")
    beside = planted.replace("{S}", SESSION).replace("{E}", bob)

    assert await house.whoami(f"{SESSION}={alice}; {beside}") == "alice-sub"
    assert await house.whoami(f"{beside}; {SESSION}={alice}") == "alice-sub"
    await is_nobody(house, beside)


async def test_a_value_of_ours_is_never_unquoted_or_decoded(house: House, browser: Edge) -> None:
    """CK-16: neither octal escapes nor percent escapes nor quotes."""
    good = await house.signed_in(browser)
    octal = "".join(f"\\{ord(character):03o}" for character in good)
    percent = "".join(f"%{ord(character):02X}" for character in good)
    for written in (f'"{octal}"', octal, percent, f'"{good}"', f"%{ord(good[0]):02X}{good[1:]}"):
        await is_nobody(house, f"{SESSION}={written}")


@pytest.mark.parametrize(
    "byte",
    [
        pytest.param(b"\0", id="CK-17 NUL"),
        pytest.param(b"\x01", id="CK-17 a control character"),
        pytest.param(b"\x7f", id="CK-17 DEL"),
        pytest.param(b"\x1b", id="CK-17 escape"),
        pytest.param(b"\xff", id="CK-17 no UTF-8"),
        pytest.param(b"\xc3", id="CK-17 half a character"),
    ],
)
@pytest.mark.parametrize("path", ["/page", "/open/page", "/oauth2/userinfo", "/oauth2/start", "/oauth2/callback?code=a&state=b"])
async def test_a_cookie_line_that_is_none_is_refused(house: House, browser: Edge, byte: bytes, path: str) -> None:
    good = await house.signed_in(browser)

    head = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nAccept: text/html\r\nConnection: close\r\n".encode()
    answer = await house.raw(head + f"Cookie: a=x; {SESSION}={good}; b=".encode() + byte + b"z\r\n\r\n")

    assert answer.status == 400
    assert answer.all("Set-Cookie") == []
    assert house.app.requests == []


async def test_keys_are_turned_over_without_signing_anybody_out(house: House, tmp_path: Path) -> None:
    """CK-19: the old key opens while it is listed, two replicas in different order agree, and after its removal it opens nothing."""
    old, new = new_key_file(tmp_path, "old"), new_key_file(tmp_path, "new")
    async with (
        hostile_house(tmp_path / "one", provider=house.provider, store=house.store, key_files=[old]) as one,
        hostile_house(tmp_path / "two", provider=house.provider, store=house.store, key_files=[new, old]) as two,
        one.browser() as early,
        two.browser() as late,
        one.browser() as between,
    ):
        before = await one.signed_in(early)
        callback = await one.to_callback(between)
        text = one.gateway.config.read_text()
        await _with_keys(one, text, [old, new], times=1)
        after = await two.signed_in(late, "bob")
        for replica in (one, two):
            assert await replica.whoami(f"{SESSION}={before}") == "alice-sub"
            assert await replica.whoami(f"{SESSION}={after}") == "bob-sub"
        # A login in flight outlives the change too.
        assert (await between.ask(callback)).location == f"{PUBLIC}/page"

        await _with_keys(one, text, [new], times=2)
        await is_nobody(one, f"{SESSION}={before}")
        assert await one.whoami(f"{SESSION}={after}") == "bob-sub"

        # Whose key is gone signs in anew, once, and is in.
        early.jar = {SESSION: before}
        house.provider.login_as = "alice"
        answer = await early.open(f"{PUBLIC}/page")
        assert (answer.status, values(json.loads(answer.body)["headers"], "X-Forwarded-User")) == (200, ["alice-sub"])
        assert await one.whoami(f"{SESSION}={early.jar[SESSION]}") == "alice-sub"


@asynccontextmanager
async def _turned_over(folder: Path, **running: Any) -> AsyncIterator[tuple[House, Edge, str]]:
    """A gateway whose newest key is not the one that sealed the browser's session cookie; and that cookie."""
    folder.mkdir(exist_ok=True)
    old, new = new_key_file(folder, "old"), new_key_file(folder, "new")
    async with (
        hostile_house(folder / "before", key_files=[old], **running) as before,
        before.browser() as one,
    ):
        cookie = await before.signed_in(one)
    async with (
        hostile_house(folder / "after", key_files=[new, old], **running) as after,
        after.browser() as browser,
    ):
        browser.jar = {SESSION: cookie}
        # Of what it is not told it gives nothing out.
        await after.hears("tracking.up")
        yield after, browser, cookie


async def given_again(browser: Edge, path: str = "/page") -> Answer:
    """The first answer with a session cookie, once its session is listed under the newest key."""
    async with asyncio.timeout(PATIENCE):
        while not (answer := await browser.ask(f"{PUBLIC}{path}")).all("Set-Cookie"):
            assert answer.status == 200
            await asyncio.sleep(0.02)
    return answer


async def test_a_cookie_under_an_older_key_is_given_out_again(house: House, tmp_path: Path) -> None:
    """CK-19: with a page, under the newest key, for the same session; both are good, and of it the store keeps what it kept."""
    async with _turned_over(tmp_path / "turned", provider=house.provider, store=house.store) as (one, browser, old):
        stored = await house.dump()
        answer = await given_again(browser)
        assert answer.status == 200
        assert answer.header("Cache-Control") == "private"
        (line,) = answer.all("Set-Cookie")
        assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} == set(line.split("; ")[1:])
        new = browser.jar[SESSION]
        assert (len(new), new[:8] == old[:8]) == (len(old), False)
        now = await house.dump()
        same, anew = {key for key in stored if now[key] == stored[key]}, set(now) - set(stored)
        assert {key[:10] for key in set(stored) - same} == {b"gateway:c:"}, "its card"
        assert {key[:10] for key in anew} == {b"gateway:x:"}, "what lists it"

        # What was under way with the old one goes on, at once and later; the new one stays as it is.
        for cookies in (f"{SESSION}={old}", f"{SESSION}={new}", f"{SESSION}={old}; {SESSION}={new}"):
            assert await one.whoami(cookies) == "alice-sub"
        for path in ("/page", "/open/page", "/oauth2/userinfo", "/oauth2/sign_out"):
            assert (await browser.ask(PUBLIC + path)).all("Set-Cookie") == []
        # The old one ends with its session, as the new one does.
        assert (await browser.ask(SIGN_OUT, method="POST", headers=SAME_ORIGIN_POST)).status == 303
        await is_nobody(one, f"{SESSION}={old}")
        await is_nobody(one, f"{SESSION}={new}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def turned_over(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[House, Edge, str]]:
    """With a store of its own, which nobody empties, and its session listed under the newest key."""
    async with (
        HostileProvider() as provider,
        redis_server() as store,
        _turned_over(tmp_path_factory.mktemp("turned"), provider=provider, store=store) as turned,
    ):
        await given_again(turned[1], "/oauth2/userinfo")
        yield turned


@pytest.mark.parametrize(
    ("path", "headers", "again"),
    [
        pytest.param("/open/page", NAVIGATION, True, id="CK-19 a page for everybody"),
        pytest.param("/oauth2/userinfo", FETCH, True, id="CK-19 userinfo"),
        pytest.param("/oauth2/userinfo?extend=false", FETCH, True, id="CK-19 userinfo that is no use"),
        pytest.param("/oauth2/sign_out", NAVIGATION, True, id="CK-19 the question before a sign-out"),
        pytest.param("/page", FETCH, False, id="CK-19 a fetch"),
        pytest.param("/page", {"Accept": "image/*", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, False, id="CK-19 an image"),
        pytest.param("/page", NAVIGATION | {"Sec-Purpose": "prefetch"}, False, id="CK-19 a prefetch"),
        pytest.param("/public/page", NAVIGATION, False, id="CK-19 a public page, whose reader nobody looks at"),
    ],
)
async def test_what_a_cookie_is_given_out_with(
    turned_over: tuple[House, Edge, str], path: str, headers: dict[str, str], again: bool
) -> None:
    one, browser, old = turned_over
    browser.jar = {SESSION: old}
    answer = await browser.ask(PUBLIC + path, headers=headers)
    assert answer.status == 200
    assert bool(answer.all("Set-Cookie")) is again
    assert (browser.jar[SESSION] != old) is again
    assert await one.whoami(f"{SESSION}={browser.jar[SESSION]}") == "alice-sub"


async def test_a_session_that_ended_meanwhile_does_not_come_back_with_a_slow_page(house: House, tmp_path: Path) -> None:
    """CK-19: the page was asked for with the old cookie, and another tab has signed in anew before it is there."""
    async with _turned_over(tmp_path / "turned", provider=house.provider, store=house.store) as (one, browser, old), one.browser() as tab:
        tab.jar = {SESSION: old}
        await given_again(tab)
        one.app.held = asyncio.Event()
        page = asyncio.create_task(browser.ask(f"{PUBLIC}/slow"))
        async with asyncio.timeout(PATIENCE):
            while ("GET", "/slow") not in one.app.requests:
                await asyncio.sleep(0.01)
        tab.jar = {SESSION: old}
        callback = (await tab.until(f"{START}?rd=/page", CALLBACK)).location
        assert callback is not None
        assert (await tab.ask(callback)).status == 303
        assert tab.jar[SESSION] != old
        one.app.held.set()
        answer = await page
        assert answer.status == 200
        assert answer.all("Set-Cookie") == []
        assert await one.whoami(f"{SESSION}={tab.jar[SESSION]}") == "alice-sub"


async def _with_keys(house: House, text: str, keys: list[Path], *, times: int) -> None:
    written = "".join(f"  - file: {key}\n" for key in keys)
    house.gateway.config.write_text(re.sub(r"(?<=  keys:\n)(  - file: .*\n)+", written, text))
    house.gateway.hang_up()
    async with asyncio.timeout(PATIENCE):
        while len(house.logged("secrets.reloaded")) < times:
            await asyncio.sleep(0.02)


async def test_on_https_the_cookie_is_secure_though_the_listener_is_not(house: House, browser: Edge) -> None:
    """CK-22: what the terminator speaks counts."""
    answer = await house.sign_in(browser)

    (line,) = [line for line in answer.all("Set-Cookie") if line.startswith(SESSION + "=")]
    assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(line.split("; "))


async def test_plain_http_beyond_this_machine_is_refused_at_the_start(house: House, tmp_path: Path) -> None:
    """CK-22: unless the operator wrote that it is allowed."""
    with pytest.raises(AssertionError, match="gateway ended with 2"):
        async with hostile_house(tmp_path, public="http://app.example", provider=house.provider, store=house.store):
            pass


async def test_idleness_is_judged_by_us(house: House, browser: Edge) -> None:
    """CK-23: the store keeps everything for ever, and yet a session that nobody used for its idle time is over."""
    good = await house.signed_in(browser)
    (key,) = [key for key in await house.keys() if ":i:" in key]
    for stored in await house.keys():
        await house.redis.persist(stored)
    idle = 30 * 60 * 1000
    await house.redis.set(key, int(time.time() * 1000) - idle + 60_000)
    assert await house.whoami(f"{SESSION}={good}") == "alice-sub"
    await house.redis.set(key, int(time.time() * 1000) - idle)
    # The gateway knows better of a session that was used through it. The record is written anew, so that it asks again.
    record = key.replace(":i:", ":s:")
    await house.redis.set(record, await house.redis.get(record))
    async with asyncio.timeout(PATIENCE):
        while await house.whoami(f"{SESSION}={good}") == "alice-sub":
            await asyncio.sleep(0.02)
    await is_nobody(house, f"{SESSION}={good}")
    # And what is over is not brought back by using it.
    await is_nobody(house, f"{SESSION}={good}")


async def test_the_lifetime_is_judged_by_us(house: House, tmp_path: Path) -> None:
    """CK-23: used all the time, kept by the store for ever, and over at the end all the same."""
    async with (
        hostile_house(tmp_path, provider=house.provider, store=house.store, session={"lifetime": "2s", "idle": "2s"}) as short,
        short.browser() as browser,
    ):
        good = await short.signed_in(browser)
        for stored in await short.keys():
            await short.redis.persist(stored)
        assert await short.whoami(f"{SESSION}={good}") == "alice-sub"
        async with asyncio.timeout(PATIENCE):
            while await short.whoami(f"{SESSION}={good}") == "alice-sub":
                await asyncio.sleep(0.1)
        for stored in await short.keys():
            await short.redis.persist(stored)
        await is_nobody(short, f"{SESSION}={good}")


async def test_a_dump_of_the_store_is_no_jar_of_cookies(house: House) -> None:
    """CK-25: neither cookies nor ids nor persons nor tokens stand there, and no two sessions have anything in common."""
    cookies = []
    for _ in range(20):
        async with house.browser() as browser:
            cookies.append(await house.signed_in(browser))
    keys = await house.sessions()
    dump = b"\n".join(part for key, values in (await house.dump()).items() for part in (key, *values))

    assert len(set(cookies)) == 20
    assert len({key for key in keys if ":s:" in key}) == 20
    for key in await house.keys():
        assert await house.redis.ttl(key) > 0
    for cookie in cookies:
        blob = bytes(_bytes(cookie))
        assert len(blob) >= 1 + 4 + 16 + 16 + 64
        assert cookie.encode() not in dump
        assert not any(blob[at : at + 12] in dump for at in range(5, len(blob) - 12))
    for plain in ("alice", "example.org", house.provider.issuer, *(tokens["access_token"] for tokens in house.provider.tokens_issued)):
        assert plain.encode() not in dump


async def test_a_record_under_another_key_opens_for_nobody(house: House) -> None:
    """CK-26: somebody with write access to the store copies one person's values to another's."""
    async with house.browser() as one, house.browser() as two:
        alice = await house.signed_in(one)
        first = {key.partition(":")[2][0]: key for key in await house.sessions()}
        bob = await house.signed_in(two, "bob")
        second = {key.partition(":")[2][0]: key for key in await house.sessions() - set(first.values())}
    record = await house.redis.get(second["s"])
    await house.redis.set(second["s"], await house.redis.get(first["s"]), keepttl=True)

    await is_nobody(house, f"{SESSION}={bob}")
    assert await house.whoami(f"{SESSION}={alice}") == "alice-sub"
    # Tokens of somebody else are not revoked, shown or sent anywhere either.
    await house.redis.set(second["s"], record, keepttl=True)
    await house.redis.set(second["t"], await house.redis.get(first["t"]), keepttl=True)
    async with house.browser() as browser:
        browser.jar[SESSION] = bob
        answer = await browser.ask(SIGN_OUT, method="POST", headers=SAME_ORIGIN_POST)
    assert answer.status == 303
    assert "id_token_hint" not in (answer.location or "")
    assert house.provider.revoked == []


async def test_at_most_five_logins_are_in_flight_in_one_browser(house: House, browser: Edge) -> None:
    """CK-28: the oldest goes, and the five that stay all lead somewhere."""
    callbacks = [await house.to_callback(browser, f"/tab/{number}?{'q' * 300}") for number in range(12)]

    assert len(browser.logins) == 5
    assert len(browser.cookie_header()) < 8192
    for callback in callbacks[:7]:
        assert (await browser.ask(callback)).status == 400
    for number in range(7, 12):
        assert (await browser.ask(callbacks[number])).location == f"{PUBLIC}/tab/{number}?{'q' * 300}"
    assert browser.logins == []


async def test_fetches_that_find_nobody_signed_in_set_no_login_cookie(house: House, browser: Edge) -> None:
    """CK-28: a storm of 401s."""
    for answer in await asyncio.gather(*(browser.ask(f"{PUBLIC}/api/{number}", headers=FETCH) for number in range(50))):
        assert answer.status == 401
        assert answer.all("Set-Cookie") == []
    assert browser.jar == {}
    assert house.app.requests == []


async def test_a_foreign_jar_of_login_cookies_does_not_crowd_out_ours(house: House, browser: Edge) -> None:
    """CK-28: planted ones go first."""
    callback = await house.to_callback(browser)
    ours = browser.logins
    browser.jar |= {f"{LOGIN}{number:016d}": "x" * 40 for number in range(20)}
    await house.to_callback(browser)

    assert set(ours) <= set(browser.logins)
    assert (await browser.ask(callback)).location == f"{PUBLIC}/page"


async def test_an_answer_that_may_be_cached_carries_no_cookie_of_ours(house: House, browser: Edge) -> None:
    """CK-29: what the app answers passes without a cookie, what sets one is never cached (which ``Edge`` holds every answer to)."""
    begun = await browser.ask(f"{PUBLIC}/page")
    assert (begun.status, begun.header("Cache-Control")) == (303, "no-store")
    good = await house.signed_in(browser)
    answer = await browser.ask(f"{PUBLIC}/page")
    assert answer.status == 200
    assert answer.all("Set-Cookie") == []
    assert values(house.app.headers[-1], "Cookie") == []
    assert good not in json.dumps(house.app.headers)
    stale = await browser.ask(CALLBACK)
    assert stale.header("Cache-Control") == "no-store"


@pytest.mark.parametrize(
    ("said", "passes"),
    [
        pytest.param({}, "private", id="CK-29 nothing said about caches"),
        pytest.param({"Cache-Control": "no-cache"}, "no-cache, private", id="CK-29 kept, and asked about"),
        pytest.param({"Cache-Control": "max-age=0, private"}, "max-age=0, private", id="CK-29 private"),
        pytest.param({"Cache-Control": "no-store"}, "no-store", id="CK-29 kept by nobody"),
        pytest.param({"Cache-Control": "public, max-age=600"}, None, id="CK-29 public"),
        pytest.param({"Cache-Control": "s-maxage=600"}, None, id="CK-29 for shared caches"),
        pytest.param({"CDN-Cache-Control": "max-age=600"}, None, id="CK-29 for CDNs"),
    ],
)
async def test_a_cookie_given_out_again_is_kept_by_no_shared_cache(
    house: House, tmp_path: Path, said: dict[str, str], passes: str | None
) -> None:
    async with _turned_over(tmp_path / "turned", provider=house.provider, store=house.store) as (one, browser, old):
        await given_again(browser, "/oauth2/userinfo")
        browser.jar = {SESSION: old}
        one.app.also = said
        answer = await browser.ask(f"{PUBLIC}/page")
        assert answer.status == 200
        assert ", ".join(answer.all("Cache-Control")) == (said.get("Cache-Control", "") if passes is None else passes)
        assert (browser.jar[SESSION] == old) is (passes is None)


async def test_every_row_has_its_place() -> None:
    every_row_has_its_place("CK", "01 02 04 05 07 08 10 11 13 14 16 17 19 20 22 23 25 26 28 29", globals(), NOT_YET)
