"""What the provider says, folded into a payment: pure, and only ever forwards.

The provider's words have a rank (created < partial < canceled < paid <= overpaid). The most advanced fact is kept, so
that facts which are repeated, late or out of order leave the same payment behind. An unknown word changes nothing.
"""

import dataclasses
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, assert_never

from services.cryptocloud import InvoiceFact, ProviderStatus
from services.money import round_money
from services.payments import Payment, Status

_RANK: Final = {
    ProviderStatus.UNKNOWN: -1,
    ProviderStatus.CREATED: 0,
    ProviderStatus.PARTIAL: 1,
    ProviderStatus.CANCELED: 2,
    ProviderStatus.PAID: 3,
    ProviderStatus.OVERPAID: 4,
}


def fold(payment: Payment, fact: InvoiceFact, *, allow_test_mode: bool) -> Payment:
    """Fold one fact into a payment; whether time is granted is read from the change to `paid`.

    A payment that a person has rejected or refunded is not moved by any fact. A paid fact that does not fit the
    order opens a review instead of a grant.
    """
    provider = _most_advanced(payment.provider, fact)
    payment = dataclasses.replace(payment, provider=provider)
    match payment.status:
        case Status.REFUNDED:
            return payment
        case Status.PAID:
            doubtful = reason_for_review(payment, fact, allow_test_mode=allow_test_mode) is not None
            if doubtful and _is_paid(fact.status) and payment.verdict is None:
                return payment  # had it come first, it would not have counted either
            return _fold_into_paid(payment, fact)
        case (
            Status.CREATING
            | Status.PENDING
            | Status.PARTIAL
            | Status.EXPIRED
            | Status.CANCELED
            | Status.FAILED
        ):
            return _fold_into_unpaid(payment, fact, allow_test_mode=allow_test_mode)
        case _:
            assert_never(payment.status)


def _fold_into_unpaid(payment: Payment, fact: InvoiceFact, *, allow_test_mode: bool) -> Payment:
    match fact.status:
        case ProviderStatus.UNKNOWN | ProviderStatus.CREATED:
            return payment
        case ProviderStatus.PARTIAL:
            if payment.status in {Status.CREATING, Status.PENDING}:
                return dataclasses.replace(payment, status=Status.PARTIAL)
            return payment
        case ProviderStatus.CANCELED:
            if payment.status.open:
                ended = Status.CANCELED if payment.cancel_requested else Status.EXPIRED
                return dataclasses.replace(payment, status=ended)
            return payment
        case ProviderStatus.PAID | ProviderStatus.OVERPAID:
            if payment.verdict == "rejected":
                return payment
            doubt = reason_for_review(payment, fact, allow_test_mode=allow_test_mode)
            if doubt is not None:
                return dataclasses.replace(payment, review=True, review_reason=doubt)
            return become_paid(payment, fact)
        case _:
            assert_never(fact.status)


def become_paid(payment: Payment, fact: InvoiceFact | None) -> Payment:
    """Turn a payment to paid; without a fact (a person accepted it) the moment of payment is now."""
    paid = dataclasses.replace(
        payment,
        status=Status.PAID,
        late=payment.late or payment.status in {Status.EXPIRED, Status.CANCELED, Status.FAILED},
        review=False,
    )
    if fact is None:
        return paid
    return _fold_into_paid(dataclasses.replace(paid, review_reason=None), fact)


def _fold_into_paid(payment: Payment, fact: InvoiceFact) -> Payment:
    if fact.status is ProviderStatus.CANCELED:
        return dataclasses.replace(payment, late=True)
    if not _is_paid(fact.status):
        return payment
    surplus = _surplus(fact)
    return dataclasses.replace(
        payment,
        overpaid=payment.overpaid or fact.status is ProviderStatus.OVERPAID,
        surplus=max((known for known in (payment.surplus, surplus) if known is not None), default=None),
        paid_at=min(
            (known for known in (payment.paid_at, fact.finished_at) if known is not None), default=None
        ),
    )


def reason_for_review(payment: Payment, fact: InvoiceFact, *, allow_test_mode: bool) -> str | None:
    """Say why a paid invoice does not fit its order; None when it does.

    Only what is present can differ: the documented answer names neither the fiat amount nor, always, the order.
    Coin amounts, `amount` and `received` are never compared: they change with the coin and the fees.
    """
    if fact.order_id is not None and not _same_order(fact.order_id, payment):
        return f"the invoice is for order {fact.order_id[:64]}"
    if fact.fiat_currency is not None and fact.amount_in_fiat:
        if fact.fiat_currency.upper() != payment.currency:
            return f"the invoice is in {fact.fiat_currency[:8]}, the order in {payment.currency}"
        if round_money(fact.amount_in_fiat, payment.currency) != payment.amount:
            return f"the invoice is for {fact.amount_in_fiat:f}, the order for {payment.amount:f}"
    if fact.test_mode and not allow_test_mode:
        return "the invoice was made in test mode: no money has moved"
    return None


def paid_so_far(payment: Payment) -> Decimal:
    """Tell how much has arrived, in the coin of the invoice; 0 when the provider has not said."""
    return _decimal((payment.provider or {}).get("amount_paid")) or Decimal(0)


def still_missing(payment: Payment) -> tuple[Decimal, str] | None:
    """Tell what a partly paid invoice still lacks, as (amount, coin); None when the provider has not said."""
    known = payment.provider or {}
    missing, coin = _decimal(known.get("to_surcharge")), known.get("coin")
    return (missing, str(coin)) if missing and coin else None


def _same_order(order_id: str, payment: Payment) -> bool:
    return order_id.replace("-", "").lower() == payment.id.hex


def _is_paid(status: ProviderStatus) -> bool:
    return status in {ProviderStatus.PAID, ProviderStatus.OVERPAID}


def _surplus(fact: InvoiceFact) -> Decimal | None:
    if fact.amount_paid_usd is None or fact.amount_to_pay_usd is None:
        return None
    surplus = fact.amount_paid_usd - fact.amount_to_pay_usd
    return surplus if surplus > 0 else None


def _most_advanced(known: dict[str, Any] | None, fact: InvoiceFact) -> dict[str, Any]:
    said = facts_as_json(fact)
    if fact.status is ProviderStatus.UNKNOWN:
        return known if known is not None else said
    return said if known is None or _standing(said) > _standing(known) else known


def _standing(said: dict[str, Any]) -> tuple[int, Decimal, str]:
    # The text breaks ties, so that the same facts in any order leave the same one behind.
    status = ProviderStatus(said.get("status", ProviderStatus.UNKNOWN))
    return _RANK[status], _decimal(said.get("amount_paid")) or Decimal(0), repr(sorted(said.items()))


def facts_as_json(fact: InvoiceFact) -> dict[str, Any]:
    """Write a fact the way it is stored with a payment; what is not said is left out."""
    return {
        name: _plain(value)
        for name, value in ((field.name, getattr(fact, field.name)) for field in dataclasses.fields(fact))
        if value not in (None, (), "")
    }


def _plain(value: object) -> object:
    match value:
        case Decimal():
            return f"{value:f}"
        case datetime():
            return value.astimezone(UTC).isoformat()
        case tuple():
            return list(value)
        case _:
            return value


def _decimal(value: object) -> Decimal | None:
    try:
        return Decimal(str(value)) if value is not None else None
    except InvalidOperation:
        return None
