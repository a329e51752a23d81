"""Nobody is let in before the database answers, and what waiting cannot mend is said at once."""

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, text

from services.config import Settings
from services.errors import DatabaseUnavailable, SettingsError
from services.open_database import open_database

MakeSettings = Callable[..., Settings]


def _free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def forwarding(port: int, database: URL) -> AsyncIterator[None]:
    """Let a port of this machine lead to the test's server, which listens on a unix socket only."""
    tasks: set[asyncio.Task[None]] = set()

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while some := await reader.read(65536):
                writer.write(some)
                await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_unix_connection(f"{database.query['host']}/.s.PGSQL.{database.port}")
        for one in (pour(reader, there[1]), pour(there[0], writer)):
            task = asyncio.create_task(one)
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async with await asyncio.start_server(accept, "127.0.0.1", port):
        yield
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_database_that_comes_up_late_is_waited_for(
    database: URL, make_settings: MakeSettings
) -> None:
    port = _free_port()
    settings = make_settings(database_url=f"postgresql://subgate@127.0.0.1:{port}/{database.database}")

    async def opened() -> Any:
        async with open_database(settings, patience=20) as one, one.db.begin() as session:
            return await session.scalar(text("SELECT current_database()")), one.notice

    opening = asyncio.create_task(opened())
    await asyncio.sleep(0.3)
    assert not opening.done()
    async with forwarding(port, database):
        assert await opening == (database.database, "")


async def test_a_database_that_never_comes_is_one_line_without_the_password(
    make_settings: MakeSettings,
) -> None:
    port = _free_port()
    settings = make_settings(database_url=f"postgresql://shop:canary@127.0.0.1:{port}/shop")

    with pytest.raises(SettingsError, match=f"127.0.0.1:{port} cannot be reached for 0.2 s") as caught:
        async with open_database(settings, patience=0.2):
            pass
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"database": "nobody_made_this"}, '"nobody_made_this" does not exist'),
        ({"username": "stranger"}, '"stranger" does not exist'),
        ({"query": {"ssl": "sometimes"}}, "option"),
        ({"query": {"colour": "blue"}}, "option.*colour"),
    ],
)
async def test_what_waiting_cannot_mend_is_said_at_once(
    database: URL, make_settings: MakeSettings, change: dict[str, Any], complaint: str
) -> None:
    query = change.pop("query", {})
    address = database.set(**change).update_query_dict(query).render_as_string(hide_password=False)
    started = time.monotonic()

    with pytest.raises(SettingsError, match=complaint):
        async with open_database(make_settings(database_url=address), patience=60):
            pass
    assert time.monotonic() - started < 30


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that the server may enter, whose account is another when the tests run as root."""
    with tempfile.TemporaryDirectory(prefix="subgate-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


async def test_who_is_interrupted_while_the_embedded_server_starts_leaves_none_behind(
    open_folder: Path, make_settings: MakeSettings
) -> None:

    async def opened() -> None:
        async with open_database(make_settings(data_dir=open_folder / "data")):
            await asyncio.Event().wait()

    opening = asyncio.create_task(opened())
    lock = await asyncio.to_thread(_appears, open_folder / "data" / "postgres" / "server.lock")
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening

    with lock.open() as file:
        fcntl.flock(
            file, fcntl.LOCK_EX | fcntl.LOCK_NB
        )  # the server and its processes hold it while they live
    assert (open_folder / "data" / "postgres" / "cluster" / "PG_VERSION").exists()


def _appears(path: Path) -> Path:
    for _ in range(3000):
        if path.exists():
            return path
        time.sleep(0.01)
    raise AssertionError(f"{path} never came")


async def test_an_embedded_server_that_is_killed_comes_back_by_itself(make_settings: MakeSettings) -> None:
    with tempfile.TemporaryDirectory(prefix="subgate-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        async with open_database(make_settings(data_dir=Path(folder) / "data")) as opened:
            async with opened.db.begin() as session:
                await session.execute(text("CREATE TABLE kept AS SELECT 1 AS one"))
            pid_file = Path(folder) / "data" / "postgres" / "cluster" / "postmaster.pid"
            os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)

            give_up = time.monotonic() + 20
            while True:
                try:
                    async with opened.db.begin() as session:
                        assert await session.scalar(text("SELECT one FROM kept")) == 1
                except DatabaseUnavailable:
                    assert time.monotonic() < give_up
                    await asyncio.sleep(0.1)
                else:
                    break
