"""The way to PostgreSQL: every usual address, limits on each connection, outages by one name, conflicts tried again."""

import asyncio
import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sqlalchemy import URL, text
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.exc import DBAPIError

from services.db import Database, database_url, is_conflict, is_data_fault, is_outage, retry_conflicts
from services.errors import DatabaseUnavailable, SettingsError
from tests.shop import change, customer, row, rows


def connects_with(address: str) -> dict[str, Any]:
    """What the driver is asked to connect with."""
    driver = PGDialect_asyncpg()  # type: ignore[no-untyped-call]  # SQLAlchemy types no dialect
    return dict(driver.create_connect_args(database_url(address))[1])  # type: ignore[no-untyped-call]  # as above


WHO: dict[str, Any] = {"user": "u", "password": "p", "database": "shop"}


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("postgresql+asyncpg://u:p@db.example:6432/shop", {"host": "db.example", "port": 6432}),
        ("postgresql://u:p@db.example/shop", {"host": "db.example"}),
        ("postgres://u:p@db_1/shop", {"host": "db_1"}),
        ("postgres://u:p@db:/shop", {"host": "db"}),
        ("postgresql://u:p@10.0.0.7:5433/shop", {"host": "10.0.0.7", "port": 5433}),
        ("postgresql://u:p@[2001:db8::7]:5433/shop", {"host": "2001:db8::7", "port": 5433}),
        ("postgresql://u:p@[::1]/shop", {"host": "::1"}),
        ("postgresql://u:p@a:1,b:2/shop", {"host": ["a", "b"], "port": [1, 2]}),
        ("postgresql://u:p@a,b:2/shop", {"host": ["a", "b"], "port": [5432, 2]}),
        ("postgresql://u:p@/shop?host=a:1&host=b:2", {"host": ["a", "b"], "port": [1, 2]}),
        ("postgresql://u:p@/shop?host=a,b&port=1,2", {"host": ["a", "b"], "port": [1, 2]}),
        ("postgresql://u:p@/shop?host=a,b&port=6000", {"host": ["a", "b"], "port": [6000, 6000]}),
        ("postgresql://u:p@a,b/shop?port=6000", {"host": ["a", "b"], "port": [6000, 6000]}),
        ("postgresql://u:p@/shop?host=/run/pg&port=6000", {"host": "/run/pg", "port": 6000}),
        ("postgresql://u:p@:6000/shop?host=/run/pg", {"host": "/run/pg", "port": 6000}),
        ("postgresql://u:p@/shop?host=/run/a,/run/b&port=6000", {"host": ["/run/a", "/run/b"], "port": [6000] * 2}),
        ("postgresql://u:p@%2Frun%2Fpg/shop", {"host": "/run/pg"}),
        ("postgresql://u:p@/shop?port=6000", {"port": 6000}),
        ("postgresql://u:p@/shop", {}),
        (
            "postgresql://u:p@a:1,b:2/shop?target_session_attrs=read-write",
            {"host": ["a", "b"], "port": [1, 2], "target_session_attrs": "read-write"},
        ),
        ("postgresql://u:p@db/shop?sslmode=verify-full", {"host": "db", "ssl": "verify-full"}),
        ("postgresql://u:p@db/shop?ssl=require", {"host": "db", "ssl": "require"}),
    ],
)  # fmt: skip
def test_every_usual_address_reaches_the_driver(address: str, expected: dict[str, Any]) -> None:
    assert connects_with(address) == WHO | expected


@pytest.mark.parametrize(
    ("login", "user", "password"),
    [
        ("u:p%40ss%2Fw%23%3F%25@", "u", "p@ss/w#?%"),
        ("u:p@ss:word@", "u", "p@ss:word"),
        ("user%40corp:%20@", "user@corp", " "),
        ("u:@", "u", None),
        ("u@", "u", None),
        ("", None, None),
        ("u:%C3%A9%D1%8F@", "u", "éя"),
        ("u:p+q@", "u", "p+q"),
    ],
)
def test_names_and_passwords_keep_every_character(login: str, user: str | None, password: str | None) -> None:
    url = database_url(f"postgresql://{login}db/shop")
    assert (url.username, url.password, url.host, url.database) == (user, password, "db", "shop")


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("mysql://u:s3cret@db/shop", "must start with postgresql://"),
        ("u:s3cret@db/shop", "must start with postgresql://"),
        ("", "must start with postgresql://"),
        ("postgresql://u:s3cret@db", "names no database"),
        ("postgresql://u:s3cret@db/", "names no database"),
        ("postgresql://u:s3cret@db:port/shop", "no number from 1 to 65535"),
        ("postgresql://u:s3cret@db:0/shop", "no number from 1 to 65535"),
        ("postgresql://u:s3cret@db:70000/shop", "no number from 1 to 65535"),
        ("postgresql://u:s3cret@db:٣/shop", "no number from 1 to 65535"),
        ("postgresql://u:s3cret@a:1,b:x/shop", "no number from 1 to 65535"),
        ("postgresql://u:s3cret@/shop?host=/run/pg&port=x", "no number from 1 to 65535"),
        ("postgresql://u:s3cret@/shop?port=x", "no number from 1 to 65535"),
        ("postgresql://u:s3cret@/shop?host=a,b,c&port=1,2", "as many ports as hosts"),
        ("postgresql://u:s3cret/more@db/shop", "%2F"),
        ("postgresql://u:s3cret@[::1]:1,[::2]:2/shop", "IPv6"),
        ("postgresql://u:s3cret@[::1/shop", "is not an address"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_in_one_line_without_its_secret(
    address: str, complaint: str
) -> None:
    with pytest.raises(SettingsError, match=complaint) as refused:
        database_url(address)
    assert str(refused.value).startswith("DATABASE_URL ")
    assert "s3cret" not in str(refused.value)
    assert "\n" not in str(refused.value)


@given(st.text(max_size=60) | st.text(max_size=40).map("postgresql://".__add__))
@examples(deadline=None, max_examples=200)
def test_whatever_is_written_is_an_address_or_a_mendable_line(text: str) -> None:
    with contextlib.suppress(SettingsError):
        assert connects_with(text)["database"]


async def test_every_connection_has_its_limits(db: Database) -> None:
    limits = {
        name: (await row(db, f"SHOW {name}"))[name]
        for name in (
            *("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout", "application_name"),
            *("jit",),
        )
    }
    assert limits == {
        "lock_timeout": "5s",
        "statement_timeout": "15s",
        "idle_in_transaction_session_timeout": "10s",
        "application_name": "subgate",
        "jit": "off",
    }
    assert await row(db, "SHOW timezone") == {"TimeZone": "UTC"}


async def test_the_address_may_name_the_application(database: URL) -> None:
    named = Database(database.update_query_dict({"application_name": "subgate-2"}))
    assert await row(named, "SHOW application_name") == {"application_name": "subgate-2"}
    await named.dispose()


async def test_what_fails_in_the_middle_leaves_nothing_behind(db: Database) -> None:
    async def fail_after_writing() -> None:
        async with db.begin() as session:
            await session.exec_driver_sql("INSERT INTO users (telegram_id) VALUES (1)")
            raise KeyError("a bug of ours")

    with pytest.raises(KeyError):
        await fail_after_writing()
    assert await rows(db, "SELECT 1 FROM users WHERE telegram_id = 1") == []


async def test_a_backend_that_is_killed_in_mid_transaction_is_an_outage_and_the_next_one_works(
    db: Database,
) -> None:
    async def write_and_be_killed() -> None:
        async with db.begin() as session:
            pid = (await session.exec_driver_sql("SELECT pg_backend_pid()")).scalar_one()
            await session.exec_driver_sql("INSERT INTO users (telegram_id) VALUES (1)")
            await rows(db, "SELECT pg_terminate_backend(:pid, 5000)", pid=pid)
            await session.exec_driver_sql("INSERT INTO users (telegram_id) VALUES (2)")

    with pytest.raises(DatabaseUnavailable):
        await write_and_be_killed()
    assert await rows(db, "SELECT telegram_id FROM users WHERE telegram_id < 900") == []
    await customer(db)


async def test_connections_that_died_while_nobody_used_them_are_not_noticed(db: Database) -> None:
    await asyncio.gather(*(rows(db, "SELECT pg_sleep(0.05)") for _ in range(5)))
    await rows(
        db,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    await asyncio.gather(*(customer(db, user_id) for user_id in range(1, 6)))
    assert len(await rows(db, "SELECT 1 FROM users WHERE telegram_id < 900")) == 5


async def test_a_database_that_only_reads_is_an_outage(db: Database) -> None:
    async def write() -> None:
        async with db.begin() as session:
            await session.exec_driver_sql("SET TRANSACTION READ ONLY")
            await session.exec_driver_sql("INSERT INTO users (telegram_id) VALUES (1)")

    with pytest.raises(DatabaseUnavailable):
        await write()


async def test_nobody_at_the_address_is_an_outage(unused_tcp_port: int) -> None:
    nowhere = Database(f"postgresql://u:s3cret@127.0.0.1:{unused_tcp_port}/shop")
    with pytest.raises(DatabaseUnavailable) as away:
        await rows(nowhere, "SELECT 1")
    assert "s3cret" not in str(away.value)
    await nowhere.dispose()


async def test_a_server_that_hangs_up_is_an_outage() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        rude = Database(f"postgresql://u@127.0.0.1:{port}/shop?sslmode=disable")
        with pytest.raises(DatabaseUnavailable):
            await rows(rude, "SELECT 1")
        await rude.dispose()


async def test_who_waits_in_vain_may_ask_again_like_in_an_outage(db: Database) -> None:
    await customer(db)

    async def wait(limit: str, statement: str) -> None:
        async with db.begin() as session:
            await session.exec_driver_sql(f"SET LOCAL {limit} = '50ms'")
            await session.exec_driver_sql(statement)

    async with db.begin() as holder:
        await holder.exec_driver_sql("UPDATE users SET first_name = 'you' WHERE telegram_id = 1")
        with pytest.raises(DatabaseUnavailable):
            await wait("lock_timeout", "UPDATE users SET first_name = 'me' WHERE telegram_id = 1")
        with pytest.raises(DatabaseUnavailable):
            await wait("statement_timeout", "SELECT pg_sleep(5)")
    await customer(db)


FAULTS_OF_DATA: list[tuple[str, dict[str, Any]]] = [
    ("INSERT INTO users (telegram_id) VALUES (900)", {}),
    ("SELECT CAST(:value AS bigint)", {"value": 2**70}),
    ("SELECT CAST(:value AS text)", {"value": "nul \0"}),
    ("SELECT CAST(:value AS text)", {"value": "half \ud800"}),
    ("SELECT CAST('10000000000' AS int)", {}),
]


async def test_a_fault_of_the_data_is_neither_outage_nor_conflict(db: Database) -> None:
    for statement, values in FAULTS_OF_DATA:
        with pytest.raises(DBAPIError) as refused:
            await change(db, statement, **values)
        assert is_data_fault(refused.value)
        assert not is_outage(refused.value)
        assert not is_conflict(refused.value)


def test_our_own_bugs_are_neither_outages_nor_conflicts() -> None:
    for bug in (KeyError("x"), ValueError("x"), ZeroDivisionError()):
        assert not is_data_fault(bug)
        assert not is_outage(bug)
        assert not is_conflict(bug)
    assert is_outage(TimeoutError())


async def test_a_real_deadlock_is_tried_again_until_both_are_done(db: Database) -> None:
    for user_id in (1, 2):
        await customer(db, user_id)
    tries = holding = 0
    met = asyncio.Event()

    async def greet(first: int, second: int) -> None:
        nonlocal tries, holding
        tries += 1
        async with db.begin() as session:
            update = text("UPDATE users SET first_name = first_name || '!' WHERE telegram_id = :id")
            await session.execute(update, {"id": first})
            holding += 1
            if holding >= 2:
                met.set()
            await met.wait()
            await session.execute(update, {"id": second})

    await asyncio.gather(
        retry_conflicts(lambda: greet(1, 2)),
        retry_conflicts(lambda: greet(2, 1)),
    )

    assert tries > 2
    names = await rows(db, "SELECT first_name FROM users WHERE telegram_id < 900 ORDER BY 1")
    assert [one["first_name"] for one in names] == ["Customer 1!!", "Customer 2!!"]


async def test_a_conflict_that_does_not_go_away_is_raised_in_the_end(db: Database) -> None:
    tries = 0

    async def collide() -> None:
        nonlocal tries
        tries += 1
        await change(db, "DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END $$")

    with pytest.raises(DBAPIError) as conflict:
        await retry_conflicts(collide, tries=3)
    assert tries == 3
    assert is_conflict(conflict.value)


async def test_what_is_no_conflict_is_not_tried_again(db: Database) -> None:
    tries = 0

    async def divide() -> None:
        nonlocal tries
        tries += 1
        await change(db, "SELECT 1 / 0")

    with pytest.raises(DBAPIError):
        await retry_conflicts(divide)
    assert tries == 1


async def test_a_pool_that_stays_full_is_an_outage_and_not_a_hang(database: URL) -> None:
    narrow = Database(database, pool_size=1)
    async with narrow.begin(), narrow.begin():
        with pytest.raises(DatabaseUnavailable):
            await asyncio.wait_for(rows(narrow, "SELECT 1"), 8)
    assert await rows(narrow, "SELECT 1 AS one") == [{"one": 1}]
    await narrow.dispose()
