"""Whatever people, the provider and the admins do in whatever order: the shop stands where a small model says.

MODEL_EXAMPLES=2000 looks longer.
"""

import dataclasses
import os
from datetime import datetime
from typing import Any, ClassVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sandbox import checkout as pay_page
from services import checkout, events, grants, ledger, settlement
from services.checks import check_due
from services.cryptocloud import InvoiceFact
from services.errors import AnotherTierActive, NotReviewable, TooManyInvoices
from services.postbacks import Postback
from services.users import Person
from tests.model.expected import PAID_WORDS, Order, Subscription, in_order_of_payment
from tests.model.shop import Shop
from tests.shop import customer

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "25"))
STEPS = 30
INVOICES_AN_HOUR = 10

tiers = st.sampled_from(["pro", "business"])
periods = st.sampled_from(["month", "quarter", "year"])
people = st.integers(0, 1)


class ShopMachine(RuleBasedStateMachine):
    """Two customers, their orders, and all that can be done with them."""

    orders = Bundle("orders")
    facts = Bundle("facts")

    shop: ClassVar[Shop]

    def __init__(self) -> None:
        super().__init__()
        self.people = [Person(next(self.shop.ids), first_name="Ann") for _ in range(2)]
        self.ids = [one.telegram_id for one in self.people]
        self.expected: list[Order] = []
        self.has = {who: Subscription() for who in self.ids}
        self.granted: list[Order] = []
        self.keys = 0

    # -- what people do

    @initialize()
    def come_in(self) -> None:
        self.shop.rows("UPDATE payments SET next_check_at = NULL RETURNING id")  # those of other examples
        for person in self.people:
            self.shop.run(customer(self.shop.db, person.telegram_id))

    @rule(target=orders, who=people, tier=tiers, period=periods)
    def order(self, who: int, tier: str, period: str) -> Any:
        person, shop = self.people[who], self.shop
        mine = [one for one in self.expected if one.user == person.telegram_id]
        open_one = next(
            (
                one
                for one in mine
                if (one.tier, one.period) == (tier, period) and one.status in {"pending", "partial"}
            ),
            None,
        )
        refusal = self._refusal(person.telegram_id, tier, mine, open_one)
        work = checkout.order(
            shop.db,
            shop.provider.client,
            shop.settings,
            shop.price_list,
            person,
            tier,
            period,
            message_id=None,
        )
        if refusal is not None:
            with pytest.raises(refusal):
                shop.run(work)
            return multiple()
        payment = shop.run(work)
        if open_one is not None:
            assert payment.id == open_one.id
            return multiple()
        assert payment.invoice_uuid is not None
        one = Order(
            id=payment.id,
            user=person.telegram_id,
            tier=tier,
            period=period,
            seconds=shop.price_list.periods[period].seconds,
            price=shop.price_list.price_for(*shop.price_list.on_sale(tier, period)),
            invoice=payment.invoice_uuid,
        )
        self.expected.append(one)
        return one

    def _refusal(
        self, who: int, tier: str, mine: list[Order], open_one: Order | None
    ) -> type[Exception] | None:
        has = self.has[who]
        if has.tier != tier and has.active(self._now()):
            return AnotherTierActive
        if open_one is None and sum(one.status != "paid" for one in mine) >= INVOICES_AN_HOUR:
            return TooManyInvoices
        return None

    @rule(one=orders)
    def cancel(self, one: Order) -> None:
        invoice = self.shop.provider.world.invoices[one.invoice]
        canceled = one.status == "pending" and invoice.status == "created"
        self.shop.run(checkout.cancel(self.shop.db, self.shop.provider.client, one.id, owner=one.user))
        if canceled:
            one.status, one.cancel_requested = "canceled", True
            assert invoice.status == "canceled"

    # -- what happens at the provider's, each time leaving a fact behind that may be told late

    @rule(target=facts, one=orders, share=st.sampled_from(["part", "exactly", "too much"]))
    def pay(self, one: Order, share: str) -> InvoiceFact:
        invoice = self.shop.provider.world.invoices[one.invoice]
        left = invoice.to_surcharge or invoice.amount_to_pay
        invoice.pay({"part": left / 3, "exactly": left, "too much": left + 5}[share])
        return self._what_is_said(one)

    @rule(target=facts, one=orders)
    def expire(self, one: Order) -> InvoiceFact:
        pay_page.expire(self.shop.provider.world, self.shop.provider.world.invoices[one.invoice])
        return self._what_is_said(one)

    @rule(target=facts, one=orders)
    def look(self, one: Order) -> InvoiceFact:
        return self._what_is_said(one)

    @rule(target=facts, one=orders, word=st.sampled_from(["paid", "overpaid"]))
    def lie(self, one: Order, word: str) -> InvoiceFact:
        """A paid answer that belongs to another order."""
        said = self._what_is_said(one)
        return dataclasses.replace(
            said, status=type(said.status)(word), status_word=word, order_id="somebody-elses"
        )

    def _what_is_said(self, one: Order) -> InvoiceFact:
        (said,) = self.shop.run(self.shop.provider.client.invoice_facts([one.invoice]))
        return said

    # -- what the shop does

    @rule(told=st.lists(facts, min_size=1, max_size=6))
    def settle(self, told: list[InvoiceFact]) -> None:
        """Hear of things that are old, repeated or out of order."""
        self.shop.run(settlement.settle(self.shop.db, told, self.shop.settings))
        self._hear(told)

    @rule()
    def check(self) -> None:
        """Ask about all that is open, as the timer does."""
        shop = self.shop
        asked = [one for one in self.expected if self._due(one)]
        done = shop.run(check_due(shop.db, shop.provider.client, shop.settings))
        assert done.asked == len(asked)
        self._hear([self._what_is_said(one) for one in asked])

    def _due(self, one: Order) -> bool:
        found = self.shop.rows(
            "UPDATE payments SET asked_at = NULL, next_check_at = now() WHERE id = :id"
            " AND next_check_at IS NOT NULL RETURNING id",
            id=one.id,
        )
        return bool(found)

    @rule(one=orders)
    def postback(self, one: Order) -> None:
        """A well-signed hint, whatever the truth is: changes nothing but the moment of the next check."""
        body = {"status": "success", "invoice_id": one.invoice, "amount_crypto": 100, "currency": "USDT"}
        hint = Postback(one.invoice, str(one.id), "paid", body, expired=False)
        self.shop.run(events.record_postback(self.shop.db, hint))

    def _hear(self, told: list[InvoiceFact]) -> None:
        by_invoice = {one.invoice: one for one in self.expected}
        paid: list[Order] = []
        for said in told:
            one = by_invoice[said.uuid]
            fits = said.order_id != "somebody-elses"
            if one.hear(said.status_word, fits=fits, finished=said.finished_at):
                paid.append(one)
            elif one in paid and said.status_word in PAID_WORDS and fits and said.finished_at:
                one.paid_at = min(one.paid_at or said.finished_at, said.finished_at)
        self._grant(in_order_of_payment(paid))

    def _grant(self, paid: list[Order]) -> None:
        if paid:
            now = self._moment_of_the_last_entry()
            for one in paid:
                self.has[one.user].give(now, one.tier, one.seconds, one.price)
            self.granted += paid

    # -- what admins do

    @precondition(lambda self: self.expected)
    @rule(one=orders, yes=st.booleans())
    def decide(self, one: Order, yes: bool) -> None:
        decision = settlement.accept if yes else settlement.reject
        work = decision(self.shop.db, one.id, self.shop.settings, actor="console", reason="asked them")
        if not one.review:
            with pytest.raises(NotReviewable):
                self.shop.run(work)
            return
        self.shop.run(work)
        if yes:
            one.pay()
            one.verdict = "accepted"
            self._grant([one])
        else:
            one.reject()

    @rule(who=people, tier=tiers, period=periods, twice=st.booleans())
    def give(self, who: int, tier: str, period: str, twice: bool) -> None:
        self.keys += 1
        for _ in range(2 if twice else 1):
            self.shop.run(
                grants.grant(
                    self.shop.db,
                    self.shop.price_list,
                    user_id=self.ids[who],
                    tier_code=tier,
                    period_code=period,
                    actor="console",
                    reason="sorry",
                    key=f"{self.ids[who]}-{self.keys}",
                )
            )
        seconds = self.shop.price_list.periods[period].seconds
        self.has[self.ids[who]].give(self._moment_of_the_last_entry(), tier, seconds, None)

    @rule(who=people)
    def revoke(self, who: int) -> None:
        self.keys += 1
        user = self.ids[who]
        taken = self.shop.run(
            grants.revoke(
                self.shop.db, user_id=user, actor="console", reason="asked to", key=f"{user}-{self.keys}"
            )
        )
        assert taken == self.has[user].active(self._now())
        if taken:
            self.has[user].take(self._moment_of_the_last_entry())

    # -- what must be true after each of them

    @invariant()
    def every_order_stands_where_the_model_says(self) -> None:
        stored = {
            one["id"]: one
            for one in self.shop.rows(
                "SELECT id, status, late, overpaid, review, verdict FROM payments WHERE user_id = ANY(:ids)",
                ids=self.ids,
            )
        }
        assert stored == {
            one.id: {
                "id": one.id,
                "status": one.status,
                "late": one.late,
                "overpaid": one.overpaid,
                "review": one.review,
                "verdict": one.verdict,
            }
            for one in self.expected
        }

    @invariant()
    def everybody_has_what_the_model_says(self) -> None:
        stored = self.shop.rows(
            "SELECT user_id, tier, ends_at FROM subscriptions WHERE user_id = ANY(:ids)", ids=self.ids
        )
        assert {one["user_id"]: (one["tier"], one["ends_at"]) for one in stored} == {
            who: (has.tier, has.ends) for who, has in self.has.items() if stored
        }

    @invariant()
    def every_paid_order_is_granted_once_and_nothing_else_is(self) -> None:
        stored = self.shop.rows(
            "SELECT payment_id FROM subscription_ledger WHERE user_id = ANY(:ids) AND kind = 'payment' ORDER BY id",
            ids=self.ids,
        )
        assert [one["payment_id"] for one in stored] == [one.id for one in self.granted]

    @invariant()
    def every_grant_owes_one_receipt_and_one_word_to_the_admin(self) -> None:
        stored = self.shop.rows(
            "SELECT key FROM notifications WHERE payload ->> 'user' = ANY(:ids) AND kind IN ('receipt', 'sale')",
            ids=[str(who) for who in self.ids],
        )
        expected = {f"receipt:{one.id}" for one in self.granted} | {
            f"sale:{one.id}:900" for one in self.granted
        }
        assert sorted(one["key"] for one in stored) == sorted(expected)

    @invariant()
    def the_books_add_up(self) -> None:
        async def replayed() -> dict[int, datetime | None]:
            async with self.shop.db.begin() as session:
                book = await ledger.read(session, self.ids)
            return {who: ledger.replay(book.get(who, ()), tier="free").ends_at for who in self.ids}

        assert self.shop.run(replayed()) == {who: has.ends for who, has in self.has.items()}

    def teardown(self) -> None:
        assert self.shop.run(ledger.check(self.shop.db)) == []

    def _now(self) -> datetime:
        now: datetime = self.shop.rows("SELECT now() AS now")[0]["now"]
        return now

    def _moment_of_the_last_entry(self) -> datetime:
        """The one thing that the model cannot know: when the shop's transaction was."""
        found = self.shop.rows(
            "SELECT created_at FROM subscription_ledger WHERE user_id = ANY(:ids) ORDER BY id DESC LIMIT 1",
            ids=self.ids,
        )
        moment: datetime = found[0]["created_at"]
        return moment


@pytest.mark.timeout(3600)
def test_the_shop_stands_where_the_model_says(shop: Shop) -> None:
    ShopMachine.shop = shop
    run_state_machine_as_test(
        ShopMachine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
