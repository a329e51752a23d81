"""The postbacks that were well signed: kept for people, and each a hint to look sooner."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from services.db import Database, Session
from services.failpoints import failpoint
from services.postbacks import Postback

KEEP_PER_INVOICE: Final = 20
KEEP_DAYS: Final = 90


class Outcome(StrEnum):
    """What a postback did."""

    WOKEN = "woken"
    UNKNOWN = "unknown"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Recorded:
    """What came of a postback, and whether a payment is to be looked at now; an expired one may wake too."""

    outcome: Outcome
    woken: bool


# One round trip: the event and the wake are one fact. A token that has expired still proves who wrote it, but
# can be replayed for ever, so it wakes its payment at most once a minute and leaves a row only when it did.
_RECORD = text("""
WITH woken AS (
    UPDATE payments SET wake = wake + 1, next_check_at = now()
     WHERE invoice_uuid = :invoice
       AND (NOT :expired OR ((asked_at IS NULL OR asked_at < now() - interval '1 minute')
                             AND NOT EXISTS (SELECT FROM webhook_events
                                              WHERE invoice_uuid = :invoice AND outcome = 'expired'
                                                AND received_at > now() - interval '1 minute')))
    RETURNING id
), noted AS (
    INSERT INTO webhook_events (invoice_uuid, body, outcome)
    SELECT :invoice, :body, CASE WHEN :expired THEN 'expired'
                                 WHEN EXISTS (SELECT FROM woken) THEN 'woken' ELSE 'unknown' END
     WHERE NOT :expired OR EXISTS (SELECT FROM woken)
)
SELECT EXISTS (SELECT FROM woken)
""").bindparams(bindparam("body", type_=JSONB))


async def record_postback(db: Database, postback: Postback) -> Recorded:
    """Keep a postback and wake its payment, in one transaction; grants nothing. Idempotent in effect."""
    async with db.begin() as session:
        woken = await session.scalar(
            _RECORD,
            {"invoice": postback.invoice_uuid, "body": postback.body, "expired": postback.expired},
        )
        failpoint("postback.stored")
    failpoint("postback.committed")
    if postback.expired:
        return Recorded(Outcome.EXPIRED, bool(woken))
    return Recorded(Outcome.WOKEN if woken else Outcome.UNKNOWN, bool(woken))


@dataclass(frozen=True, slots=True)
class Event:
    """A postback as it was kept."""

    id: int
    received_at: datetime
    invoice_uuid: str
    body: dict[str, Any]
    outcome: Outcome


async def latest(session: Session, *, invoice_uuid: str | None = None, limit: int = 50) -> list[Event]:
    """Read the newest postbacks, of one invoice or of all."""
    rows = await session.execute(
        text("""
            SELECT id, received_at, invoice_uuid, body, outcome FROM webhook_events
             WHERE CAST(:invoice AS text) IS NULL OR invoice_uuid = :invoice ORDER BY id DESC LIMIT :limit
        """).columns(body=JSONB),
        {"invoice": invoice_uuid, "limit": limit},
    )
    return [Event(row.id, row.received_at, row.invoice_uuid, row.body, Outcome(row.outcome)) for row in rows]


async def find(session: Session, event_id: int) -> Event | None:
    """Read one kept postback."""
    row = (
        await session.execute(
            text(
                "SELECT id, received_at, invoice_uuid, body, outcome FROM webhook_events WHERE id = :id"
            ).columns(body=JSONB),
            {"id": event_id},
        )
    ).one_or_none()
    if row is None:
        return None
    return Event(row.id, row.received_at, row.invoice_uuid, row.body, Outcome(row.outcome))


async def replay(session: Session, event_id: int) -> bool:
    """Wake the payment of a kept postback once more; False when no payment of ours has that invoice."""
    woken = await session.execute(
        text("""
            UPDATE payments SET wake = wake + 1, next_check_at = now()
             WHERE invoice_uuid = (SELECT invoice_uuid FROM webhook_events WHERE id = :id)
        """),
        {"id": event_id},
    )
    return woken.rowcount > 0


async def prune(db: Database) -> int:
    """Forget postbacks older than 90 days and all but the last 20 of an invoice; tell how many."""
    async with db.begin() as session:
        gone = await session.execute(
            text("""
                DELETE FROM webhook_events WHERE id IN (
                    SELECT id FROM (
                        SELECT id, received_at,
                               row_number() OVER (PARTITION BY invoice_uuid ORDER BY id DESC) AS place
                          FROM webhook_events) e
                     WHERE place > :keep OR received_at < now() - make_interval(days => :days)
                     LIMIT 10000)
            """),
            {"keep": KEEP_PER_INVOICE, "days": KEEP_DAYS},
        )
        return gone.rowcount
