"""Reading: /status, /history and /revenue in shops of three sizes, beside a ping of the same database.

The functions are those that the handlers call, in a transaction as theirs; pgbench then runs the very statements, to
tell the database's time from ours.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import UUID

from sqlalchemy import URL, text

from bot.handlers.account import PAYMENTS_A_PAGE
from services import payments, reports, subscriptions
from services.db import Database, Session
from tests.bench import plot
from tests.bench.chapter import Chapter, Row
from tests.bench.figures import Figures, written
from tests.bench.ground import Ground
from tests.bench.orders import FIRST_CUSTOMER, FIRST_INVOICE, PRICE
from tests.bench.pgbench import MISSING, has_pgbench, pgbench
from tests.bench.statements import as_prepared, recording
from tests.conftest import administer
from tests.shop import MONTH

REGULAR = FIRST_CUSTOMER  # who has bought a thousand times; everybody else about ten times
REGULARS_PAYMENTS = 500
REVENUES = 3  # a round
PAGES = {"status": "/status", "first": "/history, first page", "deep": "/history, a deep page"}
TARGET_PINGS, TARGET_GROWTH = 3.0, 1.2

Read = Callable[[Session], Awaitable[Any]]


@dataclass(frozen=True)
class Library:
    """A filled database: how many payments, how many customers, and a mark deep in the regular's history."""

    url: URL
    db: Database
    payments: int
    customers: int
    deep: UUID
    random: Random

    def reads(self) -> dict[str, Read]:
        """What is read, each about somebody else."""
        somebody = FIRST_CUSTOMER + self.random.randint(1, self.customers)
        return {
            "ping": _ping,
            "status": lambda session: subscriptions.status(session, somebody),
            "first": lambda session: payments.history(session, REGULAR, size=PAYMENTS_A_PAGE),
            "deep": lambda session: payments.history(
                session, REGULAR, size=PAYMENTS_A_PAGE, older_than=self.deep
            ),
        }


async def _ping(session: Session) -> None:
    await session.scalar(text("SELECT 1"))


async def measure(ground: Ground) -> Figures:
    """Read in turns, one of each kind after the other and one size after the other."""
    figures, sizes = Figures(), ground.sizes
    async with _all_of(ground, figures) as libraries:
        for _ in range(sizes.rounds):
            await _read(figures, libraries, sizes.reads)
            for library in libraries:
                await _revenue(figures, library)
                await _pgbench(figures, library, sizes.pgbench_reads)
    return figures


@asynccontextmanager
async def _all_of(ground: Ground, figures: Figures) -> AsyncIterator[list[Library]]:
    async with AsyncExitStack() as stack:
        libraries = []
        for size in ground.sizes.payments:
            url = await stack.enter_async_context(ground.database())
            began = time.perf_counter()
            await _fill(url, size)
            figures.note(f"filling at {size}", time.perf_counter() - began)
            db = Database(url)
            stack.push_async_callback(db.dispose)
            async with db.begin() as session:
                mark = await session.scalar(
                    text("SELECT id FROM payments WHERE user_id = :id ORDER BY created_at OFFSET 20 LIMIT 1"),
                    {"id": REGULAR},
                )
            libraries.append(Library(url, db, size, _customers(size), mark, Random(size)))
        yield libraries


def _customers(size: int) -> int:
    return (size - REGULARS_PAYMENTS) // 10


async def _fill(url: URL, size: int) -> None:
    """Two years of business: of ten payments six are paid, one is open, the others came to nothing."""
    customers = _customers(size)
    for statement in (
        f"INSERT INTO users (telegram_id) SELECT {FIRST_CUSTOMER} + n FROM generate_series(0, {customers}) n",
        """
        INSERT INTO subscriptions (user_id, tier, ends_at)
        SELECT telegram_id, 'pro', now() + make_interval(secs => (telegram_id % 60 - 30) * 86400) FROM users
        """,
        # The triggers write one row after the other; the history of the payments comes in one go below.
        "ALTER TABLE payments DISABLE TRIGGER USER",
        f"""
        INSERT INTO payments (id, user_id, tier, period, period_seconds, amount, currency, status, invoice_uuid,
                              invoice_url, expires_at, paid_at, created_at, superseded, provider)
        SELECT md5(n::text)::uuid,
               {FIRST_CUSTOMER} + CASE WHEN n <= {REGULARS_PAYMENTS} THEN 0 ELSE 1 + n % {customers} END,
               CASE WHEN n % 4 = 0 THEN 'business' ELSE 'pro' END, 'month', {MONTH}, {PRICE}, 'USD', status,
               ({FIRST_INVOICE} + n)::text, 'https://pay.example/' || n, moment + interval '24 hours',
               CASE WHEN status = 'paid' THEN moment + interval '5 minutes' END, moment, status <> 'pending',
               CASE WHEN status = 'paid' THEN '{{"status": "paid", "amount_paid_usd": "99.00"}}'::jsonb END
          FROM (SELECT n, now() - interval '10 minutes' - n::float / {size} * interval '2 years' AS moment,
                       CASE WHEN n <= {customers} AND n > {REGULARS_PAYMENTS} THEN 'pending'
                            WHEN n % 10 < 7 THEN 'paid' WHEN n % 10 < 9 THEN 'expired' ELSE 'canceled' END AS status
                  FROM generate_series(1, {size}) n) p
        """,
        "ALTER TABLE payments ENABLE TRIGGER USER",
        """
        INSERT INTO payment_history (payment_id, old_status, new_status, changed_at)
        SELECT id, NULL, 'creating', created_at FROM payments
        UNION ALL SELECT id, 'creating', 'pending', created_at FROM payments
        UNION ALL SELECT id, 'pending', status, created_at FROM payments WHERE status <> 'pending'
        """,
        "VACUUM ANALYZE",
    ):
        await administer(url, statement)


async def _timed(db: Database, read: Read) -> float:
    """Milliseconds of a read with its transaction."""
    began = time.perf_counter()
    async with db.begin() as session:
        await read(session)
    return (time.perf_counter() - began) * 1000


async def _read(figures: Figures, libraries: Sequence[Library], times: int) -> None:
    took = Figures()
    for _ in range(times):
        for library in libraries:
            for name, read in library.reads().items():
                took.note(f"{name} at {library.payments}", await _timed(library.db, read))
    for name in took.values:
        figures.note(name, took.mid(name))


async def _revenue(figures: Figures, library: Library) -> None:
    for _ in range(REVENUES):
        took = await _timed(library.db, lambda session: reports.revenue(session, "UTC"))
        figures.note(f"revenue at {library.payments}", took)


async def _pgbench(figures: Figures, library: Library, times: int) -> None:
    """The statements alone, on one connection."""
    if not has_pgbench():
        return
    for name, read in library.reads().items():
        with recording() as taken:
            async with library.db.begin() as session:
                await read(session)
        sent = taken.only()
        somebody = [value for value in sent.rows[0] if name == "status"]
        script, defined = as_prepared(sent, dict.fromkeys(somebody, "somebody"))
        choice = f"\\set somebody random({FIRST_CUSTOMER + 1}, {FIRST_CUSTOMER + library.customers})\n"
        rate = await pgbench(library.url, choice + script, transactions=times, define=defined)
        figures.note(f"alone {name} at {library.payments}", 1000 / rate)


def tell(figures: Figures | None) -> Chapter:
    """Compare with a ping, and the largest shop with the smallest."""
    title = "Reading"
    rows = [
        Row(what, f"≤ {TARGET_PINGS:g} × a ping, largest ≤ {TARGET_GROWTH} × smallest")
        for what in PAGES.values()
    ]
    revenue = Row("/revenue", "none")
    if figures is None:
        return Chapter(title, [*rows, revenue])
    sizes = figures.numbers_of("ping")
    least, most = sizes[0], sizes[-1]
    told = []
    for (name, what), row in zip(PAGES.items(), rows, strict=True):
        pings = [figures.ratio(f"{name} at {size}", f"ping at {size}") for size in sizes]
        growth = figures.ratio(f"{name} at {most}", f"{name} at {least}")
        beside = f"{written(max(pings))} × a ping at most ({figures.spread(f'ping at {most}')} ms); "
        beside += f"{most:,} beside {least:,}: {growth:.2f}"
        alone = f"alone {name} at {most}"
        told.append(
            Row(
                what,
                row.target,
                f"{figures.spread(f'{name} at {most}')} ms at {most:,} payments",
                beside,
                (
                    f"our side: pgbench needs {written(figures.mid(alone))} ms for the statement alone "
                    f"({written(figures.ratio(alone, f'alone ping at {most}'))} × its ping)"
                    if figures.has(alone)
                    else MISSING
                ),
                max(pings) <= TARGET_PINGS and growth <= TARGET_GROWTH,
            )
        )
    told.append(
        Row(
            revenue.what,
            revenue.target,
            f"{figures.spread(f'revenue at {most}')} ms at {most:,} payments",
            f"{figures.ratio(f'revenue at {most}', f'revenue at {least}'):.0f} times {least:,} payments",
            "the sums over all time read every paid payment, from the covering index",
        )
    )
    kinds = {"ping": "ping", **PAGES, "revenue": "/revenue"}
    return Chapter(
        title,
        told,
        f"""
Medians of a whole use: the transaction begins, the function that the handler calls, it ends; the ping is SELECT 1 in
the same clothes, and all kinds and sizes take turns read by read. Customers have about ten payments each, one of them
{REGULARS_PAYMENTS}, whose history is read: its deep page begins behind all but the last 21. Pages are read by keyset,
so depth and size cost nothing but the height of the index. /revenue adds up four spans live, one of them all time, so
it grows with the shop; it is for the merchant alone. Filling the largest database took
{written(figures.mid(f"filling at {most}"))} s.""",
        [
            (
                ("ms at so many payments", *(f"{size:,}" for size in sizes)),
                [
                    (what, *(figures.spread(f"{name} at {size}") for size in sizes))
                    for name, what in kinds.items()
                ],
            ),
            *(
                [
                    (
                        ("the statement alone by pgbench, ms", *(f"{size:,}" for size in sizes)),
                        [
                            (what, *(figures.spread(f"alone {name} at {size}") for size in sizes))
                            for name, what in kinds.items()
                            if name != "revenue"
                        ],
                    )
                ]
                if figures.has(f"alone ping at {most}")
                else []
            ),
        ],
        {
            "reading.svg": plot.lines(
                "Reading by the number of payments",
                "payments",
                "milliseconds",
                {what: figures.points(name, sizes) for name, what in kinds.items()},
                log_x=True,
                log_y=True,
            )
        },
    )
