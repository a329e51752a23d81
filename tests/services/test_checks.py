"""Asking about what is due: a lost postback is found, one bad invoice holds nobody back, an outage loses nothing."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from services import ledger
from services.checks import Round, check_due
from services.config import Settings
from services.cryptocloud import CryptoCloud
from services.db import Database
from tests.shop import (
    Provider,
    change,
    cryptocloud_world,
    customer,
    invoice,
    keys,
    payment,
    row,
    rows,
    until,
)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with cryptocloud_world(read_seconds=2) as provider:
        yield provider


async def orders(db: Database, provider: Provider, count: int) -> list[str]:
    """Let a customer have this many open invoices, ours and the provider's."""
    await customer(db)
    made = []
    for _ in range(count):
        known = provider.issue()
        payment_id, _ = await invoice(db, uuid=known.uuid)
        known.order_id = str(payment_id)
        made.append(known.uuid)
    return made


async def due_again(db: Database) -> None:
    await change(
        db,
        "UPDATE payments SET next_check_at = now(), asked_at = NULL, lease_until = NULL, lease_token = NULL",
    )


async def paid(db: Database) -> set[str]:
    return {
        one["invoice_uuid"]
        for one in await rows(db, "SELECT invoice_uuid FROM payments WHERE status = 'paid'")
    }


async def test_where_nothing_is_due_nobody_is_asked(
    db: Database, provider: Provider, settings: Settings
) -> None:
    assert await check_due(db, provider.client, settings) == Round()
    assert not provider.world.provider_calls


async def test_a_payment_whose_postback_was_lost_is_found_by_the_timer(
    db: Database, provider: Provider, settings: Settings
) -> None:
    (uuid,) = await orders(db, provider, 1)
    first = await check_due(db, provider.client, settings)
    assert (first.asked, first.settled) != (0, ())
    assert await paid(db) == set()
    provider.pay(uuid)
    await due_again(db)

    found = await check_due(db, provider.client, settings)

    assert [one.granted for one in found.settled] == [True]
    stored = await row(db, "SELECT * FROM payments")
    assert (stored["status"], stored["next_check_at"], stored["lease_token"]) == ("paid", None, None)
    assert stored["checked_at"] is not None
    assert await ledger.check(db) == []


async def test_a_paid_answer_as_sparse_as_the_documented_one_is_granted(
    db: Database, provider: Provider, settings: Settings
) -> None:
    (uuid,) = await orders(db, provider, 1)
    provider.world.project.sparse_info = True
    provider.pay(uuid)
    await check_due(db, provider.client, settings)
    assert await paid(db) == {uuid}


async def test_an_answer_in_another_order_is_matched_by_invoice(
    db: Database, provider: Provider, settings: Settings
) -> None:
    uuids = await orders(db, provider, 3)
    provider.pay(uuids[1])
    provider.fail("other_order", "info")
    await check_due(db, provider.client, settings)
    assert await paid(db) == {uuids[1]}


async def test_one_question_for_all_that_are_due(
    db: Database, provider: Provider, settings: Settings
) -> None:
    uuids = await orders(db, provider, 7)
    await check_due(db, provider.client, settings)
    (asked,) = provider.world.provider_calls
    assert sorted(asked["body"]["uuids"]) == sorted(f"INV-{uuid}" for uuid in uuids)


async def test_a_slow_answer_that_lost_its_lease_is_folded_and_granted_once(
    db: Database, provider: Provider, settings: Settings
) -> None:
    (uuid,) = await orders(db, provider, 1)
    provider.pay(uuid)
    provider.fail("slow", "info", seconds=1)
    slow = asyncio.create_task(check_due(db, provider.client, settings))
    await until(lambda: provider.calls("info"))
    await due_again(db)  # as if the lease had run out meanwhile

    quick = await check_due(db, provider.client, settings)
    settled_before = await row(db, "SELECT * FROM payments")
    late = await slow

    assert [one.granted for one in (*quick.settled, *late.settled)] == [True, False]
    assert await row(db, "SELECT * FROM payments") == settled_before
    assert len(await rows(db, "SELECT id FROM subscription_ledger")) == 1
    assert (await keys(db, 1)).count(f"receipt:{settled_before['id']}") == 1


async def test_a_slow_answer_is_not_thrown_away_where_the_quick_one_knew_less(
    db: Database, provider: Provider, settings: Settings
) -> None:
    (uuid,) = await orders(db, provider, 1)
    provider.fail("slow", "info", seconds=0.7)
    slow = asyncio.create_task(check_due(db, provider.client, settings))
    await until(lambda: provider.calls("info"))
    await due_again(db)
    await check_due(db, provider.client, settings)
    assert await paid(db) == set()
    provider.pay(uuid)

    await slow

    assert await paid(db) == {uuid}


async def test_one_bad_invoice_among_a_hundred_is_singled_out_and_the_others_settle(
    db: Database, provider: Provider, settings: Settings
) -> None:
    uuids = await orders(db, provider, 100)
    for uuid in uuids:
        provider.pay(uuid)
    bad = sorted(uuids)[41]
    provider.fail("poison", "info", times=None, uuid=bad)

    first = await check_due(db, provider.client, settings)

    assert (first.asked, first.unavailable, first.refused) == (100, False, False)
    assert await paid(db) == set(uuids) - {bad}
    assert provider.calls("info") <= 2 * 8 + 1
    stored = await row(db, "SELECT id, failures, status FROM payments WHERE invoice_uuid = :bad", bad=bad)
    assert (stored["failures"], stored["status"]) == (1, "pending")
    alert = f"check-rejected:{stored['id']}:900"
    for _ in range(3):
        await due_again(db)
        await check_due(db, provider.client, settings)
    assert alert not in await keys(db, 900)
    for _ in range(3):
        await due_again(db)
        await check_due(db, provider.client, settings)
    assert (await keys(db, 900)).count(alert) == 1

    provider.mend()
    await due_again(db)
    await check_due(db, provider.client, settings)
    assert await paid(db) == set(uuids)
    assert await ledger.check(db) == []


async def test_an_invoice_that_is_missing_from_the_answer_is_counted_and_asked_about_again(
    db: Database, provider: Provider, settings: Settings
) -> None:
    uuids = await orders(db, provider, 2)
    for uuid in uuids:
        provider.pay(uuid)
    provider.fail("leave_out", "info", uuid=uuids[0])

    await check_due(db, provider.client, settings)

    assert await paid(db) == {uuids[1]}
    left = await row(db, "SELECT failures, next_check_at FROM payments WHERE invoice_uuid = :u", u=uuids[0])
    assert left["failures"] == 1
    assert left["next_check_at"] is not None
    await due_again(db)
    await check_due(db, provider.client, settings)
    assert await paid(db) == set(uuids)


async def test_without_a_usable_answer_nothing_is_lost_and_no_failure_is_counted(
    db: Database, provider: Provider, settings: Settings
) -> None:
    (uuid,) = await orders(db, provider, 1)
    provider.pay(uuid)
    hasty = CryptoCloud(
        api_url=provider.sandbox.url,
        api_key=provider.world.credentials.api_key,
        shop_id="-",
        read_seconds=0.3,
    )
    for kind in ("down", "server_error", "html_502", "too_many_requests", "redirect", "hang"):
        provider.fail(kind, "info", times=None)
        await due_again(db)

        found = await check_due(db, hasty if kind == "hang" else provider.client, settings)

        assert (found.unavailable, found.refused, found.settled) == (True, False, []), kind
        stored = await row(
            db,
            "SELECT status, failures, lease_token, checked_at,"
            " extract(epoch FROM next_check_at - updated_at)::int AS pause FROM payments",
        )
        assert stored == {
            "status": "pending",
            "failures": 0,
            "lease_token": None,
            "checked_at": None,
            "pause": 2,
        }, kind
        provider.mend()
    await hasty.aclose()

    await due_again(db)
    await check_due(db, provider.client, settings)
    assert await paid(db) == {uuid}


async def test_an_error_in_a_success_is_a_rejection(
    db: Database, provider: Provider, settings: Settings
) -> None:
    (uuid,) = await orders(db, provider, 1)
    provider.pay(uuid)
    provider.fail("error_in_200", "info")
    found = await check_due(db, provider.client, settings)
    assert (found.unavailable, found.refused) == (False, False)
    assert (await row(db, "SELECT failures FROM payments"))["failures"] == 1
    await due_again(db)
    await check_due(db, provider.client, settings)
    assert await paid(db) == {uuid}


@pytest.mark.parametrize("kind", ["unauthorized", "forbidden"])
async def test_a_refused_key_counts_no_failure_alerts_once_a_day_and_loses_nothing(
    db: Database, provider: Provider, settings: Settings, kind: str
) -> None:
    (uuid,) = await orders(db, provider, 1)
    provider.pay(uuid)
    provider.fail(kind, "info", times=None)

    for _ in range(6):
        await due_again(db)
        found = await check_due(db, provider.client, settings)
        assert (found.refused, found.unavailable) == (True, False)

    assert (await row(db, "SELECT failures FROM payments"))["failures"] == 0
    alerts = [key for key in await keys(db, 900) if key.startswith("cryptocloud-refused:")]
    assert len(alerts) == 1
    await change(db, "UPDATE notifications SET key = 'cryptocloud-refused:yesterday:900'")
    await due_again(db)
    await check_due(db, provider.client, settings)
    assert len(await keys(db, 900)) == 2

    provider.mend()
    await due_again(db)
    await check_due(db, provider.client, settings)
    assert await paid(db) == {uuid}


async def test_an_outage_in_mid_halving_keeps_what_was_answered(
    db: Database, provider: Provider, settings: Settings
) -> None:
    uuids = sorted(await orders(db, provider, 4))
    for uuid in uuids:
        provider.pay(uuid)
    provider.fail("poison", "info", uuid=uuids[3])  # the whole batch is rejected once
    provider.fail("server_error", "info", times=None, uuid=uuids[2])  # and the second half never answered

    found = await check_due(db, provider.client, settings)

    assert found.unavailable
    assert await paid(db) == set(uuids[:2])
    assert {one["failures"] for one in await rows(db, "SELECT failures FROM payments")} == {0}


async def test_an_unknown_status_changes_nothing_and_is_reported_once(
    db: Database, provider: Provider, settings: Settings
) -> None:
    await orders(db, provider, 1)
    provider.fail("unknown_status", "info", times=2)
    for _ in range(2):
        await due_again(db)
        await check_due(db, provider.client, settings)
    stored = await row(db, "SELECT status, failures FROM payments")
    assert stored == {"status": "pending", "failures": 0}
    assert await keys(db, 900) == ["unknown-status:frozen:900"]


async def test_a_paid_answer_that_is_not_our_order_waits_for_a_person(
    db: Database, provider: Provider, settings: Settings
) -> None:
    reasons = {
        "other_amount": "for 1.0, the order for 99.00",
        "other_currency": "in EUR, the order in USD",
        "other_order_id": "somebody-else",
        "test_mode": "test mode",
    }
    for kind, reason in reasons.items():
        (uuid,) = await orders(db, provider, 1)
        provider.pay(uuid)
        provider.fail(kind, "info")
        await check_due(db, provider.client, settings)
        stored = await row(
            db, "SELECT status, review, review_reason FROM payments WHERE invoice_uuid = :u", u=uuid
        )
        assert (stored["status"], stored["review"]) == ("pending", True)
        assert reason in stored["review_reason"]
    assert await paid(db) == set()


async def test_partly_paid_then_the_rest_then_too_much_is_one_grant(
    db: Database, provider: Provider, settings: Settings
) -> None:
    (uuid,) = await orders(db, provider, 1)
    seen = []
    for amount in (Decimal(40), None, Decimal(5)):
        provider.pay(uuid, amount)
        await due_again(db)
        await check_due(db, provider.client, settings)
        seen.append(
            await row(db, "SELECT status, overpaid, late, surplus IS NOT NULL AS surplus FROM payments")
        )
    assert [(one["status"], one["overpaid"], one["surplus"]) for one in seen] == [
        ("partial", False, False),
        ("paid", False, False),
        ("paid", True, True),
    ]
    assert len(await rows(db, "SELECT id FROM subscription_ledger")) == 1
    payment_id = (await row(db, "SELECT id FROM payments"))["id"]
    assert f"partial:{payment_id}:40" in await keys(db, 1)
    assert f"overpaid:{payment_id}:900" in await keys(db, 900)
    assert f"overpaid-told:{payment_id}" in await keys(db, 1)


@pytest.mark.parametrize("sparse", [False, True])
async def test_an_invoice_that_ends_partly_paid_is_told_to_customer_and_admins(
    db: Database, provider: Provider, settings: Settings, sparse: bool
) -> None:
    (uuid,) = await orders(db, provider, 1)
    provider.world.project.sparse_info = sparse
    provider.pay(uuid, Decimal(40))
    await check_due(db, provider.client, settings)
    provider.world.invoices[uuid].expires = 0
    await due_again(db)
    await check_due(db, provider.client, settings)

    stored = await row(db, "SELECT id, status FROM payments")
    assert stored["status"] == "expired"
    assert f"partial-ended:{stored['id']}" in await keys(db, 1)
    assert f"partial-ended-alert:{stored['id']}:900" in await keys(db, 900)


async def test_the_moment_of_payment_is_the_providers(
    db: Database, provider: Provider, settings: Settings
) -> None:
    (uuid,) = await orders(db, provider, 1)
    provider.pay(uuid)
    finished = datetime(2026, 2, 1, 23, 59, tzinfo=UTC)
    provider.world.invoices[uuid].finished = finished.timestamp()
    await check_due(db, provider.client, settings)
    stored = await payment(db, (await row(db, "SELECT id FROM payments"))["id"])
    assert stored["paid_at"] == finished
    # Time is given from now on: the customer could not use it before.
    entry = await row(db, "SELECT starts_at > now() - interval '1 min' AS fresh FROM subscription_ledger")
    assert entry["fresh"]
