"""People as Telegram describes them: remembered, addressed in their language, reachable again when they speak."""

from typing import Any

import pytest

from services import users
from services.db import Database
from services.users import Person
from tests.shop import change, row, rows


async def meet(db: Database, **said: Any) -> str:
    async with db.begin() as session:
        return await users.meet(session, Person(**({"telegram_id": 1} | said)), "free")


async def stored(db: Database) -> dict[str, Any]:
    return await row(db, "SELECT * FROM users WHERE telegram_id = 1")


@pytest.mark.parametrize(
    ("code", "language"),
    [
        ("ru", "ru"),
        ("RU", "ru"),
        ("ru-RU", "ru"),
        ("uk", "en"),
        ("be", "ru"),
        ("kk", "ru"),
        ("en", "en"),
        ("pt-br", "en"),
        ("", "en"),
        (None, "en"),
        ("-", "en"),
    ],
)
def test_the_language_is_the_one_that_the_person_most_likely_reads(code: str | None, language: str) -> None:
    assert Person(1, language_code=code).language == language


async def test_the_first_meeting_makes_a_user_and_a_free_subscription(db: Database) -> None:
    assert await meet(db, username="anna", first_name="Anna", language_code="ru") == "ru"
    known = await stored(db)
    assert (known["username"], known["first_name"], known["language"]) == ("anna", "Anna", "ru")
    assert (known["reachable"], known["language_chosen"]) == (True, False)
    free = await row(db, "SELECT tier, state, ends_at FROM entitlements WHERE telegram_id = 1")
    assert free == {"tier": "free", "state": "free", "ends_at": None}


async def test_meeting_again_unchanged_writes_nothing(db: Database) -> None:
    await meet(db, username="anna", first_name="Anna")
    before = await row(db, "SELECT xmin::text, * FROM users WHERE telegram_id = 1")
    assert await meet(db, username="anna", first_name="Anna") == "en"
    assert await row(db, "SELECT xmin::text, * FROM users WHERE telegram_id = 1") == before


async def test_names_and_language_follow_telegram(db: Database) -> None:
    await meet(db, username="anna", first_name="Anna", language_code="en")
    assert await meet(db, first_name="Anya", language_code="ru") == "ru"
    known = await stored(db)
    assert (known["username"], known["first_name"], known["language"]) == (None, "Anya", "ru")


async def test_a_chosen_language_stays_whatever_telegram_says(db: Database) -> None:
    await meet(db, language_code="ru")
    async with db.begin() as session:
        await users.choose_language(session, 1, "en")
    assert await meet(db, language_code="ru") == "en"
    assert await meet(db, language_code="ru", first_name="New") == "en"
    assert (await stored(db))["language"] == "en"


async def test_who_blocked_us_is_reachable_again_when_they_speak(db: Database) -> None:
    await meet(db)
    async with db.begin() as session:
        await users.lose(session, 1)
    assert not (await stored(db))["reachable"]
    await meet(db)
    assert (await stored(db))["reachable"]


async def test_only_ones_own_undelivered_notifications_are_revived(db: Database) -> None:
    await meet(db)
    await meet(db, telegram_id=2)
    for user_id in (1, 2):
        for state in ("undeliverable", "dropped", "sent"):
            await change(
                db,
                "INSERT INTO notifications (user_id, kind, key, state) VALUES (:user, 'receipt', :key, :state)",
                user=user_id,
                key=f"{state}:{user_id}",
                state=state,
            )
    await change(db, "UPDATE users SET reachable = false")
    await meet(db)
    due = await rows(db, "SELECT key FROM notifications WHERE state = 'due'")
    assert due == [{"key": "undeliverable:1"}]


ODD_NAMES = {
    "nul\x00byte": "nulbyte",
    "half \ud83d": "half ?",
    "\udc00": "?",
    "x" * 300: "x" * 256,
    "👩‍👩‍👧 'Robert'); DROP TABLE users;--": "👩‍👩‍👧 'Robert'); DROP TABLE users;--",
    "\u202eevil": "\u202eevil",
}


async def test_any_name_can_be_kept(db: Database) -> None:
    for name, kept in ODD_NAMES.items():
        await meet(db, first_name=name, username=name)
        known = await stored(db)
        assert (known["first_name"], known["username"]) == (kept, kept)
        assert await meet(db, first_name=name, username=name) == "en"


async def test_admins_can_be_written_to_before_they_speak_and_keep_what_is_known(db: Database) -> None:
    await meet(db, first_name="Anna", language_code="ru")
    for _ in range(2):
        async with db.begin() as session:
            await users.expect_admins(session, [5, 1, 2**52], "free")
            await users.expect_admins(session, [], "free")
    people = await rows(db, "SELECT telegram_id, first_name FROM users ORDER BY 1")
    assert people == [
        {"telegram_id": 1, "first_name": "Anna"},
        {"telegram_id": 5, "first_name": ""},
        {"telegram_id": 900, "first_name": ""},
        {"telegram_id": 2**52, "first_name": ""},
    ]
    assert len(await rows(db, "SELECT 1 FROM subscriptions")) == 4


async def test_who_has_never_spoken_does_not_exist(db: Database) -> None:
    await meet(db)
    async with db.begin() as session:
        assert await users.exists(session, 1)
        assert not await users.exists(session, 2)
