"""The schema's versions: brings a database up to date under a lock, and says what differs from `models`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from services.db import Database, Session
from services.models import metadata

MIGRATIONS: Final = Path(__file__).resolve().parent.parent / "migrations"
# Any number will do, as long as every replica takes the same one.
_ADVISORY_LOCK: Final = 7_782_428_3


async def upgrade(db: Database, revision: str = "head") -> None:
    """Bring the schema up (or down) to a revision; replicas that start together wait for each other."""
    async with nobody_else(db) as session:
        await session.run_sync(_go_to, revision)


@asynccontextmanager
async def nobody_else(db: Database) -> AsyncIterator[Session]:
    """Hold off every other replica's `upgrade`, and a restore, in a transaction that may take its time."""
    async with db.begin() as session:
        for unlimited in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            await session.execute(text(f"SET LOCAL {unlimited} = 0"))
        asking = text("SELECT pg_try_advisory_xact_lock(:lock)")
        # Asked again and again, because the driver ends a call that waits long.
        while not await session.scalar(asking, {"lock": _ADVISORY_LOCK}):  # noqa: ASYNC110 - held elsewhere
            await asyncio.sleep(0.1)
        yield session


async def current_revision(db: Database) -> str | None:
    """Tell which revision the database has; None for an empty one."""
    async with db.begin() as session:
        return await session.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())


async def differences(db: Database) -> list[Any]:
    """List what the database's schema has otherwise than `models`; empty when they agree."""
    async with db.begin() as session:
        return await session.run_sync(_compare)


def head_revision() -> str:
    """Tell the newest revision that this program knows."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None, "the migrations folder is empty"  # noqa: S101 - a broken installation
    return head


def is_newer(revision: str | None) -> bool:
    """Tell whether a revision is of a newer version of this program."""
    known = ScriptDirectory.from_config(_config()).walk_revisions()
    return revision is not None and revision not in {script.revision for script in known}


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def _go_to(connection: Connection, revision: str) -> None:
    config = _config()
    config.attributes["connection"] = connection
    now = MigrationContext.configure(connection).get_current_revision()
    if is_newer(now):
        return  # a newer version runs beside us during a deploy; its schema serves us too
    if revision == "base" or (revision != "head" and now is not None and revision < now):
        command.downgrade(config, revision)
    else:
        command.upgrade(config, revision)


def _compare(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "compare_server_default": False}
    )
    return list(compare_metadata(context, metadata))
