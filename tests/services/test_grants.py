"""Time given and taken by hand: once per key, in the book, told to the customer, and never half done."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from services import grants, ledger, subscriptions
from services.config import Settings
from services.db import Database
from services.errors import UnknownPayment, UnknownTier
from services.settlement import settle
from services.tiers import PriceList
from tests.shop import MONTH, change, customer, fact, invoice, keys, row, rows


async def grant(db: Database, price_list: PriceList, **said: Any) -> datetime:
    usual: dict[str, Any] = {
        "user_id": 1,
        "tier_code": "pro",
        "period_code": "month",
        "actor": "admin:900",
        "reason": "a good question",
        "key": "update 1",
    }
    return await grants.grant(db, price_list, **(usual | said))


async def revoke(db: Database, key: str = "update 2", user_id: int = 1) -> bool:
    return await grants.revoke(db, user_id=user_id, actor="admin:900", reason="asked for it", key=key)


async def until(db: Database) -> tuple[str, str, datetime]:
    found = await row(db, "SELECT tier, state, ends_at FROM entitlements WHERE telegram_id = 1")
    return found["tier"], found["state"], found["ends_at"]


async def test_a_grant_gives_a_period_with_who_and_why(db: Database, price_list: PriceList) -> None:
    await customer(db)

    ends_at = await grant(db, price_list)

    assert await until(db) == ("pro", "active", ends_at)
    entry = await row(db, "SELECT kind, seconds, payment_id, amount, actor, reason FROM subscription_ledger")
    assert entry == {
        "kind": "grant",
        "seconds": MONTH,
        "payment_id": None,
        "amount": None,
        "actor": "admin:900",
        "reason": "a good question",
    }
    deed = await row(db, "SELECT actor, action, subject, details FROM admin_audit")
    assert (deed["actor"], deed["action"], deed["subject"]) == ("admin:900", "grant", "1")
    assert deed["details"] == {"tier": "pro", "period": "month", "reason": "a good question"}
    assert await keys(db, 1) == ["granted:update 1"]
    assert await ledger.check(db) == []


async def test_the_same_grant_again_gives_nothing_more_and_says_the_same_end(
    db: Database, price_list: PriceList
) -> None:
    await customer(db)
    ends = await asyncio.gather(*(grant(db, price_list) for _ in range(6)))
    assert len(set(ends)) == 1
    await grant(db, price_list, key="another")
    assert await grant(db, price_list) == ends[0]
    assert len(await rows(db, "SELECT id FROM subscription_ledger")) == 2
    assert len(await rows(db, "SELECT id FROM admin_audit")) == 2
    assert await keys(db, 1) == ["granted:update 1", "granted:another"]


async def test_a_gift_of_the_same_tier_adds_to_paid_time(
    db: Database, price_list: PriceList, settings: Settings
) -> None:
    await customer(db)
    _, uuid = await invoice(db)
    await settle(db, [fact(uuid)], settings)
    paid = (await until(db))[2]
    assert await grant(db, price_list) == paid + timedelta(days=30)


async def test_what_cannot_be_given_is_refused_and_leaves_nothing(
    db: Database, price_list: PriceList
) -> None:
    await customer(db)
    for said in ({"tier_code": "free"}, {"tier_code": "gold"}, {"period_code": "eternity"}):
        with pytest.raises(UnknownTier):
            await grant(db, price_list, **said)
    with pytest.raises(UnknownPayment, match="has ever spoken"):
        await grant(db, price_list, user_id=555)
    with pytest.raises(UnknownPayment, match="has ever spoken"):
        await revoke(db, user_id=555)
    for table in ("subscription_ledger", "admin_audit", "notifications"):
        assert await rows(db, f"SELECT * FROM {table}") == []


async def test_a_revoke_ends_the_time_now_and_the_book_agrees(
    db: Database, price_list: PriceList, settings: Settings
) -> None:
    await customer(db)
    _, uuid = await invoice(db)
    await settle(db, [fact(uuid)], settings)
    before = (await until(db))[2]

    assert await revoke(db)

    tier, state, ends_at = await until(db)
    assert (tier, state) == ("pro", "expired")
    entry = await row(db, "SELECT * FROM subscription_ledger WHERE kind = 'revoke'")
    assert (entry["starts_at"], entry["ends_at"]) == (before, ends_at)
    assert abs(entry["seconds"] + (before - ends_at).total_seconds()) <= 1
    assert (entry["actor"], entry["reason"]) == ("admin:900", "asked for it")
    assert "revoked:update 2" in await keys(db, 1)
    assert await ledger.check(db) == []
    ends = await grant(db, price_list)
    assert ends - ends_at < timedelta(days=30, minutes=1)
    assert await ledger.check(db) == []


async def test_a_revoke_happens_once_per_key_also_after_new_time_came(
    db: Database, price_list: PriceList
) -> None:
    await customer(db)
    assert not await revoke(db)
    await grant(db, price_list)
    assert sorted(await asyncio.gather(*(revoke(db) for _ in range(4)))) == [False, False, False, True]
    assert len(await rows(db, "SELECT id FROM subscription_ledger WHERE kind = 'revoke'")) == 1
    assert not await revoke(db, key="update 3")
    await grant(db, price_list, key="later")
    assert not await revoke(db)
    assert (await until(db))[1] == "active"
    assert await revoke(db, key="update 4")


async def test_a_revoke_while_a_grant_commits_ends_in_one_of_the_two_orders(
    db: Database, price_list: PriceList, settings: Settings
) -> None:
    for user_id in range(1, 9):
        await customer(db, user_id)
    uuids = {user_id: (await invoice(db, user_id))[1] for user_id in range(1, 9)}
    await asyncio.gather(
        *(settle(db, [fact(uuid)], settings) for uuid in uuids.values()),
        *(
            grants.revoke(db, user_id=user_id, actor="console", reason="-", key=f"r{user_id}")
            for user_id in range(1, 9)
        ),
        *(grant(db, price_list, user_id=user_id, key=f"g{user_id}") for user_id in range(1, 9)),
    )
    assert await ledger.check(db) == []
    books: dict[int, list[str]] = {}
    for one in await rows(db, "SELECT user_id, kind FROM subscription_ledger ORDER BY id"):
        books.setdefault(one["user_id"], []).append(one["kind"])
    assert set(books) == set(uuids)
    for kinds in books.values():
        assert sorted(set(kinds) - {"revoke"}) == ["grant", "payment"]


async def test_a_revoke_waits_for_a_grant_that_is_being_written_and_takes_its_time_too(
    db: Database, price_list: PriceList
) -> None:
    await customer(db)
    first = await grant(db, price_list)
    later = first + timedelta(days=30)
    async with db.begin() as session:
        await subscriptions.lock(session, {1: {"pro"}})
        await subscriptions.write(
            session, [ledger.Entry(1, ledger.Kind.GRANT, "pro", MONTH, first, later, "meanwhile")]
        )
        revoking = asyncio.create_task(revoke(db))
        await asyncio.sleep(0.2)
        assert not revoking.done()

    assert await revoking
    taken = await row(db, "SELECT starts_at, seconds FROM subscription_ledger WHERE kind = 'revoke'")
    assert taken["starts_at"] == later
    assert -60 * 86_400 <= taken["seconds"] < -59 * 86_400
    assert await ledger.check(db) == []


async def test_expired_time_cannot_be_revoked(db: Database, price_list: PriceList) -> None:
    await customer(db)
    await grant(db, price_list)
    await change(db, "UPDATE subscriptions SET ends_at = now() WHERE user_id = 1")
    assert not await revoke(db)
    assert await rows(db, "SELECT 1 FROM subscription_ledger WHERE kind = 'revoke'") == []
