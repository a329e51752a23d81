"""From a press on Pay to an invoice that may be shown: one open order each, and only what was ordered.

The link is shown only from the committed row; whoever finds the row taken cancels its own invoice. So nobody can
pay an invoice that we do not know, and an answer that got lost costs nothing but another press.
"""

import contextlib
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID, uuid4

import structlog
from sqlalchemy import text

from services import notifications, payments, users
from services.config import Settings
from services.cryptocloud import CreatedInvoice, CryptoCloud
from services.db import Database, Session, retry_conflicts
from services.errors import (
    AnotherTierActive,
    CryptoCloudError,
    InvoiceInProgress,
    SalesClosed,
    TooManyInvoices,
)
from services.failpoints import failpoint
from services.money import round_money
from services.notifications import Alert, Kind, Notification, to_admins
from services.payments import Payment, Status
from services.tiers import Period, PriceList, Tier
from services.users import Person

INVOICES_AN_HOUR = 10
OFFERED_AGAIN_WITH_MINUTES_LEFT = 30

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Quote:
    """What a customer would pay and get."""

    tier: Tier
    period: Period
    amount: Decimal
    saving: Decimal
    currency: str
    ends_at: datetime
    extends: bool


async def quote(
    session: Session, price_list: PriceList, user_id: int, tier_code: str, period_code: str
) -> Quote:
    """Price an order and tell where the subscription would then end.

    Raises `UnknownTier`, and `AnotherTierActive` before any invoice is made.
    """
    tier, period = price_list.on_sale(tier_code, period_code)
    ends_at, extends = await _end_after(session, user_id, tier, period)
    return Quote(
        tier=tier,
        period=period,
        amount=price_list.price_for(tier, period),
        saving=price_list.saving_for(tier, period),
        currency=price_list.currency,
        ends_at=ends_at,
        extends=extends,
    )


async def _end_after(session: Session, user_id: int, tier: Tier, period: Period) -> tuple[datetime, bool]:
    row = (
        await session.execute(
            text("""
                SELECT s.tier, s.ends_at, coalesce(s.ends_at > now(), false) AS active,
                       greatest(s.ends_at, now()) + make_interval(secs => :seconds) AS after
                  FROM (SELECT 1) one LEFT JOIN subscriptions s ON s.user_id = :user_id
            """),
            {"user_id": user_id, "seconds": float(period.seconds)},
        )
    ).one()
    if row.active and row.tier != tier.code:
        raise AnotherTierActive(row.tier, row.ends_at)
    return row.after, row.active


async def order(
    db: Database,
    cryptocloud: CryptoCloud,
    settings: Settings,
    price_list: PriceList,
    person: Person,
    tier_code: str,
    period_code: str,
    *,
    message_id: int | None,
) -> Payment:
    """Make the invoice for an order, or give the open one again; `message_id` is where it will be shown.

    Raises `UnknownTier`, `AnotherTierActive`, `TooManyInvoices`, `InvoiceInProgress`, `SalesClosed` or a
    `CryptoCloudError`. Idempotent: ten presses, one invoice.
    """
    payment = await retry_conflicts(
        lambda: _place(db, settings, price_list, person, tier_code, period_code, message_id)
    )
    if payment.status is not Status.CREATING:
        return payment
    try:
        invoice = await cryptocloud.create_invoice(
            order_id=str(payment.id),
            amount=payment.amount,
            currency=payment.currency,
            locale=person.language,
        )
    except CryptoCloudError as error:
        await _give_up(db, payment)
        _log.warning("CryptoCloud made no invoice", payment=payment.receipt_number, error=str(error))
        raise
    failpoint("create.answered")
    difference = _difference(payment, invoice, settings)
    if difference is not None:
        await _close_sales(db, cryptocloud, settings, payment, invoice, difference)
        raise SalesClosed(difference.value)
    kept = await _keep(db, settings, payment, invoice)
    if kept is None:
        await _cancel_quietly(cryptocloud, invoice.uuid)
        raise InvoiceInProgress(f"order {payment.receipt_number} was given up while its invoice was made")
    return kept


_PLACE = text("""
INSERT INTO payments (id, user_id, tier, period, period_seconds, amount, currency, status, message_id)
VALUES (:id, :user_id, :tier, :period, :seconds, :amount, :currency, 'creating', :message_id)
ON CONFLICT (user_id, tier, period, amount, currency)
      WHERE status IN ('creating', 'pending', 'partial') AND NOT superseded DO NOTHING
""")
_STANDING_ORDER = text("""
SELECT id, status, created_at < now() - make_interval(secs => :lease) AS stale,
       coalesce(expires_at < now() + make_interval(mins => :minutes), false) AS ending
  FROM payments
 WHERE user_id = :user_id AND tier = :tier AND period = :period AND amount = :amount AND currency = :currency
   AND status IN ('creating', 'pending', 'partial') AND NOT superseded
   FOR NO KEY UPDATE
""")


async def _place(
    db: Database,
    settings: Settings,
    price_list: PriceList,
    person: Person,
    tier_code: str,
    period_code: str,
    message_id: int | None,
) -> Payment:
    """Find the open order to be shown again, or write a new one in the state `creating`."""
    tier, period = price_list.on_sale(tier_code, period_code)
    amount = price_list.price_for(tier, period)
    same = {
        "user_id": person.telegram_id,
        "tier": tier.code,
        "period": period.code,
        "amount": amount,
        "currency": price_list.currency,
    }
    async with db.begin() as session:
        await users.meet(session, person, price_list.free_tier.code)
        await _end_after(session, person.telegram_id, tier, period)
        standing = (
            await session.execute(
                _STANDING_ORDER,
                same | {"lease": float(settings.lease_seconds), "minutes": OFFERED_AGAIN_WITH_MINUTES_LEFT},
            )
        ).one_or_none()
        if standing is not None:
            if standing.status == Status.CREATING and not standing.stale:
                raise InvoiceInProgress("the invoice for this order is being made")
            if standing.status == Status.CREATING:
                await _fail(session, standing.id)
            elif standing.ending and standing.status == Status.PENDING:
                await session.execute(
                    text("UPDATE payments SET superseded = true WHERE id = :id"), {"id": standing.id}
                )
            else:
                return await _show_here(session, standing.id, message_id)
        await _refuse_a_flood(session, person.telegram_id)
        payment_id = uuid4()
        written = await session.execute(
            _PLACE, same | {"id": payment_id, "seconds": period.seconds, "message_id": message_id}
        )
        if written.rowcount == 0:
            raise InvoiceInProgress("the invoice for this order is being made")
        await notifications.show_orders(session, [(person.telegram_id, payment_id)])
        return await payments.find(session, payment_id)


async def _show_here(session: Session, payment_id: UUID, message_id: int | None) -> Payment:
    payment = await payments.find(session, payment_id)
    shown_in = await payments.message_to_edit(session, payment)
    if message_id is not None and message_id != shown_in:
        await payments.show_in(session, payment_id, message_id)
        if shown_in is not None:
            moved = Notification(
                payment.user_id,
                Kind.ORDER_MOVED,
                f"order-moved:{payment_id}:{shown_in}",
                {"message": shown_in},
            )
            await notifications.notify(session, [moved])
    await payments.wake(session, payment_id)  # it may have been paid in the meantime
    await notifications.show_orders(session, [(payment.user_id, payment_id)])
    return await payments.find(session, payment_id)


async def _refuse_a_flood(session: Session, user_id: int) -> None:
    made = await session.scalar(
        text("""
            SELECT count(*) FROM payments WHERE user_id = :user_id AND created_at > now() - interval '1 hour'
               AND status NOT IN ('paid', 'failed')
        """),
        {"user_id": user_id},
    )
    if made and made >= INVOICES_AN_HOUR:
        raise TooManyInvoices(f"{made} invoices within an hour")


_KEEP = text("""
UPDATE payments
   SET status = 'pending', invoice_uuid = :invoice, invoice_url = :url, expires_at = :expires_at,
       next_check_at = CASE WHEN EXISTS (SELECT FROM webhook_events WHERE invoice_uuid = :invoice) THEN now()
                            ELSE now() + make_interval(secs => :check) END
 WHERE id = :id AND status = 'creating'
RETURNING id
""")


async def _keep(
    db: Database, settings: Settings, payment: Payment, invoice: CreatedInvoice
) -> Payment | None:
    """Bind an invoice to its order; None when the order was given up meanwhile.

    A postback may have come before: then it was kept as unknown, and the check is due at once.
    """
    async with db.begin() as session:
        kept = await session.scalar(
            _KEEP,
            {
                "id": payment.id,
                "invoice": invoice.uuid,
                "url": invoice.link,
                "expires_at": invoice.expires_at,
                "check": float(settings.check_seconds),
            },
        )
        if kept is None:
            return None
        await notifications.show_orders(session, [(payment.user_id, payment.id)])
        return await payments.find(session, payment.id)


class Difference(StrEnum):
    """How a new invoice differs from its order."""

    AMOUNT = "amount"
    CURRENCY = "currency"
    TEST_MODE = "test-mode"


def _difference(payment: Payment, invoice: CreatedInvoice, settings: Settings) -> Difference | None:
    if invoice.test_mode and not settings.cryptocloud_allow_test_mode:
        return Difference.TEST_MODE
    if invoice.fiat_currency is not None and invoice.fiat_currency.upper() != payment.currency:
        return Difference.CURRENCY
    if (
        invoice.amount_in_fiat is not None
        and round_money(invoice.amount_in_fiat, payment.currency) != payment.amount
    ):
        return Difference.AMOUNT
    return None


async def _close_sales(
    db: Database,
    cryptocloud: CryptoCloud,
    settings: Settings,
    payment: Payment,
    invoice: CreatedInvoice,
    difference: Difference,
) -> None:
    """Never show an invoice that is not the order: cancel it and tell the admins which switch to flip."""
    await _cancel_quietly(cryptocloud, invoice.uuid)
    _log.error("sales are closed: CryptoCloud's invoice is not what we ordered", difference=difference.value)
    async with db.begin() as session:
        await _fail(session, payment.id)
        await notifications.notify(
            session,
            to_admins(
                settings.admin_ids,
                Kind.ALERT,
                # once an hour, so that a busy shop does not bury its admins
                f"sales-closed:{difference.value}:{payment.created_at:%Y%m%d%H}",
                what=Alert(f"sales-closed-{difference.value}"),
                amount=str(payment.amount),
                currency=payment.currency,
                got_amount=str(invoice.amount_in_fiat),
                got_currency=invoice.fiat_currency,
            ),
        )


async def _give_up(db: Database, payment: Payment) -> None:
    async with db.begin() as session:
        await _fail(session, payment.id)


async def _fail(session: Session, payment_id: UUID) -> None:
    failed = await session.scalar(
        text("""
            UPDATE payments SET status = 'failed', next_check_at = NULL
             WHERE id = :id AND status = 'creating' RETURNING user_id
        """),
        {"id": payment_id},
    )
    if failed is not None:
        await notifications.show_orders(session, [(failed, payment_id)])


async def fail_abandoned(db: Database, settings: Settings) -> int:
    """Give up orders whose maker died before it had an invoice; their link was never shown to anybody."""
    async with db.begin() as session:
        rows = await session.execute(
            text("""
                UPDATE payments SET status = 'failed', next_check_at = NULL
                 WHERE id IN (SELECT id FROM payments
                               WHERE status = 'creating'
                                 AND created_at < now() - make_interval(secs => :lease)
                               ORDER BY id LIMIT 100 FOR NO KEY UPDATE SKIP LOCKED)
                RETURNING user_id, id
            """),
            {"lease": float(settings.lease_seconds)},
        )
        abandoned = [(row.user_id, row.id) for row in rows]
        await notifications.show_orders(session, abandoned)
        return len(abandoned)


async def _cancel_quietly(cryptocloud: CryptoCloud, invoice_uuid: str) -> None:
    # Nobody has seen its link; if it cannot be canceled it simply expires.
    with contextlib.suppress(CryptoCloudError):
        await cryptocloud.cancel_invoice(invoice_uuid)


async def cancel(db: Database, cryptocloud: CryptoCloud, payment_id: UUID, *, owner: int) -> Payment:
    """Cancel a customer's own unpaid order; an order that has moved on is checked instead.

    Raises `UnknownPayment` for somebody else's. Money that arrives all the same is still honoured.
    """
    async with db.begin() as session:
        payment = await payments.find(session, payment_id, owner=owner)
    if payment.status is not Status.PENDING or payment.invoice_uuid is None:
        return payment
    canceled = await cryptocloud.cancel_invoice(payment.invoice_uuid)
    async with db.begin() as session:
        locked = await payments.lock(session, payment_id)
        if canceled and locked.status is Status.PENDING:
            await session.execute(
                text("UPDATE payments SET status = 'canceled', cancel_requested = true WHERE id = :id"),
                {"id": payment_id},
            )
            await notifications.show_orders(session, [(owner, payment_id)])
        elif not canceled:
            await payments.wake(session, payment_id)
        return await payments.find(session, payment_id)
