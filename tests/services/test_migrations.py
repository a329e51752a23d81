"""The schema: up, down and up again, the same as the models, explained, and made once by any number of starters."""

import asyncio

import pytest
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError, IntegrityError

from services import migrate, models
from services.db import Database
from tests.shop import change, customer, invoice, payment, rows


@pytest.fixture
def empty(empty_database: URL) -> Database:
    return Database(empty_database)


async def tables(db: Database) -> set[str]:
    found = await rows(db, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    return {one["relname"] for one in found}


async def test_up_down_and_up_again(empty: Database) -> None:
    assert await migrate.current_revision(empty) is None
    await migrate.upgrade(empty)
    first = await tables(empty)
    assert await migrate.current_revision(empty) == migrate.head_revision()
    assert {table.name for table in models.ALL_TABLES} < first

    await migrate.upgrade(empty, "base")
    assert await tables(empty) == {"alembic_version", "alembic_version_pkc"}
    functions = await rows(empty, "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace")
    assert functions == []

    await migrate.upgrade(empty)
    assert await tables(empty) == first
    assert await migrate.differences(empty) == []
    await migrate.upgrade(empty)
    await empty.dispose()


async def test_three_that_start_at_once_migrate_once(empty_database: URL) -> None:
    starters = [Database(empty_database) for _ in range(3)]
    await asyncio.gather(*(migrate.upgrade(one) for one in starters))
    versions = await rows(starters[0], "SELECT version_num FROM alembic_version")
    assert versions == [{"version_num": migrate.head_revision()}]
    assert len(await rows(starters[0], "SELECT * FROM send_budget")) == 1
    for one in starters:
        await one.dispose()


async def test_the_database_is_what_the_models_say(db: Database) -> None:
    assert await migrate.differences(db) == []


async def test_a_difference_is_seen(db: Database) -> None:
    await change(db, "ALTER TABLE users ADD COLUMN shoe_size integer")
    await change(db, "DROP INDEX payments_due_idx")
    found = str(await migrate.differences(db))
    assert "shoe_size" in found
    assert "payments_due_idx" in found


async def test_a_newer_schema_is_left_as_it_is(db: Database) -> None:
    await change(db, "UPDATE alembic_version SET version_num = '9999'")
    before = await tables(db)
    await migrate.upgrade(db)
    assert await migrate.current_revision(db) == "9999"
    assert await tables(db) == before


async def test_a_migration_that_fails_leaves_nothing_behind(empty: Database) -> None:
    await change(empty, "CREATE TABLE webhook_events (mine text)")
    with pytest.raises(DBAPIError, match="already exists"):
        await migrate.upgrade(empty)
    assert await tables(empty) == {"webhook_events"}
    assert await migrate.current_revision(empty) is None
    await empty.dispose()


async def test_every_table_column_view_and_index_of_ours_is_explained(db: Database) -> None:
    silent = await rows(
        db,
        """
        SELECT c.relname, a.attname FROM pg_class c
          LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p')
           AND c.relname <> 'alembic_version'
           AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid, 'pg_class') IS NULL)
        """,
    )
    assert silent == []
    unexplained = await rows(
        db,
        """
        SELECT c.relname FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid
         WHERE c.relnamespace = 'public'::regnamespace AND obj_description(c.oid, 'pg_class') IS NULL
           AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = c.oid)
        """,
    )
    assert unexplained == []


async def test_every_foreign_key_says_what_happens_on_delete_and_only_descriptions_cascade(
    db: Database,
) -> None:
    keys = await rows(
        db,
        """
        SELECT conrelid::regclass::text AS source, confrelid::regclass::text AS target, confdeltype::text AS deed
          FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace ORDER BY 1, 2
        """,
    )
    restrict, cascade = "r", "c"
    assert {(one["source"], one["target"]): one["deed"] for one in keys} == {
        ("notifications", "users"): cascade,
        ("payment_history", "payments"): restrict,
        ("payments", "users"): restrict,
        ("subscription_ledger", "payments"): restrict,
        ("subscription_ledger", "users"): restrict,
        ("subscriptions", "users"): restrict,
        ("unclaimed_invoices", "payments"): restrict,
    }


async def test_every_foreign_key_that_is_followed_back_has_an_index(db: Database) -> None:
    slow = await rows(
        db,
        """
        SELECT k.conrelid::regclass::text AS source, a.attname AS name FROM pg_constraint k
          JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
         WHERE k.contype = 'f' AND k.confdeltype = 'c' AND NOT EXISTS (
             SELECT FROM pg_index i WHERE i.indrelid = k.conrelid AND i.indkey[0] = k.conkey[1])
        """,
    )
    assert slow == []


IMPOSSIBLE = [
    ("amount", "'NaN'"),
    ("amount", "-1"),
    ("surplus", "'NaN'"),
    ("status", "'Paid'"),
    ("status", "'paid'"),  # without a moment of payment
    ("invoice_uuid", "'INV-ABCD1234'"),
    ("invoice_uuid", "NULL"),  # pending without an invoice
    ("verdict", "'maybe'"),
    ("period_seconds", "0"),
    ("user_id", "77"),  # nobody
]


async def test_the_database_itself_refuses_what_cannot_be(db: Database) -> None:
    await customer(db)
    payment_id, _ = await invoice(db)
    before = await payment(db, payment_id)
    for column, value in IMPOSSIBLE:
        with pytest.raises(IntegrityError, match="constraint"):
            await change(db, f"UPDATE payments SET {column} = {value}")
    assert await payment(db, payment_id) == before
