"""kill -9 wherever it could hurt, and a restart: paid once is granted once, and the customer hears of it.

The leases last two seconds here, so that a restart need not wait a minute for what the dead process had claimed.
"""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from sandbox.invoices import Invoice
from tests.e2e.stage import Customer, Stage, at_once

pytestmark = pytest.mark.timeout(300)  # a busy machine takes its time to start processes

KILLED = -9

NewStage = Callable[..., Awaitable[Stage]]
ANN, BOB = 1, 2


async def is_well(ann: Customer, invoice: Invoice, *, receipts: int = 1) -> None:
    """A paid order came out right, and the chat can be used."""
    await ann.was_granted_once(invoice, copies=(receipts,))
    assert ann.buttons(await ann.read("Paid. Thank you!")) == []
    ann.say("/status")
    await ann.read("active until")


async def killed_before_the_postback_is_kept(play: Stage) -> None:
    ann = play.person(ANN)
    doomed = await play.open(FAILPOINT="postback.stored")
    invoice = await ann.order()
    (sent,) = await ann.pay(invoice)

    assert await doomed.ended() == KILLED
    assert sent["status"] is None
    assert await play.rows("SELECT id FROM webhook_events") == []
    await play.open()
    await is_well(ann, invoice)


async def killed_before_the_postback_is_answered(play: Stage) -> None:
    ann = play.person(ANN)
    doomed = await play.open(FAILPOINT="postback.committed")
    invoice = await ann.order()
    (sent,) = await ann.pay(invoice)

    assert await doomed.ended() == KILLED
    assert sent["status"] is None
    await play.open()
    sent_again = await play.postback(invoice)
    assert sent_again["status"] == 200
    await is_well(ann, invoice)
    assert len(await play.rows("SELECT id FROM webhook_events")) == 2


async def killed_when_the_invoice_was_made(play: Stage) -> None:
    """The press is not confirmed to Telegram, so it comes again and makes another invoice."""
    ann = play.person(ANN)
    doomed = await play.open(FAILPOINT="create.answered")
    ann.say("/start")
    await ann.press("tier:pro")
    await ann.press("period:pro:month")
    await ann.press("pay:pro:month")

    assert await doomed.ended() == KILLED
    (orphan,) = play.world.invoices.values()
    await play.open()
    invoice = await ann.invoice()
    assert invoice.uuid != orphan.uuid
    await ann.pay(invoice)
    await is_well(ann, invoice)
    shown = [one["status"] for one in await play.rows("SELECT status FROM payments ORDER BY status")]
    assert shown == ["failed", "paid"]


async def _killed_while_checking(play: Stage, place: str) -> None:
    ann = play.person(ANN)
    doomed = await play.open(FAILPOINT=place)
    invoice = await ann.order()
    await ann.pay(invoice)

    assert await doomed.ended() == KILLED
    assert await ann.ledger() == []
    await play.open()
    await is_well(ann, invoice)


async def killed_with_a_payment_claimed(play: Stage) -> None:
    await _killed_while_checking(play, "check.claimed")


async def killed_with_the_answer_in_hand(play: Stage) -> None:
    await _killed_while_checking(play, "info.answered")


async def killed_within_the_second_grant(play: Stage) -> None:
    """`settle.granted:2`: Bob's purchase goes through before, and stays as it is."""
    ann, bob = play.person(ANN), play.person(BOB)
    doomed = await play.open(FAILPOINT="settle.granted:2")
    bobs = await bob.order()
    await bob.pay(bobs)
    await is_well(bob, bobs)
    invoice = await ann.order()
    await ann.pay(invoice)

    assert await doomed.ended() == KILLED
    assert await ann.ledger() == []
    assert len(await bob.ledger()) == 1
    await play.open()
    await is_well(ann, invoice)
    assert len(await bob.ledger()) == 1
    assert len(bob.receipts((await bob.payment(bobs))["id"])) == 1


async def killed_after_the_grant(play: Stage) -> None:
    ann = play.person(ANN)
    doomed = await play.open(FAILPOINT="settle.committed")
    invoice = await ann.order()
    await ann.pay(invoice)

    assert await doomed.ended() == KILLED
    assert len(await ann.ledger()) == 1
    assert ann.receipts() == []
    await play.open()
    await is_well(ann, invoice)


async def killed_with_a_receipt_claimed(play: Stage) -> None:
    ann = play.person(ANN)
    invoice = await _paid_while_away(ann)
    doomed = await play.open(ready=False, ADMIN_IDS="", FAILPOINT="notify.claimed")

    assert await doomed.ended(within=60) == KILLED
    assert ann.receipts() == []
    await play.open(ADMIN_IDS="")
    await is_well(ann, invoice)


async def killed_before_a_receipt_is_marked_sent(play: Stage) -> None:
    """Telegram knows no repeated call when it sees one, so this is the one place that costs a second copy."""
    ann = play.person(ANN)
    invoice = await _paid_while_away(ann)
    doomed = await play.open(ready=False, ADMIN_IDS="", FAILPOINT="notify.sent")

    assert await doomed.ended(within=60) == KILLED
    assert len(ann.receipts()) == 1
    await play.open(ADMIN_IDS="")
    await is_well(ann, invoice, receipts=2)
    assert len(set(ann.receipts())) == 1


async def _paid_while_away(ann: Customer) -> Invoice:
    """An order that was made, shown and paid before any process of this play lives."""
    invoice = await ann.stage.standing_order(ann.id)
    invoice.pay(invoice.to_surcharge)
    return invoice


GROUPS = (
    (
        killed_before_the_postback_is_kept,
        killed_before_the_postback_is_answered,
        killed_when_the_invoice_was_made,
    ),
    (killed_with_a_payment_claimed, killed_with_the_answer_in_hand, killed_within_the_second_grant),
    (killed_after_the_grant, killed_with_a_receipt_claimed, killed_before_a_receipt_is_marked_sent),
)


@pytest.mark.parametrize("plays", GROUPS, ids=["at-the-door", "while-settling", "while-telling"])
async def test_a_killed_process_loses_nothing(
    more: NewStage, plays: tuple[Callable[[Stage], Coroutine[Any, Any, None]], ...]
) -> None:
    await at_once(*[play(await more()) for play in plays])
