"""The subscriptions: who has what until when. The only writer of `ends_at`, always together with the ledger."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from sqlalchemy import text

from services import ledger
from services.db import Session
from services.ledger import Entry, Standing


@dataclass(frozen=True, slots=True)
class Locked:
    """The locked subscriptions of some customers, and the database's time."""

    now: datetime
    standings: dict[int, Standing]


_EXPECT = text("""
INSERT INTO subscriptions (user_id, tier)
SELECT user_id, tier FROM unnest(CAST(:users AS bigint[]), CAST(:tiers AS text[])) AS r(user_id, tier)
 ORDER BY user_id
ON CONFLICT DO NOTHING
""")
_LOCK = text("""
SELECT user_id, tier, ends_at, now() AS now
  FROM subscriptions WHERE user_id = ANY(CAST(:users AS bigint[])) ORDER BY user_id FOR NO KEY UPDATE
""")


async def lock(session: Session, wanted: Mapping[int, set[str]]) -> Locked:
    """Lock the subscriptions of customers, in order; `wanted` names for each the tiers it is about.

    A missing row is made first, so that there is always one to lock. Payments are locked before, never after.
    """
    users = sorted(wanted)
    await session.execute(_EXPECT, {"users": users, "tiers": [min(wanted[user]) for user in users]})
    rows = (await session.execute(_LOCK, {"users": users})).all()
    now = rows[0].now
    running = [
        row.user_id for row in rows if row.ends_at and now < row.ends_at and wanted[row.user_id] != {row.tier}
    ]
    # Only a change of tier needs to know of what the running time is made.
    book = await ledger.read(session, running) if running else {}
    return Locked(
        now,
        {
            row.user_id: Standing(
                row.tier,
                row.ends_at,
                ledger.replay(book.get(row.user_id, ()), tier=row.tier).stretches,
            )
            for row in rows
        },
    )


async def write(session: Session, entries: Sequence[Entry]) -> None:
    """Write rows of the book and move the locked subscriptions to where their last row ends."""
    if not entries:
        return
    await ledger.write(session, entries)
    ends = {entry.user_id: entry for entry in entries}
    await session.execute(
        text("""
            UPDATE subscriptions s SET tier = r.tier, ends_at = r.ends_at
              FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(user_id bigint, tier text, ends_at timestamptz)
             WHERE s.user_id = r.user_id
        """),
        {
            "rows": json.dumps(
                [
                    {"user_id": user, "tier": entry.tier, "ends_at": entry.ends_at.isoformat()}
                    for user, entry in ends.items()
                ]
            )
        },
    )


@dataclass(frozen=True, slots=True)
class StatusView:
    """What /status says: tier and end, the time now, and the open order if there is one."""

    tier: str
    ends_at: datetime | None
    now: datetime
    order: UUID | None
    order_url: str | None
    order_expires_at: datetime | None
    order_status: str | None
    order_tier: str | None
    order_seconds: int | None
    order_amount: Decimal | None
    order_currency: str | None

    @property
    def active(self) -> bool:
        return self.ends_at is not None and self.now < self.ends_at


_STATUS: Final = text("""
SELECT s.tier, s.ends_at, now() AS now,
       o.id, o.invoice_url, o.expires_at, o.status, o.tier AS order_tier, o.period_seconds,
       o.amount, o.currency
  FROM subscriptions s
  LEFT JOIN LATERAL (
      SELECT p.* FROM payments p
       WHERE p.user_id = s.user_id AND p.status IN ('pending', 'partial') AND NOT p.superseded
         AND (p.expires_at IS NULL OR p.expires_at > now())
       ORDER BY p.created_at DESC LIMIT 1) o ON true
 WHERE s.user_id = :user_id
""")


async def status(session: Session, user_id: int) -> StatusView | None:
    """Read where a customer stands, in one round trip; None before the first /start."""
    row = (await session.execute(_STATUS, {"user_id": user_id})).one_or_none()
    if row is None:
        return None
    return StatusView(
        tier=row.tier,
        ends_at=row.ends_at,
        now=row.now,
        order=row.id,
        order_url=row.invoice_url,
        order_expires_at=row.expires_at,
        order_status=row.status,
        order_tier=row.order_tier,
        order_seconds=row.period_seconds,
        order_amount=row.amount,
        order_currency=row.currency,
    )
