"""What every part stands on: a server with a migrated template, databases of its own, and how much is to be done."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from sqlalchemy import URL

from services.config import Settings
from tests.conftest import ADMIN, TEMPLATE, administer


@dataclass(frozen=True)
class Sizes:
    """How much is done; whatever is compared does as much, in turns, in each round."""

    rounds: int
    postbacks: int  # a round, on 32 connections
    growth: int  # postbacks a round on each other number of connections
    batches: int  # of 100 facts, a round
    purchases: int  # one after the other
    rush: int  # purchases at once
    payments: tuple[int, ...]  # in the databases that are read
    reads: int  # of each kind, a round
    pgbench_reads: int  # of each kind, a round
    updates: int  # of each kind, a round
    messages: int  # claimed and marked, a round
    sent_before: int  # messages that lie in the outbox already
    starts: int


FULL = Sizes(
    rounds=5,
    postbacks=4_000,
    growth=1_000,
    batches=20,
    purchases=200,
    rush=400,
    payments=(10_000, 100_000, 1_000_000),
    reads=300,
    pgbench_reads=4_000,
    updates=1_500,
    messages=2_000,
    sent_before=200_000,
    starts=5,
)
QUICK = Sizes(
    rounds=2,
    postbacks=600,
    growth=200,
    batches=3,
    purchases=15,
    rush=60,
    payments=(1_000, 5_000, 20_000),
    reads=60,
    pgbench_reads=500,
    updates=400,
    messages=200,
    sent_before=5_000,
    starts=1,
)


@dataclass(frozen=True)
class Ground:
    """`server` is the address of the server, which has the template; `folder` is emptied by its owner."""

    server: URL
    folder: Path
    sizes: Sizes

    @asynccontextmanager
    async def database(self, template: str = TEMPLATE) -> AsyncIterator[URL]:
        """A copy of the migrated template, or of another database that nobody uses meanwhile."""
        name = f"bench_{uuid4().hex[:12]}"
        await administer(self.server, f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.server.set(database=name)
        finally:
            await administer(self.server, f"DROP DATABASE {name} WITH (FORCE)")


def settings_for_bench() -> Settings:
    """The settings of a shop with one admin, as they are by default."""
    return Settings(
        _env_file=None,
        bot_token="1234567:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        admin_ids=(ADMIN,),
        cryptocloud_api_key="key-of-the-shop",
        cryptocloud_shop_id="SHOPSHOPSHOPSHOP",
        cryptocloud_secret_key="a-secret-of-the-project-of-32-bytes-or-more",
    )
