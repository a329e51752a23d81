"""The outbox: what people are to be told, written with the fact itself and sent afterwards, at least once.

A row is claimed under a lease and a version: who took too long, or rendered an older state, cannot mark it sent.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import text

from services import users
from services.db import Database, Session

MESSAGES_A_SECOND: Final = 25  # https://core.telegram.org/bots/faq allows about 30
LONGEST_PAUSE_SECONDS: Final = 3600


class Kind(StrEnum):
    """Which text a notification is."""

    ORDER = "order"
    ORDER_MOVED = "order_moved"
    RECEIPT = "receipt"
    OVERPAID = "overpaid"
    PARTIAL = "partial"
    PARTIAL_ENDED = "partial_ended"
    REVIEW_OPENED = "review_opened"
    REVIEW_CLOSED = "review_closed"
    GRANTED = "granted"
    REVOKED = "revoked"
    SALE = "sale"
    ALERT = "alert"


class Alert(StrEnum):
    """What an alert to the admins is about."""

    REVIEW = "review"
    LATE = "late"
    OVERPAID = "overpaid"
    PARTIAL_ENDED = "partial-ended"
    UNKNOWN_STATUS = "unknown-status"
    UNSETTLED = "unsettled"
    CHECK_REJECTED = "check-rejected"
    CRYPTOCLOUD_REFUSED = "cryptocloud-refused"
    SALES_CLOSED_TEST_MODE = "sales-closed-test-mode"
    SALES_CLOSED_AMOUNT = "sales-closed-amount"
    SALES_CLOSED_CURRENCY = "sales-closed-currency"
    UNCLAIMED = "unclaimed"
    DEAD_UPDATE = "dead-update"
    WEBHOOK_CHANGED = "webhook-changed"
    UNDELIVERABLE_TEXT = "undeliverable-text"


# The customers come first; an admin hears of a sale before hearing what was odd about it.
_PRIORITY: Final = {
    Kind.RECEIPT: 0,
    Kind.ORDER: 1,
    Kind.ORDER_MOVED: 2,
    Kind.OVERPAID: 2,
    Kind.PARTIAL: 2,
    Kind.PARTIAL_ENDED: 2,
    Kind.REVIEW_OPENED: 2,
    Kind.REVIEW_CLOSED: 2,
    Kind.GRANTED: 3,
    Kind.REVOKED: 3,
    Kind.SALE: 4,
    Kind.ALERT: 5,
}


@dataclass(frozen=True, slots=True)
class Notification:
    """Something to tell one person once; `key` says what must not be said twice."""

    user_id: int
    kind: Kind
    key: str
    payload: dict[str, Any] = field(default_factory=dict)


def to_admins(admins: Iterable[int], kind: Kind, key: str, **payload: Any) -> list[Notification]:
    """Address one notification to every admin."""
    return [Notification(admin, kind, f"{key}:{admin}", payload) for admin in admins]


_WRITE = """
INSERT INTO notifications AS n (user_id, kind, key, payload, priority)
SELECT user_id, kind, key, payload, priority
  FROM jsonb_to_recordset(CAST(:rows AS jsonb))
       AS r(user_id bigint, kind text, key text, payload jsonb, priority smallint)
 WHERE EXISTS (SELECT FROM users u WHERE u.telegram_id = r.user_id)  -- a mistyped admin id stops no sale
 ORDER BY key
"""
_WRITE_ONCE = text(_WRITE + "ON CONFLICT (key) DO NOTHING")
_WRITE_AGAIN = text(
    _WRITE
    + "ON CONFLICT (key) DO UPDATE SET state = 'due', version = n.version + 1, attempts = 0, next_at = now()"
)


async def notify(session: Session, notifications: Sequence[Notification]) -> None:
    """Write notifications; one whose key exists is not said again. Idempotent."""
    await _write(session, _WRITE_ONCE, notifications)


async def show_orders(session: Session, orders: Iterable[tuple[int, UUID]]) -> None:
    """Make the order messages of (user, payment) due: they are rendered from the state at sending time."""
    await _write(
        session,
        _WRITE_AGAIN,
        [
            Notification(user, Kind.ORDER, f"order:{payment}", {"payment": str(payment)})
            for user, payment in orders
        ],
    )


async def _write(session: Session, statement: Any, notifications: Sequence[Notification]) -> None:
    if not notifications:
        return
    rows = [
        {
            "user_id": one.user_id,
            "kind": one.kind,
            "key": one.key,
            "payload": one.payload,
            "priority": _PRIORITY[one.kind],
        }
        for one in notifications
    ]
    await session.execute(statement, {"rows": json.dumps(rows, default=str)})


@dataclass(frozen=True, slots=True)
class Claimed:
    """A notification that this notifier alone may send until its lease ends."""

    id: int
    user_id: int
    kind: Kind
    key: str
    payload: dict[str, Any]
    version: int
    attempts: int
    language: str
    lease_token: UUID


_CLAIM = text("""
WITH bucket AS (
    SELECT least(:burst, tokens + extract(epoch FROM clock_timestamp() - refilled_at) * :rate) AS available
      FROM send_budget FOR UPDATE
), picked AS (
    SELECT n.id
      FROM notifications n JOIN users u ON u.telegram_id = n.user_id
     WHERE n.state = 'due' AND n.next_at <= now()
       AND (n.lease_until IS NULL OR n.lease_until < now())
       AND (u.parked_until IS NULL OR u.parked_until < now())
     ORDER BY n.priority, n.next_at, n.id
     LIMIT (SELECT greatest(0, least(:limit, floor(available)))::int FROM bucket)
       FOR UPDATE OF n SKIP LOCKED
), claimed AS (
    UPDATE notifications n
       SET lease_token = :token, lease_until = now() + make_interval(secs => :lease)
      FROM picked WHERE n.id = picked.id
    RETURNING n.*
), spent AS (
    UPDATE send_budget
       SET tokens = (SELECT available FROM bucket) - (SELECT count(*) FROM picked),
           refilled_at = clock_timestamp()
     WHERE EXISTS (SELECT FROM picked)
)
SELECT c.id, c.user_id, c.kind, c.key, c.payload, c.version, c.attempts, u.language
  FROM claimed c JOIN users u ON u.telegram_id = c.user_id
 ORDER BY c.priority, c.next_at, c.id
""")
_ANY_DUE = text("""
SELECT EXISTS (SELECT FROM notifications WHERE state = 'due' AND next_at <= now()
               AND (lease_until IS NULL OR lease_until < now()))
""")


async def claim(db: Database, *, limit: int, lease_seconds: float) -> list[Claimed]:
    """Take due notifications for sending, the receipts first, within what Telegram lets all replicas send."""
    async with db.begin() as session:
        if not await session.scalar(_ANY_DUE):
            return []
        token = uuid4()
        rows = await session.execute(
            _CLAIM,
            {
                "limit": limit,
                "lease": lease_seconds,
                "token": token,
                "rate": MESSAGES_A_SECOND,
                "burst": MESSAGES_A_SECOND,
            },
        )
        return [
            Claimed(
                id=row.id,
                user_id=row.user_id,
                kind=Kind(row.kind),
                key=row.key,
                payload=row.payload,
                version=row.version,
                attempts=row.attempts,
                language=row.language,
                lease_token=token,
            )
            for row in rows
        ]


_FINISH = """
UPDATE notifications
   SET lease_token = NULL, lease_until = NULL, {changes}
 WHERE id = :id AND lease_token = :token
"""
_SENT = text(
    _FINISH.format(
        changes="sent_at = now(), last_error = NULL, attempts = 0, "
        "state = CASE WHEN version = :version THEN 'sent' ELSE 'due' END, next_at = now()"
    )
)
_UNDELIVERABLE = text(_FINISH.format(changes="state = 'undeliverable', last_error = :error"))
_DROPPED = text(_FINISH.format(changes="state = 'dropped', last_error = :error"))
_POSTPONED = text(
    _FINISH.format(
        changes="last_error = :error, attempts = attempts + :spent, "
        "next_at = now() + make_interval(secs => :pause)"
    )
)


async def mark_sent(session: Session, one: Claimed) -> bool:
    """Mark a notification sent; False when the lease was lost, so that another notifier's word counts.

    If there is something newer to say under the same key, it stays due.
    """
    done = await session.execute(_SENT, {"id": one.id, "token": one.lease_token, "version": one.version})
    return done.rowcount == 1


async def mark_undeliverable(session: Session, one: Claimed, error: str) -> None:
    """Park a notification until its person speaks to us again; locks the person first, as meeting them does."""
    await users.lose(session, one.user_id)
    await session.execute(_UNDELIVERABLE, {"id": one.id, "token": one.lease_token, "error": error[:500]})


async def drop(session: Session, one: Claimed, error: str) -> None:
    """Give a notification up; the caller reports why."""
    await session.execute(_DROPPED, {"id": one.id, "token": one.lease_token, "error": error[:500]})


async def postpone(session: Session, one: Claimed, error: str, *, pause: float, spent: bool) -> None:
    """Try again after `pause` seconds; `spent` says whether the try counts against the notification."""
    await session.execute(
        _POSTPONED,
        {
            "id": one.id,
            "token": one.lease_token,
            "error": error[:500],
            "pause": min(pause, 86_400),
            "spent": int(spent),
        },
    )


async def park_chat(session: Session, one: Claimed, retry_after: float) -> None:
    """Write to this chat no sooner than Telegram allows; costs the notification no attempt."""
    await session.execute(
        text("""
            UPDATE users SET parked_until = now() + make_interval(secs => :pause) WHERE telegram_id = :id
        """),
        {"pause": retry_after, "id": one.user_id},
    )
    await postpone(session, one, f"429, retry after {retry_after:g} s", pause=retry_after, spent=False)


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far a notification got."""

    key: str
    user_id: int
    state: str
    next_at: datetime
    attempts: int
    sent_at: datetime | None
    last_error: str | None


async def about_payment(session: Session, payment_id: UUID) -> list[Delivery]:
    """Read what people were or will be told about a payment, in the order it was written."""
    rows = await session.execute(
        text("""
            SELECT key, user_id, state, next_at, attempts, sent_at, last_error FROM notifications
             WHERE payload ->> 'payment' = :payment ORDER BY id
        """),
        {"payment": str(payment_id)},
    )
    return [Delivery(**row._mapping) for row in rows]


async def oldest_due_age(session: Session) -> float:
    """Tell for how many seconds the oldest deliverable notification has been waiting."""
    age = await session.scalar(
        text("SELECT extract(epoch FROM now() - min(next_at)) FROM notifications WHERE state = 'due'")
    )
    return max(0.0, float(age or 0))


async def today(session: Session) -> str:
    """Name the database's day, for keys of what is said once a day."""
    return str(await session.scalar(text("SELECT current_date")))


def pause_after(attempts: int) -> float:
    """Tell how many seconds to wait after a failed try: 1, 2, 4 … up to an hour."""
    return float(min(2**attempts, LONGEST_PAUSE_SECONDS))


def moment(value: datetime | None) -> str | None:
    """Write a moment into a payload."""
    return value.isoformat() if value else None
