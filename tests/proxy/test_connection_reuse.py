"""Invariant 13: which connections could carry another exchange, for whoever keeps them."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import UpstreamFailed
from gateway.proxy.connector import Upstream
from gateway.proxy.exchange import Sent
from gateway.proxy.headers import HeaderRules
from gateway.proxy.upstream import parse_upstream
from tests.support.raw_upstream import raw_upstream

RULES = HeaderRules(reserved=frozenset(), cookie_names=frozenset())
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def replying(answer):
    async def script(connection):
        while True:
            await connection.head()
            await connection.send(answer)

    return script


@pytest.mark.parametrize(
    ("answer", "reusable"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", True, id="known length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", True, id="chunks"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", True, id="no body"),
        pytest.param(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", False, id="HTTP/1.0"),
        pytest.param(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", False, id="announced close"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok!", False, id="UP-14 surplus"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n!", False, id="UP-14 surplus behind chunks"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n!", False, id="UP-14 surplus behind no body"),
    ],
)
async def test_only_a_clean_end_is_reusable(answer, reusable):
    async with raw_upstream(replying(answer)) as server:
        upstream = Upstream.at(parse_upstream(server.url))
        connection = await upstream.acquire()
        connection.begin(Sent("GET", REQUEST, RULES))
        await connection.answer()
        connection.pour_into(lambda _: False, broken=lambda: None)
        assert await connection.flowed()
        assert connection.reusable is reusable
        upstream.release(connection)


async def test_bytes_on_an_idle_connection_close_it():
    async def script(connection):
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        await connection.rest()

    async with raw_upstream(script) as server:
        connection = await Upstream.at(parse_upstream(server.url)).acquire()
        await server.dropped()
        connection.begin(Sent("GET", REQUEST, RULES))
        with pytest.raises(UpstreamFailed):
            await connection.answer()
        assert not connection.reusable


async def test_an_upload_in_flight_is_not_reusable():
    async with raw_upstream(replying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as server:
        connection = await Upstream.at(parse_upstream(server.url)).acquire()
        connection.begin(Sent("POST", REQUEST, RULES), uploading=True)
        async with asyncio.timeout(20):
            await connection.answer()
        assert connection.complete
        assert not connection.reusable
        connection.close()
