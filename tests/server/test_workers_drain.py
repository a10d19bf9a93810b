"""The end of one process, step by step: who is waited for, for how long, and who may cut it short."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from gateway.config.settings import Listen
from gateway.server.detached import Detached
from gateway.server.drain import Listener, Stop, finish_detached
from gateway.server.listener import PublicServer
from gateway.server.sockets import address_of, open_listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

FOR_EVER = 3600.0


@asynccontextmanager
async def listening(handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> AsyncIterator[tuple[Listener, str]]:
    sockets = open_listening(Listen("127.0.0.1", 0), None).of(0)
    listener = Listener(PublicServer(handler))
    await listener.open(sockets.public)
    url = f"http://{address_of(sockets.public[0])}/"
    try:
        yield listener, url
    finally:
        await listener.close(0.0, Stop())


async def test_a_second_asking_means_at_once() -> None:
    stop = Stop()
    stop.ask()
    await stop.asked()
    assert not stop.at_once
    waiting = asyncio.ensure_future(stop.unless_at_once(FOR_EVER))
    await asyncio.sleep(0)
    stop.ask()
    await waiting
    assert stop.at_once


async def test_a_worker_hears_one_stop_however_often_it_is_told() -> None:
    stop = Stop(patient=True)
    for _ in range(3):
        stop.ask()
    await stop.asked()
    assert not stop.at_once


async def test_detached_work_is_waited_for() -> None:
    detached, go, done = Detached(), asyncio.Event(), []

    async def work() -> None:
        await go.wait()
        done.append("whole")

    detached.start(work())
    finishing = asyncio.ensure_future(finish_detached(detached, FOR_EVER, Stop()))
    await asyncio.sleep(0)
    go.set()
    await finishing
    assert done == ["whole"]


@pytest.mark.parametrize("seconds", [pytest.param(0.0, id="no time left"), pytest.param(-1.0, id="less than that")])
async def test_detached_work_has_no_grace_of_its_own(seconds: float) -> None:
    detached = Detached()
    detached.start(asyncio.sleep(FOR_EVER))
    await finish_detached(detached, seconds, Stop())
    assert len(asyncio.all_tasks()) == 1


async def test_detached_work_is_cut_when_it_has_to_be_at_once() -> None:
    detached, stop = Detached(), Stop()
    detached.start(asyncio.sleep(FOR_EVER))
    finishing = asyncio.ensure_future(finish_detached(detached, FOR_EVER, stop))
    await asyncio.sleep(0)
    stop.ask()
    stop.ask()
    await finishing
    assert len(asyncio.all_tasks()) == 1


async def test_idle_connections_end_before_anybody_waits() -> None:
    async def answer(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response()

    async with listening(answer) as (listener, url), aiohttp.ClientSession() as client:
        async with client.get(url) as answered:
            assert "Connection" not in answered.headers
        silent, half = [await asyncio.open_connection("127.0.0.1", int(url[:-1].rpartition(":")[2])) for _ in range(2)]
        half[1].write(b"GET / HTT")
        async with client.get(url):
            pass
        listener.stop_accepting()
        await listener.let_go()
        for reader, writer in (silent, half):
            assert await reader.read() == b""
            writer.close()
        await listener.finish(FOR_EVER, Stop())


async def test_an_answer_on_the_way_says_that_it_is_the_last() -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def answer(_request: web.BaseRequest) -> web.StreamResponse:
        begun.set()
        await go.wait()
        return web.Response(text="whole")

    async with listening(answer) as (listener, url), aiohttp.ClientSession() as client:
        asked = asyncio.ensure_future(client.get(url))
        await begun.wait()
        closing = asyncio.ensure_future(listener.close(FOR_EVER, Stop()))
        await asyncio.sleep(0)
        async with aiohttp.ClientSession() as late:
            with pytest.raises(aiohttp.ClientConnectorError):
                await late.get(url)
        go.set()
        answered = await asked
        assert (answered.headers["Connection"], await answered.text()) == ("close", "whole")
        await closing


async def test_a_handler_that_will_not_end_is_cut_when_it_has_to_be_at_once() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def answer(_request: web.BaseRequest) -> web.StreamResponse:
        begun.set()
        try:
            await asyncio.sleep(FOR_EVER)
        finally:
            cancelled.set()
        return web.Response()

    async with listening(answer) as (listener, url):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url[:-1].rpartition(":")[2]))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await begun.wait()
        stop = Stop()
        closing = asyncio.ensure_future(listener.close(FOR_EVER, stop))
        await asyncio.sleep(0)
        stop.ask()
        stop.ask()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        await closing
        assert cancelled.is_set()
