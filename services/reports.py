"""What the shop has earned: by the moment of payment, per currency and tier, never added up across currencies."""

from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import text

from services.db import Session

SPANS = ("today", "week", "month", "all")


@dataclass(frozen=True, slots=True)
class Earned:
    """Sales of one tier in one currency within one span of time."""

    span: str
    currency: str
    tier: str
    sales: int
    amount: Decimal


# A span begins at midnight of the shop's time zone: today, and the 7 and 30 days that end with today.
_REVENUE = text("""
WITH midnight AS (
    SELECT date_trunc('day', now() AT TIME ZONE :zone) AS today
), spans (span, since) AS (
    SELECT 'today', today AT TIME ZONE :zone FROM midnight
    UNION ALL SELECT 'week', (today - interval '6 days') AT TIME ZONE :zone FROM midnight
    UNION ALL SELECT 'month', (today - interval '29 days') AT TIME ZONE :zone FROM midnight
    UNION ALL SELECT 'all', '-infinity'::timestamptz
)
SELECT s.span, e.currency, e.tier, e.sales, e.amount
  FROM spans s CROSS JOIN LATERAL (
      SELECT p.currency, p.tier, count(*) AS sales, sum(p.amount) AS amount
        FROM payments p
       WHERE p.status = 'paid' AND p.paid_at >= s.since
       GROUP BY p.currency, p.tier) e
 ORDER BY e.currency, e.amount DESC
""")


async def revenue(session: Session, zone: str) -> list[Earned]:
    """Sum up today, 7 days, 30 days and all time; days are those of the time zone."""
    rows = await session.execute(_REVENUE, {"zone": zone})
    return [Earned(row.span, row.currency, row.tier, row.sales, row.amount) for row in rows]
