"""The observer of the bot's database: it reads the rows, tells what changes, and moves the data back in time."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from sandbox.observer import NoDatabase, Observer
from sandbox.timeline import in_order
from sandbox.world import World
from services import migrate
from services.db import Database, database_url
from services.embedded_postgres import EmbeddedPostgres, start_embedded_postgres
from tests.sandbox.conftest import eventually

PAYMENT = "6f9619ff-8b86-4011-b42d-00c04fc964ff"
DAY = 86400
SALE = f"""
    INSERT INTO users (telegram_id, first_name) VALUES (1001, 'Emma');
    INSERT INTO subscriptions (user_id, tier, ends_at) VALUES (1001, 'pro', now() + interval '30 days');
    INSERT INTO payments (id, user_id, tier, period, period_seconds, amount, currency)
         VALUES ('{PAYMENT}', 1001, 'pro', 'month', 2592000, 99, 'USD');
"""
GRANT = f"""
    UPDATE payments SET status = 'paid', paid_at = now(), overpaid = true WHERE id = '{PAYMENT}';
    INSERT INTO subscription_ledger (user_id, payment_id, kind, tier, seconds, starts_at, ends_at, idempotency_key)
         VALUES (1001, '{PAYMENT}', 'payment', 'pro', 2592000, now(), now() + interval '30 days', 'payment:1');
"""


@pytest_asyncio.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedPostgres]:
    """The bot's embedded server, as the bot leaves it in the data folder."""
    folder = tmp_path_factory.mktemp("observer")
    for parent in (folder, *folder.parents[:2]):
        with contextlib.suppress(PermissionError):
            parent.chmod(parent.stat().st_mode | 0o055)
    server = await asyncio.to_thread(start_embedded_postgres, folder, fsync=False)
    db = Database(database_url(server.url))
    await migrate.upgrade(db)
    await db.dispose()
    yield server
    await asyncio.to_thread(server.stop)


@pytest_asyncio.fixture
async def bot_data(server: EmbeddedPostgres) -> AsyncIterator[Any]:
    """A session of the bot's; what it has written is gone after the test."""
    url = database_url(server.url)
    connection = await asyncpg.connect(host=url.query["host"], user="subgate", database="subgate")
    yield connection
    if connection.is_closed():
        connection = await asyncpg.connect(host=url.query["host"], user="subgate", database="subgate")
    await connection.execute("SET session_replication_role = replica")
    for table in ("subscription_ledger", "payment_history", "payments", "subscriptions", "users"):
        await connection.execute(f"DELETE FROM {table}")
    await connection.close()


def data_folder(server: EmbeddedPostgres, tmp_path: Path) -> Path:
    (tmp_path / "postgres").symlink_to(server.data.parent)
    return tmp_path


@pytest_asyncio.fixture
async def observed(
    server: EmbeddedPostgres, bot_data: Any, tmp_path: Path
) -> AsyncIterator[tuple[World, Observer]]:
    """An observer that watches."""
    world = World()
    observer = Observer(world, data_folder(server, tmp_path))
    watching = asyncio.create_task(observer.run())
    await eventually(lambda: observer.state == "watching")
    yield world, observer
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


def told(world: World) -> list[str]:
    return [one["title"] for one in world.notes]


async def test_each_step_of_a_payment_is_told_with_the_row(
    observed: tuple[World, Observer], bot_data: Any
) -> None:
    world, observer = observed
    await bot_data.execute(SALE)
    await eventually(lambda: "creating" in told(world))
    await bot_data.execute(GRANT)
    await eventually(lambda: "+30 days of pro" in told(world))
    assert told(world)[-3:] == ["creating", "creating → paid", "+30 days of pro"]
    paid = list(world.notes)[-2]
    assert (paid["lane"], paid["to"], paid["text"], paid["tone"]) == ("bot", "row", "overpaid", "good")
    assert paid["request"]["status"] == ["creating", "paid"]
    rows = await observer.rows_of(1001)
    assert [one["id"] for one in rows["payments"]] == [PAYMENT]
    assert rows["subscription"]["tier"] == "pro"
    assert (await observer.rows_of(7))["payments"] == []


async def test_a_cause_stands_before_its_effect_though_it_is_heard_of_later(
    observed: tuple[World, Observer], bot_data: Any
) -> None:
    world, observer = observed
    await bot_data.execute(SALE)
    await eventually(lambda: "creating" in told(world))
    async with observer._looking:
        world.note("cryptocloud", "money arrives")
        await bot_data.execute(f"UPDATE payments SET status = 'partial' WHERE id = '{PAYMENT}'")
        await bot_data.execute(GRANT)
        world.note("bot", "receipt", to="telegram")
    await eventually(lambda: "+30 days of pro" in told(world))
    assert told(world).index("receipt") < told(world).index("partial → paid")
    titles = [one["title"] for one in in_order(world.journals)]
    assert titles[titles.index("creating") :] == [
        "creating", "money arrives", "creating → partial", "partial → paid", "+30 days of pro", "receipt",
    ]  # fmt: skip


async def test_somebody_who_is_woken_was_woken_before_the_look(
    observed: tuple[World, Observer], bot_data: Any
) -> None:
    world, observer = observed
    await bot_data.execute(SALE)
    await eventually(lambda: "creating" in told(world))
    async with observer._looking:
        await bot_data.execute("UPDATE payments SET wake = wake + 1, next_check_at = now()")
        await bot_data.execute("UPDATE payments SET asked_at = now()")
        world.note("bot", "info", to="cryptocloud")
        await bot_data.execute("UPDATE payments SET checked_at = now()")
    await eventually(lambda: "woken" in told(world))
    assert [one["title"] for one in in_order(world.journals)][-2:] == ["woken", "info"]


async def test_what_was_written_just_before_a_jump_keeps_its_time(
    observed: tuple[World, Observer], bot_data: Any
) -> None:
    world, observer = observed
    before = time.time()
    await bot_data.execute(SALE)
    assert await observer.jump(40 * DAY, expected=True)
    await eventually(lambda: "creating" in told(world))
    assert [one["at"] >= before for one in world.notes if one["title"] == "creating"] == [True]


async def test_a_jump_moves_every_moment_and_leaves_the_books_closed(
    observed: tuple[World, Observer], bot_data: Any
) -> None:
    _, observer = observed
    await bot_data.execute(SALE + GRANT)
    assert await observer.jump(40 * DAY, expected=True)
    ends_at = await bot_data.fetchval("SELECT ends_at FROM subscriptions")
    assert timedelta(days=9.9) < datetime.now(UTC) - ends_at < timedelta(days=10.1)
    row = await bot_data.fetchrow(
        "SELECT l.ends_at, p.updated_at, p.created_at, (SELECT max(changed_at) FROM payment_history) AS changed_at "
        "FROM subscription_ledger l JOIN payments p ON p.id = l.payment_id"
    )
    assert row["ends_at"] == ends_at
    for moment in ("updated_at", "created_at", "changed_at"):
        assert datetime.now(UTC) - row[moment] > timedelta(days=39)
    with pytest.raises(asyncpg.PostgresError):
        await bot_data.execute("UPDATE subscription_ledger SET seconds = 1")


async def test_the_observer_itself_cannot_write(observed: tuple[World, Observer], bot_data: Any) -> None:
    _, observer = observed
    async with observer._visit(read_only=True) as connection:
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await connection.execute("DELETE FROM users")


async def test_it_watches_on_after_a_crash(observed: tuple[World, Observer], bot_data: Any) -> None:
    world, observer = observed
    await observer.crash()
    await eventually(lambda: "the database is away" in told(world))
    async with asyncio.timeout(30):
        while observer.state != "watching":  # noqa: ASYNC110 - a state, not an event
            await asyncio.sleep(0.05)


async def test_without_a_server_it_says_so_and_moves_nothing(tmp_path: Path) -> None:
    observer = Observer(World(), tmp_path)
    assert not await observer.jump(DAY, expected=False)
    with pytest.raises(NoDatabase):
        await observer.crash()
    assert await observer.rows_of(1) == {"state": "absent", "payments": [], "subscription": None}


async def test_a_pid_that_does_not_serve_this_folder_is_left_alone(
    observed: tuple[World, Observer], server: EmbeddedPostgres, bot_data: Any, tmp_path: Path
) -> None:
    cluster = tmp_path / "other" / "postgres" / "cluster"
    cluster.mkdir(parents=True)
    lines = await _lines(server)
    lines[0] = str(os.getpid())
    (cluster / "postmaster.pid").write_text("\n".join(lines))
    with pytest.raises(NoDatabase, match="left alone"):
        await Observer(World(), tmp_path / "other").restart()


async def _lines(server: EmbeddedPostgres) -> list[str]:
    return (await asyncio.to_thread((server.data / "postmaster.pid").read_text)).splitlines()
