"""Postbacks are kept for people and wake their payment; what expired wakes it seldom, what is old goes."""

import asyncio

from services import events
from services.db import Database
from services.events import Outcome, Recorded, record_postback
from services.postbacks import Postback
from tests.shop import change, customer, invoice, row, rows


def postback(uuid: str, *, expired: bool = False) -> Postback:
    return Postback(uuid, None, "success", {"status": "success", "invoice_id": uuid}, expired)


async def wakes(db: Database) -> int:
    count: int = (await row(db, "SELECT wake FROM payments"))["wake"]
    return count


async def test_a_postback_is_kept_and_makes_its_payment_due_in_one_go(db: Database) -> None:
    await customer(db)
    _, uuid = await invoice(db, next_check_at=None)

    assert await record_postback(db, postback(uuid)) == Recorded(Outcome.WOKEN, woken=True)

    stored = await row(db, "SELECT wake, status, next_check_at <= now() AS due FROM payments")
    assert stored == {"wake": 1, "status": "pending", "due": True}
    async with db.begin() as session:
        (kept,) = await events.latest(session, invoice_uuid=uuid)
    assert (kept.outcome, kept.body) == (Outcome.WOKEN, {"status": "success", "invoice_id": uuid})
    assert await rows(db, "SELECT * FROM subscription_ledger") == []


async def test_every_repetition_is_kept_and_is_a_hint_again(db: Database) -> None:
    await customer(db)
    _, uuid = await invoice(db)
    await asyncio.gather(*(record_postback(db, postback(uuid)) for _ in range(8)))
    assert await wakes(db) == 8
    assert len(await rows(db, "SELECT id FROM webhook_events")) == 8


async def test_a_postback_for_an_unknown_invoice_is_kept(db: Database) -> None:
    assert await record_postback(db, postback("NOBODYS0")) == Recorded(Outcome.UNKNOWN, woken=False)
    assert (await row(db, "SELECT outcome FROM webhook_events"))["outcome"] == "unknown"


async def test_an_expired_postback_wakes_at_most_once_a_minute(db: Database) -> None:
    await customer(db)
    _, uuid = await invoice(db, next_check_at=None)
    late = postback(uuid, expired=True)

    answers = [await record_postback(db, late) for _ in range(5)]

    assert [one.outcome for one in answers] == [Outcome.EXPIRED] * 5
    assert [one.woken for one in answers] == [True, False, False, False, False]
    assert await wakes(db) == 1
    assert len(await rows(db, "SELECT id FROM webhook_events")) == 1

    await change(db, "UPDATE webhook_events SET received_at = now() - interval '61 s'")
    await change(db, "UPDATE payments SET asked_at = now() - interval '50 s'")
    assert not (await record_postback(db, late)).woken
    await change(db, "UPDATE payments SET asked_at = now() - interval '61 s'")
    assert (await record_postback(db, late)).woken
    assert await wakes(db) == 2


async def test_an_expired_postback_never_holds_a_good_one_back(db: Database) -> None:
    await customer(db)
    _, uuid = await invoice(db)
    await record_postback(db, postback(uuid, expired=True))
    assert (await record_postback(db, postback(uuid))).woken
    assert await wakes(db) == 2


async def test_an_expired_postback_for_an_unknown_invoice_leaves_nothing(db: Database) -> None:
    assert await record_postback(db, postback("NOBODYS0", expired=True)) == Recorded(
        Outcome.EXPIRED, woken=False
    )
    assert await rows(db, "SELECT id FROM webhook_events") == []


async def test_a_kept_postback_can_be_replayed(db: Database) -> None:
    await customer(db)
    await record_postback(db, postback("EARLY000"))
    async with db.begin() as session:
        (kept,) = await events.latest(session)
        assert not await events.replay(session, kept.id)
        assert not await events.replay(session, kept.id + 1)
    await invoice(db, uuid="EARLY000")
    async with db.begin() as session:
        assert await events.replay(session, kept.id)
        assert await events.find(session, kept.id) == kept
        assert await events.find(session, kept.id + 1) is None
    assert await wakes(db) == 1


async def test_the_newest_come_first_and_no_more_than_asked_for(db: Database) -> None:
    for uuid in ("AAAA0001", "AAAA0002", "AAAA0001"):
        await record_postback(db, postback(uuid))
    async with db.begin() as session:
        everything = await events.latest(session, limit=2)
        of_one = await events.latest(session, invoice_uuid="AAAA0001")
    assert [one.invoice_uuid for one in everything] == ["AAAA0001", "AAAA0002"]
    assert [one.invoice_uuid for one in of_one] == ["AAAA0001", "AAAA0001"]
    assert of_one[0].id > of_one[1].id


async def test_pruning_keeps_the_last_twenty_of_an_invoice_and_ninety_days(db: Database) -> None:
    for uuid, count in (("MANY0000", 25), ("FEW00000", 3)):
        for _ in range(count):
            await record_postback(db, postback(uuid))
    await change(
        db,
        "UPDATE webhook_events SET received_at = now() - interval '91 days'"
        " WHERE id = (SELECT min(id) FROM webhook_events WHERE invoice_uuid = 'FEW00000')",
    )
    await change(
        db,
        "UPDATE webhook_events SET received_at = now() - interval '89 days'"
        " WHERE id = (SELECT max(id) FROM webhook_events WHERE invoice_uuid = 'FEW00000')",
    )

    assert await events.prune(db) == 6
    assert await events.prune(db) == 0

    kept = await rows(
        db,
        "SELECT invoice_uuid, count(*) AS kept, min(id) AS first FROM webhook_events GROUP BY 1 ORDER BY 1",
    )
    assert [(one["invoice_uuid"], one["kept"]) for one in kept] == [("FEW00000", 2), ("MANY0000", 20)]
    assert kept[1]["first"] == 6
