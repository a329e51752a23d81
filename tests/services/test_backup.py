"""A backup comes back whole, books and all; whatever goes wrong, nothing is half written."""

import asyncio
import contextlib
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, text
from sqlalchemy.exc import DBAPIError

from services import events, ledger
from services.backup import BackupFailed, back_up, connection_environment, restore
from services.config import Settings
from services.db import Database, database_url
from services.migrate import head_revision, upgrade
from services.models import ALL_TABLES
from services.postbacks import Postback
from services.settlement import settle
from tests.console import Console
from tests.shop import customer, fact, invoice, row, rows


@pytest.fixture
async def other(empty_database: URL) -> AsyncIterator[Database]:
    """The way to a database that holds nothing yet."""
    other = Database(empty_database)
    yield other
    await other.dispose()


async def sell(db: Database, settings: Settings) -> None:
    """Let some things happen in the shop."""
    await customer(db, 1, first_name="Зоя \t\\ ‘quoted’ 😀")
    await customer(db, 2)
    _, paid = await invoice(db, 1)
    _, part = await invoice(db, 2, amount="0.10")
    await events.record_postback(db, Postback(paid, None, "paid", {"amount": 1.5}, expired=False))
    await settle(db, [fact(paid), fact(part, "partial")], settings)


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def contents(db: Database) -> dict[str, list[str]]:
    """Everything that is stored."""
    return {
        table.name: sorted(
            one["line"] for one in await rows(db, f"SELECT CAST(t.* AS text) AS line FROM {table.name} t")
        )
        for table in ALL_TABLES
    }


async def tables(db: Database) -> list[str]:
    found = await rows(db, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    return [one["relname"] for one in found]


async def test_everything_comes_back_and_the_books_are_kept_on(
    db: Database, database: URL, other: Database, empty_database: URL, settings: Settings, tmp_path: Path
) -> None:
    await sell(db, settings)
    file = tmp_path / "shop.backup"

    size = await back_up(db, database, file)
    restored = await restore(other, empty_database, file)

    assert (size, stat.S_IMODE(file.stat().st_mode)) == (file.stat().st_size, 0o600)
    assert (restored.revision, restored.newer, restored.differences) == (head_revision(), False, [])
    before = await contents(db)
    assert await contents(other) == before
    assert all(before[name] for name in ("payments", "subscription_ledger", "webhook_events", "users"))
    assert (await row(other, "SELECT state FROM entitlements WHERE telegram_id = 1"))["state"] == "active"

    with pytest.raises(DBAPIError, match="append-only"):
        await rows(other, "UPDATE subscription_ledger SET seconds = 1 RETURNING id")
    payment_id, uuid = await invoice(other, 2, amount="299.00", tier="business")
    await settle(other, [fact(uuid)], settings)
    history = await rows(
        other, "SELECT new_status FROM payment_history WHERE payment_id = :id ORDER BY id", id=payment_id
    )
    assert [one["new_status"] for one in history] == ["pending", "paid"]
    assert await ledger.check(other) == []


async def test_books_that_do_not_add_up_are_told_after_a_restore(
    db: Database, database: URL, other: Database, empty_database: URL, settings: Settings, tmp_path: Path
) -> None:
    await sell(db, settings)
    async with db.begin() as session:
        await session.execute(text("UPDATE subscriptions SET ends_at = ends_at + interval '1 day'"))
    await back_up(db, database, tmp_path / "shop.backup")

    restored = await restore(other, empty_database, tmp_path / "shop.backup")

    assert [one.user_id for one in restored.differences] == [1]


async def test_a_backup_of_a_newer_version_says_so(
    db: Database, database: URL, other: Database, empty_database: URL, tmp_path: Path
) -> None:
    async with db.begin() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await back_up(db, database, tmp_path / "shop.backup")

    restored = await restore(other, empty_database, tmp_path / "shop.backup")

    assert (restored.revision, restored.newer) == ("9999", True)


async def test_a_database_that_holds_anything_is_not_restored_into(
    db: Database, database: URL, other: Database, empty_database: URL, tmp_path: Path
) -> None:
    await back_up(db, database, tmp_path / "shop.backup")
    async with other.begin() as session:
        await session.execute(text("CREATE TABLE something (id int)"))

    with pytest.raises(BackupFailed, match="not empty"):
        await restore(other, empty_database, tmp_path / "shop.backup")
    assert await tables(other) == ["something"]


async def test_nothing_is_restored_while_a_bot_is_connected(
    db: Database, database: URL, other: Database, empty_database: URL, tmp_path: Path
) -> None:
    await back_up(db, database, tmp_path / "shop.backup")
    bot = Database(empty_database)
    async with bot.begin() as session:
        await session.execute(text("SELECT 1"))

    with pytest.raises(BackupFailed, match="stop it first"):
        await restore(other, empty_database, tmp_path / "shop.backup")
    await bot.dispose()
    assert await tables(other) == []
    for _ in range(200):  # the server takes a moment to notice that somebody has left
        with contextlib.suppress(BackupFailed):
            await restore(other, empty_database, tmp_path / "shop.backup")
            return
        await asyncio.sleep(0.02)
    raise AssertionError("a bot that has left is still in the way")


async def test_a_damaged_backup_leaves_the_database_empty(
    db: Database, database: URL, other: Database, empty_database: URL, settings: Settings, tmp_path: Path
) -> None:
    await sell(db, settings)
    whole, cut = tmp_path / "whole.backup", tmp_path / "cut.backup"
    await back_up(db, database, whole)
    content = whole.read_bytes()
    # Cut where the first table's rows begin: the list of contents before it is whole.
    middle = content.index(b"CREATE TABLE public.admin_audit")
    for length in (len(content) - 1_000, len(content) - 2_500, middle, 40, 0):
        cut.write_bytes(content[:length])
        with pytest.raises(BackupFailed, match=r"cut\.backup"):
            await restore(other, empty_database, cut)
        assert await tables(other) == []


async def test_what_is_no_backup_of_a_shop_is_refused(
    db: Database, database: URL, other: Database, empty_database: URL, tmp_path: Path
) -> None:
    (tmp_path / "letter").write_text("Dear customer")
    with pytest.raises(BackupFailed, match="cannot be read as a backup"):
        await restore(other, empty_database, tmp_path / "letter")
    with pytest.raises(BackupFailed, match="no such file"):
        await restore(other, empty_database, tmp_path / "nothing")
    with pytest.raises(BackupFailed, match="nothing to back up"):
        await back_up(other, empty_database, tmp_path / "empty.backup")
    for place, complaint in (
        (tmp_path, "not an ordinary file"),
        (Path("/dev/null"), "not an ordinary file"),
        (tmp_path / "letter" / "inside", "no such folder"),
    ):
        with pytest.raises(BackupFailed, match=complaint):
            await back_up(db, database, place)
    assert names_in(tmp_path) == ["letter"]


async def test_a_restore_holds_off_a_bot_that_starts_meanwhile(
    db: Database, database: URL, other: Database, empty_database: URL, settings: Settings, tmp_path: Path
) -> None:
    await sell(db, settings)
    await back_up(db, database, tmp_path / "shop.backup")
    bot = Database(empty_database.update_query_dict({"application_name": "a bot that starts"}))

    await asyncio.gather(restore(other, empty_database, tmp_path / "shop.backup"), _start_late(bot))

    await bot.dispose()
    assert (await contents(other))["payments"] == (await contents(db))["payments"]


async def _start_late(bot: Database) -> None:
    """Migrate as soon as the program that writes the restored tables is there."""
    asking = (
        "SELECT pid FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'subgate backup'"
    )
    for _ in range(5000):
        if await rows(bot, asking):
            return await upgrade(bot)
        await asyncio.sleep(0.001)
    raise AssertionError("nobody came to restore")


async def test_a_full_disk_leaves_the_older_backup(
    db: Database, database: URL, settings: Settings, tmp_path: Path
) -> None:
    await sell(db, settings)
    file = tmp_path / "shop.backup"
    file.write_bytes(b"yesterday's")
    console = Console(tmp_path, database, PYTHONDONTWRITEBYTECODE="1")

    full = await console(
        "backup", str(file), program=("sh", "-c", 'ulimit -f 8; exec "$0" -m services "$@"', sys.executable)
    )
    assert "was not written" in full.refused()
    assert file.read_bytes() == b"yesterday's"
    assert names_in(tmp_path) == ["shop.backup"]

    well = await console("backup", str(file), "--json")
    assert (well.code, well.json) == (0, {"file": str(file), "bytes": file.stat().st_size})
    assert file.stat().st_size > 10_000


async def test_the_console_restores_and_then_refuses_to_do_it_again(
    db: Database, database: URL, empty_database: URL, settings: Settings, tmp_path: Path
) -> None:
    await sell(db, settings)
    await back_up(db, database, tmp_path / "shop.backup")
    console = Console(tmp_path, empty_database)

    first = await console("restore", "shop.backup", "--json")
    again = await console("restore", "shop.backup")

    assert (first.code, first.json) == (
        0,
        {"revision": head_revision(), "newer": False, "differences": []},
    )
    assert "not empty" in again.refused()


@pytest.mark.parametrize(
    ("address", "told"),
    [
        (
            "postgresql://shop:p%40ss@db.example:6432/books?sslmode=require",
            {"PGHOST": "db.example", "PGPORT": "6432", "PGUSER": "shop", "PGPASSWORD": "p@ss",
             "PGDATABASE": "books", "PGSSLMODE": "require"},
        ),
        (
            "postgresql+asyncpg://shop@a:1,b:2,c/books?target_session_attrs=read-write",
            {"PGHOST": "a,b,c", "PGPORT": "1,2,5432", "PGUSER": "shop", "PGDATABASE": "books",
             "PGTARGETSESSIONATTRS": "read-write"},
        ),
        (
            "postgresql://shop@/books?host=/run/postgresql&port=5433",
            {"PGHOST": "/run/postgresql", "PGPORT": "5433", "PGUSER": "shop", "PGDATABASE": "books"},
        ),
    ],
)  # fmt: skip
def test_postgresqls_programs_are_told_by_environment_where_the_database_is(
    address: str, told: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGSERVICE", "PGHOSTADDR", "PGOPTIONS", "BOT_TOKEN"):
        monkeypatch.setenv(name, "somewhere else")

    environment: dict[str, Any] = connection_environment(database_url(address))

    named = {name: value for name, value in environment.items() if name.startswith("PG")}
    assert named == told | {"PGAPPNAME": "subgate backup", "PGCONNECT_TIMEOUT": "10"}
    assert "BOT_TOKEN" not in environment
