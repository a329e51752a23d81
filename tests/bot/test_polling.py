"""Our own polling: an update is confirmed only when it was handled, and one person holds back nobody else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiogram.types import Update

from bot.polling import Polling
from sandbox import people
from services.errors import DatabaseUnavailable
from services.vitals import OK
from tests.bot.conftest import Office
from tests.shop import row, until


@asynccontextmanager
async def polling(
    office: Office, handle: Callable[..., Awaitable[None] | None]
) -> AsyncIterator[asyncio.Event]:
    """Fetch updates for as long as the block runs; the event ends it sooner."""
    stopping = asyncio.Event()
    loop = Polling(office.bot, office.desk(handle), office.shop.vitals)
    task = asyncio.create_task(loop.run(stopping))
    try:
        yield stopping
    finally:
        stopping.set()
        await task


def said(event: Update) -> str:
    return (event.message.text or "") if event.message is not None else ""


class Diary:
    """Writes down when each text was begun and done; a text waits while its gate is shut."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.done: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}

    async def __call__(self, event: Update, *, attempt: int) -> None:
        text = said(event)
        self.begun.append(text)
        if text in self.gates:
            await self.gates[text].wait()
        self.done.append(text)

    def shut(self, text: str) -> asyncio.Event:
        self.gates[text] = asyncio.Event()
        return self.gates[text]


async def test_one_persons_updates_go_in_order_and_a_slow_person_holds_back_nobody(office: Office) -> None:
    diary = Diary()
    gate = diary.shut("ann 1")
    for person in (1, 2):
        office.person(person)
    async with polling(office, diary):
        for text in ("ann 1", "ann 2"):
            people.say(office.world, 1, text)
        for text in ("bob 1", "bob 2", "bob 3"):
            people.say(office.world, 2, text)
        await until(lambda: "bob 3" in diary.done)
        assert diary.done == ["bob 1", "bob 2", "bob 3"]
        assert "ann 2" not in diary.begun
        gate.set()
        await until(lambda: "ann 2" in diary.done)
        assert diary.begun.count("ann 1") == 1


async def test_nothing_is_confirmed_before_it_was_handled(office: Office) -> None:
    diary = Diary()
    gate = diary.shut("slow")
    office.person(1)
    office.person(2)
    async with polling(office, diary):
        people.say(office.world, 1, "slow")
        people.say(office.world, 2, "quick")
        await until(lambda: "quick" in diary.done)
        await asyncio.sleep(0.7)
        assert len(office.world.updates.waiting) == 2
        gate.set()
        await until(lambda: not office.world.updates.waiting)


async def test_one_update_that_cannot_be_read_stops_no_other(office: Office) -> None:
    diary = Diary()
    office.person(1)
    async with polling(office, diary):
        people.say(office.world, 1, "before")
        people.inject(
            office.world, {"update_id": 99_000_001, "message": {"message_id": "?", "from": {"id": 1}}}
        )
        people.inject(office.world, {"something": "new"})
        people.say(office.world, 1, "after")
        await until(lambda: "after" in diary.done)
        await until(lambda: not office.world.updates.waiting)
    dead = await row(office.shop.db, "SELECT update_id, dead_at FROM failed_updates")
    assert dead["update_id"] == 99_000_001
    assert dead["dead_at"] is not None


async def test_ids_that_begin_anew_after_a_quiet_week_are_fetched(office: Office) -> None:
    diary = Diary()
    office.person(1)
    async with polling(office, diary):
        people.say(office.world, 1, "before")
        await until(lambda: "before" in diary.done and not office.world.updates.waiting)
        message = {"message_id": 9, "date": 1, "chat": {"id": 1, "type": "private"}, "text": "after"}
        sender = {"id": 1, "is_bot": False, "first_name": "Ann"}
        people.inject(office.world, {"update_id": 7, "message": message | {"from": sender}})
        await until(lambda: "after" in diary.done)


async def test_an_update_waits_for_the_database_and_is_not_lost(office: Office) -> None:
    tries: list[int] = []

    def handle(event: Update, *, attempt: int) -> None:
        tries.append(attempt)
        if attempt < 3:
            raise DatabaseUnavailable("away")

    office.person(1)
    async with polling(office, handle):
        people.say(office.world, 1, "hello")
        await until(lambda: tries == [1, 2, 3])
        await until(lambda: not office.world.updates.waiting)


async def test_what_is_under_way_at_the_end_is_finished_and_confirmed(office: Office) -> None:
    diary = Diary()
    gate = diary.shut("slow")
    office.person(1)
    async with polling(office, diary) as stopping:
        people.say(office.world, 1, "slow")
        await until(lambda: diary.begun)
        stopping.set()
        await asyncio.sleep(0.1)
        gate.set()
    assert diary.done == ["slow"]
    assert not office.world.updates.waiting


async def test_what_cannot_be_finished_at_the_end_is_given_back(office: Office) -> None:
    def handle(event: Update, *, attempt: int) -> None:
        if said(event) == "hello":
            raise DatabaseUnavailable("away")

    office.person(1)
    office.person(2)
    async with polling(office, handle) as stopping:
        people.say(office.world, 2, "done")
        await until(lambda: not office.world.updates.waiting)
        people.say(office.world, 1, "hello")
        await asyncio.sleep(0.3)
        stopping.set()
    assert len(office.world.updates.waiting) == 1


@pytest.mark.parametrize("kind", ["server_error", "bad_gateway", "empty", "close"])
async def test_a_bad_answer_only_delays(office: Office, kind: str) -> None:
    diary = Diary()
    office.person(1)
    office.world.faults.add("telegram", kind, method="getUpdates")
    async with polling(office, diary):
        await until(lambda: office.shop.vitals.telegram == "away")
        people.say(office.world, 1, "hello")
        await until(lambda: diary.done == ["hello"])
        await until(lambda: office.shop.vitals.telegram == OK)


async def test_telegram_asking_to_wait_is_waited_for(office: Office) -> None:
    diary = Diary()
    office.person(1)
    office.world.faults.add("telegram", "too_many_requests", method="getUpdates", retry_after=1)
    people.say(office.world, 1, "hello")
    async with polling(office, diary):
        await asyncio.sleep(0.5)
        assert len([one for one in office.world.bot_calls if one["method"] == "getUpdates"]) == 1
        await until(lambda: diary.done == ["hello"])


@pytest.mark.parametrize("kind", ["unauthorized", "not_found"])
async def test_a_refused_token_is_seen_in_the_vitals_and_ends_nothing(office: Office, kind: str) -> None:
    office.world.faults.add("telegram", kind, method="getUpdates")
    async with polling(office, Diary()):
        await until(lambda: "refused" in office.shop.vitals.telegram)


async def test_a_webhook_left_over_is_removed_and_what_waits_is_kept(office: Office) -> None:
    diary = Diary()
    office.person(1)
    people.say(office.world, 1, "hello")
    office.world.set_webhook("http://127.0.0.1:1/elsewhere", "", 40)
    async with polling(office, diary):
        await until(lambda: diary.done == ["hello"])
    assert office.world.webhook.url == ""


async def test_a_last_confirmation_that_fails_is_no_failure(office: Office) -> None:
    diary = Diary()
    office.person(1)
    async with polling(office, diary) as stopping:
        people.say(office.world, 1, "hello")
        await until(lambda: diary.done == ["hello"])
        office.world.faults.add("telegram", "bad_gateway", method="getUpdates", times=None)
        stopping.set()
