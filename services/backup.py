"""Backups: the whole database into one file, and back into an empty one, both whole or not at all.

PostgreSQL's own programs do the work; passwords reach them by environment, never by arguments. A restore refuses a
database that holds anything, and one that a bot is connected to.
"""

import asyncio
import os
import re
import signal
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import URL, text

from services import ledger, migrate
from services.db import Database, Session
from services.errors import ShopError
from services.ledger import Difference
from services.postgres_programs import essence, postgres_program

_CHUNK: Final = 1 << 20
# Of our own environment the programs get what finds libraries, certificates and password files, but nothing that
# would lead them elsewhere.
_KEPT: Final = ("PATH", "HOME", "LANG", "TMPDIR", "LD_", "DYLD_", "PG", "KRB5")
_MISLEADING: Final = frozenset({"PGSERVICE", "PGSERVICEFILE", "PGHOSTADDR", "PGOPTIONS", "PGREQUIREAUTH"})
# Newer clients open every script with this line, and servers before 17 do not know it.
_UNKNOWN_TO_OLD_SERVERS: Final = b"SET transaction_timeout = 0;\n"


class BackupFailed(ShopError):
    """A backup or restore came to nothing; what was there before is untouched."""

    status = 500


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back: its schema's revision, and what does not add up in the books."""

    revision: str
    newer: bool  # made by a newer version of this program
    differences: list[Difference]


async def back_up(db: Database, url: URL, file: Path) -> int:
    """Write the database into `file` and tell its size in bytes; an older file is replaced at the very end.

    Raises `BackupFailed`. The bot may go on meanwhile: the backup is of one moment.
    """
    if await migrate.current_revision(db) is None:
        raise BackupFailed("the database holds no shop, so there is nothing to back up")
    pg_dump = await _program("pg_dump", not_older_than=await _server_version(db))
    place = await asyncio.to_thread(_place_for, file)
    draft = await asyncio.to_thread(_draft_beside, place)
    try:
        dumping = await asyncio.create_subprocess_exec(
            pg_dump,
            "--format=custom",
            "--no-password",
            f"--file={draft}",
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=PIPE,
            env=connection_environment(url),
        )
        async with _ended(dumping):
            _, said = await dumping.communicate()
        if dumping.returncode != 0:
            raise BackupFailed(f"{place} was not written: {_complaint(dumping, said)}")
        return await asyncio.to_thread(_put_in_place, draft, place)
    except OSError as error:
        raise BackupFailed(f"{place} was not written: {error.strerror or error}") from None
    finally:
        with suppress(FileNotFoundError):
            await asyncio.to_thread(draft.unlink)


async def restore(db: Database, url: URL, file: Path) -> Restored:
    """Read a backup into an empty database, bring its schema up to date and check its books.

    Raises `BackupFailed`, and then the database is as empty as it was. A bot that starts meanwhile waits.
    """
    pg_restore = await _program("pg_restore")
    psql = await _program("psql")
    await _check_is_backup(pg_restore, file)
    async with migrate.nobody_else(db) as session:
        await _check_is_free(session)
        await _replay(pg_restore, psql, url, file)
    await migrate.upgrade(db)
    revision = await migrate.current_revision(db) or ""
    newer = migrate.is_newer(revision)
    return Restored(revision, newer, [] if newer else await ledger.check(db))


async def _check_is_backup(pg_restore: Path, file: Path) -> None:
    if not await asyncio.to_thread(file.is_file):
        raise BackupFailed(f"{file}: there is no such file")
    code, contents, said = await _output_of(pg_restore, "--list", str(file))
    if code != 0:
        raise BackupFailed(f"{file} cannot be read as a backup: {essence(said)}")
    if b" alembic_version " not in contents:
        raise BackupFailed(f"{file} is a backup of something else")


async def _check_is_free(session: Session) -> None:
    connected = await session.scalar(
        text("""
            SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'subgate%'
        """)
    )
    holds = await session.scalar(
        text(r"""
            SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
               AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
               AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
        """)
    )
    if connected:
        raise BackupFailed("the bot or another console is connected to this database: stop it first")
    if holds:
        raise BackupFailed(
            "the database is not empty: restore into a new one (createdb, then name it in DATABASE_URL), "
            "or with the embedded one into an empty DATA_DIR"
        )


async def _replay(pg_restore: Path, psql: Path, url: URL, file: Path) -> None:
    """Turn the backup into SQL and run that in one transaction, which a half-read backup never ends."""
    reading = await asyncio.create_subprocess_exec(
        pg_restore,
        "--schema=public",
        "--no-owner",
        "--no-privileges",
        "--file=-",
        str(file),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        env=connection_environment(url),
    )
    writing = await asyncio.create_subprocess_exec(
        psql,
        "--no-psqlrc",
        "--quiet",
        "--no-password",
        "--set=ON_ERROR_STOP=1",
        "--single-transaction",
        "--file=-",
        stdin=PIPE,
        stdout=DEVNULL,
        stderr=PIPE,
        env=connection_environment(url),
    )
    async with _ended(reading), _ended(writing):
        assert reading.stderr is not None and writing.stderr is not None and writing.stdin is not None  # noqa: S101, PT018
        complaints = asyncio.gather(reading.stderr.read(), writing.stderr.read())
        try:
            await _pour(reading, writing)
            unread = await reading.wait() != 0
            if unread:
                writing.kill()  # before it sees the end of its input, and commits half a shop
            else:
                writing.stdin.close()
        except (BrokenPipeError, ConnectionResetError):  # psql has given up, and says why
            unread = False
            reading.kill()
        await writing.wait()
        of_reading, of_writing = await complaints
    if unread:
        raise BackupFailed(f"{file} is damaged: {_complaint(reading, of_reading)}")
    if writing.returncode != 0:
        raise BackupFailed(f"{file} was not restored: {_complaint(writing, of_writing)}")


async def _pour(reading: Process, writing: Process) -> None:
    assert reading.stdout is not None and writing.stdin is not None  # noqa: S101, PT018 - pipes
    opening = True
    while chunk := await reading.stdout.read(_CHUNK):
        if opening and _UNKNOWN_TO_OLD_SERVERS in chunk:
            chunk = chunk.replace(_UNKNOWN_TO_OLD_SERVERS, b"", 1)
        opening = False
        writing.stdin.write(chunk)
        await writing.stdin.drain()


@asynccontextmanager
async def _ended(process: Process) -> AsyncIterator[None]:
    """See to it that a program does not outlive the one who waits for it."""
    try:
        yield
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _complaint(process: Process, said: bytes) -> str:
    if process.returncode is not None and process.returncode < 0 and not said.strip():
        return f"the program was ended by {signal.Signals(-process.returncode).name}"
    return essence(said)


async def _program(name: str, *, not_older_than: int = 0) -> Path:
    program = await asyncio.to_thread(postgres_program, name)
    if not_older_than:
        _, said, _ = await _output_of(program, "--version")
        version = re.search(rb"\s(\d+)", said)
        if version is not None and int(version[1]) < not_older_than:
            raise BackupFailed(
                f"{program} is of PostgreSQL {int(version[1])} and cannot back up the server's "
                f"{not_older_than}: install the client programs of PostgreSQL {not_older_than}"
            )
    return program


async def _output_of(program: Path, *arguments: str) -> tuple[int, bytes, bytes]:
    process = await asyncio.create_subprocess_exec(
        program, *arguments, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=_environment()
    )
    async with _ended(process):
        output, said = await process.communicate()
    return process.returncode or 0, output, said


async def _server_version(db: Database) -> int:
    async with db.begin() as session:
        return int(
            await session.scalar(text("SELECT current_setting('server_version_num')::int / 10000")) or 0
        )


def connection_environment(url: URL) -> dict[str, str]:
    """Tell PostgreSQL's programs by environment what the driver is told by URL, the password included."""
    options = dict(url.query)
    hosts = options.get("host", url.host or "")
    places = [hosts] if isinstance(hosts, str) else list(hosts)
    ports: list[str] = []
    if isinstance(hosts, tuple):
        ports = [place.rpartition(":")[2] for place in places]
        places = [place.rpartition(":")[0] for place in places]
    elif url.port:
        ports = [str(url.port)]
    given: Mapping[str, object] = {
        "PGHOST": ",".join(places),
        "PGPORT": ",".join(ports),
        "PGUSER": url.username,
        "PGPASSWORD": url.password,
        "PGDATABASE": url.database,
        "PGSSLMODE": options.get("ssl"),
        "PGTARGETSESSIONATTRS": options.get("target_session_attrs"),
        "PGCONNECT_TIMEOUT": "10",
        "PGAPPNAME": "subgate backup",
    }
    return _environment() | {name: str(value) for name, value in given.items() if value}


def _environment() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(_KEPT) and name not in _MISLEADING
    }
    return kept | {"LC_ALL": "C"}


def _place_for(file: Path) -> Path:
    place = file.expanduser().resolve()
    if not place.parent.is_dir():
        raise BackupFailed(f"{place.parent}: there is no such folder")
    if place.exists() and not place.is_file():
        raise BackupFailed(f"{place} is not an ordinary file")
    return place


def _draft_beside(place: Path) -> Path:
    try:
        opened, draft = tempfile.mkstemp(prefix=f".{place.name}-", dir=place.parent)  # mode 0600
    except OSError as error:
        raise BackupFailed(f"{place} cannot be written: {error.strerror or error}") from None
    os.close(opened)
    return Path(draft)


def _put_in_place(draft: Path, place: Path) -> int:
    """Make sure that the backup is on the disk before it takes the older one's place."""
    _sync(draft)
    draft.replace(place)
    _sync(place.parent)
    return place.stat().st_size


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
