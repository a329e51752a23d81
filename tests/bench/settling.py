"""Settling: from the provider's facts in hand to the commit, beside pgbench with the same statements, and with one."""

import time
from datetime import UTC, datetime
from decimal import Decimal

from sqlalchemy import URL

from services import ledger
from services.cryptocloud import InvoiceFact
from services.db import Database
from services.settlement import settle
from tests import shop
from tests.bench import plot
from tests.bench.chapter import Chapter, Row
from tests.bench.figures import Figures, written
from tests.bench.ground import Ground, settings_for_bench
from tests.bench.orders import (
    FIRST_INVOICE,
    PRICE,
    count,
    invoice_of,
    payment_of,
    take_orders,
)
from tests.bench.pgbench import MISSING, has_pgbench, pgbench
from tests.bench.processor_time import Meter, postmaster_of
from tests.bench.statements import as_replay, recording
from tests.conftest import ADMIN

BATCH = 100
OTHERS = (1, 10, 30)
TARGET_RATE = 500

# What a batch comes to if no rule had to be readable: one statement that pays, grants and tells for 100 invoices.
AT_ONCE = f"""
\\set n :n + 1
\\set first :first_of_all + :n * {BATCH}
WITH paid AS (
    UPDATE payments SET status = 'paid', paid_at = now(), provider = '{{"status": "paid"}}'
     WHERE invoice_uuid IN (SELECT i::text FROM generate_series(:first, :first + {BATCH} - 1) i)
       AND status = 'pending'
    RETURNING id, user_id, tier, period_seconds, amount, currency
), granted AS (
    INSERT INTO subscription_ledger (user_id, payment_id, kind, tier, seconds, starts_at, ends_at, amount, currency,
                                     idempotency_key)
    SELECT user_id, id, 'payment', tier, period_seconds, now(), now() + make_interval(secs => period_seconds), amount,
           currency, 'payment:' || id FROM paid
), moved AS (
    UPDATE subscriptions s SET tier = paid.tier, ends_at = now() + make_interval(secs => paid.period_seconds)
      FROM paid WHERE s.user_id = paid.user_id
)
INSERT INTO notifications (user_id, kind, key, payload, priority)
SELECT user_id, 'receipt', 'receipt:' || id, jsonb_build_object('payment', id), 0 FROM paid
UNION ALL SELECT user_id, 'order', 'order:' || id, jsonb_build_object('payment', id), 1 FROM paid
UNION ALL SELECT {ADMIN}, 'sale', 'sale:' || id || ':{ADMIN}', jsonb_build_object('payment', id), 6 FROM paid;
"""


async def measure(ground: Ground) -> Figures:
    """Settle batch after batch, in turns with the limits; each database sees the same facts in the same order."""
    sizes, figures = ground.sizes, Figures()
    a_round = BATCH * sizes.batches + sum(OTHERS) * sizes.batches
    orders = BATCH + sizes.rounds * a_round
    async with ground.database() as seeded:
        await take_orders(seeded, orders)
        copy = str(seeded.database)
        async with (
            ground.database(copy) as ours,
            ground.database(copy) as heard,
            ground.database(copy) as replayed,
            ground.database(copy) as alone,
        ):
            db, listening = Database(ours), Database(heard)
            await _settle(db, 1, BATCH)
            await _settle(listening, 1, BATCH)
            first = BATCH + 1
            for _ in range(sizes.rounds):
                await _round(ground, figures, db, first)
                await _limits(ground, figures, listening, replayed, alone, first)
                first += a_round
            paid = await count(db, "SELECT count(*) FROM payments WHERE status = 'paid'")
            assert paid == orders, f"{orders} were settled, {paid} are paid"
            assert await ledger.check(db) == []
            await db.dispose()
            await listening.dispose()
    return figures


def _facts(first: int, wanted: int) -> list[InvoiceFact]:
    """What CryptoCloud says of invoices that were paid to the cent."""
    now = datetime.now(UTC)
    return [
        shop.fact(
            invoice_of(number),
            order_id=str(payment_of(number)),
            amount_in_fiat=PRICE,
            fiat_currency="USD",
            finished_at=now,
            coin="USDT_TRC20",
            amount_paid=Decimal("100.40"),
            amount_paid_usd=Decimal("100.40"),
            amount_to_pay=Decimal("100.40"),
            amount_to_pay_usd=Decimal("100.40"),
            transactions=(f"{number:064x}",),
        )
        for number in range(first, first + wanted)
    ]


async def _settle(db: Database, first: int, batch: int) -> float:
    """Settle a batch and tell how many ms that took."""
    facts = _facts(first, batch)
    began = time.perf_counter()
    settled = await settle(db, facts, settings_for_bench())
    took = (time.perf_counter() - began) * 1000
    assert sum(one.granted for one in settled) == batch
    return took


async def _round(ground: Ground, figures: Figures, db: Database, first: int) -> None:
    postmaster = await postmaster_of(db)
    for batch in (BATCH, *OTHERS):
        meter = Meter(postmaster)
        took = []
        for _ in range(ground.sizes.batches):
            took.append(await _settle(db, first, batch))
            first += batch
        settled = batch * len(took)
        figures.note(f"settle at {batch}", settled / sum(took) * 1000)
        if batch == BATCH:
            _, worked, served = meter.stop()
            figures.note("batch ms", *took)
            figures.note("shop µs", worked / settled * 1e6)
            figures.note("server µs", served / settled * 1e6)


async def _limits(
    ground: Ground, figures: Figures, listening: Database, replayed: URL, alone: URL, first: int
) -> None:
    if not has_pgbench():
        return
    batches = ground.sizes.batches
    with recording() as taken:
        for number in range(batches):
            await _settle(listening, first + number * BATCH, BATCH)
    rate = await pgbench(replayed, as_replay(taken.transactions), transactions=1, protocol="extended")
    figures.note("replay", rate * batches * BATCH)
    start = FIRST_INVOICE + first - BATCH  # the script counts from 1
    rate = await pgbench(alone, AT_ONCE, transactions=batches, define={"n": "0", "first_of_all": str(start)})
    figures.note("at once", rate * BATCH)


def tell(figures: Figures | None) -> Chapter:
    """Compare with what was asked for, and say where the time goes."""
    title = "Settling"
    row = Row(f"settle in batches of {BATCH}", f"≥ {TARGET_RATE}/s, ratio to pgbench reported")
    if figures is None:
        return Chapter(title, [row])
    ours = f"settle at {BATCH}"
    beside = (
        f"{figures.ratio(ours, 'at once'):.2f} of pgbench's one statement a batch "
        f"({figures.spread('at once', '/s')}); {figures.ratio(ours, 'replay'):.2f} of pgbench with our own "
        f"statements ({figures.spread('replay', '/s')})"
        if figures.has("replay")
        else MISSING
    )
    worked, served = figures.mid("shop µs"), figures.mid("server µs")
    dominant = "Python, where the rules are" if worked > served else "PostgreSQL"
    return Chapter(
        title,
        [
            Row(
                row.what,
                row.target,
                f"{figures.spread(ours, '/s')}; a batch takes {written(figures.share('batch ms', 0.5))} ms, "
                f"p99 {written(figures.share('batch ms', 0.99))} ms",
                beside,
                f"{dominant}: {written(worked)} µs of ours, {written(served)} µs of PostgreSQL for each",
                figures.mid(ours) >= TARGET_RATE,
            )
        ],
        f"""
From the facts of {BATCH} paid invoices of as many customers to the commit: payments locked and written with their
history, a row of the book and the subscription's end for each, and three messages (receipt, order, the merchant's
sale). The same statements replayed by pgbench, with the values that the program sent, tell what the database needs for
them; pgbench parses each anew, which the program does once for a connection. The one statement is hand-written SQL that
pays, grants and tells for {BATCH} invoices at once, checks nothing, folds no facts and knows no conversion between
tiers: the floor if the rules were not in Python, where people can read and test them. Telegram takes about 30 messages
a second from one bot, so settling is far from being what a shop waits for.""",
        (),
        {
            "settling.svg": plot.lines(
                "Settling by the size of the batch",
                "facts in a batch",
                "a second",
                {"settle": figures.points("settle", figures.numbers_of("settle"))},
                log_x=True,
            )
        },
    )
