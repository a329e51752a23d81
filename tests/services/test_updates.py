"""An update that cannot be digested is given up in the open after five tries, whatever is in it."""

from typing import Any

import pytest

from services import updates
from services.config import Settings
from services.db import Database
from tests.shop import keys, row, rows

UPDATE = {"update_id": 7, "message": {"text": "hello"}}


async def count(db: Database, settings: Settings, **said: Any) -> bool:
    usual: dict[str, Any] = {"update_id": 7, "payload": UPDATE, "error": "KeyError: 'chat'"}
    return await updates.count_failure(db, settings, **(usual | said))


async def test_five_tries_then_it_is_dead_and_the_admins_are_told_once(
    db: Database, settings: Settings
) -> None:
    assert [await count(db, settings) for _ in range(5)] == [False, False, False, False, True]
    dead = await row(db, "SELECT * FROM failed_updates")
    assert (dead["attempts"], dead["payload"], dead["last_error"]) == (5, UPDATE, "KeyError: 'chat'")
    assert dead["dead_at"] is not None
    assert await keys(db) == ["dead-update:7:900"]

    # A webhook may bring it once more although it was acknowledged.
    assert await count(db, settings)
    assert (await row(db, "SELECT dead_at FROM failed_updates"))["dead_at"] == dead["dead_at"]
    assert await keys(db) == ["dead-update:7:900"]


async def test_what_no_try_can_read_is_given_up_at_once(db: Database, settings: Settings) -> None:
    assert await count(db, settings, hopeless=True)
    assert (await row(db, "SELECT attempts FROM failed_updates"))["attempts"] == 1


async def test_an_update_that_went_through_after_all_is_forgotten(db: Database, settings: Settings) -> None:
    await count(db, settings)
    await updates.forgive(db, 7)
    await updates.forgive(db, 8)
    assert await rows(db, "SELECT * FROM failed_updates") == []


async def test_a_dead_update_is_kept_for_people(db: Database, settings: Settings) -> None:
    await count(db, settings, hopeless=True)
    await updates.forgive(db, 7)
    assert len(await rows(db, "SELECT * FROM failed_updates")) == 1


@pytest.mark.parametrize(
    "text", ["nul \x00 inside", "half a surrogate \ud83d", "\udc00\x00"], ids=["nul", "half", "both"]
)
async def test_text_that_postgresql_does_not_store_does_not_keep_an_update_alive(
    db: Database, settings: Settings, text: str
) -> None:
    payload = {"update_id": 7, "message": {"text": text, "entities": [{text: 1}], "date": 1}}
    assert await count(db, settings, payload=payload, error=f"bad text: {text}", hopeless=True)
    dead = await row(db, "SELECT payload, last_error FROM failed_updates")
    assert dead["payload"]["message"]["date"] == 1
    assert dead["last_error"].startswith("bad text: ")
    assert await keys(db) == ["dead-update:7:900"]
