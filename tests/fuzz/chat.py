"""Updates of Telegram, captured from real conversations and then mutated, through the real desk and the real loop."""

import asyncio
import contextlib
import copy
import json
from collections.abc import Iterator
from random import Random
from typing import Any

from bot.update_desk import NotAnUpdateError, NotHandledError
from sandbox import people
from services.updates import MOST_TRIES
from tests.fuzz.bodies import ODD
from tests.fuzz.shopfront import BUYERS, CROWD, Shopfront
from tests.fuzz.tally import Tally
from tests.shop import rows

Json = dict[str, Any]

AT_ONCE = 16
LONGEST_TURN = 45.0
UNREADABLE = {"ValidationError", "ValueError", "RecursionError", "UnicodeEncodeError"}
TEXTS = [
    "/start",
    "/start tier_pro",
    "/start tier_free",
    "/start tier_'; DROP TABLE users; --",
    "/start " + "A" * 4_000,
    "/plans",
    "/status",
    "/history",
    "/help",
    "/support",
    "/paysupport",
    "/terms",
    "/language",
    "/revenue",
    "/revenue@another_bot",
    "/grant 1 pro month",
    "hello",
    "<b>unclosed",
    "=cmd|' /C calc'!A0",
]
PRESSES = [
    "plans",
    "tier:pro",
    "tier:free",
    "tier:",
    "tier:<b>",
    "tier:a\nb",
    "period:pro:month",
    "period:pro:never",
    "period:pro",
    "pay:pro:month",
    "pay:business:year",
    "pay:pro:month:0.01",
    "pay:free:month",
    "check:{own}",
    "check:{other}",
    "check:00000000000000000000000000000000",
    "check:not-a-payment",
    "cancel:{other}",
    "cancel:{own}",
    "history:o:{other}",
    "history:n:{own}",
    "history:x:{own}",
    "language:ru",
    "language:xx",
    "language:{{7*7}}",
    "\0",
    "🏴" * 16,
]


class Script:
    """Updates as Telegram would send them, each with a person of its own."""

    def __init__(self, front: Shopfront, seeded: int) -> None:
        self.front, self.chance = front, Random(seeded)
        self._people = self._in_turn()
        self._ids = iter(range(500_000_000, 2_000_000_000, 7))  # apart, for what becomes one more
        self.captured = self._capture()

    def _in_turn(self) -> Iterator[int]:
        while True:
            yield from CROWD

    def _capture(self) -> list[Json]:
        """Let people write and press, and take from the queue what Telegram would have sent."""
        world = self.front.world
        captured: list[Json] = []

        def queue() -> None:
            captured.extend(copy.deepcopy(one.body) for one in world.updates.waiting.values())
            world.updates.clear()

        def act() -> None:
            for text in TEXTS:
                people.say(world, BUYERS[0], text)
            shown = people.say(world, BUYERS[0], "a message of ours")
            for data in PRESSES:
                data = data.replace("{own}", self.front.payments[0].hex)
                people.press(
                    world,
                    BUYERS[0],
                    shown,
                    data.replace("{other}", self.front.payments[1].hex),
                    forged=True,
                )
            people.set_blocked(world, BUYERS[0], True)
            people.set_blocked(world, BUYERS[0], False)
            queue()

        async def acting() -> None:
            act()

        self.front.call(acting())
        return captured

    def good(self, text: str = "/help") -> tuple[Json, int]:
        """An honest message, and who wrote it."""
        person = next(self._people)
        base = next(one for one in self.captured if one.get("message", {}).get("text") == text)
        return self._given_to(copy.deepcopy(base), person), person

    def mutated(self, *, numbered: bool = False) -> str:
        """One update as JSON, odd in up to four places; `numbered` leaves its number alone."""
        chance = self.chance
        update = copy.deepcopy(chance.choice(self.captured))
        if chance.random() < 0.95:
            update = self._given_to(update, next(self._people))
        else:
            update["update_id"] = next(self._ids)
        for _ in range(chance.choice([0, 1, 1, 1, 2, 3, 4])):
            self._mutate(update)
        if numbered:
            update["update_id"] = next(self._ids)
        return json.dumps(update).replace(
            f'"{_DEEP}"', chance.choice(["[" * 900 + "]" * 900, '{"a":' * 900 + "1" + "}" * 900])
        )

    def _given_to(self, update: Json, person: int) -> Json:
        """Let another person have done it, under a number of its own."""
        update["update_id"] = next(self._ids)
        return json.loads(json.dumps(update).replace(f'"id": {BUYERS[0]},', f'"id": {person},'))  # type: ignore[no-any-return] # an object stays one

    def _mutate(self, update: Json) -> None:
        chance = self.chance
        places = list(_places(update))
        if chance.random() < 0.5:  # in words, which the handlers get to see
            places = [(holder, name) for holder, name in places if isinstance(holder[name], str)]
        if not places:
            return
        holder, name = chance.choice(places)
        if isinstance(holder[name], str) and chance.random() < 0.7:
            holder[name] = self._twisted(holder[name])
            return
        match chance.randrange(6):
            case 0:
                del holder[name]
            case 1 | 2:
                holder[name] = copy.deepcopy(chance.choice(ODD))
            case 3:
                other, there = chance.choice(list(_places(chance.choice(self.captured))))
                holder[name] = copy.deepcopy(other[there])
            case 4:
                holder[name] = self._twisted(holder[name])
            case _:
                if isinstance(holder, dict):
                    holder[chance.choice(_KEYS)] = copy.deepcopy(chance.choice([*ODD, _DEEP, update]))

    def _twisted(self, value: Any) -> Any:
        chance = self.chance
        match value:
            case bool():
                return not value
            case int():
                return chance.choice([-value, value + 1, value * 2**40, float(value), str(value)])
            case str():
                place = chance.randrange(len(value) + 1)
                inner = chance.choice([one for one in ODD if isinstance(one, str)])
                return chance.choice(
                    [value[:place], value[place:], value[:place] + inner + value[place:], value * 9]
                )
            case list():
                return [*value, *value]
            case dict():
                return [value] if chance.random() < 0.5 else _nested(value, chance.choice([1, 3, 30]))
            case _:
                return {}


_DEEP = "as deep as a parser goes"
_KEYS = [
    "text",
    "data",
    "from",
    "chat",
    "message",
    "edited_message",
    "callback_query",
    "my_chat_member",
    "inline_query",
    "pre_checkout_query",
    "successful_payment",
    "entities",
    "date",
    "sender_chat",
    "forward_origin",
    "reply_to_message",
    "via_bot",
    "update_id",
    "a_field_from_next_year",
]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in inner:
        yield value, name
        yield from _places(one)


def _nested(value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = {"reply_to_message": value}
    return value


def fuzz_updates(front: Shopfront, wanted: int, seeded: int) -> list[Tally]:
    """Bring mutated updates to the desk as Telegram would, again and again; a few through the loop that fetches."""
    script = Script(front, seeded)
    desk, loop = Tally("updates to the desk"), Tally("updates through the loop")
    fetched = min(wanted // 10, 300)
    while desk.tried < wanted - fetched:
        batch = [script.mutated() for _ in range(min(AT_ONCE, wanted - fetched - desk.tried))]
        front.call(_bring(front, desk, batch))
        good, person = script.good()
        front.call(_expect_answer(front, desk, good, person))
    front.call(_fetch(front, loop, script, fetched), within=LONGEST_TURN * (2 + fetched / 50))
    return [desk, loop, front.call(_put_aside(front))]


async def _bring(front: Shopfront, tally: Tally, batch: list[str]) -> None:
    async def bring(update: str) -> None:
        try:
            outcome = await _brought(front, update)
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            outcome = "escaped"
            tally.find(f"{type(error).__name__} {str(error)[:200]} for {update[:600]}")
        if outcome == "given back":
            tally.find(f"after {MOST_TRIES} tries still not put aside: {update[:600]}")
        tally.count(outcome)

    await asyncio.gather(*map(bring, batch))


async def _brought(front: Shopfront, update: str) -> str:
    for tries in range(1, MOST_TRIES + 1):
        try:
            await front.desk.handle(json.loads(update))
        except NotHandledError:
            continue
        except NotAnUpdateError:
            return "no update"
        return "done" if tries == 1 else f"done at try {tries}"
    return "given back"


async def _expect_answer(front: Shopfront, tally: Tally, good: Json, person: int) -> None:
    before = len(front.world.messages(person))
    await front.desk.handle(good)
    if len(front.world.messages(person)) != before + 1:
        tally.find(f"an honest message was not answered after {tally.tried}: {_told(good)}")


async def _fetch(front: Shopfront, tally: Tally, script: Script, wanted: int) -> None:
    """Let our own polling fetch odd updates, and see it reach the honest one behind them."""
    stopping = asyncio.Event()
    polling = asyncio.create_task(front.polling.run(stopping))
    queue = front.world.updates
    try:
        while tally.tried < wanted:
            for _ in range(min(50, wanted - tally.tried)):
                # The queue is Telegram's, whose numbers are always good.
                people.inject(front.world, json.loads(script.mutated(numbered=True)))
                tally.count("fetched")
            good, person = script.good()
            before = len(front.world.messages(person))
            people.inject(front.world, good)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_TURN):
                    while queue.waiting and not polling.done():  # noqa: ASYNC110 - it has no event for us
                        await asyncio.sleep(0.05)
            if queue.waiting or polling.done():
                tally.find(
                    f"the loop stands still before {[_told(one.body) for one in queue.waiting.values()][:1]}"
                )
                return
            if len(front.world.messages(person)) != before + 1:
                tally.find("an honest message behind odd ones was not answered")
    finally:
        stopping.set()
        await asyncio.wait({polling}, timeout=10)


async def _put_aside(front: Shopfront) -> Tally:
    """Count what was put aside by its reason; only what cannot be read may be there."""
    tally = Tally("put aside")
    for one in await rows(front.shop.db, "SELECT dead_at, last_error, payload FROM failed_updates"):
        reason = one["last_error"].partition(":")[0]
        tally.count(reason)
        if one["dead_at"] is None:
            tally.find(f"neither done nor dead: {one['last_error'][:200]}")
        elif reason not in UNREADABLE:
            tally.find(f"{one['last_error'][:300]} for {_told(one['payload'])}")
    return tally


def _told(update: Json) -> str:
    return json.dumps(update)[:600]
