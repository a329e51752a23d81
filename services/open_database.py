"""Opening the shop's database, for the bot and the console alike: our own PostgreSQL, or the one of DATABASE_URL.

Whoever opens is not let in before the database answers. It waits for one that is still starting, and refuses at
once what waiting cannot mend, such as a wrong password.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import URL, text

from services.config import Settings
from services.db import Database, database_url
from services.embedded_postgres import EmbeddedPostgres, start_embedded_postgres
from services.errors import DatabaseUnavailable, SettingsError

PATIENCE: Final = 30.0  # seconds for a database that is not there yet
WATCH_SECONDS: Final = 1.0
# What waiting cannot mend: https://www.postgresql.org/docs/current/errcodes-appendix.html
_HOPELESS: Final = ("28", "3D", "42501")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OpenDatabase:
    """A database that answers. `notice` tells people where an embedded one lives, and is empty otherwise."""

    db: Database
    url: URL
    notice: str


def is_made(settings: Settings) -> bool:
    """Tell whether opening finds a database; False where it would make an embedded one."""
    place_of_cluster = settings.data_dir.expanduser() / "postgres" / "cluster"
    return bool(settings.database_url.get_secret_value()) or place_of_cluster.exists()


@asynccontextmanager
async def open_database(settings: Settings, *, patience: float = PATIENCE) -> AsyncIterator[OpenDatabase]:
    """Open the database of the settings, and at the end close it and give back our share in an embedded server.

    Raises `SettingsError` at once for what waiting cannot mend, or after `patience` seconds without an answer.
    Its schema may be behind: see `services.migrate`.
    """
    address = settings.database_url.get_secret_value()
    if address:
        async with _answering(database_url(address), patience) as db:
            yield OpenDatabase(db, database_url(address), "")
        return
    async with (
        embedded_server(settings.data_dir) as postgres,
        _answering(database_url(postgres.url), patience) as db,
    ):
        yield OpenDatabase(db, database_url(postgres.url), postgres.notice)


@asynccontextmanager
async def embedded_server(data_dir: Path, *, fsync: bool = True) -> AsyncIterator[EmbeddedPostgres]:
    """Run the embedded server of a folder, or share it; who is cancelled meanwhile leaves none behind."""
    starting = asyncio.create_task(asyncio.to_thread(start_embedded_postgres, data_dir, fsync=fsync))
    try:
        postgres = await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.to_thread((await starting).stop)
        raise
    watching = asyncio.create_task(_keep_alive(postgres))
    try:
        yield postgres
    finally:
        watching.cancel()
        await asyncio.wait({watching})
        await asyncio.to_thread(postgres.stop)


async def _keep_alive(postgres: EmbeddedPostgres) -> None:
    """Start our server again when it was killed: nobody else would, and it is the shop's only one."""
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        try:
            if await asyncio.shield(asyncio.to_thread(postgres.revive)):
                _log.warning(
                    "the embedded PostgreSQL had died and was started again", data=str(postgres.data)
                )
        except (SettingsError, OSError) as error:
            _log.error("the embedded PostgreSQL has died and cannot be started", error=str(error))


@asynccontextmanager
async def _answering(url: URL, patience: float) -> AsyncIterator[Database]:
    db = Database(url)
    try:
        await _wait_for(db, url, patience)
        yield db
    finally:
        await db.dispose()


async def _wait_for(db: Database, url: URL, patience: float) -> None:
    deadline = time.monotonic() + patience
    said = False
    while True:
        try:
            async with db.begin() as session:
                await session.execute(text("SELECT 1"))
                return
        except DatabaseUnavailable as error:
            cause = _root(error)
            if isinstance(cause, ValueError):  # how the driver complains about its options
                raise SettingsError(f"DATABASE_URL has an option that cannot be used: {cause}") from None
            why = _why(cause)
        except (TypeError, ValueError) as error:
            raise SettingsError(f"DATABASE_URL has an option that cannot be used: {error}") from None
        except Exception as error:
            cause = _root(error)
            if not str(getattr(cause, "sqlstate", None)).startswith(_HOPELESS):
                raise
            raise SettingsError(f"the database at {place(url)} refuses us: {_why(cause)}") from None
        if time.monotonic() >= deadline:
            raise SettingsError(
                f"the database at {place(url)} cannot be reached for {patience:g} s: {why} "
                "(start it, or mend DATABASE_URL)"
            )
        if not said:
            _log.warning("waiting for the database", at=place(url), why=why)
            said = True
        await asyncio.sleep(min(0.5, max(0.0, deadline - time.monotonic())))


def place(url: URL) -> str:
    """Name a database's hosts and ports for people, without login and password."""
    hosts = url.query.get("host") or url.host or "localhost"
    if isinstance(hosts, tuple):
        return ", ".join(hosts)
    return hosts if hosts.startswith("/") else f"{hosts}:{url.port or 5432}"


def _root(error: BaseException) -> BaseException:
    """Find the driver's own words under those of the layers above it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _why(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or [type(error).__name__])[0]
