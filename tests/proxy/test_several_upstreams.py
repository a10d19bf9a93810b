"""Routes with several addresses, and active checks, over real sockets: UP-01."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import uvloop

from gateway.proxy.connector import Upstream
from gateway.proxy.pool import Pool
from gateway.proxy.upstream import HealthCheck, PoolLimits, Timeouts, TlsSettings, UpstreamSettings, parse_upstream
from gateway.proxy.upstreams import Upstreams
from tests.support.ports import free_port
from tests.support.raw_upstream import PATIENCE, answering, raw_upstream

GET = b"GET /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def named(name):
    async def script(connection):
        while True:
            await connection.body(await connection.head())
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + name)

    return script


@asynccontextmanager
async def gateway_with(gateway_for, *urls, **settings):
    async with gateway_for(urls[0]) as gateway:
        gateway.upstream = Upstream([Pool(parse_upstream(url)) for url in urls], **settings)
        try:
            yield gateway
        finally:
            await gateway.upstream.close()


async def until(condition):
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


async def test_requests_go_round_while_nobody_is_busier(gateway_for):
    async with AsyncExitStack() as stack:
        urls = [(await stack.enter_async_context(raw_upstream(named(name)))).url for name in (b"1", b"2", b"3")]
        async with gateway_with(gateway_for, *urls) as gateway:
            seen = [(await gateway.ask(GET))[-1:] for _ in range(9)]
    assert sorted(seen) == [b"1"] * 3 + [b"2"] * 3 + [b"3"] * 3


async def test_who_asks_in_vain_takes_nobodys_turn():
    async with raw_upstream(named(b"1")) as first, raw_upstream(named(b"2")) as second:
        upstream = Upstream([Pool(parse_upstream(one.url)) for one in (first, second)])
        for _ in range(4):
            assert upstream.take() is None
            connection = await upstream.acquire()
            connection.close()
            upstream.release(connection)
        assert [len(one.connections) for one in (first, second)] == [2, 2]
        await upstream.close()


async def test_a_busy_one_is_left_alone(gateway_for):
    async with (
        raw_upstream(answering(then="hold")) as busy,
        raw_upstream(named(b"2")) as other,
        gateway_with(gateway_for, busy.url, other.url) as gateway,
    ):
        clients = []
        while gateway.upstream.pools[0].load == 0:
            clients.append(await gateway.client())
            await clients[-1].send(GET)
            await until(lambda: sum(len(one.received) for one in busy.connections + other.connections) > 60 * len(clients))
        assert {(await gateway.ask(GET))[-1:] for _ in range(6)} == {b"2"}


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_whoever_is_refused_is_served_by_another(gateway_for, method):
    request = method + b" /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    async with raw_upstream(named(b"2")) as other, gateway_with(gateway_for, f"http://127.0.0.1:{free_port()}", other.url) as gateway:
        answers = [await gateway.ask(request) for _ in range(8)]
        assert [answer[-1:] for answer in answers] == [b"2"] * 8
        dead, alive = gateway.upstream.pools
        assert not dead.health.usable(asyncio.get_running_loop().time())
        assert dead.health.failures == 3
        assert alive.health.failures == 0


async def test_all_refuse(gateway_for):
    urls = [f"http://127.0.0.1:{free_port()}" for _ in range(2)]
    async with gateway_with(gateway_for, *urls) as gateway:
        for _ in range(5):
            assert (await gateway.ask(GET)).startswith(b"HTTP/1.1 502 ")


async def test_one_that_does_not_answer_in_time_is_put_aside(gateway_for):
    async with (
        raw_upstream(answering(then="hold")) as slow,
        raw_upstream(named(b"2")) as other,
        gateway_with(gateway_for, slow.url, other.url, timeouts=Timeouts(head=0.05)) as gateway,
    ):
        statuses = [(await gateway.ask(GET)).split(b" ")[1] for _ in range(10)]
        assert statuses.count(b"504") == 3
        assert statuses.count(b"200") == 7


async def test_one_that_comes_back_is_taken_again(gateway_for):
    async with raw_upstream(named(b"1")) as back, gateway_with(gateway_for, back.url) as gateway:
        (pool,) = gateway.upstream.pools
        for _ in range(3):
            pool.health.failed(asyncio.get_running_loop().time())
        assert (await gateway.ask(GET)).endswith(b"1"), "the last one is never put aside"
        assert pool.health.failures == 0


async def test_a_retry_goes_to_whoever_answers(gateway_for):
    """The only kept connection is given up, and nobody listens there any more."""

    async def once(connection):
        await connection.head()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")
        await connection.head()

    async with raw_upstream(named(b"2")) as other:
        async with raw_upstream(once) as first, gateway_with(gateway_for, first.url, other.url, pass_host=False) as gateway:
            client = await gateway.client()
            seen = []
            for _ in range(4):
                await client.send(b"GET /p HTTP/1.1\r\nHost: a\r\n\r\n")
                await client.head()
                seen.append(await client.read(1))
        assert set(seen) <= {b"1", b"2"}
        for upstream in (first, other):
            assert upstream.received.count(b"\r\nHost: 127.0.0.1:%d\r\n" % upstream.port) == upstream.received.count(b"GET /p ")
            assert b"\r\nHost: a\r\n" not in upstream.received


@pytest.mark.parametrize(
    ("pass_host", "host"), [pytest.param(True, b"a", id="the caller's"), pytest.param("app.example", b"app.example", id="a name")]
)
async def test_host(gateway_for, pass_host, host):
    async with raw_upstream(named(b"1")) as upstream, gateway_with(gateway_for, upstream.url, pass_host=pass_host) as gateway:
        await gateway.ask(GET)
        assert b"\r\nHost: %b\r\n" % host in upstream.received


async def test_names_are_resolved_for_every_connection(gateway_for, monkeypatch):
    if isinstance(asyncio.get_running_loop(), uvloop.Loop):
        pytest.skip("uvloop asks libuv, where a test cannot stand in between")
    async with raw_upstream(named(b"1")) as first, raw_upstream(named(b"2")) as second:
        ports = [first.port, second.port]
        real = socket.getaddrinfo

        def moved(host, port, *more, **options):
            return real("127.0.0.1", ports.pop(0), *more, **options) if host == "app.invalid" else real(host, port, *more, **options)

        monkeypatch.setattr(socket, "getaddrinfo", moved)
        pool = Pool(parse_upstream("http://app.invalid:80"), limits=PoolLimits(age=0.0))
        async with gateway_for(first.url) as gateway:
            gateway.upstream = Upstream([pool])
            assert (await gateway.ask(GET)).endswith(b"1")
            assert (await gateway.ask(GET)).endswith(b"2")
            assert ports == []


# active checks


def checked_upstreams(*urls, **check):
    settings = UpstreamSettings(tuple(parse_upstream(url) for url in urls), health=HealthCheck("/healthz", **{"interval": 0.01, **check}))
    return Upstreams([settings])


def healthy(state):
    async def script(connection):
        while True:
            head = await connection.head()
            status = state["status"] if b"GET /healthz " in head else b"200 OK"
            await connection.send(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % status)

    return script


@pytest.mark.parametrize(
    ("status", "ails"),
    [
        pytest.param(b"204 No Content", False, id="2xx"),
        pytest.param(b"302 Found", False, id="3xx"),
        pytest.param(b"404 Not Found", True, id="4xx"),
        pytest.param(b"503 Service Unavailable", True, id="5xx"),
    ],
)
async def test_an_active_check_says_who_is_well(status, ails):
    state = {"status": status}
    async with raw_upstream(healthy(state)) as upstream:
        upstreams = checked_upstreams(upstream.url)
        (pool,) = upstreams[0].pools
        upstreams.start()
        await until(lambda: upstream.received.count(b"GET /healthz ") > 3)
        assert pool.health.ailing is ails
        state["status"] = b"200 OK"
        await until(lambda: not pool.health.ailing)
        await upstreams.close()
        assert pool.connections == 0
    assert b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % upstream.port in upstream.received


async def test_a_check_that_nobody_answers_fails_in_time():
    async with raw_upstream(answering(then="hold")) as upstream:
        upstreams = checked_upstreams(upstream.url, timeout=0.01)
        (pool,) = upstreams[0].pools
        upstreams.start()
        await until(lambda: pool.health.ailing)
        await upstreams.close()
        assert pool.connections == 0


async def test_routes_with_equal_settings_share_their_connections():
    address = (parse_upstream("http://127.0.0.1:1"),)
    one = UpstreamSettings(address)
    upstreams = Upstreams(
        [
            one,
            UpstreamSettings(address, timeouts=Timeouts(head=1.0), pass_host=False),
            None,
            UpstreamSettings(address, limits=PoolLimits(connections=1)),
            UpstreamSettings(address, tls=TlsSettings(server_name="other")),
        ]
    )
    assert upstreams[2] is None
    pools = [upstreams[index].pools[0] for index in (0, 1, 3, 4)]
    assert pools[0] is pools[1]
    assert len(set(pools)) == 3
    await upstreams.close()
