"""The book of time: every second given or taken is a row, and the subscription is the sum of its rows.

Rows are only ever added, under the lock of the subscription's row. A payment is in the book once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Any, assert_never
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert

from services.db import Database, Session
from services.models import subscription_ledger


class Kind(StrEnum):
    """Why time was given or taken."""

    PAYMENT = "payment"
    GRANT = "grant"
    REVOKE = "revoke"
    REFUND = "refund"
    CONVERSION = "conversion"


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the book. `seconds` is negative where time is taken; `ends_at` is the end after it."""

    user_id: int
    kind: Kind
    tier: str
    seconds: int
    starts_at: datetime
    ends_at: datetime
    idempotency_key: str
    payment_id: UUID | None = None
    amount: Decimal | None = None
    currency: str | None = None
    actor: str = "settle"
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """An unbroken piece of a subscription, and what was paid for it."""

    starts_at: datetime
    ends_at: datetime
    amount: Decimal | None
    currency: str | None

    @property
    def price_per_second(self) -> Fraction | None:
        if self.amount is None or self.ends_at <= self.starts_at:
            return None
        return Fraction(self.amount) / _seconds(self.ends_at - self.starts_at)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a subscription stands: its tier, its end, and of what its time is made."""

    tier: str
    ends_at: datetime | None
    stretches: tuple[Stretch, ...] = ()

    def active(self, now: datetime) -> bool:
        return self.ends_at is not None and now < self.ends_at


def after(standing: Standing, entry: Entry) -> Standing:
    """Tell where a subscription stands after one more row of the book."""
    match entry.kind:
        case Kind.PAYMENT | Kind.GRANT:
            stretch = Stretch(entry.starts_at, entry.ends_at, entry.amount, entry.currency)
            return Standing(entry.tier, entry.ends_at, (*standing.stretches, stretch))
        case Kind.CONVERSION:
            stretch = Stretch(entry.starts_at, entry.ends_at, entry.amount, entry.currency)
            return Standing(entry.tier, entry.ends_at, (stretch,))
        case Kind.REVOKE | Kind.REFUND:
            kept = tuple(
                stretch
                if stretch.ends_at <= entry.ends_at
                else Stretch(
                    stretch.starts_at,
                    entry.ends_at,
                    _share(stretch, _seconds(entry.ends_at - stretch.starts_at)),
                    stretch.currency,
                )
                for stretch in standing.stretches
                if stretch.starts_at < entry.ends_at
            )
            return Standing(standing.tier, entry.ends_at, kept)
        case _:
            assert_never(entry.kind)


def extend(
    standing: Standing,
    now: datetime,
    *,
    user_id: int,
    kind: Kind,
    tier: str,
    seconds: int,
    key: str,
    payment_id: UUID | None = None,
    amount: Decimal | None = None,
    currency: str | None = None,
    actor: str = "settle",
    reason: str | None = None,
) -> list[Entry]:
    """Write the rows that give `seconds` of `tier` on top of what somebody has.

    The same tier adds to the end. Another tier starts now, and what is left of the running one is converted at
    the price that was paid per second, rounded down to a second.
    """
    entries = []
    starts_at = now
    if standing.active(now) and standing.ends_at is not None:
        if standing.tier == tier:
            starts_at = standing.ends_at
        else:
            price = Fraction(amount) / seconds if amount else None
            converted, value = convert(standing, now, price, currency)
            starts_at = now + timedelta(seconds=converted)
            if converted:
                entries.append(
                    Entry(
                        user_id=user_id,
                        kind=Kind.CONVERSION,
                        tier=tier,
                        seconds=converted,
                        starts_at=now,
                        ends_at=starts_at,
                        idempotency_key=f"conversion:{key}",
                        payment_id=payment_id,
                        # None keeps a gift a gift: priced at nothing, the next conversion would lose it
                        amount=value or None,
                        currency=currency if value else None,
                        actor=actor,
                        reason=f"rest of {standing.tier} until {standing.ends_at.isoformat()}",
                    )
                )
    entries.append(
        Entry(
            user_id=user_id,
            kind=kind,
            tier=tier,
            seconds=seconds,
            starts_at=starts_at,
            ends_at=starts_at + timedelta(seconds=seconds),
            idempotency_key=key,
            payment_id=payment_id,
            amount=amount,
            currency=currency,
            actor=actor,
            reason=reason,
        )
    )
    return entries


def convert(
    standing: Standing, now: datetime, price_per_second: Fraction | None, currency: str | None
) -> tuple[int, Decimal]:
    """Convert what is left of a subscription into (seconds, their money's worth) of another tier.

    Time without a comparable price (a gift, another currency) carries over second for second.
    """
    worth = Fraction(0)
    carried = Fraction(0)
    for stretch in standing.stretches:
        left = _seconds(stretch.ends_at - max(now, stretch.starts_at))
        if left <= 0:
            continue
        paid = stretch.price_per_second
        if paid is None or price_per_second is None or stretch.currency != currency:
            carried += left
        else:
            worth += left * paid
    seconds = int(carried + (worth / price_per_second if price_per_second else 0))
    return seconds, Decimal(worth.numerator * 10**8 // worth.denominator).scaleb(-8)


def _share(stretch: Stretch, seconds: Fraction) -> Decimal | None:
    price = stretch.price_per_second
    if price is None:
        return None
    share = price * seconds
    return Decimal(share.numerator * 10**8 // share.denominator).scaleb(-8)


def _seconds(length: timedelta) -> Fraction:
    return Fraction(length // timedelta(microseconds=1), 1_000_000)


async def write(session: Session, entries: Sequence[Entry]) -> None:
    """Add rows to the book; raises `IntegrityError` where a payment or key is in it already."""
    if entries:
        await session.execute(
            insert(subscription_ledger),
            [
                {name: getattr(entry, name) for name in Entry.__slots__ if name != "kind"}
                | {"kind": entry.kind.value}
                for entry in entries
            ],
        )


async def read(session: Session, user_ids: Iterable[int] | None = None) -> dict[int, list[Entry]]:
    """Read the book of some customers, or of all, in the order it was written."""
    names = ", ".join(Entry.__slots__)
    wanted = list(user_ids) if user_ids is not None else None
    rows = await session.execute(
        text(f"""
            SELECT {names} FROM subscription_ledger
             WHERE CAST(:users AS bigint[]) IS NULL OR user_id = ANY(CAST(:users AS bigint[])) ORDER BY id
        """),
        {"users": wanted},
    )
    book: dict[int, list[Entry]] = {}
    for row in rows:
        fields: dict[str, Any] = dict(row._mapping)
        entry = Entry(**(fields | {"kind": Kind(fields["kind"])}))
        book.setdefault(entry.user_id, []).append(entry)
    return book


def replay(entries: Sequence[Entry], *, tier: str, ends_at: datetime | None = None) -> Standing:
    """Rebuild where a subscription stands from its rows, starting from a tier without time."""
    standing = Standing(tier, ends_at)
    for entry in entries:
        standing = after(standing, entry)
    return standing


@dataclass(frozen=True, slots=True)
class Difference:
    """Something in the books that does not add up."""

    user_id: int
    what: str


async def check(db: Database) -> list[Difference]:
    """Rebuild every subscription from the book and every grant from the payments; list what differs."""
    async with db.begin() as session:
        book = await read(session)
        stored = {
            row.user_id: row
            for row in await session.execute(text("SELECT user_id, tier, ends_at FROM subscriptions"))
        }
        unbooked = await session.execute(
            text("""
                SELECT p.user_id, p.id FROM payments p
                 WHERE p.status IN ('paid', 'refunded') AND NOT EXISTS (
                     SELECT FROM subscription_ledger l WHERE l.payment_id = p.id AND l.kind = 'payment')
            """)
        )
        unpaid = await session.execute(
            text("""
                SELECT l.user_id, p.id, p.status FROM subscription_ledger l JOIN payments p ON p.id = l.payment_id
                 WHERE l.kind = 'payment' AND p.status NOT IN ('paid', 'refunded')
            """)
        )
        found = [Difference(row.user_id, f"payment {row.id} is paid but not in the book") for row in unbooked]
        found += [
            Difference(row.user_id, f"payment {row.id} is in the book but {row.status}") for row in unpaid
        ]
    for user_id, entries in book.items():
        found += [Difference(user_id, what) for what in _odd_rows(entries)]
        standing = replay(entries, tier=entries[0].tier)
        row = stored.get(user_id)
        if row is None:
            found.append(Difference(user_id, "has rows in the book but no subscription"))
        elif (row.tier, row.ends_at) != (standing.tier, standing.ends_at):
            found.append(
                Difference(
                    user_id,
                    f"has {row.tier} until {row.ends_at}, the book says {standing.tier} until {standing.ends_at}",
                )
            )
    found += [
        Difference(row.user_id, f"has {row.tier} until {row.ends_at}, but no rows in the book")
        for row in stored.values()
        if row.ends_at is not None and row.user_id not in book
    ]
    return sorted(found, key=lambda one: one.user_id)


def _odd_rows(entries: Sequence[Entry]) -> Iterable[str]:
    end: datetime | None = None
    tier: str | None = None
    for entry in entries:
        match entry.kind:
            case Kind.PAYMENT | Kind.GRANT | Kind.CONVERSION:
                if entry.starts_at + timedelta(seconds=entry.seconds) != entry.ends_at:
                    yield f"{entry.idempotency_key}: {entry.seconds} s from {entry.starts_at} is not {entry.ends_at}"
                if entry.kind is not Kind.CONVERSION and end and tier == entry.tier and entry.starts_at < end:
                    yield f"{entry.idempotency_key}: starts before the time it should add to has ended"
            case Kind.REVOKE | Kind.REFUND:
                if end is not None and entry.ends_at > end:
                    yield f"{entry.idempotency_key}: takes time away but ends later"
            case _:
                assert_never(entry.kind)
        end, tier = entry.ends_at, entry.tier
