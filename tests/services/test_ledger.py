"""The book of time: conversion loses no money's worth, a replay tells the same end, and nothing is rubbed out."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError, IntegrityError

from services import grants, ledger
from services.config import Settings
from services.db import Database
from services.ledger import Entry, Kind, Standing, Stretch, after, convert, extend, replay
from services.settlement import settle
from services.tiers import PriceList
from tests.shop import DAY, MONTH, change, customer, fact, invoice, row, rows

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
END = NOON + timedelta(days=30)


def paid_until(end: datetime, amount: str, *, since: datetime = NOON, currency: str = "USD") -> Standing:
    return Standing("pro", end, (Stretch(since, end, Decimal(amount), currency),))


def buy(standing: Standing, now: datetime, tier: str, amount: str | None, **known: Any) -> list[Entry]:
    usual: dict[str, Any] = {
        "user_id": 1,
        "kind": Kind.PAYMENT if amount else Kind.GRANT,
        "tier": tier,
        "seconds": MONTH,
        "key": f"{tier} at {now}",
        "amount": Decimal(amount) if amount else None,
        "currency": "USD" if amount else None,
    }
    return extend(standing, now, **(usual | known))


def test_the_first_time_starts_now() -> None:
    (entry,) = buy(Standing("free", None), NOON, "pro", "99")
    assert (entry.starts_at, entry.ends_at, entry.seconds) == (NOON, END, MONTH)


def test_the_same_tier_adds_to_the_end() -> None:
    (entry,) = buy(paid_until(END, "99"), NOON + timedelta(days=10), "pro", "99")
    assert (entry.starts_at, entry.ends_at) == (END, END + timedelta(days=30))


def test_time_that_has_ended_is_not_converted() -> None:
    (entry,) = buy(paid_until(NOON, "99", since=NOON - timedelta(days=30)), NOON, "business", "299")
    assert (entry.kind, entry.starts_at) == (Kind.PAYMENT, NOON)


def test_another_tier_converts_at_the_price_that_was_paid_and_not_at_any_list_price() -> None:
    # Half the usual price was paid, so half the usual time comes over.
    half = buy(paid_until(END, "49.50"), NOON, "business", "297")[0]
    full = buy(paid_until(END, "99.00"), NOON, "business", "297")[0]
    assert (half.kind, half.seconds) == (Kind.CONVERSION, 5 * DAY)
    assert (full.kind, full.seconds) == (Kind.CONVERSION, 10 * DAY)


def test_each_stretch_converts_at_its_own_price() -> None:
    standing = Standing(
        "pro",
        END + timedelta(days=30),
        (
            Stretch(NOON, END, Decimal("99"), "USD"),
            Stretch(END, END + timedelta(days=30), Decimal("33"), "USD"),
        ),
    )
    half_of_the_first = NOON + timedelta(days=15)
    assert convert(standing, half_of_the_first, Fraction(99, MONTH), "USD")[0] == (15 + 10) * DAY


@pytest.mark.parametrize(
    ("amount", "currency"), [(None, None), (Decimal("99"), "EUR")], ids=["a gift", "another currency"]
)
def test_time_without_a_comparable_price_carries_over_second_for_second(
    amount: Decimal | None, currency: str | None
) -> None:
    standing = Standing("pro", END, (Stretch(NOON, END, amount, currency),))
    entry = buy(standing, NOON + timedelta(days=10), "business", "299")[0]
    assert (entry.kind, entry.seconds) == (Kind.CONVERSION, 20 * DAY)


def test_a_gift_of_another_tier_takes_paid_time_along_second_for_second() -> None:
    entries = buy(paid_until(END, "99"), NOON + timedelta(days=10), "business", None)
    assert [entry.seconds for entry in entries] == [20 * DAY, MONTH]


def test_a_gift_that_was_converted_once_is_not_lost_when_it_is_converted_again() -> None:
    gift = buy(Standing("free", None), NOON, "pro", None)
    bought = buy(replay(gift, tier="free"), NOON, "business", "297")
    back = buy(replay(gift + bought, tier="free"), NOON, "pro", "99")
    # 30 gifted days stay 30 days; 30 days at 297 become 90 at 99; 30 more were bought.
    assert back[-1].ends_at == NOON + timedelta(days=30 + 90 + 30)


prices = st.decimals("0.01", "5000", places=2)
seconds = st.integers(60, 400 * DAY)


@given(
    paid=prices, length=seconds, used=st.floats(0, 1, exclude_max=True), new_price=prices, new_length=seconds
)
@settings(deadline=None, max_examples=200)
def test_conversion_never_gains_value_and_loses_less_than_a_second(
    paid: Decimal, length: int, used: float, new_price: Decimal, new_length: int
) -> None:
    end = NOON + timedelta(seconds=length)
    now = NOON + timedelta(seconds=length) * used
    price = Fraction(new_price) / new_length

    converted, worth = convert(Standing("pro", end, (Stretch(NOON, end, paid, "USD"),)), now, price, "USD")

    left = Fraction((end - now) // timedelta(microseconds=1), 1_000_000)
    exact = Fraction(paid) * left / length / price
    assert converted <= exact < converted + 1
    assert 0 <= Fraction(paid) * left / length - Fraction(worth) < Fraction(1, 10**8)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["pro", "business", "max"]),
            st.decimals("1", "1000", places=2),  # six thousand years are the most that this can come to
            st.sampled_from([MONTH, 3 * MONTH, 365 * DAY]),
            st.integers(0, 40 * DAY),
        ),
        min_size=1,
        max_size=6,
    )
)
@settings(deadline=None, max_examples=200)
def test_however_often_the_tier_changes_time_is_never_worth_more_than_what_was_paid(
    orders: list[tuple[str, Decimal, int, int]],
) -> None:
    now, standing, paid = NOON, Standing("free", None), Fraction(0)
    for tier, price, length, pause in orders:
        for entry in buy(standing, now, tier, str(price), seconds=length):
            standing = after(standing, entry)
        paid += Fraction(price)
        worth = sum(
            (stretch.price_per_second or 0)
            * Fraction((stretch.ends_at - max(now, stretch.starts_at)) // timedelta(microseconds=1), 10**6)
            for stretch in standing.stretches
            if stretch.ends_at > now
        )
        assert worth <= paid
        now += timedelta(seconds=pause)


def test_a_refund_takes_only_the_time_after_it() -> None:
    gone = Entry(1, Kind.REFUND, "pro", -10 * DAY, END, END - timedelta(days=10), "refund")
    standing = after(paid_until(END, "99"), gone)
    (kept,) = standing.stretches
    assert (standing.ends_at, kept.ends_at, kept.amount) == (gone.ends_at, gone.ends_at, Decimal("66"))


async def test_a_replay_of_the_book_tells_what_the_subscription_says(
    db: Database, settings: Settings, price_list: PriceList
) -> None:
    await customer(db)
    for tier, amount in (("pro", "99.00"), ("pro", "49.50"), ("business", "299.00"), ("pro", "99.00")):
        _, uuid = await invoice(db, tier=tier, amount=amount)
        await settle(db, [fact(uuid)], settings)
    await grants.grant(
        db, price_list, user_id=1, tier_code="pro", period_code="year", actor="console", reason="-", key="1"
    )
    await grants.revoke(db, user_id=1, actor="console", reason="-", key="2")
    _, uuid = await invoice(db, tier="business", amount="299.00")
    await settle(db, [fact(uuid)], settings)

    async with db.begin() as session:
        book = await ledger.read(session, [1])
    told = replay(book[1], tier="free")
    stored = await row(db, "SELECT tier, ends_at FROM subscriptions WHERE user_id = 1")
    assert {"tier": told.tier, "ends_at": told.ends_at} == stored
    assert [entry.kind for entry in book[1]] == [
        *("payment", "payment", "conversion", "payment", "conversion", "payment"),
        *("grant", "revoke", "payment"),
    ]
    assert await ledger.check(db) == []


async def test_the_books_cannot_be_changed(db: Database, settings: Settings, price_list: PriceList) -> None:
    await customer(db)
    _, uuid = await invoice(db)
    await settle(db, [fact(uuid)], settings)
    await grants.revoke(db, user_id=1, actor="console", reason="-", key="1")
    for book in ("subscription_ledger", "payment_history", "admin_audit"):
        before = await rows(db, f"SELECT * FROM {book}")
        assert before
        column = next(name for name in before[0] if name != "id")
        for deed in (f"UPDATE {book} SET {column} = {column}", f"DELETE FROM {book}", f"TRUNCATE {book}"):
            with pytest.raises(DBAPIError, match=f"{book} is append-only"):
                await change(db, deed)
        assert await rows(db, f"SELECT * FROM {book}") == before


async def test_a_payment_is_in_the_book_once(db: Database, settings: Settings) -> None:
    await customer(db)
    payment_id, uuid = await invoice(db)
    await settle(db, [fact(uuid)], settings)
    again = Entry(1, Kind.PAYMENT, "pro", 1, NOON, END, "another key", payment_id)
    with pytest.raises(IntegrityError):
        async with db.begin() as session:
            await ledger.write(session, [again])


async def test_the_check_finds_an_end_that_was_moved_by_hand(db: Database, settings: Settings) -> None:
    await customer(db)
    _, uuid = await invoice(db)
    await settle(db, [fact(uuid)], settings)

    await change(db, "UPDATE subscriptions SET ends_at = ends_at + interval '1 s' WHERE user_id = 1")

    (found,) = await ledger.check(db)
    assert found.user_id == 1
    assert "the book says pro until" in found.what


async def test_the_check_finds_time_that_no_row_gave(db: Database) -> None:
    await customer(db)
    await change(db, "UPDATE subscriptions SET tier = 'pro', ends_at = now() WHERE user_id = 1")
    (found,) = await ledger.check(db)
    assert "no rows in the book" in found.what


async def test_the_check_finds_a_paid_payment_that_is_not_in_the_book(db: Database) -> None:
    await customer(db)
    payment_id, _ = await invoice(db, status="paid", paid_at=datetime.now(UTC))
    (found,) = await ledger.check(db)
    assert (found.user_id, found.what) == (1, f"payment {payment_id} is paid but not in the book")


async def test_the_check_finds_a_booked_payment_that_is_not_paid(db: Database, settings: Settings) -> None:
    await customer(db)
    payment_id, uuid = await invoice(db)
    await settle(db, [fact(uuid)], settings)
    await change(db, "UPDATE payments SET status = 'expired'")
    (found,) = await ledger.check(db)
    assert (found.user_id, found.what) == (1, f"payment {payment_id} is in the book but expired")


async def test_the_check_finds_rows_that_do_not_add_up(db: Database) -> None:
    await customer(db)
    async with db.begin() as session:
        await ledger.write(
            session,
            [
                Entry(1, Kind.GRANT, "pro", MONTH, NOON, END + timedelta(hours=1), "too long"),
                Entry(1, Kind.GRANT, "pro", MONTH, NOON, END, "on top of running time"),
                Entry(1, Kind.REVOKE, "pro", -1, END, END + timedelta(hours=1), "taken yet longer"),
            ],
        )
    await change(
        db,
        "UPDATE subscriptions SET tier = 'pro', ends_at = :end WHERE user_id = 1",
        end=END + timedelta(hours=1),
    )
    assert [one.what.split(":")[0] for one in await ledger.check(db)] == [
        *("too long", "on top of running time", "taken yet longer")
    ]
