"""CryptoCloud's postbacks through the real process: lost, many, forged, early; each is a hint and grants nothing."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from sandbox.invoices import Invoice
from sandbox.postback import body_of, token_for
from tests.e2e.proxy import proxy
from tests.e2e.stage import ADMIN, Customer, Stage, free_port, until

pytestmark = pytest.mark.timeout(300)  # a busy machine takes its time to start processes

CHECK_SECONDS = 2  # what the stage gives to the process


async def kept(shared: Stage, invoice: Invoice) -> list[dict[str, Any]]:
    return await shared.rows(
        "SELECT body, outcome FROM webhook_events WHERE invoice_uuid = :uuid", uuid=invoice.uuid
    )


async def test_a_postback_that_is_lost_is_found_within_the_promised_time(
    shared: Stage, ann: Customer
) -> None:
    invoice = await ann.order()
    await ann.pay(invoice, mode="none")
    await ann.was_granted_once(invoice, within=CHECK_SECONDS + 5)


async def test_a_route_that_leads_nowhere_only_costs_time(shared: Stage, ann: Customer) -> None:
    invoice = await ann.order()
    right = shared.world.project
    shared.world.project = replace(right, notification_url=f"http://127.0.0.1:{free_port()}/postback")
    try:
        (sent,) = await ann.pay(invoice)
    finally:
        shared.world.project = right
    assert sent["status"] is None
    await ann.was_granted_once(invoice, within=CHECK_SECONDS + 5)


async def test_fifty_at_once_grant_once(shared: Stage, ann: Customer) -> None:
    invoice = await ann.order()
    sent = await ann.pay(invoice, mode="burst", count=50)
    assert [one["status"] for one in sent] == [200] * 50
    await ann.was_granted_once(invoice)

    assert (await shared.postback(invoice))["status"] == 200
    await until(lambda: _asked_again(ann, invoice), what="another check")
    await ann.was_granted_once(invoice)


async def _asked_again(ann: Customer, invoice: Invoice) -> bool:
    payment = await ann.payment(invoice)
    return payment["next_check_at"] is None and bool(payment["wake"] > 50)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"format": "form"},
        {"bytes_token": True},
        {"format": "form", "bytes_token": True},
        {"mode": "twice"},
    ],
    ids=["json", "form", "json-bytes", "form-bytes", "twice"],
)
async def test_every_shape_of_the_wild_is_understood(
    shared: Stage, ann: Customer, how: dict[str, Any]
) -> None:
    invoice = await ann.order()
    sent = await ann.pay(invoice, **how)
    assert {one["status"] for one in sent} == {200}
    events = await kept(shared, invoice)
    assert [event["outcome"] for event in events] == ["woken"] * len(sent)
    token = sent[0]["body"]["token"].removeprefix("b'").removesuffix("'")
    assert token not in str(events)
    await ann.was_granted_once(invoice)


@pytest.mark.parametrize(
    ("mode", "status"),
    [("forged", 401), ("other_token", 401), ("no_token", 401), ("garbage", 400)],
)
async def test_what_cryptocloud_did_not_sign_is_refused_and_leaves_nothing(
    shared: Stage, ann: Customer, mode: str, status: int
) -> None:
    other = shared.person(ann.id + 500_000)
    await other.order()
    invoice = await ann.order()
    assert (await shared.postback(invoice, mode=mode))["status"] == status
    assert await kept(shared, invoice) == []
    assert (await ann.payment(invoice))["wake"] == 0
    await ann.pay(invoice)
    await ann.was_granted_once(invoice)


async def test_an_expired_token_is_refused_and_finds_the_payment_sooner_all_the_same(
    shared: Stage, ann: Customer
) -> None:
    """Moved data: the next check would be in an hour, the last one was an hour ago."""
    invoice = await ann.order()
    await shared.rows(
        "UPDATE payments SET next_check_at = now() + interval '1 hour', asked_at = now() - interval '1 hour'"
        " WHERE invoice_uuid = :uuid RETURNING id",
        uuid=invoice.uuid,
    )
    (sent,) = await ann.pay(invoice, mode="expired")
    assert sent["status"] == 401
    await ann.was_granted_once(invoice)


async def test_a_well_signed_postback_alone_grants_nothing(shared: Stage, ann: Customer) -> None:
    """Every word under the signature was changed; the invoice is as unpaid as before."""
    invoice = await ann.order()
    body = body_of(shared.world, invoice, token_for(shared.world, invoice.uuid), form=False)
    body |= {"status": "success", "amount_crypto": 1_000_000, "currency": "BTC", "order_id": "another"}
    body["invoice_info"] |= {"status": "overpaid", "invoice_status": "success", "amount_in_fiat": 1e6}
    (bot,) = shared.bots
    async with shared.sandbox.client.post(bot.url + "/api/webhook/payment", json=body) as answer:
        assert answer.status == 200

    async def was_asked() -> bool:
        payment = await ann.payment(invoice)
        return bool(payment["checked_at"])

    await until(was_asked, what="CryptoCloud to be asked")
    assert (await ann.payment(invoice))["status"] == "pending"
    assert await ann.ledger() == []
    await ann.pay(invoice, mode="none")
    await ann.was_granted_once(invoice)
    (entry,) = await ann.ledger()
    assert entry["ends_at"] - entry["starts_at"] == timedelta(days=30)
    assert entry["amount"] == invoice.amount_in_fiat


async def test_money_for_an_order_that_we_do_not_know_is_told_to_the_admins(shared: Stage) -> None:
    invoice = shared.issue(order_id="an order of a lost backup")
    invoice.pay(invoice.to_surcharge)
    assert (await shared.postback(invoice))["status"] == 200

    (event,) = await kept(shared, invoice)
    assert event["outcome"] == "unknown"
    # Lists are at least half a minute apart, and one was read when the process started.
    await Customer(shared, ADMIN).read(f"INV-{invoice.uuid}", within=40)
    short = invoice.uuid.removeprefix("INV-")
    unclaimed = await shared.rows(
        "SELECT payment_id FROM unclaimed_invoices WHERE invoice_uuid = :it", it=short
    )
    assert unclaimed == [{"payment_id": None}]
    assert await shared.rows("SELECT 1 FROM payments WHERE invoice_uuid = :it", it=short) == []


async def test_a_postback_before_we_know_our_own_invoice_is_not_lost(
    more: Callable[..., Awaitable[Stage]],
) -> None:
    """CryptoCloud's answer to create is held back until the customer has paid.

    Moved data: the next check would be in an hour, so that only the early postback can find the payment.
    """
    play = await more(CHECK_SECONDS="3600", LEASE_SECONDS="30")
    ann = play.person(1)
    port = int(play.sandbox.url.rsplit(":", 1)[1])
    async with proxy(("127.0.0.1", port)) as wire:
        await play.open(CRYPTOCLOUD_API_URL=wire.url)
        ann.say("/start")
        await ann.press("tier:pro")
        await ann.press("period:pro:month")
        wire.hold_answers()
        await ann.press("pay:pro:month")
        await until(lambda: play.world.invoices, what="the invoice to be made")
        (invoice,) = play.world.invoices.values()
        (sent,) = await ann.pay(invoice)
        assert sent["status"] == 200
        assert [one["outcome"] for one in await kept(play, invoice)] == ["unknown"]
        assert [one["status"] for one in await play.rows("SELECT status FROM payments")] == ["creating"]
        wire.mend()
        await ann.was_granted_once(invoice)
        assert await play.rows("SELECT * FROM unclaimed_invoices") == []
