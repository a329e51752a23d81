"""A purchase through the real process, from /start to the receipt."""

from datetime import UTC, datetime, timedelta

from tests.e2e.stage import Customer, Stage, until


async def test_a_purchase_goes_from_start_to_the_receipt(shared: Stage, ann: Customer) -> None:
    invoice = await ann.order("pro", "quarter")
    assert (await ann.payment(invoice))["amount"] == invoice.amount_in_fiat

    await ann.pay(invoice)

    receipt = await ann.read("subscription is active")
    payment = await ann.payment(invoice)
    assert payment["id"].hex[:10].upper() in receipt.body["text"]
    (entry,) = await ann.ledger()
    assert entry["payment_id"] == payment["id"]
    assert entry["ends_at"] - datetime.now(UTC) > timedelta(days=89)
    order = await ann.read("Paid. Thank you!")
    assert ann.buttons(order) == []
    ann.say("/status")
    await ann.read("active until")
    await until(lambda: any("Customer" in text for text in Customer(shared, 900).texts()), what="a sale")
