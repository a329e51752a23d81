"""Settling: the provider's facts become paid time, in one transaction, once, in any order, however often.

This is the only way a payment grants time; postback, button, timer and console all end here. Lock order: payments
by id, then subscriptions by user id. Facts are folded whoever brings them and however late.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import structlog
from sqlalchemy.exc import DBAPIError

from services import audit, ledger, notifications, payments, subscriptions
from services.config import Settings
from services.cryptocloud import InvoiceFact, ProviderStatus
from services.db import Database, Session, is_data_fault, retry_conflicts
from services.errors import NotReviewable
from services.failpoints import failpoint
from services.fold import become_paid, fold, paid_so_far, still_missing
from services.notifications import Alert, Kind, Notification, moment, to_admins
from services.payments import Payment, Status
from services.tiers import DAY

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of one payment: as it was, and as it is now."""

    before: Payment
    after: Payment

    @property
    def granted(self) -> bool:
        return self.after.status is Status.PAID and self.before.status is not Status.PAID


async def settle(db: Database, facts: Sequence[InvoiceFact], settings: Settings) -> list[Settled]:
    """Fold facts into the payments they belong to and grant what is newly paid.

    Idempotent. A deadlock or serialization failure repeats the whole batch; data that cannot be written is
    narrowed down to its one payment, reported to the admins and left for a person.
    """
    if not facts:
        return []
    try:
        settled = await retry_conflicts(lambda: _settle_together(db, facts, settings))
    except (DBAPIError, OverflowError) as error:  # the latter: an end beyond the year 9999
        if not is_data_fault(error) and not isinstance(error, OverflowError):
            raise
        if len(facts) > 1:
            return [done for fact in facts for done in await settle(db, [fact], settings)]
        _log.exception("a payment could not be settled", invoice=facts[0].uuid)
        await _report_unsettled(db, facts[0].uuid, type(getattr(error, "orig", error)).__name__, settings)
        return []
    if any(one.granted for one in settled):
        failpoint("settle.committed")
    return settled


async def _settle_together(db: Database, facts: Sequence[InvoiceFact], settings: Settings) -> list[Settled]:
    by_invoice: dict[str, list[InvoiceFact]] = {}
    for fact in facts:
        by_invoice.setdefault(fact.uuid, []).append(fact)

    def fold_all(payment: Payment) -> Payment:
        for fact in by_invoice[payment.invoice_uuid or ""]:
            payment = fold(payment, fact, allow_test_mode=settings.cryptocloud_allow_test_mode)
        return payment

    async with db.begin() as session:
        locked = await payments.lock_by_invoice(session, sorted(by_invoice))
        settled = await _apply(session, locked, fold_all, settings)
        await _report_unknown_words(session, facts, settings)
    return settled


async def _apply(
    session: Session,
    locked: Sequence[Payment],
    change: Callable[[Payment], Payment],
    settings: Settings,
    *,
    actor: str = "settle",
    reason: str | None = None,
) -> list[Settled]:
    settled = [Settled(before, change(before)) for before in locked]
    changed = [one for one in settled if one.after != one.before]
    bought = [one.after for one in changed if one.granted]
    ends = await _grant(session, bought, actor=actor, reason=reason)
    await payments.save(session, (one.after for one in changed))
    told = [note for one in changed for note in _what_to_tell(one, ends, settings)]
    await notifications.notify(session, told)
    await notifications.show_orders(
        session,
        [(one.after.user_id, one.after.id) for one in changed if _looks_different(one)],
    )
    if bought:
        failpoint("settle.granted")
    return settled


async def _grant(
    session: Session, bought: Sequence[Payment], *, actor: str, reason: str | None
) -> dict[UUID, datetime]:
    """Give the time that was paid for; tells for each payment where the subscription then ends."""
    if not bought:
        return {}
    wanted: dict[int, set[str]] = {}
    for payment in bought:
        wanted.setdefault(payment.user_id, set()).add(payment.tier)
    locked = await subscriptions.lock(session, wanted)
    written: list[ledger.Entry] = []
    ends: dict[UUID, datetime] = {}
    for payment in sorted(bought, key=lambda one: (one.paid_at or datetime.max.replace(tzinfo=UTC), one.id)):
        entries = ledger.extend(
            locked.standings[payment.user_id],
            locked.now,
            user_id=payment.user_id,
            kind=ledger.Kind.PAYMENT,
            tier=payment.tier,
            seconds=payment.period_seconds,
            key=f"payment:{payment.id}",
            payment_id=payment.id,
            amount=payment.amount,
            currency=payment.currency,
            actor=actor,
            reason=reason,
        )
        for entry in entries:
            locked.standings[payment.user_id] = ledger.after(locked.standings[payment.user_id], entry)
        ends[payment.id] = entries[-1].ends_at
        written += entries
    await subscriptions.write(session, written)
    return ends


def _looks_different(one: Settled) -> bool:
    before, after = one.before, one.after
    return (before.status, before.review, paid_so_far(before)) != (
        after.status,
        after.review,
        paid_so_far(after),
    )


def _what_to_tell(one: Settled, ends: dict[UUID, datetime], settings: Settings) -> Iterable[Notification]:
    before, after = one.before, one.after
    admins = settings.admin_ids
    about = {
        "payment": str(after.id),
        "number": after.receipt_number,
        "user": after.user_id,
        "tier": after.tier,
        "period": after.period,
        "days": after.period_seconds // DAY,
        "amount": str(after.amount),
        "currency": after.currency,
    }
    surplus = {
        "overpaid": "yes" if after.overpaid else "",
        "surplus": f"{after.surplus:f}" if after.surplus else "",
    }
    if one.granted:
        yield Notification(
            after.user_id,
            Kind.RECEIPT,
            f"receipt:{after.id}",
            about | surplus | {"ends_at": moment(ends[after.id])},
        )
        yield from to_admins(admins, Kind.SALE, f"sale:{after.id}", **about, ends_at=moment(ends[after.id]))
    if after.status is Status.PARTIAL and _looks_different(one):
        yield _partial(after, about)
    if _ended_in_part(one):
        arrived = max(paid_so_far(before), paid_so_far(after))
        received = {"received": f"{arrived:f}", "coin": (after.provider or {}).get("coin") or ""}
        yield Notification(after.user_id, Kind.PARTIAL_ENDED, f"partial-ended:{after.id}", about | received)
        yield from to_admins(
            admins,
            Kind.ALERT,
            f"partial-ended-alert:{after.id}",
            what=Alert.PARTIAL_ENDED,
            **about,
            **received,
        )
    if after.late and not before.late:
        yield from to_admins(admins, Kind.ALERT, f"late:{after.id}", what=Alert.LATE, **about)
    if after.status is Status.PAID and after.overpaid and not before.overpaid:
        if not one.granted:  # else the receipt says it
            yield Notification(after.user_id, Kind.OVERPAID, f"overpaid-told:{after.id}", about | surplus)
        yield from to_admins(
            admins, Kind.ALERT, f"overpaid:{after.id}", what=Alert.OVERPAID, **about, **surplus
        )
    if after.review and not before.review:
        yield Notification(after.user_id, Kind.REVIEW_OPENED, f"review-opened:{after.id}", about)
        yield from to_admins(
            admins, Kind.ALERT, f"review:{after.id}", what=Alert.REVIEW, **about, reason=after.review_reason
        )


def _partial(payment: Payment, about: dict[str, object]) -> Notification:
    missing = still_missing(payment)
    return Notification(
        payment.user_id,
        Kind.PARTIAL,
        f"partial:{payment.id}:{paid_so_far(payment).normalize():f}",
        about
        | {
            "received": f"{paid_so_far(payment):f}",
            "missing": f"{missing[0]:f}" if missing else "",
            "coin": missing[1] if missing else "",
            "url": payment.invoice_url,
        },
    )


def _ended_in_part(one: Settled) -> bool:
    ends = {Status.EXPIRED, Status.CANCELED}
    if one.after.status not in ends:
        return False
    if one.before.status in ends:
        return paid_so_far(one.before) == 0 < paid_so_far(one.after)
    # The documented answer names no amount; then having been partly paid says that there is money in it.
    return one.before.status is Status.PARTIAL or paid_so_far(one.after) > 0


async def _report_unknown_words(session: Session, facts: Iterable[InvoiceFact], settings: Settings) -> None:
    for word in sorted({fact.status_word for fact in facts if fact.status is ProviderStatus.UNKNOWN}):
        _log.warning("CryptoCloud uses a status that is not documented", status=word[:40])
        await notifications.notify(
            session,
            to_admins(
                settings.admin_ids,
                Kind.ALERT,
                f"unknown-status:{word[:40]}",
                what=Alert.UNKNOWN_STATUS,
                status=word[:40],
            ),
        )


async def _report_unsettled(db: Database, invoice: str, error: str, settings: Settings) -> None:
    async with db.begin() as session:
        await notifications.notify(
            session,
            to_admins(
                settings.admin_ids,
                Kind.ALERT,
                f"unsettled:{invoice}",
                what=Alert.UNSETTLED,
                invoice=invoice,
                error=error,
            ),
        )


async def accept(db: Database, payment_id: UUID, settings: Settings, *, actor: str, reason: str) -> Payment:
    """Close a review by granting what was ordered; raises `NotReviewable` where no review is open."""

    def decide(payment: Payment) -> Payment:
        if not payment.review:
            raise NotReviewable(f"payment {payment.receipt_number} waits for no decision")
        return dataclasses.replace(become_paid(payment, None), verdict="accepted")

    return await _decide(db, payment_id, decide, settings, actor=actor, reason=reason)


async def reject(db: Database, payment_id: UUID, settings: Settings, *, actor: str, reason: str) -> Payment:
    """Close a review without a grant, for good; raises `NotReviewable` where no review is open."""

    def decide(payment: Payment) -> Payment:
        if not payment.review:
            raise NotReviewable(f"payment {payment.receipt_number} waits for no decision")
        status = Status.CANCELED if payment.status.open else payment.status
        return dataclasses.replace(payment, review=False, verdict="rejected", status=status)

    return await _decide(db, payment_id, decide, settings, actor=actor, reason=reason)


async def _decide(
    db: Database,
    payment_id: UUID,
    decide: Callable[[Payment], Payment],
    settings: Settings,
    *,
    actor: str,
    reason: str,
) -> Payment:
    async def once() -> Payment:
        async with db.begin() as session:
            locked = await payments.lock(session, payment_id)
            (settled,) = await _apply(session, [locked], decide, settings, actor=actor, reason=reason)
            if settled.after.verdict == "rejected":
                await notifications.notify(
                    session,
                    [
                        Notification(
                            locked.user_id,
                            Kind.REVIEW_CLOSED,
                            f"review-closed:{payment_id}",
                            {"payment": str(payment_id), "number": locked.receipt_number},
                        )
                    ],
                )
            await payments.stop_watching(session, payment_id)
            await audit.record(
                session,
                actor=actor,
                action=f"payment {settled.after.verdict}",
                subject=str(payment_id),
                details={"reason": reason},
            )
            return settled.after

    return await retry_conflicts(once)
