"""Time given and taken by people with power: written into the same book as paid time, with who and why."""

from datetime import datetime

from sqlalchemy import text

from services import audit, ledger, notifications, subscriptions, users
from services.db import Database, retry_conflicts
from services.errors import UnknownPayment
from services.ledger import Kind
from services.notifications import Notification, moment
from services.tiers import PriceList


async def grant(
    db: Database,
    price_list: PriceList,
    *,
    user_id: int,
    tier_code: str,
    period_code: str,
    actor: str,
    reason: str,
    key: str,
) -> datetime:
    """Give a period of a tier for free and tell when it then ends; the customer is told.

    Idempotent by `key`. Raises `UnknownTier`, and `UnknownPayment` where nobody has this Telegram id.
    """
    tier, period = price_list.on_sale(tier_code, period_code)

    async def once() -> datetime:
        async with db.begin() as session:
            if not await users.exists(session, user_id):
                raise UnknownPayment(f"nobody with the Telegram id {user_id} has ever spoken to the bot")
            locked = await subscriptions.lock(session, {user_id: {tier.code}})
            if not await audit.record(
                session,
                actor=actor,
                action="grant",
                subject=str(user_id),
                details={"tier": tier.code, "period": period.code, "reason": reason},
                key=f"grant:{key}",
            ):
                end: datetime = await session.scalar(
                    text("SELECT ends_at FROM subscription_ledger WHERE idempotency_key = :key"),
                    {"key": f"grant:{key}"},
                )
                return end
            entries = ledger.extend(
                locked.standings[user_id],
                locked.now,
                user_id=user_id,
                kind=Kind.GRANT,
                tier=tier.code,
                seconds=period.seconds,
                key=f"grant:{key}",
                actor=actor,
                reason=reason,
            )
            await subscriptions.write(session, entries)
            ends_at = entries[-1].ends_at
            await notifications.notify(
                session,
                [
                    Notification(
                        user_id,
                        notifications.Kind.GRANTED,
                        f"granted:{key}",
                        {"tier": tier.code, "days": period.days, "ends_at": moment(ends_at)},
                    )
                ],
            )
            return ends_at

    return await retry_conflicts(once)


async def revoke(db: Database, *, user_id: int, actor: str, reason: str, key: str) -> bool:
    """Take away all time that is left, at once; False when there is none. The customer is told. Idempotent."""

    async def once() -> bool:
        async with db.begin() as session:
            row = (
                await session.execute(
                    text("""
                        SELECT tier, ends_at, now() AS now FROM subscriptions
                         WHERE user_id = :user_id FOR NO KEY UPDATE
                    """),
                    {"user_id": user_id},
                )
            ).one_or_none()
            if row is None:
                raise UnknownPayment(f"nobody with the Telegram id {user_id} has ever spoken to the bot")
            if row.ends_at is None or row.ends_at <= row.now:
                return False
            if not await audit.record(
                session,
                actor=actor,
                action="revoke",
                subject=str(user_id),
                details={"tier": row.tier, "ended": row.ends_at, "reason": reason},
                key=f"revoke:{key}",
            ):
                return False
            await subscriptions.write(
                session,
                [
                    ledger.Entry(
                        user_id=user_id,
                        kind=Kind.REVOKE,
                        tier=row.tier,
                        seconds=-round((row.ends_at - row.now).total_seconds()),
                        starts_at=row.ends_at,
                        ends_at=row.now,
                        idempotency_key=f"revoke:{key}",
                        actor=actor,
                        reason=reason,
                    )
                ],
            )
            await notifications.notify(
                session,
                [Notification(user_id, notifications.Kind.REVOKED, f"revoked:{key}", {"tier": row.tier})],
            )
            return True

    return await retry_conflicts(once)
