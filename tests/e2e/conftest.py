"""Stages for the whole process: importing the Telegram library costs seconds, so plays share one where they can."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from sqlalchemy import URL

from tests.conftest import TEMPLATE, administer
from tests.e2e.stage import ADMIN, Customer, Stage, stage


@pytest_asyncio.fixture(scope="session")
async def shared(template: URL, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A shop in polling mode that all plays with customers of their own share."""
    name = f"shared_{uuid4().hex[:8]}"
    await administer(template, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    async with stage(template.set(database=name), tmp_path_factory.mktemp("shared")) as play:
        play.person(ADMIN, name="Merchant").say("/start")
        # A busy machine may take a second to send; whoever waits for less sends twice.
        await play.open(LEASE_SECONDS="6")
        yield play


@pytest_asyncio.fixture
async def own(database: URL, tmp_path: Path) -> AsyncIterator[Stage]:
    """A stage for one play alone; nothing runs yet."""
    async with stage(database, tmp_path) as play:
        yield play


@pytest_asyncio.fixture
async def more(template: URL, tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Stage]]]:
    """As many stages as a play asks for, each with a world and a database of its own; nothing runs yet."""
    async with AsyncExitStack() as stages:

        async def one_more(**environment: str) -> Stage:
            name = f"more_{uuid4().hex[:12]}"
            await administer(template, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
            folder = tmp_path / name
            folder.mkdir()
            return await stages.enter_async_context(stage(template.set(database=name), folder, **environment))

        yield one_more


_ids = iter(range(10_000, 1_000_000))


@pytest.fixture
def ann(shared: Stage) -> Customer:
    """A new customer of the shared shop, who reads English."""
    return shared.person(next(_ids))
