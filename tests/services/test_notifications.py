"""The outbox: said once per key, at least once at all, receipts first, within what Telegram lets all replicas send."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from services import notifications
from services.config import Settings
from services.db import Database
from services.notifications import Claimed, Kind, Notification, pause_after, to_admins
from services.settlement import settle
from tests.shop import change, customer, fact, invoice, keys, row

PAYMENT = UUID("0f8fad5b-d9cb-469f-a165-70867728950e")


async def tell(db: Database, *said: Notification) -> None:
    async with db.begin() as session:
        await notifications.notify(session, said)


async def show(db: Database, user_id: int = 1, payment_id: UUID = PAYMENT) -> None:
    async with db.begin() as session:
        await notifications.show_orders(session, [(user_id, payment_id)])


async def claim(db: Database, limit: int = 10, lease: float = 60) -> list[Claimed]:
    return await notifications.claim(db, limit=limit, lease_seconds=lease)


async def sent(db: Database, one: Claimed) -> bool:
    async with db.begin() as session:
        return await notifications.mark_sent(session, one)


async def state(db: Database, key: str) -> dict[str, Any]:
    return await row(db, "SELECT * FROM notifications WHERE key = :key", key=key)


def receipt(user_id: int = 1, name: str = "1") -> Notification:
    return Notification(user_id, Kind.RECEIPT, f"receipt:{name}", {"number": name})


async def test_the_same_key_is_said_once_whatever_else_is_in_it(db: Database) -> None:
    await customer(db)
    await tell(db, receipt())
    await tell(db, Notification(1, Kind.GRANTED, "receipt:1", {"other": True}))
    (one,) = await claim(db)
    assert await sent(db, one)

    await tell(db, receipt())

    assert await claim(db) == []
    stored = await state(db, "receipt:1")
    assert (stored["state"], stored["kind"], stored["payload"]) == ("sent", "receipt", {"number": "1"})
    assert stored["sent_at"] is not None


async def test_what_was_written_in_a_transaction_that_failed_is_never_said(db: Database) -> None:
    await customer(db)

    async def fail_after_writing() -> None:
        async with db.begin() as session:
            await notifications.notify(session, [receipt()])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_after_writing()
    assert await keys(db) == []


async def test_a_claimed_notification_knows_its_person_and_text(db: Database) -> None:
    await customer(db, language_code="ru")
    await tell(db, receipt())
    (one,) = await claim(db)
    assert (one.user_id, one.kind, one.key, one.payload) == (1, Kind.RECEIPT, "receipt:1", {"number": "1"})
    assert (one.language, one.attempts) == ("ru", 0)


async def test_an_order_that_changes_while_it_is_being_sent_is_sent_again(db: Database) -> None:
    await customer(db)
    await show(db)
    (one,) = await claim(db)

    await show(db)

    assert await sent(db, one)
    assert (await state(db, f"order:{PAYMENT}"))["state"] == "due"
    (again,) = await claim(db)
    assert again.version == one.version + 1
    assert await sent(db, again)
    assert (await state(db, f"order:{PAYMENT}"))["state"] == "sent"
    await show(db)
    assert len(await claim(db)) == 1


async def test_an_order_that_is_being_sent_is_not_given_to_a_second_notifier(db: Database) -> None:
    await customer(db)
    await show(db)
    assert len(await claim(db)) == 1
    await show(db)
    assert await claim(db) == []


async def test_after_the_lease_another_notifier_takes_over_and_the_late_word_counts_for_nothing(
    db: Database,
) -> None:
    await customer(db)
    await tell(db, receipt())
    (slow,) = await claim(db)
    assert await claim(db) == []
    await change(db, "UPDATE notifications SET lease_until = now() - interval '1 ms'")

    (quick,) = await claim(db)

    before = await state(db, "receipt:1")
    assert not await sent(db, slow)
    async with db.begin() as session:
        await notifications.drop(session, slow, "late")
        await notifications.postpone(session, slow, "late", pause=60, spent=True)
    assert await state(db, "receipt:1") == before
    assert await sent(db, quick)


async def test_the_late_word_about_a_blocked_chat_leaves_the_row_to_its_new_holder(db: Database) -> None:
    await customer(db)
    await tell(db, receipt())
    (slow,) = await claim(db)
    await change(db, "UPDATE notifications SET lease_until = now() - interval '1 ms'")
    (quick,) = await claim(db)
    async with db.begin() as session:
        await notifications.mark_undeliverable(session, slow, "403")
    assert (await state(db, "receipt:1"))["state"] == "due"
    assert await sent(db, quick)


async def test_four_notifiers_never_hold_the_same_row(db: Database) -> None:
    for user_id in range(1, 21):
        await customer(db, user_id)
        await tell(db, receipt(user_id, str(user_id)))
    held = await asyncio.gather(*(claim(db, 8) for _ in range(4)))
    ids = [one.id for some in held for one in some]
    assert len(ids) == len(set(ids)) == 20


async def test_receipts_go_first_then_what_waited_longest(db: Database) -> None:
    await customer(db)
    await tell(
        db,
        *to_admins([900], Kind.SALE, "sale"),
        *to_admins([900], Kind.ALERT, "alert"),
        Notification(1, Kind.PARTIAL, "partial"),
        Notification(1, Kind.GRANTED, "granted"),
    )
    await show(db)
    await tell(db, receipt(name="new"), receipt(name="old"))
    await change(
        db,
        "UPDATE notifications SET next_at = now() - interval '1 h' WHERE key IN ('receipt:old', 'sale:900')",
    )
    first = [one.key for _ in range(3) for one in await claim(db, 1)]
    rest = [one.key for one in await claim(db, 20)]
    assert first + rest == [
        "receipt:old",
        "receipt:new",
        f"order:{PAYMENT}",
        "partial",
        "granted",
        "sale:900",
        "alert:900",
    ]


async def test_a_chat_that_telegram_parked_waits_without_losing_a_try_and_the_others_go_on(
    db: Database,
) -> None:
    await customer(db)
    await customer(db, 2)
    await tell(db, receipt(1, "a"), receipt(1, "b"), receipt(2, "c"))
    parked = next(one for one in await claim(db, 1))
    async with db.begin() as session:
        await notifications.park_chat(session, parked, 10_072)

    assert [one.user_id for one in await claim(db)] == [2]
    stored = await row(
        db,
        "SELECT state, attempts, extract(epoch FROM next_at - now())::int / 100 AS pause,"
        " (SELECT parked_until > now() + interval '10000 s' FROM users WHERE telegram_id = 1) AS parked"
        " FROM notifications WHERE key = :key",
        key=parked.key,
    )
    assert stored == {"state": "due", "attempts": 0, "pause": 100, "parked": True}
    await change(db, "UPDATE users SET parked_until = now() - interval '1 s'")
    await change(db, "UPDATE notifications SET next_at = now(), lease_until = NULL")
    assert {one.user_id for one in await claim(db)} == {1, 2}


async def test_a_failed_try_comes_back_later_and_later(db: Database) -> None:
    await customer(db)
    await tell(db, receipt())
    (one,) = await claim(db)
    async with db.begin() as session:
        await notifications.postpone(session, one, "500 \x1f" + "x" * 900, pause=30, spent=True)
    stored = await state(db, "receipt:1")
    assert (stored["attempts"], stored["state"], len(stored["last_error"])) == (1, "due", 500)
    assert await claim(db) == []
    await change(db, "UPDATE notifications SET next_at = now()")
    (again,) = await claim(db)
    assert again.attempts == 1
    assert [pause_after(tries) for tries in (0, 1, 5, 11, 12, 2000)] == [1, 2, 32, 2048, 3600, 3600]


async def test_what_cannot_be_delivered_waits_until_its_person_speaks_again(db: Database) -> None:
    await customer(db)
    await tell(db, receipt())
    (one,) = await claim(db)
    async with db.begin() as session:
        await notifications.mark_undeliverable(session, one, "Forbidden: bot was blocked by the user")
    assert (await state(db, "receipt:1"))["state"] == "undeliverable"
    assert await claim(db) == []
    assert not (await row(db, "SELECT reachable FROM users WHERE telegram_id = 1"))["reachable"]

    await customer(db)

    assert [one.key for one in await claim(db)] == ["receipt:1"]
    assert (await row(db, "SELECT reachable FROM users WHERE telegram_id = 1"))["reachable"]


async def test_a_block_costs_no_subscription(db: Database, settings: Settings) -> None:
    await customer(db)
    _, uuid = await invoice(db)
    await settle(db, [fact(uuid)], settings)
    async with db.begin() as session:
        for one in await claim(db):
            await notifications.mark_undeliverable(session, one, "blocked")
    active = await row(db, "SELECT state FROM entitlements WHERE telegram_id = 1")
    assert active["state"] == "active"


async def test_what_was_dropped_is_kept_with_its_reason_and_not_sent(db: Database) -> None:
    await customer(db)
    await tell(db, receipt())
    (one,) = await claim(db)
    async with db.begin() as session:
        await notifications.drop(session, one, "Bad Request: can't parse")
    stored = await state(db, "receipt:1")
    assert (stored["state"], stored["last_error"]) == ("dropped", "Bad Request: can't parse")
    await customer(db)
    assert await claim(db) == []


async def test_two_replicas_share_one_budget_of_messages(db: Database) -> None:
    for user_id in range(1, 41):
        await customer(db, user_id)
        await tell(db, receipt(user_id, str(user_id)))
    await change(db, "UPDATE send_budget SET tokens = 25, refilled_at = clock_timestamp()")
    first = await row(db, "SELECT clock_timestamp() AS at")

    held = await asyncio.gather(*(claim(db, 10) for _ in range(8)))

    last = await row(db, "SELECT extract(epoch FROM clock_timestamp() - :at)::float AS s", at=first["at"])
    taken = sum(len(some) for some in held)
    assert 25 <= taken <= 25 + last["s"] * notifications.MESSAGES_A_SECOND
    budget = await row(db, "SELECT tokens FROM send_budget")
    assert 0 <= budget["tokens"] < 25


async def test_an_empty_budget_gives_nothing_and_fills_with_time_up_to_one_second(db: Database) -> None:
    for user_id in range(1, 31):
        await customer(db, user_id)
        await tell(db, receipt(user_id, str(user_id)))
    await change(db, "UPDATE send_budget SET tokens = 0, refilled_at = clock_timestamp() + interval '1 h'")
    assert await claim(db, 30) == []
    await change(db, "UPDATE send_budget SET tokens = 0, refilled_at = clock_timestamp() - interval '1 day'")
    assert len(await claim(db, 30)) == notifications.MESSAGES_A_SECOND


async def test_an_idle_outbox_spends_nothing(db: Database) -> None:
    await change(db, "UPDATE send_budget SET tokens = 3")
    assert await claim(db) == []
    assert (await row(db, "SELECT tokens FROM send_budget"))["tokens"] == 3


async def test_an_admin_id_that_nobody_has_stops_no_sale(db: Database, settings: Settings) -> None:
    wrong = settings.model_copy(update={"admin_ids": (900, 123456789)})
    await customer(db)
    payment_id, uuid = await invoice(db)
    (settled,) = await settle(db, [fact(uuid)], wrong)
    assert settled.granted
    assert await keys(db, 900) == [f"sale:{payment_id}:900"]
    assert f"receipt:{payment_id}" in await keys(db, 1)


async def test_a_payload_holds_whatever_text_people_have(db: Database) -> None:
    await customer(db)
    await tell(db, Notification(1, Kind.GRANTED, "odd", {"name": "Ω \" ' \\ 👩‍👩‍👧", "id": uuid4()}))
    (one,) = await claim(db)
    assert one.payload["name"] == "Ω \" ' \\ 👩‍👩‍👧"


async def test_the_oldest_that_is_due_is_what_waits_longest(db: Database) -> None:
    await customer(db)
    async with db.begin() as session:
        assert await notifications.oldest_due_age(session) == 0
    await tell(db, receipt())
    await change(db, "UPDATE notifications SET next_at = now() - interval '40 s'")
    async with db.begin() as session:
        assert 40 <= await notifications.oldest_due_age(session) < 70


async def test_what_people_were_told_about_a_payment_can_be_read(db: Database, settings: Settings) -> None:
    await customer(db)
    payment_id, uuid = await invoice(db)
    await settle(db, [fact(uuid)], settings)
    async with db.begin() as session:
        told = await notifications.about_payment(session, payment_id)
        assert await notifications.about_payment(session, uuid4()) == []
    assert {one.key for one in told} == {
        f"receipt:{payment_id}",
        f"order:{payment_id}",
        f"sale:{payment_id}:900",
    }
