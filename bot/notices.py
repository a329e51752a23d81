"""The messages that people get by themselves: receipts, orders as they stand, and word to the admins."""

from datetime import datetime
from decimal import Decimal
from typing import Any, assert_never

from bot.keyboards import ChoosePeriod, Pay, ShowPlans, button, column, invoice_keyboard
from bot.screens import Screen, ended_in_part, lines, paragraphs, partial_words
from bot.texts import Say
from services.fold import paid_so_far
from services.notifications import Alert, Claimed, Kind
from services.payments import Payment, Status
from services.tiers import DAY, PriceList


def order_message(say: Say, price_list: PriceList, payment: Payment) -> Screen:
    """The order as it stands now: link and buttons, what is missing, paid, or over."""
    head = say(
        "order-title",
        tier=price_list.title_of(payment.tier, say.language),
        length=say.days(payment.period_seconds // DAY),
    )
    price = say("order-price", price=say.money(payment.amount, payment.currency))
    until = say.moment(payment.expires_at) if payment.expires_at else ""
    if payment.review:
        return Screen(paragraphs(lines(head, price), say("order-review")))
    match payment.status:
        case Status.CREATING:
            return Screen(paragraphs(lines(head, price), say("order-creating")))
        case Status.PENDING:
            return Screen(
                paragraphs(lines(head, price), say("order-pending", until=until), say("order-pending-note")),
                invoice_keyboard(say, payment, payment.invoice_url or "", rest=False),
            )
        case Status.PARTIAL:
            return Screen(
                paragraphs(
                    lines(head, price),
                    partial_words(say, payment, "order-partial", "order-partial-unknown"),
                    say("order-partial-note", until=until),
                ),
                invoice_keyboard(say, payment, payment.invoice_url or "", rest=True),
            )
        case Status.PAID:
            return Screen(paragraphs(lines(head, price), say("order-paid")))
        case Status.EXPIRED | Status.CANCELED if paid_so_far(payment):
            return Screen(paragraphs(lines(head, price), ended_in_part(say, payment)))
        case Status.EXPIRED:
            return Screen(
                paragraphs(lines(head, price), say("order-expired")),
                column(_again(say, price_list, payment)),
            )
        case Status.CANCELED:
            return Screen(
                paragraphs(lines(head, price), say("order-canceled")),
                column(_again(say, price_list, payment)),
            )
        case Status.FAILED:
            retry = (
                button(say.plain("button-retry"), Pay(tier=payment.tier, period=payment.period))
                if _on_sale(price_list, payment)
                else button(say.plain("button-plans"), ShowPlans())
            )
            return Screen(paragraphs(lines(head, price), say("order-failed")), column(retry))
        case Status.REFUNDED:
            return Screen(paragraphs(lines(head, price), say("order-refunded")))
        case _:
            assert_never(payment.status)


def _on_sale(price_list: PriceList, payment: Payment) -> bool:
    return payment.tier in price_list.tiers and payment.period in price_list.periods


def _again(say: Say, price_list: PriceList, payment: Payment) -> Any:
    if _on_sale(price_list, payment):
        return button(say.plain("button-again"), ChoosePeriod(tier=payment.tier, period=payment.period))
    return button(say.plain("button-plans"), ShowPlans())


def notice(say: Say, price_list: PriceList, claimed: Claimed) -> Screen:
    """A message from what was written down with the fact itself; a second copy says the same."""
    said = _Said(say, price_list, claimed.payload)
    match claimed.kind:
        case Kind.ORDER:
            raise LookupError("an order is shown from its payment")
        case Kind.RECEIPT:
            return Screen(
                lines(
                    say("receipt", tier=said.tier, until=said.until),
                    say("receipt-details", length=said.length, price=said.price, number=said["number"]),
                    say("receipt-overpaid", surplus=said.surplus) if said["overpaid"] else "",
                )
            )
        case Kind.ORDER_MOVED:
            return Screen(say("order-moved"))
        case Kind.OVERPAID:
            return Screen(
                lines(
                    say("overpaid-later", tier=said.tier, length=said.length, number=said["number"]),
                    say("receipt-overpaid", surplus=said.surplus),
                )
            )
        case Kind.PARTIAL if said["missing"]:
            return Screen(
                say(
                    "partial-arrived",
                    tier=said.tier,
                    length=said.length,
                    received=said.received,
                    missing=say.coins(Decimal(said["missing"]), said["coin"]),
                )
            )
        case Kind.PARTIAL:
            return Screen(say("partial-arrived-unknown", tier=said.tier, length=said.length))
        case Kind.PARTIAL_ENDED:
            return Screen(
                say(
                    "partial-ended",
                    tier=said.tier,
                    length=said.length,
                    received=said.received,
                    number=said["number"],
                )
            )
        case Kind.REVIEW_OPENED:
            return Screen(say("review-opened", tier=said.tier, length=said.length, number=said["number"]))
        case Kind.REVIEW_CLOSED:
            return Screen(say("review-closed", number=said["number"]))
        case Kind.GRANTED:
            return Screen(say("granted", tier=said.tier, length=said.length, until=said.until))
        case Kind.REVOKED:
            return Screen(say("revoked", tier=said.tier))
        case Kind.SALE:
            return Screen(
                say(
                    "sale",
                    price=said.price,
                    tier=said.tier,
                    length=said.length,
                    user=said["user"],
                    number=said["number"],
                    until=said.until,
                )
            )
        case Kind.ALERT:
            return Screen(_alert(say, said))
        case _:
            assert_never(claimed.kind)


def _alert(say: Say, said: "_Said") -> str:
    match Alert(said["what"]):
        case Alert.REVIEW:
            return say(
                "alert-review",
                price=said.price,
                user=said["user"],
                reason=said["reason"],
                number=said["number"],
            )
        case Alert.LATE:
            return say("alert-late", number=said["number"], price=said.price, user=said["user"])
        case Alert.OVERPAID:
            return say(
                "alert-overpaid",
                number=said["number"],
                price=said.price,
                user=said["user"],
                surplus=said.surplus,
            )
        case Alert.PARTIAL_ENDED:
            return say(
                "alert-partial-ended",
                number=said["number"],
                price=said.price,
                user=said["user"],
                received=said.received,
            )
        case Alert.UNKNOWN_STATUS:
            return say("alert-unknown-status", status=said["status"])
        case Alert.UNSETTLED:
            return say("alert-unsettled", invoice=said["invoice"], error=said["error"])
        case Alert.CHECK_REJECTED:
            return say("alert-check-rejected", number=said["number"])
        case Alert.CRYPTOCLOUD_REFUSED:
            return say("alert-cryptocloud-refused")
        case Alert.SALES_CLOSED_TEST_MODE:
            return say("alert-sales-closed-test-mode")
        case Alert.SALES_CLOSED_AMOUNT:
            got = say.money(Decimal(said["got_amount"]), said["currency"])
            return say("alert-sales-closed-amount", price=said.price, got_amount=got)
        case Alert.SALES_CLOSED_CURRENCY:
            return say(
                "alert-sales-closed-currency", currency=said["currency"], got_currency=said["got_currency"]
            )
        case Alert.UNCLAIMED:
            return say("alert-unclaimed", invoice=said["invoice"], status=said["status"])
        case Alert.DEAD_UPDATE:
            return say("alert-dead-update", update=said["update"], error=said["error"])
        case Alert.WEBHOOK_CHANGED:
            return say("alert-webhook-changed")
        case Alert.UNDELIVERABLE_TEXT:
            return say("alert-undeliverable-text", about=said["about"], error=said["error"])
        case unknown:
            assert_never(unknown)


class _Said:
    """A payload read back: every word is text, and what was not said is empty."""

    def __init__(self, say: Say, price_list: PriceList, payload: dict[str, Any]) -> None:
        self._say, self._price_list, self._payload = say, price_list, payload

    def __getitem__(self, name: str) -> str:
        value = self._payload.get(name)
        return "" if value is None else str(value)

    @property
    def tier(self) -> str:
        return self._price_list.title_of(self["tier"], self._say.language)

    @property
    def length(self) -> str:
        return self._say.days(int(self["days"] or 0))

    @property
    def price(self) -> str:
        return self._say.money(Decimal(self["amount"] or 0), self["currency"] or "USD")

    @property
    def received(self) -> str:
        arrived = Decimal(self["received"] or 0)
        return self._say.coins(arrived, self["coin"]) if arrived else self._say.plain("received-part")

    @property
    def surplus(self) -> str:
        """What was paid too much, as a part of a sentence; CryptoCloud tells it in USD, or not at all."""
        if not self["surplus"]:
            return ""
        return self._say.plain("overpaid-by", amount=self._say.money(Decimal(self["surplus"]), "USD"))

    @property
    def until(self) -> str:
        return self._say.moment(datetime.fromisoformat(self["ends_at"])) if self["ends_at"] else "—"
