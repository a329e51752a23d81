"""What people with power did is written down with the deed, once per key."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from services import audit
from services.db import Database
from tests.shop import row, rows


async def record(db: Database, **said: Any) -> bool:
    usual: dict[str, Any] = {"actor": "admin:900", "action": "grant", "subject": "1"}
    async with db.begin() as session:
        return await audit.record(session, **(usual | said))


async def test_a_deed_is_written_with_who_what_and_to_whom(db: Database) -> None:
    when = datetime(2026, 3, 1, tzinfo=UTC)
    assert await record(db, details={"ended": when, "amount": Decimal("1.50"), "reason": "ёж"})
    deed = await row(db, "SELECT * FROM admin_audit")
    assert (deed["actor"], deed["action"], deed["subject"]) == ("admin:900", "grant", "1")
    assert deed["details"] == {"ended": "2026-03-01 00:00:00+00:00", "amount": "1.50", "reason": "ёж"}
    assert deed["created_at"] is not None


async def test_a_key_is_taken_once_also_by_many_at_once(db: Database) -> None:
    done = await asyncio.gather(*(record(db, key="update 7") for _ in range(6)))
    assert sorted(done) == [False] * 5 + [True]
    assert len(await rows(db, "SELECT id FROM admin_audit")) == 1


async def test_without_a_key_every_deed_is_its_own(db: Database) -> None:
    assert [await record(db), await record(db)] == [True, True]
    assert len(await rows(db, "SELECT id FROM admin_audit")) == 2
