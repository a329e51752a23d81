"""What every test stands on: a real PostgreSQL, and a database of its own for each test."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from sqlalchemy import URL, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from services import migrate, users
from services.config import Settings
from services.db import Database, database_url
from services.embedded_postgres import EmbeddedPostgres, start_embedded_postgres
from services.tiers import PriceList, read_tiers

ROOT = Path(__file__).resolve().parent.parent
ADMIN = 900
TEMPLATE = "subgate_template"


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """One server for the whole run; TEST_POSTGRES_BIN names the programs of another version."""
    programs = os.environ.get("TEST_POSTGRES_BIN")
    with tempfile.TemporaryDirectory(prefix="subgate-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = start_embedded_postgres(
            Path(folder) / "data", programs=Path(programs) if programs else None, fsync=False
        )
        yield server
        server.stop()


async def administer(url: URL, statement: str) -> None:
    engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text(statement))
    await engine.dispose()


@pytest.fixture(scope="session")
def template(postgres: EmbeddedPostgres) -> URL:
    """A migrated database to copy from."""
    server = database_url(postgres.url)

    async def make() -> None:
        await administer(server, f"CREATE DATABASE {TEMPLATE}")
        db = Database(server.set(database=TEMPLATE))
        await migrate.upgrade(db)
        await db.dispose()

    asyncio.run(make())
    return server


@pytest_asyncio.fixture
async def empty_database(postgres: EmbeddedPostgres) -> AsyncIterator[URL]:
    """The address of a database without any tables."""
    server = database_url(postgres.url)
    name = f"test_{uuid4().hex[:12]}"
    await administer(server, f"CREATE DATABASE {name}")
    yield server.set(database=name)
    await administer(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest_asyncio.fixture
async def database(template: URL) -> AsyncIterator[URL]:
    """The address of a migrated database that belongs to one test."""
    name = f"test_{uuid4().hex[:12]}"
    await administer(template, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield template.set(database=name)
    await administer(template, f"DROP DATABASE {name} WITH (FORCE)")


@pytest_asyncio.fixture
async def db(database: URL) -> AsyncIterator[Database]:
    """The shop's way to that database, where the admin has been met."""
    db = Database(database)
    async with db.begin() as session:
        await users.expect_admins(session, [ADMIN], "free")
    yield db
    await db.dispose()


@pytest.fixture
def price_list() -> PriceList:
    """The price list that is shipped."""
    return read_tiers(ROOT / "tiers.toml")


@pytest.fixture
def make_settings(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """Make settings as an operator would, without reading this machine's own."""

    def make(**changes: Any) -> Settings:
        usual: dict[str, Any] = {
            "bot_token": "1234567:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "admin_ids": (ADMIN,),
            "cryptocloud_api_key": "key-of-the-shop",
            "cryptocloud_shop_id": "SHOPSHOPSHOPSHOP",
            "cryptocloud_secret_key": "a-secret-of-the-project-of-32-bytes-or-more",
            "lease_seconds": 2,
            "check_seconds": 2,
        }
        for name in Settings.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
        return Settings(_env_file=None, **(usual | changes))

    return make


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    """Settings with one admin, short leases and the postback secret that tests sign with."""
    return make_settings()
