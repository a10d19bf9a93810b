"""One house a module, put in order before every test. A module's ``HOUSE`` is what its gateway's configuration has of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from tests.support.hostile_house import hostile_house

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from tests.support.hostile_house import Edge, House


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def standing_house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with hostile_house(tmp_path_factory.mktemp("house"), **getattr(request.module, "HOUSE", {})) as house:
        yield house


@pytest_asyncio.fixture(loop_scope="module")
async def house(standing_house: House) -> House:
    await standing_house.reset()
    return standing_house


@pytest_asyncio.fixture(loop_scope="module")
async def browser(house: House) -> AsyncIterator[Edge]:
    async with house.browser() as agent:
        yield agent
