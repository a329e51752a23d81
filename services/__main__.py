"""The operator's console: `python -m services …`. It knows the shop and nothing of Telegram's bot framework.

Tables for people, `--json` one object or array for programs. Exit code 0 done, 1 refused or found something,
2 wrong settings or no database.
"""

import asyncio
import signal
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import structlog
import typer
from sqlalchemy import URL

from services import migrate as schema
from services.config import read_settings
from services.db import Database, database_url
from services.embedded_postgres import start_embedded_postgres
from services.errors import DatabaseUnavailable, SettingsError, ShopError
from services.open_database import open_database

_T = TypeVar("_T")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they would print local variables, and with them secrets
    rich_markup_mode=None,
)


@app.callback()
def console() -> None:
    """The operator's console of the shop; settings come from the environment and .env."""


@app.command()
def migrate(
    check: Annotated[
        bool,
        typer.Option("--check", help="Try all migrations on a database made for it, and change nothing."),
    ] = False,
) -> None:
    """Bring the database's schema up to date."""
    if check:
        differences = _try_migrations()
        for one in differences:
            print(one)  # noqa: T201 - printing is what a console is for
        if differences:
            _fail(1, f"the migrations differ from services/models.py in {len(differences)} places")
        print("the migrations go up, down and up again, and agree with services/models.py")  # noqa: T201
        return

    async def work() -> str:
        async with open_database(read_settings()) as opened:
            await schema.upgrade(opened.db)
            return await schema.current_revision(opened.db) or ""

    print(f"the schema is at {_run(work())}")  # noqa: T201


def _try_migrations() -> list[Any]:
    """Apply all migrations to a new database up, down and up again; list how the schema differs from models."""
    with tempfile.TemporaryDirectory(prefix="subgate-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # started as root, the server belongs to somebody else
        with start_embedded_postgres(Path(folder) / "data", fsync=False) as postgres:
            return _run(_up_down_up(database_url(postgres.url)))


async def _up_down_up(url: URL) -> list[Any]:
    db = Database(url)
    try:
        await schema.upgrade(db)
        found = await schema.differences(db)
        await schema.upgrade(db, "base")
        await schema.upgrade(db)
        return [*found, *(one for one in await schema.differences(db) if one not in found)]
    finally:
        await db.dispose()


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a command's work to its end; what we expect to fail ends in one line, never in a traceback."""

    async def until_told() -> _T:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - we are inside it
        for end in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(end, task.cancel)
        return await work

    try:
        return asyncio.run(until_told())
    except (SettingsError, DatabaseUnavailable) as error:
        _fail(2, error)
    except ShopError as error:
        _fail(1, error)
    except (KeyboardInterrupt, asyncio.CancelledError):
        _fail(130, "interrupted")


def _fail(code: int, why: object) -> NoReturn:
    typer.echo(" ".join(str(why).split()), err=True)
    raise typer.Exit(code)


if __name__ == "__main__":
    # Logs go to stderr, so that stdout holds the answer alone; tracebacks in them show no variables.
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(
                colors=False, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
            ),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    app()
