"""One parameter, once, from the query or from a form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from gateway.errors import GatewayError
from gateway.server.query import one_value, one_value_of_form

if TYPE_CHECKING:
    from pytest_aiohttp import AiohttpRawServer


async def answer(request: web.BaseRequest) -> web.Response:
    """``rd`` as the endpoints would take it, or the code of the refusal."""
    try:
        if request.method == "POST":
            value = await one_value_of_form(request, "rd")
        else:
            value = one_value(request, "rd")
    except GatewayError as refused:
        return web.Response(status=refused.status, text=refused.code)
    return web.json_response(value)


@pytest.fixture
async def ask(aiohttp_raw_server: AiohttpRawServer, aiohttp_client):
    return await aiohttp_client(await aiohttp_raw_server(answer))


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("", None, id="not there"),
        pytest.param("?rd=", "", id="empty"),
        pytest.param("?rd=%2Fok%3Fa%3Db", "/ok?a=b", id="decoded once"),
        pytest.param("?rd=%252Fok", "%2Fok", id="never decoded twice"),
        pytest.param("?rd[]=//evil.example", None, id="another name"),
        pytest.param("?other=1&rd=/x", "/x", id="beside others"),
    ],
)
async def test_a_parameter_of_the_query(ask, query: str, expected: str | None) -> None:
    assert await (await ask.get("/" + query)).json() == expected


@pytest.mark.parametrize(
    ("query", "body", "headers", "status"),
    [
        pytest.param("?rd=/a&rd=/a", None, {}, 400, id="twice in the query"),
        pytest.param("?" + "&".join(f"a{n}=1" for n in range(40)), None, {}, 400, id="more parameters than any page sends"),
        pytest.param("?rd=/a", "rd=/b", FORM, 400, id="in query and form"),
        pytest.param("", "rd=/a&rd=/b", FORM, 400, id="twice in the form"),
        pytest.param("", '{"rd": "/a"}', {"Content-Type": "application/json"}, 400, id="another media type"),
        pytest.param("", "rd=" + "a" * 20_000, FORM, 413, id="a form that is too large"),
        pytest.param("", b"rd=\xff", FORM, 400, id="bytes that are not ASCII"),
    ],
)
async def test_two_readings_are_refused(ask, query: str, body: str | None, headers: dict[str, str], status: int) -> None:
    answer = await (ask.get("/" + query) if body is None else ask.post("/" + query, data=body, headers=headers))

    assert answer.status == status


@pytest.mark.parametrize(
    ("query", "body", "expected"),
    [
        pytest.param("", "rd=%2Fa", "/a", id="form"),
        pytest.param("?rd=/a", "other=1", "/a", id="query beside a form"),
        pytest.param("?rd=/a", None, "/a", id="query without a form"),
        pytest.param("", None, None, id="neither"),
    ],
)
async def test_a_form_may_carry_it(ask, query: str, body: str | None, expected: str | None) -> None:
    answer = await ask.post("/" + query, data=body, headers=FORM if body is not None else {})

    assert await answer.json() == expected
