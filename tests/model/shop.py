"""The real services on PostgreSQL beside a pretended CryptoCloud, as a thing that plain functions can drive."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

from sqlalchemy import URL

from services import users
from services.config import Settings
from services.db import Database
from services.tiers import PriceList
from tests.conftest import ADMIN
from tests.shop import Provider, cryptocloud_world, rows

T = TypeVar("T")


@dataclass
class Shop:
    """Everything that a use case needs; `run` waits for one."""

    db: Database
    provider: Provider
    settings: Settings
    price_list: PriceList
    runner: asyncio.Runner
    ids: "count[int]"

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def rows(self, query: str, **values: Any) -> list[dict[str, Any]]:
        """Ask the database in a transaction of its own."""
        return self.run(rows(self.db, query, **values))


@asynccontextmanager
async def open_shop(
    url: URL, settings: Settings, price_list: PriceList, runner: asyncio.Runner
) -> AsyncIterator[Shop]:
    """Open a shop for as long as the block runs."""
    db = Database(url)
    async with cryptocloud_world() as provider:
        async with db.begin() as session:
            await users.expect_admins(session, [ADMIN], price_list.free_tier.code)
        yield Shop(db, provider, settings, price_list, runner, count(10_000))
    await db.dispose()
