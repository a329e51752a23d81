"""The outbox: messages claimed and marked as sent, beside pgbench with the same statements."""

import asyncio
import time

from sqlalchemy import URL, text

from bot.notifier import AT_ONCE
from services import notifications
from services.db import Database
from services.notifications import MESSAGES_A_SECOND
from tests.bench import plot
from tests.bench.chapter import Chapter, Row
from tests.bench.figures import Figures, written
from tests.bench.ground import Ground
from tests.bench.orders import FIRST_CUSTOMER, count
from tests.bench.pgbench import MISSING, has_pgbench, pgbench
from tests.bench.statements import as_replay, recording
from tests.conftest import administer

OTHERS = (1, 5)
REFILL = text("UPDATE send_budget SET tokens = 25, refilled_at = clock_timestamp()")
RECORDED = 10  # batches


async def measure(ground: Ground) -> Figures:
    """Claim and mark batch after batch, as the notifier does, with full buckets; in turns with pgbench."""
    sizes, figures = ground.sizes, Figures()
    batches = sizes.messages // AT_ONCE
    a_round = sizes.messages + batches * sum(OTHERS)
    async with ground.database() as seeded:
        await _fill(seeded, sizes.sent_before, sizes.rounds * (a_round + RECORDED * AT_ONCE) + AT_ONCE)
        copy = str(seeded.database)
        async with (
            ground.database(copy) as url,
            ground.database(copy) as heard,
            ground.database(copy) as other,
        ):
            db, listening = Database(url), Database(heard)
            await _claim_and_mark(db, AT_ONCE)
            for _ in range(sizes.rounds):
                for batch in (AT_ONCE, *OTHERS):
                    took = [await _claim_and_mark(db, batch) for _ in range(batches)]
                    figures.note(f"outbox at {batch}", batches * batch / sum(sum(one) for one in took))
                    if batch == AT_ONCE:
                        figures.note("claim ms", *(claimed * 1000 for claimed, _ in took))
                        figures.note("mark ms", *(marked * 1000 for _, marked in took))
                await _pgbench(figures, listening, other)
            sent = await count(db, "SELECT count(*) FROM notifications WHERE state = 'sent'")
            done = sizes.rounds * a_round + AT_ONCE
            assert sent == sizes.sent_before + done, f"{done} messages were marked, {sent} are"
            await db.dispose()
            await listening.dispose()
    return figures


async def _fill(url: URL, sent: int, due: int) -> None:
    for statement in (
        f"INSERT INTO users (telegram_id) SELECT {FIRST_CUSTOMER} + n FROM generate_series(1, 1000) n",
        f"""
        INSERT INTO notifications (user_id, kind, key, payload, priority, state, sent_at, next_at)
        SELECT {FIRST_CUSTOMER} + 1 + n % 1000, 'receipt', 'receipt:' || n, '{{"number": "0123456789"}}', 0,
               CASE WHEN n > {due} THEN 'sent' ELSE 'due' END, CASE WHEN n > {due} THEN now() END, now()
          FROM generate_series(1, {due + sent}) n
        """,
        "VACUUM ANALYZE",
    ):
        await administer(url, statement)


async def _claim_and_mark(db: Database, batch: int) -> tuple[float, float]:
    """One round of the notifier without the sending; tells the seconds of both halves."""
    async with db.begin() as session:
        await session.execute(REFILL)
    began = time.perf_counter()
    claimed = await notifications.claim(db, limit=batch, lease_seconds=60)
    between = time.perf_counter()
    assert len(claimed) == batch

    async def mark(one: notifications.Claimed) -> bool:
        async with db.begin() as session:
            return await notifications.mark_sent(session, one)

    assert all(await asyncio.gather(*map(mark, claimed)))
    return between - began, time.perf_counter() - between


async def _pgbench(figures: Figures, listening: Database, other: URL) -> None:
    if not has_pgbench():
        return
    with recording() as taken:
        for _ in range(RECORDED):
            await _claim_and_mark(listening, AT_ONCE)
    rate = await pgbench(other, as_replay(taken.transactions), transactions=1, protocol="extended")
    figures.note("replay", RECORDED * AT_ONCE * rate)


def tell(figures: Figures | None) -> Chapter:
    """Compare with what Telegram takes, and say where the time goes."""
    title = "Outbox"
    row = Row(
        f"messages claimed {AT_ONCE} at a time and marked as sent",
        f"none; Telegram takes {MESSAGES_A_SECOND}/s",
    )
    if figures is None:
        return Chapter(title, [row])
    ours = f"outbox at {AT_ONCE}"
    claim, mark = figures.share("claim ms", 0.5), figures.share("mark ms", 0.5)
    return Chapter(
        title,
        [
            Row(
                row.what,
                row.target,
                figures.spread(ours, "/s"),
                f"{written(figures.mid(ours) / MESSAGES_A_SECOND)} times what Telegram takes; "
                + (
                    f"{figures.ratio(ours, 'replay'):.2f} of pgbench with the same statements on one connection "
                    f"({figures.spread('replay', '/s')})"
                    if figures.has("replay")
                    else MISSING
                ),
                f"a claim takes {written(claim)} ms, marking {AT_ONCE} takes {written(mark)} ms: "
                "each is marked by itself, as soon as Telegram took it",
            )
        ],
        f"""
A claim takes {AT_ONCE} due messages under a lease; each is marked in a transaction of its own, because it is sent by
itself. Behind the due ones lie the messages of the past, which cost nothing: the index knows only what is due. The
budget of Telegram's limit, a row that all replicas share, is filled before each claim and not counted, else this would
measure Telegram's {MESSAGES_A_SECOND} a second; pgbench fills it in its own time.""",
        (),
        {
            "outbox.svg": plot.lines(
                "Outbox by the number of messages in a claim",
                "messages in a claim",
                "a second",
                {"claim and mark": figures.points("outbox", figures.numbers_of("outbox"))},
            )
        },
    )
