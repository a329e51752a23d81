"""A person may act in short bursts; what is faster is dropped in the open, and it is nobody else's trouble."""

import asyncio
from typing import Any

from aiogram.types import Update

from bot.middlewares import Throttle
from sandbox.world import Press
from services.users import Person
from tests.bot.conftest import Office


class Door:
    """A throttle with a counter behind it."""

    def __init__(self, office: Office, throttle: Throttle) -> None:
        self.office, self.throttle, self.passed = office, throttle, 0
        self._numbers = iter(range(1, 1000))

    async def _come(self, person: int, **event: Any) -> None:
        user = {"id": person, "is_bot": False, "first_name": "Ann"}
        for body in event.values():
            body["from"] = user
        raw = {"update_id": next(self._numbers), **event}
        update = Update.model_validate(raw, context={"bot": self.office.bot})
        data = {"person": Person(person), "shop": self.office.shop, "bot": self.office.bot}
        await self.throttle(self._pass, update, data)

    async def _pass(self, event: object, data: dict[str, Any]) -> None:
        self.passed += 1

    async def say(self, person: int = 1) -> None:
        chat = {"id": person, "type": "private"}
        await self._come(person, message={"message_id": 1, "chat": chat, "date": 0, "text": "hello"})

    async def press(self, query: str, person: int = 1) -> None:
        self.office.world.presses[query] = Press(query, person, asyncio.get_running_loop().time() + 10**10)
        await self._come(person, callback_query={"id": query, "chat_instance": "1", "data": "plans"})


async def test_a_burst_passes_and_what_is_faster_is_told_once(office: Office) -> None:
    office.person(1)
    door = Door(office, Throttle(burst=3, a_second=0.001))
    for _ in range(8):
        await door.say()
    assert door.passed == 3
    assert [one.body["text"] for one in office.world.messages(1)] == [
        "One moment, please: that was very quick."
    ]


async def test_every_press_is_answered_also_the_dropped_ones(office: Office) -> None:
    door = Door(office, Throttle(burst=1, a_second=0.001))
    for query in ("1", "2", "3"):
        await door.press(query)
    assert door.passed == 1
    answers = [office.world.presses[query].text for query in ("2", "3")]
    assert answers == ["One moment, please: that was very quick."] * 2


async def test_a_quick_person_slows_down_nobody_else(office: Office) -> None:
    office.person(1)
    door = Door(office, Throttle(burst=2, a_second=0.001))
    for _ in range(5):
        await door.say(1)
    await door.say(2)
    assert door.passed == 3


async def test_whoever_waits_a_moment_may_act_again_and_is_told_again_next_time(office: Office) -> None:
    office.person(1)
    door = Door(office, Throttle(burst=1, a_second=10))
    for _ in range(2):
        for _ in range(3):
            await door.say()
        await asyncio.sleep(0.25)
    assert door.passed == 2
    assert len(office.world.messages(1)) == 2


async def test_an_answer_that_fails_lets_nothing_through(office: Office) -> None:
    door = Door(office, Throttle(burst=1, a_second=0.001))
    for _ in range(3):
        await door.say(404)
    assert door.passed == 1
