"""Folding: the same facts in any order, however often, leave the same payment behind."""

import dataclasses
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import reduce
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cryptocloud import InvoiceFact
from services.fold import facts_as_json, fold, paid_so_far, still_missing
from services.payments import Payment, Status
from tests.shop import fact, ordered

UUID = "ABCD1234"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RANK = {
    Status.CREATING: 0,
    Status.PENDING: 1,
    Status.PARTIAL: 2,
    Status.FAILED: 2,
    Status.EXPIRED: 3,
    Status.CANCELED: 3,
    Status.PAID: 4,
    Status.REFUNDED: 5,
}


def folded(payment: Payment, *facts: InvoiceFact) -> Payment:
    return reduce(lambda known, said: fold(known, said, allow_test_mode=False), facts, payment)


def standing(payment: Payment) -> dict[str, Any]:
    names = ("status", "overpaid", "late", "review", "surplus", "paid_at", "provider")
    return {name: getattr(payment, name) for name in names}


STEPS = {
    # what we have:   created     partial     canceled    paid    overpaid  frozen (a word we do not know)
    Status.CREATING: ("creating", "partial", "expired", "paid", "paid", "creating"),
    Status.PENDING: ("pending", "partial", "expired", "paid", "paid", "pending"),
    Status.PARTIAL: ("partial", "partial", "expired", "paid", "paid", "partial"),
    Status.EXPIRED: ("expired", "expired", "expired", "paid", "paid", "expired"),
    Status.CANCELED: ("canceled", "canceled", "canceled", "paid", "paid", "canceled"),
    Status.FAILED: ("failed", "failed", "failed", "paid", "paid", "failed"),
    Status.PAID: ("paid", "paid", "paid", "paid", "paid", "paid"),
    Status.REFUNDED: ("refunded", "refunded", "refunded", "refunded", "refunded", "refunded"),
}
WORDS = ("created", "partial", "canceled", "paid", "overpaid", "frozen")


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("word", WORDS)
def test_each_word_moves_each_status_as_the_table_says(status: Status, word: str) -> None:
    after = folded(ordered(status=status), fact(UUID, word))
    assert after.status == STEPS[status][WORDS.index(word)]


def test_an_invoice_that_the_customer_canceled_ends_as_canceled_and_not_as_expired() -> None:
    assert folded(ordered(cancel_requested=True), fact(UUID, "canceled")).status is Status.CANCELED


@pytest.mark.parametrize("status", [Status.EXPIRED, Status.CANCELED, Status.FAILED])
def test_money_after_the_end_is_late(status: Status) -> None:
    assert folded(ordered(status=status), fact(UUID, "paid")).late


@pytest.mark.parametrize("status", [Status.CREATING, Status.PENDING, Status.PARTIAL])
def test_money_in_time_is_not_late(status: Status) -> None:
    assert not folded(ordered(status=status), fact(UUID, "paid")).late


def test_canceled_after_paid_stays_paid_and_is_late() -> None:
    after = folded(ordered(), fact(UUID, "paid"), fact(UUID, "canceled"))
    assert (after.status, after.late) == (Status.PAID, True)


def test_overpaid_after_paid_is_noted_with_its_surplus() -> None:
    more = fact(UUID, "overpaid", amount_paid_usd=Decimal("104.5"), amount_to_pay_usd=Decimal("100.4"))
    after = folded(ordered(), fact(UUID, "paid"), more)
    assert (after.status, after.overpaid, after.surplus) == (Status.PAID, True, Decimal("4.1"))


def test_paid_after_overpaid_does_not_take_the_surplus_back() -> None:
    more = fact(UUID, "overpaid", amount_paid_usd=Decimal(105), amount_to_pay_usd=Decimal(100))
    after = folded(ordered(), more, fact(UUID, "paid"))
    assert (after.overpaid, after.surplus) == (True, Decimal(5))


@pytest.mark.parametrize(
    ("paid", "due"), [(None, None), (Decimal(105), None), (None, Decimal(100)), (Decimal(99), Decimal(100))]
)
def test_a_surplus_is_known_only_where_both_amounts_are_and_the_first_is_larger(
    paid: Decimal | None, due: Decimal | None
) -> None:
    after = folded(ordered(), fact(UUID, "overpaid", amount_paid_usd=paid, amount_to_pay_usd=due))
    assert (after.overpaid, after.surplus) == (True, None)


@pytest.mark.parametrize("status", list(Status))
def test_an_unknown_word_changes_nothing_but_what_was_said_first(status: Status) -> None:
    before = ordered(status=status, provider=facts_as_json(fact(UUID, "created")))
    assert folded(before, fact(UUID, "frozen")) == before


@pytest.mark.parametrize("word", WORDS)
def test_a_rejected_payment_is_never_paid(word: str) -> None:
    before = ordered(status=Status.CANCELED, verdict="rejected")
    after = folded(before, fact(UUID, word))
    assert dataclasses.replace(after, provider=None) == before


@pytest.mark.parametrize("word", WORDS)
def test_a_refunded_payment_is_moved_by_nothing(word: str) -> None:
    before = ordered(status=Status.REFUNDED, paid_at=NOON)
    after = folded(before, fact(UUID, word, finished_at=NOON - timedelta(days=1)))
    assert dataclasses.replace(after, provider=None) == before


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"order_id": "order-7"}, "order-7"),
        ({"amount_in_fiat": Decimal("98.99"), "fiat_currency": "USD"}, "for 98.99, the order for 99.00"),
        ({"amount_in_fiat": Decimal("99.00"), "fiat_currency": "RUB"}, "in RUB, the order in USD"),
        ({"test_mode": True}, "test mode"),
    ],
)
def test_a_paid_fact_that_does_not_fit_opens_a_review_that_says_why(
    said: dict[str, Any], reason: str
) -> None:
    after = folded(ordered(), fact(UUID, "paid", **said))
    assert (after.status, after.review, after.paid_at) == (Status.PENDING, True, None)
    assert after.review_reason is not None
    assert reason in after.review_reason


@pytest.mark.parametrize(
    "said",
    [
        {"order_id": None},
        {"order_id": "0f8fad5b-d9cb-469f-a165-70867728950e"},
        {"order_id": "0f8fad5bd9cb469fa16570867728950e"},
        {"order_id": "0F8FAD5B-D9CB-469F-A165-70867728950E"},
        {"amount_in_fiat": None, "fiat_currency": "EUR"},
        {"amount_in_fiat": Decimal(0), "fiat_currency": "EUR"},
        {"amount_in_fiat": Decimal(7), "fiat_currency": None},
        {"amount_in_fiat": Decimal("99"), "fiat_currency": "usd"},
        {"amount_in_fiat": Decimal("99.0000000001"), "fiat_currency": "USD"},
        {"amount_paid": Decimal("0.00098"), "amount_to_pay": Decimal("0.00099"), "coin": "BTC"},
    ],
)
def test_what_is_absent_or_in_the_coin_is_never_compared(said: dict[str, Any]) -> None:
    assert folded(ordered(), fact(UUID, "paid", **said)).status is Status.PAID


def test_test_mode_is_paid_where_the_settings_allow_it() -> None:
    after = fold(ordered(), fact(UUID, "paid", test_mode=True), allow_test_mode=True)
    assert after.status is Status.PAID


def test_an_unpaid_fact_never_opens_a_review() -> None:
    after = folded(ordered(), fact(UUID, "partial", order_id="somebody-else"))
    assert (after.status, after.review) == (Status.PARTIAL, False)


def test_a_fitting_paid_fact_closes_the_review_that_an_unfitting_one_opened() -> None:
    after = folded(ordered(), fact(UUID, "paid", order_id="order-7"), fact(UUID, "paid"))
    assert (after.status, after.review) == (Status.PAID, False)


def test_a_partly_paid_invoice_says_what_has_come_and_what_is_missing() -> None:
    part = fact(UUID, "partial", amount_paid=Decimal("40.5"), to_surcharge=Decimal("59.9"), coin="USDT_TRC20")
    after = folded(ordered(), part)
    assert paid_so_far(after) == Decimal("40.5")
    assert still_missing(after) == (Decimal("59.9"), "USDT_TRC20")


def test_nothing_is_missing_where_the_provider_has_not_said() -> None:
    after = folded(ordered(), fact(UUID, "partial"))
    assert (paid_so_far(after), still_missing(after)) == (Decimal(0), None)


def test_more_money_under_the_same_word_is_the_more_advanced_fact() -> None:
    first, second = (fact(UUID, "partial", amount_paid=Decimal(amount)) for amount in (9, 10))
    for facts in ((first, second), (second, first)):
        assert paid_so_far(folded(ordered(), *facts)) == 10


amounts = st.none() | st.decimals("0", "300", places=2)
fitting = st.builds(
    lambda word, order, fiat, paid, paid_usd, due_usd, minutes: fact(
        UUID,
        word,
        order_id=order,
        amount_in_fiat=fiat,
        fiat_currency="USD" if fiat else None,
        amount_paid=paid,
        amount_paid_usd=paid_usd,
        amount_to_pay_usd=due_usd,
        finished_at=NOON + timedelta(minutes=minutes),
    ),
    st.sampled_from([*WORDS, "melted"]),
    st.sampled_from([None, str(ordered().id)]),
    st.sampled_from([None, Decimal("99")]),
    amounts,
    amounts,
    amounts,
    st.integers(0, 3),
)
unfitting = st.builds(
    lambda word, said: fact(UUID, word, **said),
    st.sampled_from(["paid", "overpaid"]),
    st.sampled_from(
        [{"order_id": "order-7"}, {"test_mode": True}, {"amount_in_fiat": Decimal(1), "fiat_currency": "USD"}]
    ),
)
beginnings = st.builds(
    lambda status, requested: ordered(status=status, cancel_requested=requested),
    st.sampled_from([Status.CREATING, Status.PENDING, Status.PARTIAL]),
    st.booleans(),
)


@given(beginnings, st.lists(fitting, min_size=1, max_size=4), st.data())
@settings(deadline=None, max_examples=150)
def test_facts_in_any_order_and_number_end_in_the_same_payment(
    payment: Payment, facts: list[InvoiceFact], data: st.DataObject
) -> None:
    # What is known of an invoice before is a fact too: without it an unknown word could be all there is.
    payment = folded(payment, fact(UUID, "created"))
    expected = standing(folded(payment, *facts))
    for order in permutations(facts):
        assert standing(folded(payment, *order)) == expected
    repeated = data.draw(st.lists(st.sampled_from(facts), max_size=6)) + facts
    assert standing(folded(payment, *data.draw(st.permutations(repeated)))) == expected


@given(beginnings, st.lists(fitting | unfitting, min_size=1, max_size=4))
@settings(deadline=None, max_examples=150)
def test_also_with_facts_that_do_not_fit_every_order_ends_alike(
    payment: Payment, facts: list[InvoiceFact]
) -> None:
    payment = folded(payment, fact(UUID, "created"))
    ends = [standing(folded(payment, *order)) for order in permutations(facts)]
    assert all(end == ends[0] for end in ends)


@given(beginnings, st.lists(fitting | unfitting, max_size=8))
@settings(deadline=None, max_examples=100)
def test_no_fact_ever_takes_a_payment_back(payment: Payment, facts: list[InvoiceFact]) -> None:
    for said in facts:
        after = folded(payment, said)
        assert RANK[after.status] >= RANK[payment.status]
        assert after.late >= payment.late
        assert after.overpaid >= payment.overpaid
        assert (after.surplus or 0) >= (payment.surplus or 0)
        if payment.paid_at is not None:
            assert after.paid_at is not None
            assert after.paid_at <= payment.paid_at
        payment = after
