"""The payments: their states, who is to be checked when, and the questions that customers ask about them.

A payment's id is also the order id that CryptoCloud knows. Status changes are written to `payment_history` by a
trigger. Lock order everywhere: payments by id, then subscriptions by user id.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import Row, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import Integer, Text, Uuid

from services.db import Session
from services.errors import UnknownPayment

SHORTEST_BETWEEN_CHECKS: Final = 3  # seconds between two checks of one invoice
CHECK_BATCH: Final = 100  # https://docs.cryptocloud.plus/en/api-reference-v2/invoice-information
ALERT_AFTER_FAILURES: Final = 5


class Status(StrEnum):
    """How far an order got. `refunded` stands above `paid` and is set by people only."""

    CREATING = "creating"
    PENDING = "pending"
    PARTIAL = "partial"
    PAID = "paid"
    EXPIRED = "expired"
    CANCELED = "canceled"
    FAILED = "failed"
    REFUNDED = "refunded"

    @property
    def open(self) -> bool:
        """Whether the customer can still be expected to pay."""
        return self in {Status.CREATING, Status.PENDING, Status.PARTIAL}


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment as stored; price, currency and length are those of the order, whatever is on sale now."""

    id: UUID
    user_id: int
    tier: str
    period: str
    period_seconds: int
    amount: Decimal
    currency: str
    status: Status
    overpaid: bool
    late: bool
    review: bool
    review_reason: str | None
    verdict: str | None
    invoice_uuid: str | None
    invoice_url: str | None
    expires_at: datetime | None
    checked_at: datetime | None
    provider: dict[str, Any] | None
    surplus: Decimal | None
    message_id: int | None
    superseded: bool
    cancel_requested: bool
    paid_at: datetime | None
    created_at: datetime

    @property
    def receipt_number(self) -> str:
        return receipt_number(self.id)


def receipt_number(payment_id: UUID) -> str:
    """Name a payment for people: short enough to read out, long enough to find it."""
    return payment_id.hex[:10].upper()


_COLUMNS: Final = ", ".join(f"p.{name}" for name in Payment.__slots__)
_TYPES: Final = {"provider": JSONB}


def _payment(row: Row[Any]) -> Payment:
    fields = row._mapping
    return Payment(
        **{name: fields[name] for name in Payment.__slots__ if name != "status"}, status=Status(row.status)
    )


_LOCK = text(
    f"SELECT {_COLUMNS} FROM payments p WHERE p.invoice_uuid = ANY(:uuids) ORDER BY p.id FOR NO KEY UPDATE"
).columns(**_TYPES)
_LOCK_ONE = text(f"SELECT {_COLUMNS} FROM payments p WHERE p.id = :id FOR NO KEY UPDATE").columns(**_TYPES)
_FIND = text(f"SELECT {_COLUMNS} FROM payments p WHERE p.id = :id").columns(**_TYPES)


async def lock_by_invoice(session: Session, uuids: Sequence[str]) -> list[Payment]:
    """Lock the payments of these invoices in the one order that all of us use."""
    return [_payment(row) for row in await session.execute(_LOCK, {"uuids": list(uuids)})]


async def lock(session: Session, payment_id: UUID) -> Payment:
    """Lock one payment; raises `UnknownPayment`."""
    row = (await session.execute(_LOCK_ONE, {"id": payment_id})).one_or_none()
    if row is None:
        raise UnknownPayment(f"there is no payment {payment_id}")
    return _payment(row)


async def find(session: Session, payment_id: UUID, *, owner: int | None = None) -> Payment:
    """Read one payment; raises `UnknownPayment`, also when it belongs to somebody else than `owner`."""
    row = (await session.execute(_FIND, {"id": payment_id})).one_or_none()
    if row is None or (owner is not None and row.user_id != owner):
        raise UnknownPayment(f"there is no payment {payment_id}")
    return _payment(row)


async def find_by_name(session: Session, name: str) -> Payment:
    """Find a payment by its id, its invoice (with or without INV-) or its receipt number."""
    wanted = name.strip()
    rows = (
        await session.execute(
            text(f"""
                SELECT {_COLUMNS} FROM payments p
                 WHERE p.invoice_uuid = :invoice
                    OR replace(p.id::text, '-', '') LIKE :prefix
                 LIMIT 2
            """).columns(**_TYPES),
            {
                "invoice": wanted.upper().removeprefix("INV-"),
                "prefix": (hexed if len(hexed := _hex_of(wanted)) >= 8 else "-") + "%",
            },
        )
    ).all()
    if len(rows) != 1:
        raise UnknownPayment(f"{'more than one payment fits' if rows else 'there is no payment'} {name}")
    return _payment(rows[0])


def _hex_of(name: str) -> str:
    bare = name.replace("-", "").lower()
    return bare if bare and all(letter in "0123456789abcdef" for letter in bare) else ""


_SAVE = text("""
UPDATE payments p
   SET status = r.status, overpaid = r.overpaid, late = r.late, review = r.review,
       review_reason = r.review_reason, verdict = r.verdict, provider = r.provider, surplus = r.surplus,
       paid_at = CASE WHEN r.status IN ('paid', 'refunded')
                      THEN least(coalesce(r.paid_at, p.paid_at, now()), now()) END,
       cancel_requested = r.cancel_requested
  FROM jsonb_to_recordset(CAST(:rows AS jsonb))
       AS r(id uuid, status text, overpaid boolean, late boolean, review boolean, review_reason text,
            verdict text, provider jsonb, surplus numeric, paid_at timestamptz, cancel_requested boolean)
 WHERE p.id = r.id
""").bindparams(bindparam("rows", type_=JSONB))


async def save(session: Session, changed: Iterable[Payment]) -> None:
    """Write what folding changed; the rows are locked by the caller."""
    rows = [
        {
            "id": str(one.id),
            "status": one.status,
            "overpaid": one.overpaid,
            "late": one.late,
            "review": one.review,
            "review_reason": one.review_reason,
            "verdict": one.verdict,
            "provider": one.provider,
            "surplus": str(one.surplus) if one.surplus is not None else None,
            "paid_at": one.paid_at.isoformat() if one.paid_at else None,
            "cancel_requested": one.cancel_requested,
        }
        for one in changed
    ]
    if rows:
        await session.execute(_SAVE, {"rows": rows})


@dataclass(frozen=True, slots=True)
class Due:
    """A payment that this checker alone asks about until its lease ends."""

    id: UUID
    invoice_uuid: str
    wake: int


_CLAIM_DUE = text("""
UPDATE payments p
   SET lease_token = :token, lease_until = now() + make_interval(secs => :lease), asked_at = now()
  FROM (SELECT id FROM payments
         WHERE next_check_at <= now() AND invoice_uuid IS NOT NULL
           AND (lease_until IS NULL OR lease_until < now())
           AND (asked_at IS NULL OR asked_at <= now() - make_interval(secs => :apart))
         ORDER BY next_check_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED) due
 WHERE p.id = due.id
RETURNING p.id, p.invoice_uuid, p.wake
""")


async def claim_due(session: Session, *, lease_seconds: float) -> tuple[UUID, list[Due]]:
    """Take up to 100 payments that are due for a check; no two checkers get the same one."""
    token = uuid4()
    rows = await session.execute(
        _CLAIM_DUE,
        {"token": token, "lease": lease_seconds, "apart": SHORTEST_BETWEEN_CHECKS, "limit": CHECK_BATCH},
    )
    return token, [Due(row.id, row.invoice_uuid, row.wake) for row in rows]


class Answer(StrEnum):
    """What came of asking CryptoCloud about one payment."""

    ANSWERED = "answered"
    REJECTED = "rejected"  # this invoice was refused or left out, though others were answered
    NO_ANSWER = "no_answer"  # the question never got through; nobody's fault here


# An open invoice is asked about every :check seconds in its first hour, then less and less up to 15 minutes until
# it expires; after that ever more seldom. Only an answer later than a week after its end closes the watch.
_RELEASE = text("""
WITH held AS (
    SELECT id FROM payments
     WHERE id = ANY(CAST(:ids AS uuid[])) AND lease_token = :token ORDER BY id FOR NO KEY UPDATE
)
UPDATE payments p
   SET lease_token = NULL, lease_until = NULL,
       checked_at = CASE WHEN r.answer = 'answered' THEN now() ELSE p.checked_at END,
       failures = CASE r.answer WHEN 'answered' THEN 0 WHEN 'rejected' THEN p.failures + 1 ELSE p.failures END,
       next_check_at = CASE
           WHEN p.wake <> r.wake THEN now()
           WHEN r.answer = 'no_answer' THEN now() + make_interval(secs => :check)
           WHEN r.answer = 'rejected'
               THEN now() + least(interval '1 hour', make_interval(secs => :check) * 2 ^ least(p.failures, 10))
           WHEN p.status IN ('paid', 'refunded', 'failed') OR p.verdict IS NOT NULL THEN NULL
           WHEN now() > end_of_invoice + interval '7 days' THEN NULL
           WHEN now() > end_of_invoice
               THEN now() + least(interval '1 day',
                                  greatest(make_interval(secs => :check), (now() - end_of_invoice) / 4))
           ELSE least(
               end_of_invoice + interval '1 second',
               now() + CASE WHEN p.created_at > now() - interval '1 hour' THEN make_interval(secs => :check)
                            ELSE least(interval '15 minutes',
                                       make_interval(secs => :check)
                                       + (now() - p.created_at - interval '1 hour') / 4) END)
       END
  FROM held JOIN unnest(CAST(:ids AS uuid[]), CAST(:wakes AS int[]), CAST(:answers AS text[]))
                 AS r(id, wake, answer) USING (id),
       LATERAL (SELECT coalesce(q.expires_at, q.created_at + interval '24 hours') AS end_of_invoice
                  FROM payments q WHERE q.id = r.id) AS e
 WHERE p.id = r.id
RETURNING p.id, p.failures, r.answer
""").bindparams(
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("wakes", type_=ARRAY(Integer)),
    bindparam("answers", type_=ARRAY(Text)),
)


async def release(
    session: Session, token: UUID, answers: Sequence[tuple[Due, Answer]], *, check_seconds: float
) -> list[UUID]:
    """Give checked payments back with the moment of their next check; name those that keep being rejected.

    A payment that was woken meanwhile is due at once. Rows whose lease was lost are left alone.
    """
    ordered = sorted(answers, key=lambda pair: pair[0].id)
    rows = await session.execute(
        _RELEASE,
        {
            "token": token,
            "check": check_seconds,
            "ids": [due.id for due, _ in ordered],
            "wakes": [due.wake for due, _ in ordered],
            "answers": [answer.value for _, answer in ordered],
        },
    )
    return [row.id for row in rows if row.answer == Answer.REJECTED and row.failures == ALERT_AFTER_FAILURES]


async def wake(session: Session, payment_id: UUID) -> None:
    """Ask for a check as soon as possible. Idempotent."""
    await session.execute(
        text("UPDATE payments SET wake = wake + 1, next_check_at = now() WHERE id = :id"), {"id": payment_id}
    )


async def show_in(session: Session, payment_id: UUID, message_id: int) -> None:
    """Remember which message of the customer's chat shows the order."""
    await session.execute(
        text("UPDATE payments SET message_id = :message WHERE id = :id"),
        {"message": message_id, "id": payment_id},
    )


async def message_to_edit(session: Session, payment: Payment) -> int | None:
    """Tell which message shows this order; None also where that message shows a newer order by now."""
    message_id: int | None = await session.scalar(
        text("""
            SELECT p.message_id FROM payments p
             WHERE p.id = :id
               AND NOT EXISTS (SELECT FROM payments newer
                                WHERE newer.user_id = p.user_id AND newer.message_id = p.message_id
                                  AND newer.created_at > p.created_at)
        """),
        {"id": payment.id},
    )
    return message_id


async def stop_watching(session: Session, payment_id: UUID) -> None:
    """Ask CryptoCloud no more about a payment, until a hint comes."""
    await session.execute(text("UPDATE payments SET next_check_at = NULL WHERE id = :id"), {"id": payment_id})


_HISTORY = """
SELECT {columns} FROM payments p
 WHERE p.user_id = :user_id {beyond}
 ORDER BY p.created_at {order}, p.id {order} LIMIT :limit
"""
_MARK = "(SELECT m.created_at, m.id FROM payments m WHERE m.id = :mark AND m.user_id = :user_id)"
_NEWEST = text(_HISTORY.format(columns=_COLUMNS, beyond="", order="DESC")).columns(**_TYPES)
_OLDER = text(
    _HISTORY.format(columns=_COLUMNS, beyond=f"AND (p.created_at, p.id) < {_MARK}", order="DESC")
).columns(**_TYPES)
_NEWER = text(
    _HISTORY.format(columns=_COLUMNS, beyond=f"AND (p.created_at, p.id) > {_MARK}", order="ASC")
).columns(**_TYPES)


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Some of a customer's payments, newest first, and whether there are more on either side."""

    payments: list[Payment]
    newer: bool
    older: bool


async def history(
    session: Session,
    user_id: int,
    *,
    size: int,
    older_than: UUID | None = None,
    newer_than: UUID | None = None,
) -> HistoryPage:
    """Read one page of a customer's payments by keyset: as quick on the last page as on the first."""
    limit = size + 1
    if newer_than is not None:
        rows = (await session.execute(_NEWER, {"user_id": user_id, "mark": newer_than, "limit": limit})).all()
        found = [_payment(row) for row in rows]
        return HistoryPage(found[:size][::-1], newer=len(found) > size, older=True)
    if older_than is not None:
        rows = (await session.execute(_OLDER, {"user_id": user_id, "mark": older_than, "limit": limit})).all()
        found = [_payment(row) for row in rows]
        return HistoryPage(found[:size], newer=True, older=len(found) > size)
    rows = (await session.execute(_NEWEST, {"user_id": user_id, "limit": limit})).all()
    found = [_payment(row) for row in rows]
    return HistoryPage(found[:size], newer=False, older=len(found) > size)


@dataclass(frozen=True, slots=True)
class StatusChange:
    """One line of a payment's history; `old_status` is None where the payment was made."""

    changed_at: datetime
    old_status: str | None
    new_status: str


async def status_changes(session: Session, payment_id: UUID) -> list[StatusChange]:
    """Read how a payment got where it is, oldest first."""
    rows = await session.execute(
        text("""
            SELECT changed_at, old_status, new_status FROM payment_history WHERE payment_id = :id ORDER BY id
        """),
        {"id": payment_id},
    )
    return [StatusChange(row.changed_at, row.old_status, row.new_status) for row in rows]


async def open_reviews(session: Session) -> list[Payment]:
    """List the payments that wait for a person's decision, oldest first."""
    rows = await session.execute(
        text(f"SELECT {_COLUMNS} FROM payments p WHERE p.review ORDER BY p.created_at").columns(**_TYPES)
    )
    return [_payment(row) for row in rows]


async def oldest_unsettled_age(session: Session) -> float:
    """Tell for how many seconds the most overdue check has been waiting."""
    age = await session.scalar(
        text(
            "SELECT extract(epoch FROM now() - min(next_check_at)) FROM payments WHERE next_check_at IS NOT NULL"
        )
    )
    return max(0.0, float(age or 0))
