"""TLS to Redis, by Debian's server: who is on the other side is verified, and so are we where the server asks."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.errors import StoreUnavailable
from gateway.session.store.inspection import inspect
from gateway.session.store.opening import open_store
from gateway.session.store.protocol import NewSession, Stored
from gateway.session.store.redis_address import parse_redis_address
from gateway.session.store.redis_options import RedisOptions
from tests.support.certificates import Certificates, make_certificates
from tests.support.followers import Heard, until
from tests.support.redis_cluster import redis_cluster
from tests.support.redis_sentinel import redis_sentinel
from tests.support.redis_servers import redis_server, tls_binary
from tests.support.requirements import need

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.redis_servers import RedisServer

pytestmark = pytest.mark.redis_tls

NEW = NewSession(key="k" * 43, record=b"record", tokens=b"tokens", last_seen=1_700_000_000_123, lifetime=3600.0, idle=600.0)


@pytest.fixture
def binary() -> Path:
    found = tls_binary()
    need("redis_tls", found is not None, "a redis-server with TLS on PATH (Debian package redis-server)")
    assert found is not None
    return found


@pytest.fixture
def files(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path)


@pytest.fixture
async def server(binary: Path, files: Certificates) -> AsyncIterator[RedisServer]:
    async with redis_server(binary, tls=files, password="hunter2") as server:
        yield server


@asynccontextmanager
async def opened(url: str, options: RedisOptions | None = None) -> AsyncIterator[None]:
    """What has to work everywhere: a session, and its changes told."""
    store, heard = open_store(url, options), Heard()
    store.follow(heard)
    try:
        await heard.until_followed()
        await store.create(NEW, replaces=())
        await until(lambda: NEW.key in heard.news)
        assert await store.read(NEW.key) == Stored(NEW.record, NEW.last_seen)
        yield
    finally:
        await store.close()


async def test_one_server(server: RedisServer):
    async with opened(server.url):
        seen = await inspect(parse_redis_address(server.url))
        assert (seen.warnings, seen.faults) == ([], [])
        assert ", TLS, " in seen.facts[0]


async def test_files_by_options(server: RedisServer, files: Certificates):
    certificate, key = map(str, files.client_files)
    async with opened(server.url.partition("?")[0], RedisOptions(ca_file=str(files.authority), certificate=certificate, key=key)):
        pass


async def test_sentinel(binary: Path, files: Certificates):
    async with redis_sentinel(binary, tls=files) as house, opened(house.url):
        pass


async def test_a_cluster(binary: Path, files: Certificates):
    async with redis_cluster(binary, tls=files) as cluster, opened(cluster.url):
        pass


@pytest.mark.parametrize("what", ["another authority", "no authority", "another name", "no certificate of ours", "no TLS at all"])
async def test_whoever_is_not_verified_gets_no_session(server: RedisServer, files: Certificates, tmp_path: Path, what: str):
    url = server.url
    match what:
        case "another authority":
            (tmp_path / "others").mkdir()
            url = url.replace(str(files.authority), str(make_certificates(tmp_path / "others").authority))
        case "no authority":
            url = url.replace(f"ssl_ca_certs={files.authority}&", "")
        case "another name":
            url = url.replace("127.0.0.1", "127.0.0.2")
            server.command("CONFIG", "SET", "bind", "127.0.0.1 127.0.0.2")
        case "no certificate of ours":
            url = url.partition("&")[0]
        case "no TLS at all":
            url = url.replace("rediss://", "redis://").partition("?")[0]
    store, heard = open_store(url), Heard()
    store.follow(heard)
    with pytest.raises(StoreUnavailable) as refused:
        await store.create(NEW, replaces=())
    assert "hunter2" not in refused.value.detail
    assert not heard.is_followed
    await store.close()
    assert server.command("DBSIZE") == b":0\r\n"


async def test_certificates_are_renewed_while_the_gateway_runs(server: RedisServer, tmp_path: Path):
    """The server gets an authority and a certificate that nobody knew; those who connect from then on read the files again."""
    store = open_store(server.url)
    await store.create(NEW, replaces=())
    (tmp_path / "next").mkdir()
    make_certificates(tmp_path / "next")
    for file in (tmp_path / "next").iterdir():
        shutil.copy(file, tmp_path / file.name)
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)
    await store.create(NEW, replaces=())
    assert await store.read(NEW.key) == Stored(NEW.record, NEW.last_seen)
    await store.close()
