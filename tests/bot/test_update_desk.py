"""One update after the other: what is handled once, what is tried again, what is put aside."""

from typing import Any

import pytest
from aiogram.exceptions import TelegramForbiddenError, TelegramRetryAfter
from aiogram.methods import SendMessage
from aiogram.types import Update

from bot.update_desk import NotHandledError
from services.errors import DatabaseUnavailable
from tests.bot.conftest import Office
from tests.shop import customer, keys, row, rows

WRITE = SendMessage(chat_id=1, text="…")


def update(update_id: int = 7, *, text: str = "hello", person: int = 1, **more: Any) -> dict[str, Any]:
    user = {"id": person, "is_bot": False, "first_name": "Ann", "language_code": "ru"}
    chat = {"id": person, "type": "private", "first_name": "Ann"}
    message = {"message_id": 1, "from": user, "chat": chat, "date": 0, "text": text}
    return {"update_id": update_id, "message": message | more}


class Handler:
    """Notes what it was given, and fails as it is told."""

    def __init__(self, *troubles: Exception) -> None:
        self.seen: list[int] = []
        self.attempts: list[int] = []
        self._troubles = list(troubles)

    def __call__(self, event: Update, *, attempt: int) -> None:
        self.seen.append(event.update_id)
        self.attempts.append(attempt)
        if self._troubles:
            raise self._troubles.pop(0)


async def test_an_update_is_handled_once_however_often_it_comes(office: Office) -> None:
    handler = Handler()
    desk = office.desk(handler)
    for _ in range(3):
        await desk.handle(update(7))
    await desk.handle(update(8))
    assert handler.seen == [7, 8]


async def test_what_failed_is_brought_again_and_forgiven_when_it_goes_through(office: Office) -> None:
    handler = Handler(KeyError("a bug"))
    desk = office.desk(handler)
    with pytest.raises(NotHandledError):
        await desk.handle(update())
    assert (await row(office.shop.db, "SELECT attempts FROM failed_updates"))["attempts"] == 1
    await desk.handle(update())
    assert handler.attempts == [1, 2]
    assert await rows(office.shop.db, "SELECT * FROM failed_updates") == []


async def test_after_five_failures_it_is_put_aside_and_both_sides_are_told(office: Office) -> None:
    office.person(1)
    secret = office.shop.settings.bot_token.get_secret_value()
    desk = office.desk(Handler(*[RuntimeError(f"a bug near {secret}")] * 6))
    for _ in range(4):
        with pytest.raises(NotHandledError):
            await desk.handle(update())
    await desk.handle(update())
    await desk.handle(update())

    dead = await row(office.shop.db, "SELECT * FROM failed_updates")
    assert dead["dead_at"] is not None
    assert (dead["attempts"], dead["payload"]) == (5, update())
    assert secret not in dead["last_error"]
    assert await keys(office.shop.db) == ["dead-update:7:900"]
    (apology,) = office.world.messages(1)
    assert "пошло не так" in apology.body["text"]


async def test_an_outage_of_the_database_costs_an_update_nothing(office: Office) -> None:
    desk = office.desk(Handler(*[DatabaseUnavailable("away")] * 7))
    for _ in range(7):
        with pytest.raises(DatabaseUnavailable):
            await desk.handle(update())
    await desk.handle(update())
    assert await rows(office.shop.db, "SELECT * FROM failed_updates") == []


@pytest.mark.parametrize(
    "odd",
    [
        {"update_id": 7, "message": {"message_id": "not a number"}},
        {"update_id": 7, "message": "not an object"},
        {"update_id": 7, "my_chat_member": update()["message"]},
        update(text="a\x00b \ud800", date="soon"),
    ],
)
async def test_what_cannot_be_read_is_put_aside_at_once(office: Office, odd: dict[str, Any]) -> None:
    handler = Handler()
    desk = office.desk(handler)
    await desk.handle(odd)
    await desk.handle(odd)
    dead = await row(office.shop.db, "SELECT * FROM failed_updates")
    assert (dead["update_id"], dead["attempts"]) == (7, 1)
    assert dead["dead_at"] is not None
    assert await keys(office.shop.db) == ["dead-update:7:900"]
    assert handler.seen == []


@pytest.mark.parametrize("nothing", [{}, {"update_id": None}, {"update_id": "7"}])
async def test_what_has_no_number_is_no_update(office: Office, nothing: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="update_id"):
        await office.desk(Handler()).handle(nothing)


async def test_a_kind_of_update_that_is_new_to_us_is_simply_done(office: Office) -> None:
    await office.desk(Handler()).handle({"update_id": 7, "a_kind_from_next_year": {"id": 1}})
    assert await rows(office.shop.db, "SELECT * FROM failed_updates") == []


async def test_whoever_blocked_us_in_between_is_only_remembered(office: Office) -> None:
    await customer(office.shop.db, 1)
    blocked = TelegramForbiddenError(WRITE, "Forbidden: bot was blocked by the user")
    desk = office.desk(Handler(blocked))
    await desk.handle(update(person=1))
    assert await rows(office.shop.db, "SELECT * FROM failed_updates") == []
    person = await row(office.shop.db, "SELECT reachable FROM users WHERE telegram_id = 1")
    assert person["reachable"] is False


async def test_an_answer_that_telegram_postpones_is_not_tried_over_and_over(office: Office) -> None:
    handler = Handler(TelegramRetryAfter(WRITE, "Too Many Requests: retry after 10072", 10_072))
    desk = office.desk(handler)
    await desk.handle(update())
    await desk.handle(update())
    assert handler.seen == [7]
    assert await rows(office.shop.db, "SELECT * FROM failed_updates") == []


async def test_an_apology_that_cannot_be_delivered_stops_nothing(office: Office) -> None:
    desk = office.desk(Handler(*[RuntimeError("a bug")] * 5))
    for _ in range(4):
        with pytest.raises(NotHandledError):
            await desk.handle(update(person=12345))
    await desk.handle(update(person=12345))
    assert len(await rows(office.shop.db, "SELECT * FROM failed_updates WHERE dead_at IS NOT NULL")) == 1
