"""The same facts, in any order, however often and in whatever batches: the same rows."""

from decimal import Decimal
from itertools import pairwise, permutations
from typing import Any
from uuid import UUID, uuid4

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from services.cryptocloud import InvoiceFact
from services.settlement import settle
from tests.model.shop import Shop
from tests.model.test_shop import EXAMPLES
from tests.shop import customer, fact, invoice

ORDERS = 2
said = st.tuples(
    st.integers(0, ORDERS - 1),
    st.sampled_from(["created", "partial", "canceled", "paid", "paid", "overpaid", "melted"]),
    st.sampled_from([None, "somebody-elses"]),
    st.sampled_from([None, Decimal(40), Decimal(99), Decimal(104)]),
)


async def _told(shop: Shop, batches: list[list[Any]]) -> list[Any]:
    """Tell a new customer's two orders these facts, batch by batch, and read every row that came of it."""
    user = next(shop.ids)
    await customer(shop.db, user)
    ids = [_id_for(place) for place in range(ORDERS)]
    uuids = [(await invoice(shop.db, user, id=one))[1] for one in ids]
    # What was known of an invoice before is a fact too.
    await settle(shop.db, [fact(uuid, "created") for uuid in uuids], shop.settings)
    for batch in batches:
        await settle(shop.db, [_fact(uuids, one) for one in batch], shop.settings)
    return await _rows(shop, user, ids)


def _id_for(place: int) -> UUID:
    """Which of two payments comes first is settled by their ids where the moment does not say."""
    return UUID(f"{place + 1}{uuid4().hex[1:]}")


def _fact(uuids: list[str], one: Any) -> InvoiceFact:
    place, word, order_id, amount = one
    return fact(uuids[place], word, order_id=order_id, amount_paid=amount)


async def _rows(shop: Shop, user: int, ids: list[UUID]) -> list[Any]:
    async with shop.db.begin() as session:
        stored = await session.exec_driver_sql(
            "SELECT status, late, overpaid, review, review_reason, verdict, provider - 'uuid', wake"
            f"  FROM payments WHERE user_id = {user} ORDER BY id"
        )
        payments = [tuple(row) for row in stored]
        stored = await session.exec_driver_sql(
            "SELECT payment_id, kind, tier, seconds, amount, currency, idempotency_key FROM subscription_ledger"
            f" WHERE user_id = {user} ORDER BY payment_id, kind"
        )
        book = [(ids.index(row[0]), *row[1:6]) for row in stored]
        stored = await session.exec_driver_sql(
            "SELECT tier, extract(epoch FROM ends_at - (SELECT min(starts_at) FROM subscription_ledger l"
            f" WHERE l.user_id = s.user_id)) FROM subscriptions s WHERE user_id = {user}"
        )
        subscription = [tuple(row) for row in stored]
        stored = await session.exec_driver_sql(
            f"SELECT key FROM notifications WHERE user_id = {user} AND kind IN ('receipt', 'order') ORDER BY key"
        )
        told = [row[0].partition(":")[0] + str(ids.index(UUID(row[0].partition(":")[2]))) for row in stored]
    return [payments, book, subscription, sorted(told)]


@pytest.mark.timeout(3600)
def test_facts_in_any_order_number_and_batches_end_in_the_same_rows(shop: Shop) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(said, min_size=1, max_size=4), st.data())
    def look(facts: list[Any], data: st.DataObject) -> None:
        expected = shop.run(_told(shop, [facts]))
        orders = [list(one) for one in permutations(facts)]
        for order in (
            orders if len(facts) < 4 else data.draw(st.lists(st.sampled_from(orders), min_size=6, max_size=6))
        ):
            again = order + data.draw(st.lists(st.sampled_from(facts), max_size=3))
            cuts = sorted(data.draw(st.sets(st.integers(1, len(again)), max_size=3)))
            edges = [0, *cuts, len(again)]
            batches = [again[start:end] for start, end in pairwise(edges)]
            assert shop.run(_told(shop, [batch for batch in batches if batch])) == expected

    look()
