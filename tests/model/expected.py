"""A small model of the shop: what an order and a subscription must look like, said without a database.

It knows no SQL, no locks and no code of the shop; the rules are those of the README, written down a second time.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import floor
from uuid import UUID

PAID_WORDS = {"paid", "overpaid"}


@dataclass
class Order:
    """An order, and how far it must have got."""

    id: UUID
    user: int
    tier: str
    period: str
    seconds: int
    price: Decimal
    invoice: str
    status: str = "pending"
    cancel_requested: bool = False
    late: bool = False
    overpaid: bool = False
    review: bool = False
    verdict: str | None = None
    paid_at: datetime | None = None

    def hear(self, word: str, *, fits: bool = True, finished: datetime | None = None) -> bool:
        """Learn one thing that the provider says; tells whether it is paid from now on."""
        if self.status == "paid":
            if word in PAID_WORDS and (fits or self.verdict):
                self.overpaid |= word == "overpaid"
            self.late |= word == "canceled"
            return False
        if word == "partial" and self.status == "pending":
            self.status = "partial"
        if word == "canceled" and self.status in {"pending", "partial"}:
            self.status = "canceled" if self.cancel_requested else "expired"
        if word not in PAID_WORDS or self.verdict == "rejected":
            return False
        if not fits:
            self.review = True
            return False
        self.overpaid = word == "overpaid"
        self.paid_at = finished
        return self.pay()

    def pay(self) -> bool:
        """Become paid, by money or by a person's word."""
        self.late |= self.status in {"expired", "canceled"}
        self.status, self.review = "paid", False
        return True

    def reject(self) -> None:
        self.review, self.verdict = False, "rejected"
        if self.status in {"pending", "partial"}:
            self.status = "canceled"


@dataclass
class Subscription:
    """What somebody has: pieces of time, each with the price of its seconds (None: a gift)."""

    tier: str = "free"
    ends: datetime | None = None
    pieces: list[tuple[datetime, datetime, Fraction | None]] = field(default_factory=list)

    def active(self, now: datetime) -> bool:
        return self.ends is not None and now < self.ends

    def give(self, now: datetime, tier: str, seconds: int, price: Decimal | None) -> None:
        """Add time: to the end of the same tier, else from now with what is left of the other converted."""
        each = Fraction(price) / seconds if price is not None else None
        start = now
        if self.active(now) and self.tier == tier:
            assert self.ends is not None
            start = self.ends
        elif self.active(now):
            start = self._convert(now, each)
        self.tier, self.ends = tier, start + timedelta(seconds=seconds)
        self.pieces.append((start, self.ends, each))

    def _convert(self, now: datetime, each: Fraction | None) -> datetime:
        carried = worth = Fraction(0)
        for start, end, paid in self.pieces:
            left = _seconds(end - max(now, start))
            if left > 0 and paid is not None and each is not None:
                worth += left * paid
            elif left > 0:
                carried += left
        seconds = floor(carried + (worth / each if each else 0))
        money = Fraction(floor(worth * 10**8), 10**8)
        end = now + timedelta(seconds=seconds)
        self.pieces = [(now, end, money / seconds if money and seconds else None)] if seconds else []
        return end

    def take(self, now: datetime) -> None:
        """Lose what is left."""
        self.pieces = [(start, min(end, now), paid) for start, end, paid in self.pieces if start < now]
        self.ends = now


def _seconds(length: timedelta) -> Fraction:
    return Fraction(length // timedelta(microseconds=1), 1_000_000)


def in_order_of_payment(orders: Iterable[Order]) -> list[Order]:
    """Payments of one batch count in the order in which they were made."""
    return sorted(orders, key=lambda one: (one.paid_at is None, one.paid_at, one.id))
