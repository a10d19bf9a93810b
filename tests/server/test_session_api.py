"""The session API over HTTP: what it refuses, what it does, and what it says of it in the audit."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from multidict import CIMultiDict
from structlog.testing import capture_logs
from yarl import URL

from gateway.errors import StoreUnavailable
from gateway.oidc.registration import Secret
from gateway.session.store.protocol import UnknownToReplicas
from tests.support.house import house
from tests.support.user_agent import FETCH, UserAgent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from gateway.session.store.protocol import Ended
    from tests.support.house import House

TOKEN = "an-admin-token-of-the-tests"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
NOBODY = "s_" + "n" * 43


@pytest.fixture
async def home() -> AsyncIterator[House]:
    async with house(admin={"token": Secret(TOKEN)}) as inside:
        yield inside


@asynccontextmanager
async def asked(
    home: House, path: str, *, method: str = "GET", headers: Mapping[str, str] = BEARER, data: bytes | None = None
) -> AsyncIterator[aiohttp.ClientResponse]:
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client,
        client.request(method, URL(home.admin + path, encoded=True), headers=headers, data=data, allow_redirects=False) as answer,
    ):
        yield answer


async def told(home: House, path: str, *, method: str = "GET", status: int = 200) -> dict[str, Any]:
    async with asked(home, path, method=method) as answer:
        assert answer.status == status
        found: dict[str, Any] = await answer.json()
        return found


@asynccontextmanager
async def signed_in(home: House, sub: str) -> AsyncIterator[UserAgent]:
    home.provider.login_as = sub
    async with UserAgent(home.url) as browser:
        assert (await browser.open(home.url + "/")).status == 200
        yield browser


async def is_in(home: House, browser: UserAgent) -> bool:
    return (await browser.ask(home.url + "/", headers=FETCH)).status == 200


REFUSALS = [
    pytest.param("GET", "/sessions", {}, 401, "token_refused", id="no token"),
    pytest.param("GET", "/sessions", {"Authorization": "Bearer wrong"}, 401, "token_refused", id="a wrong token"),
    pytest.param("GET", f"/sessions?token={TOKEN}", {}, 401, "token_refused", id="the token in the address"),
    pytest.param("GET", "/sessions", {"Cookie": f"token={TOKEN}"}, 401, "token_refused", id="the token in a cookie"),
    pytest.param("GET", "/sessions", {"Authorization": f"Basic {TOKEN}"}, 401, "token_refused", id="the token as something else"),
    pytest.param("OPTIONS", "/sessions", {"Origin": "https://evil.example"}, 401, "token_refused", id="a preflight"),
    pytest.param("GET", "/sessions", CIMultiDict([*BEARER.items()] * 2), 400, "headers_refused", id="the token twice"),
    pytest.param("GET", "/sessions/x/y", {}, 401, "token_refused", id="whatever is there, without the token"),
    pytest.param("POST", "/sessions", BEARER, 405, "method_refused", id="POST"),
    pytest.param("PUT", f"/sessions/{NOBODY}", BEARER, 405, "method_refused", id="PUT"),
    pytest.param("PATCH", "/sessions", BEARER, 405, "method_refused", id="PATCH"),
    pytest.param("OPTIONS", "/sessions", BEARER, 405, "method_refused", id="OPTIONS"),
    pytest.param("TRACE", "/sessions", BEARER, 405, "method_refused", id="TRACE"),
    pytest.param("GET", "/sessions/", BEARER, 404, "session_missing", id="an empty id"),
    pytest.param("GET", f"/sessions/{NOBODY}", BEARER, 404, "session_missing", id="an id of nobody"),
    pytest.param("GET", f"/sessions/{NOBODY}/", BEARER, 404, "session_missing", id="something below an id"),
    pytest.param("GET", "/sessions/*", BEARER, 404, "session_missing", id="a pattern"),
    pytest.param("GET", f"/sessions/{'x' * 3000}", BEARER, 404, "session_missing", id="a long id"),
    pytest.param("DELETE", f"/sessions/{NOBODY}", BEARER, 404, "session_missing", id="ending an id of nobody"),
    pytest.param("DELETE", "/sessions/", BEARER, 404, "session_missing", id="ending an empty id"),
    pytest.param("DELETE", "/sessions", BEARER, 400, "request_refused", id="ending nobody in particular"),
    pytest.param("DELETE", "/sessions?confirm=yes", BEARER, 400, "request_refused", id="another confirmation"),
    pytest.param("DELETE", "/sessions?sub=", BEARER, 400, "request_refused", id="ending an empty user's"),
    pytest.param("DELETE", "/sessions?sub=alice&user=a", BEARER, 400, "request_refused", id="ending by a filter"),
    pytest.param("DELETE", "/sessions?sub=alice&sub=bob", BEARER, 400, "request_refused", id="ending two users'"),
    pytest.param("DELETE", f"/sessions/{NOBODY}?confirm=all", BEARER, 400, "request_refused", id="one and all"),
    pytest.param("DELETE", "/sessions/?confirm=all", BEARER, 400, "request_refused", id="an empty id and all"),
    pytest.param("GET", f"/sessions/{NOBODY}?x=1", BEARER, 400, "request_refused", id="a parameter beside an id"),
    pytest.param("GET", "/sessions?usr=alice", BEARER, 400, "request_refused", id="an unknown parameter"),
    pytest.param("GET", "/sessions?limit=0", BEARER, 400, "request_refused", id="no limit"),
    pytest.param("GET", "/sessions?cursor=x", BEARER, 400, "request_refused", id="a cursor from nowhere"),
    pytest.param("GET", "/sessions?user=%ff", BEARER, 400, "request_refused", id="no UTF-8"),
    pytest.param("GET", "/sessions/..%2f..%2flivez", BEARER, 400, "target_refused", id="a path in two readings"),
    pytest.param("GET", "/sessions?user=" + "x" * 1025, BEARER, 400, "request_refused", id="a long value"),
    pytest.param("GET", "/sessionsx", BEARER, 404, "route_missing", id="a neighbour"),
    pytest.param("GET", "/SESSIONS", BEARER, 404, "route_missing", id="another case"),
    pytest.param("GET", "/%73essions", BEARER, 404, "session_missing", id="another spelling"),
]


@pytest.mark.parametrize(("method", "path", "headers", "status", "error"), REFUSALS)
async def test_what_is_refused(home: House, method: str, path: str, headers: Mapping[str, str], *, status: int, error: str) -> None:
    async with signed_in(home, "alice") as browser:
        with capture_logs() as logged:
            async with asked(home, path, method=method, headers=headers) as answer:
                body = await answer.read()
        assert answer.status == status
        assert json.loads(body)["error"] == error
        assert answer.headers["Cache-Control"] == "no-store"
        assert not [name for name in answer.headers if name.lower().startswith("access-control") or name.lower() == "set-cookie"]
        if status == 405:
            assert answer.headers["Allow"] == "GET, DELETE"
        if status == 401:
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        if status != 404:
            assert [line["error"] for line in logged if line["event"] == "admin.refused"] == [error]
            assert "store" not in json.loads(body)["message"]
        assert TOKEN.encode() not in body
        assert await is_in(home, browser)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param("GET", "/sessions", id="listing"),
        pytest.param("DELETE", "/sessions?confirm=all", id="ending all"),
        pytest.param("DELETE", f"/sessions/{NOBODY}", id="ending one"),
    ],
)
async def test_a_body_is_refused_and_does_nothing(home: House, method: str, path: str) -> None:
    async with signed_in(home, "alice") as browser:
        async with asked(home, path, method=method, data=b'{"confirm": "all"}') as answer:
            assert answer.status == 400
            assert answer.headers["Connection"] == "close"
        assert await is_in(home, browser)


async def test_the_public_listener_has_none_of_it(home: House) -> None:
    async with UserAgent(home.url) as browser:
        answer = await browser.ask(home.url + "/sessions", headers=FETCH | BEARER)
        assert answer.status == 401
        assert b"login_required" in answer.body
        for path in ("/oauth2/sessions", "/public/sessions"):
            assert b"next" not in (await browser.ask(home.url + path, headers=FETCH | BEARER)).body


async def test_without_a_token_there_is_no_api_and_the_answer_says_what_to_set() -> None:
    async with house() as home:
        for headers in ({}, BEARER, {"Authorization": "Bearer "}, {"Authorization": "Bearer None"}):
            async with asked(home, "/sessions", headers=headers) as answer:
                assert answer.status == 404
                found = await answer.json()
                assert found["error"] == "session_api_off"
                assert "admin.token" in found["message"]


async def test_host_and_origin_decide_nothing(home: House) -> None:
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"X-Forwarded-For": "192.0.2.7"}):
        with capture_logs() as logged:
            async with asked(home, "/sessions", headers=BEARER | headers) as answer:
                assert answer.status == 200
        assert [line["address"] for line in logged if line["event"] == "sessions.listed"] == ["127.0.0.1"]


async def test_a_session_is_listed_shown_and_ended(home: House) -> None:
    async with signed_in(home, "alice") as alice, signed_in(home, "bob") as bob:
        page = await told(home, "/sessions")
        assert (page["next"], page["unreadable"]) == (None, 0)
        by_sub = {one["sub"]: one for one in page["sessions"]}
        assert by_sub.keys() == {"alice-sub", "bob-sub"}
        one = by_sub["alice-sub"]
        assert (one["provider"], one["issuer"], one["address"]) == ("main", home.provider.issuer, "127.0.0.1")
        assert one["created"] <= one["last_seen"] <= one["idle_expires"] <= one["expires"]
        assert (one["expires_in"] > 43_000, 1700 < one["idle_expires_in"] <= 1800) == (True, True)
        shown = await told(home, f"/sessions/{one['id']}")
        assert {**shown, "expires_in": 0, "idle_expires_in": 0} == {**one, "expires_in": 0, "idle_expires_in": 0}
        assert await told(home, f"/sessions/{one['id'].removeprefix('s_')}") is not None, "the key, as the log and the store have it"
        assert [each["sub"] for each in (await told(home, "/sessions?sub=bob-sub"))["sessions"]] == ["bob-sub"]
        assert [each["sub"] for each in (await told(home, "/sessions?user=ali&address=127.0.0.0/8&max_age=1h"))["sessions"]] == [
            "alice-sub"
        ]
        assert (await told(home, "/sessions?min_age=1h"))["sessions"] == []

        assert await told(home, f"/sessions/{one['id']}", method="DELETE") == {"ended": 1}
        assert not await is_in(home, alice)
        assert await is_in(home, bob)
        await told(home, f"/sessions/{one['id']}", status=404)
        await told(home, f"/sessions/{one['id']}", method="DELETE", status=404)
        assert [each["sub"] for each in (await told(home, "/sessions"))["sessions"]] == ["bob-sub"]


async def test_a_users_sessions_and_all_of_them_are_ended(home: House) -> None:
    async with signed_in(home, "alice") as one, signed_in(home, "alice") as two, signed_in(home, "bob") as bob:
        assert await told(home, "/sessions?sub=alice-sub", method="DELETE") == {"ended": 2}
        assert [await is_in(home, each) for each in (one, two, bob)] == [False, False, True]
        assert await told(home, "/sessions?sub=alice-sub", method="DELETE") == {"ended": 0}
        assert await told(home, "/sessions?confirm=all", method="DELETE") == {"ended": 1}
        assert not await is_in(home, bob)


async def test_pages_follow_each_other(home: House) -> None:
    async with signed_in(home, "alice"), signed_in(home, "alice"), signed_in(home, "bob"):
        seen, path = [], "/sessions?limit=1"
        while True:
            page = await told(home, path)
            assert len(page["sessions"]) <= 1
            seen += [one["sub"] for one in page["sessions"]]
            if page["next"] is None:
                break
            path = f"/sessions?limit=1&cursor={page['next']}"
        assert sorted(seen) == ["alice-sub", "alice-sub", "bob-sub"]


async def test_what_was_ended_is_revoked_at_the_provider_beside_the_answer(home: House) -> None:
    async with signed_in(home, "alice") as alice:
        assert await is_in(home, alice)
        (one,) = (await told(home, "/sessions"))["sessions"]
        assert home.provider.revoked == []
        await told(home, f"/sessions/{one['id']}", method="DELETE")
        async with asyncio.timeout(10):
            while not home.provider.revoked:
                await asyncio.sleep(0.01)
        await home.parts.detached.drain(5)
        assert len(home.provider.revoked) >= 1


async def test_every_use_is_audited_and_no_line_holds_the_token(home: House) -> None:
    async with signed_in(home, "alice"), signed_in(home, "alice"):
        with capture_logs() as logged:
            first, second = (await told(home, "/sessions?sub=alice-sub"))["sessions"]
            await told(home, f"/sessions/{first['id']}")
            await told(home, f"/sessions/{NOBODY}", status=404)
            await told(home, f"/sessions/{first['id']}", method="DELETE")
            await told(home, "/sessions?sub=alice-sub", method="DELETE")
            async with asked(home, "/sessions", headers={"Authorization": "Bearer not-the-token-of-it"}) as answer:
                assert answer.status == 401
        lines = [line for line in logged if line["log_level"] == "info" and line.get("via") == "api"]
        who = {"room": "audit", "via": "api", "address": "127.0.0.1", "log_level": "info"}
        by_admin = who | {"actor": "admin", "outcome": "done"}
        assert lines == [
            by_admin | {"event": "sessions.listed", "asked": {"sub": "alice-sub"}, "sessions": 2},
            by_admin | {"event": "session.shown", "session": first["id"]},
            by_admin | {"event": "session.shown", "session": NOBODY, "outcome": "missing"},
            by_admin
            | {"event": "sessions.ended", "asked": {"session": first["id"]}, "sessions": 1, "ended": [first["id"]], "user": "alice-sub"},
            by_admin | {"event": "sessions.ended", "asked": {"sub": "alice-sub"}, "sessions": 1, "ended": [second["id"]]},
            who | {"event": "admin.refused", "error": "token_refused"},
        ]
        assert "token-of" not in json.dumps(logged)


async def test_an_outage_is_503_and_audited(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise StoreUnavailable("redis://secret-place")

    async with signed_in(home, "alice") as alice:
        (one,) = (await told(home, "/sessions"))["sessions"]
        for method in ("listed", "show", "end"):
            monkeypatch.setattr(home.parts.sessions._store, method, fails)
        with capture_logs() as logged:
            for verb, path in (
                ("GET", "/sessions"),
                ("GET", f"/sessions/{one['id']}"),
                ("DELETE", f"/sessions/{one['id']}"),
                ("DELETE", "/sessions?confirm=all"),
            ):
                async with asked(home, path, method=verb) as answer:
                    body = await answer.text()
                    assert (answer.status, json.loads(body)["error"]) == (503, "store_unavailable")
                    assert answer.headers["Retry-After"]
                    assert "secret-place" not in body
                    assert json.loads(body).get("ended", 0) == 0
        assert [line["outcome"] for line in logged if line.get("via") == "api"] == ["store_unavailable"] * 4
        monkeypatch.undo()
        assert await is_in(home, alice)


async def test_an_end_that_no_replica_knows_counts_and_says_so(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async with signed_in(home, "alice") as alice, signed_in(home, "bob"):
        (one,) = (await told(home, "/sessions?sub=alice-sub"))["sessions"]
        store = home.parts.sessions._store
        end = store.end

        async def end_here_alone(key: str, *, leave_tokens: float = 0.0) -> Ended:
            raise UnknownToReplicas("redis://secret-place", ended=(await end(key, leave_tokens=leave_tokens)).there)

        monkeypatch.setattr(store, "end", end_here_alone)
        for path, ended in ((f"/sessions/{one['id']}", 1), (f"/sessions/{one['id']}", 0), ("/sessions?confirm=all", 1)):
            with capture_logs() as logged:
                answer = await told(home, path, method="DELETE", status=503)
            assert (answer["error"], answer["ended"], "no replica" in answer["message"]) == ("store_unavailable", ended, True)
            assert [(line["outcome"], line["sessions"]) for line in logged if line.get("via") == "api"] == [("store_unavailable", ended)]
        assert not await is_in(home, alice)


async def test_an_end_that_is_cut_off_leaves_its_line(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process stops while it ends everybody: what had ended until then is in the log."""
    async with signed_in(home, "alice"), signed_in(home, "bob"):
        index = home.parts.sessions.index
        end, begun = index.end, asyncio.Event()

        async def end_the_first(key: str) -> bool:
            if begun.is_set():
                await asyncio.Event().wait()
            begun.set()
            return await end(key)

        monkeypatch.setattr(index, "end", end_the_first)
        with capture_logs() as logged:
            asking = asyncio.create_task(told(home, "/sessions?confirm=all", method="DELETE"))
            await begun.wait()
            await home.parts.detached.drain(0.0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        (line,) = [line for line in logged if line["event"] == "sessions.ended"]
        assert (line["outcome"], line["sessions"], line["asked"]) == ("cancelled", 1, {"confirm": "all"})


async def test_a_reload_brings_another_token_and_can_take_it_away(home: House) -> None:
    settings = home.parts.settings

    def reload(token: str | None) -> None:
        admin = replace(settings.admin, token=None if token is None else Secret(token))
        home.parts.reload_secrets(replace(settings, admin=admin))

    reload("another-admin-token")
    async with asked(home, "/sessions") as answer:
        assert answer.status == 401
    async with asked(home, "/sessions", headers={"Authorization": "Bearer another-admin-token"}) as answer:
        assert answer.status == 200
    reload(None)
    async with asked(home, "/sessions", headers={"Authorization": "Bearer another-admin-token"}) as answer:
        assert answer.status == 404
