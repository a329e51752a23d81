"""Comparing CryptoCloud's list of invoices with our payments: finds money for orders that we do not know.

Such orders exist after a restored backup or a failover that lost its last moments. Nothing is granted here: what is
found becomes a case for a person, and what we do know is checked once more.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import structlog
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from services import audit, notifications, payments, users
from services.config import Settings
from services.cryptocloud import CryptoCloud, InvoiceFact, ProviderStatus, short_invoice_id
from services.db import Database, Session
from services.errors import UnknownPayment
from services.fold import facts_as_json
from services.notifications import Alert, Kind, to_admins
from services.payments import Payment
from services.tiers import PriceList

LOOK_BACK_DAYS = 8

_log = structlog.get_logger(__name__)
_PAID = frozenset({ProviderStatus.PARTIAL, ProviderStatus.PAID, ProviderStatus.OVERPAID})


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What one comparison found."""

    seen: int
    unclaimed: tuple[str, ...]  # invoices newly found to have no payment
    woken: int


async def reconcile(db: Database, cryptocloud: CryptoCloud, settings: Settings) -> Reconciled:
    """Compare the last 8 days of CryptoCloud's list with our payments.

    Paid or partly paid invoices without a payment are kept as unclaimed and the admins are told, once each;
    payments that are behind what the list says are woken. Raises `CryptoCloudError`. Idempotent.
    """
    today = datetime.now(UTC).date()
    facts = [
        fact
        async for fact in cryptocloud.list_invoices(
            today - timedelta(days=LOOK_BACK_DAYS), today + timedelta(days=1)
        )
        if fact.status in _PAID
    ]
    async with db.begin() as session:
        behind = await _wake_those_behind(session, facts)
        unclaimed = await _keep_unclaimed(session, facts)
        for fact in unclaimed:
            _log.error("money has come for an order that we do not know", invoice=fact.uuid)
            await notifications.notify(
                session,
                to_admins(
                    settings.admin_ids,
                    Kind.ALERT,
                    f"unclaimed:{fact.uuid}",
                    what=Alert.UNCLAIMED,
                    invoice=fact.uuid,
                    order=fact.order_id or "",
                    status=fact.status_word,
                    amount=str(fact.amount_in_fiat or ""),
                    currency=fact.fiat_currency or "",
                ),
            )
    return Reconciled(len(facts), tuple(fact.uuid for fact in unclaimed), behind)


async def _wake_those_behind(session: Session, facts: list[InvoiceFact]) -> int:
    paid = [fact.uuid for fact in facts if fact.status is not ProviderStatus.PARTIAL]
    woken = await session.execute(
        text("""
            UPDATE payments SET wake = wake + 1, next_check_at = now()
             WHERE id IN (SELECT id FROM payments
                           WHERE invoice_uuid = ANY(CAST(:invoices AS text[]))
                             AND status NOT IN ('paid', 'refunded') AND NOT review AND verdict IS NULL
                           ORDER BY id FOR NO KEY UPDATE)
        """),
        {"invoices": paid},
    )
    return woken.rowcount


_KEEP = text("""
INSERT INTO unclaimed_invoices (invoice_uuid, order_id, provider)
SELECT r.uuid, r.order_id, r.provider
  FROM jsonb_to_recordset(:rows) AS r(uuid text, order_id text, provider jsonb)
 WHERE NOT EXISTS (SELECT FROM payments p WHERE p.invoice_uuid = r.uuid)
   -- our create call may be under way this very moment: such an order is not lost
   AND NOT EXISTS (SELECT FROM payments p WHERE p.id::text = r.order_id AND p.status = 'creating')
ON CONFLICT DO NOTHING
RETURNING invoice_uuid
""").bindparams(bindparam("rows", type_=JSONB))


async def _keep_unclaimed(session: Session, facts: list[InvoiceFact]) -> list[InvoiceFact]:
    if not facts:
        return []
    kept = await session.execute(
        _KEEP,
        {
            "rows": [
                {"uuid": fact.uuid, "order_id": fact.order_id, "provider": facts_as_json(fact)}
                for fact in facts
            ]
        },
    )
    uuids = {row.invoice_uuid for row in kept}
    return [fact for fact in {fact.uuid: fact for fact in facts}.values() if fact.uuid in uuids]


@dataclass(frozen=True, slots=True)
class Unclaimed:
    """An invoice with money in it that nobody has been given yet."""

    invoice_uuid: str
    order_id: str | None
    provider: dict[str, Any]
    found_at: datetime


async def open_cases(session: Session) -> list[Unclaimed]:
    """List the invoices that wait for `payment adopt`, oldest first."""
    rows = await session.execute(
        text("""
            SELECT invoice_uuid, order_id, provider, found_at FROM unclaimed_invoices
             WHERE payment_id IS NULL ORDER BY found_at
        """).columns(provider=JSONB)
    )
    return [Unclaimed(row.invoice_uuid, row.order_id, row.provider, row.found_at) for row in rows]


async def adopt(
    db: Database,
    cryptocloud: CryptoCloud,
    price_list: PriceList,
    *,
    invoice: str,
    user_id: int,
    tier_code: str,
    period_code: str,
    actor: str,
) -> Payment:
    """Give an unclaimed invoice to a customer as an order of a tier and period; the usual check then settles it.

    The price is what CryptoCloud says was asked for, else the price list's. Raises `UnknownPayment` where
    CryptoCloud does not know the invoice, we know it already, or nobody has this Telegram id; `UnknownTier`.
    """
    tier, period = price_list.on_sale(tier_code, period_code)
    uuid = short_invoice_id(invoice)
    facts = [fact for fact in await cryptocloud.invoice_facts([uuid]) if fact.uuid == uuid]
    if not facts:
        raise UnknownPayment(f"CryptoCloud knows no invoice INV-{uuid}")
    fact = facts[0]
    async with db.begin() as session:
        if not await users.exists(session, user_id):
            raise UnknownPayment(f"nobody with the Telegram id {user_id} has ever spoken to the bot")
        payment_id = await _free_id(session, fact.order_id)
        made = await session.scalar(
            text("""
                INSERT INTO payments (id, user_id, tier, period, period_seconds, amount, currency, status,
                                      invoice_uuid, expires_at, superseded, next_check_at)
                VALUES (:id, :user_id, :tier, :period, :seconds, :amount, :currency, 'pending',
                        :invoice, :expires_at, true, now())
                ON CONFLICT DO NOTHING RETURNING id
            """),
            {
                "id": payment_id,
                "user_id": user_id,
                "tier": tier.code,
                "period": period.code,
                "seconds": period.seconds,
                "amount": fact.amount_in_fiat or price_list.price_for(tier, period),
                "currency": fact.fiat_currency or price_list.currency,
                "invoice": uuid,
                "expires_at": fact.expires_at,
            },
        )
        if made is None:
            raise UnknownPayment(f"INV-{uuid} belongs to a payment already: see `payment show {uuid}`")
        await session.execute(
            text("""
                INSERT INTO unclaimed_invoices (invoice_uuid, order_id, provider, payment_id)
                VALUES (:invoice, :order_id, :provider, :payment_id)
                ON CONFLICT (invoice_uuid) DO UPDATE SET payment_id = excluded.payment_id
            """).bindparams(bindparam("provider", type_=JSONB)),
            {
                "invoice": uuid,
                "order_id": fact.order_id,
                "provider": facts_as_json(fact),
                "payment_id": payment_id,
            },
        )
        await audit.record(
            session,
            actor=actor,
            action="payment adopt",
            subject=str(payment_id),
            details={"invoice": uuid, "user": user_id, "tier": tier.code, "period": period.code},
        )
        return await payments.find(session, payment_id)


async def _free_id(session: Session, order_id: str | None) -> UUID:
    """Take up the order id where it is one of ours and lost.

    An order that was given up before its invoice came keeps its row: a new one takes the money, and because its
    id is not the invoice's, a person is asked to accept it.
    """
    try:
        wanted = UUID(order_id or "")
    except ValueError:
        return uuid4()
    taken = await session.scalar(text("SELECT 1 FROM payments WHERE id = :id"), {"id": wanted})
    return uuid4() if taken else wanted
