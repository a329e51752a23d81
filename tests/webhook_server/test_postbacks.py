"""CryptoCloud's postbacks as they come over the wire."""

from services.db import Database
from tests import shop
from tests.webhook_server.conftest import POSTBACK, Site, postback


async def test_signed_postback_wakes_its_payment_and_is_answered_after_commit(
    site: Site, db: Database
) -> None:
    await shop.customer(db)
    payment_id, invoice = await shop.invoice(db)
    async with site.post(POSTBACK, json=postback(invoice)) as answer:
        assert (answer.status, await answer.json()) == (200, {"message": "Postback received"})
    assert (await shop.payment(db, payment_id))["wake"] == 1
    assert site.hints == ["hint"]
