"""What stands around the handlers: a press is answered once, with the word that matters."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiogram.types import CallbackQuery, Update

from bot.answers import Press
from bot.middlewares import AnswerPresses, TellOutage
from sandbox import world
from services.errors import DatabaseUnavailable, ShopError, UnknownTier
from services.users import Person
from tests.bot.conftest import Office

Handler = Callable[[Press], Awaitable[None]]


async def press(office: Office, handler: Handler, *, attempt: int = 1) -> world.Press:
    """Press a button whose handler is this one; tells what the person saw, also where it ended in an error."""
    seen = office.world.presses["1"] = world.Press("1", 1, time.time())
    raw = {
        "update_id": 1,
        "callback_query": {
            "id": "1",
            "from": {"id": 1, "is_bot": False, "first_name": "Ann"},
            "chat_instance": "1",
            "data": "plans",
        },
    }
    update = Update.model_validate(raw, context={"bot": office.bot})
    data: dict[str, Any] = {
        "shop": office.shop,
        "bot": office.bot,
        "person": Person(1),
        "say": office.shop.texts.speak("en"),
        "attempt": attempt,
    }

    async def inner(query: CallbackQuery, data: dict[str, Any]) -> Any:
        return await AnswerPresses()(lambda pressed, _: handler(pressed), query, data)

    async def outer(event: Update, data: dict[str, Any]) -> Any:
        assert event.callback_query is not None
        return await inner(event.callback_query, data)

    try:
        await TellOutage()(outer, update, data)
    except (ShopError, KeyError) as error:
        seen.url = type(error).__name__  # what went on to the desk
    return seen


async def test_a_press_that_says_nothing_is_answered_all_the_same(office: Office) -> None:
    async def handler(pressed: Press) -> None:
        return None

    seen = await press(office, handler)
    assert (seen.answered, seen.text) == (True, "")


async def test_a_refusal_is_an_alert(office: Office) -> None:
    async def handler(pressed: Press) -> None:
        raise UnknownTier("gold is not on sale")

    seen = await press(office, handler)
    assert (seen.show_alert, seen.text) == (True, "This is not on sale any more. /plans shows what is.")


async def test_a_refusal_after_the_toast_is_a_message(office: Office) -> None:
    office.person(1)

    async def handler(pressed: Press) -> None:
        await pressed.toast("Looking…")
        raise UnknownTier("gold is not on sale")

    seen = await press(office, handler)
    assert (seen.show_alert, seen.text) == (False, "Looking…")
    (said,) = office.world.messages(1)
    assert said.body["text"].startswith("This is not on sale any more.")


@pytest.mark.parametrize(("attempt", "words"), [(1, "We'll be back in a moment."), (2, "")])
async def test_a_database_that_goes_away_meanwhile_is_told_once_and_the_press_comes_again(
    office: Office, attempt: int, words: str
) -> None:
    async def handler(pressed: Press) -> None:
        raise DatabaseUnavailable("away")

    seen = await press(office, handler, attempt=attempt)
    assert seen.url == "DatabaseUnavailable"
    assert seen.text.startswith(words)
    assert seen.answered == bool(words)


async def test_a_bug_leaves_no_press_unanswered_and_goes_on_to_the_desk(office: Office) -> None:
    async def handler(pressed: Press) -> None:
        raise KeyError("a bug")

    seen = await press(office, handler)
    assert (seen.answered, seen.text, seen.url) == (True, "", "KeyError")
