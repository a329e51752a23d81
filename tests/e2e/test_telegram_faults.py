"""Telegram as it really is: it refuses, hangs, forgets and repeats itself; people are served all the same."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import URL

from sandbox import people
from sandbox.faults import Fault
from sandbox.telegram_methods import METHODS
from sandbox.world import Message, Person
from tests.conftest import TEMPLATE, administer
from tests.e2e.stage import ADMIN, Bot, Customer, Stage, stage, until

ESSENTIAL = {"getme", "getupdates", "sendmessage", "editmessagetext"}
UNPARSED = 'Bad Request: can\'t parse entities: Unsupported start tag "x" at byte offset 0'


def text(message: Message) -> str:
    return str(message.body["text"])


def trouble(customer: Customer, kind: str, method: str = "sendMessage", **options: Any) -> Fault:
    """Plan trouble for what the bot writes to this one person."""
    return customer.stage.world.faults.add("telegram", kind, method=method, chat_id=customer.id, **options)


async def paid(customer: Customer, kind: str, method: str = "sendMessage", **options: Any) -> Fault:
    """Let a customer order, then pay while Telegram is in trouble with them."""
    invoice = await customer.order()
    await settled(customer)
    fault = trouble(customer, kind, method, **options)
    await customer.pay(invoice)
    return fault


async def settled(customer: Customer) -> None:
    """Wait until nothing more is to be sent to this person."""
    await until(lambda: _nothing_due(customer), what="an empty outbox")


async def _nothing_due(customer: Customer) -> bool:
    return not await customer.stage.rows(
        "SELECT 1 FROM notifications WHERE user_id = :id AND state = 'due'", id=customer.id
    )


async def outbox(customer: Customer, kind: str = "receipt") -> dict[str, Any]:
    """Read the newest notification of a kind, as stored."""
    found = await customer.stage.rows(
        "SELECT * FROM notifications WHERE user_id = :id AND kind = :kind ORDER BY id DESC LIMIT 1",
        id=customer.id,
        kind=kind,
    )
    return found[0] if found else {}


@pytest.fixture(autouse=True)
def _no_trouble_is_left_behind(shared: Stage) -> Any:
    yield
    shared.world.faults.clear()


@pytest.fixture
def bob(shared: Stage, ann: Customer) -> Customer:
    return shared.person(ann.id + 7_000_000, name="Bob")


async def test_a_pause_that_telegram_asks_for_costs_no_try_and_nobody_else_waits(
    ann: Customer, bob: Customer
) -> None:
    bobs = await bob.order()
    await paid(ann, "too_many_requests", retry_after=1)
    await bob.pay(bobs)
    await bob.read("subscription is active until", within=3)
    await ann.read("subscription is active until")
    receipt = await outbox(ann)
    assert (receipt["state"], receipt["attempts"]) == ("sent", 0)
    assert len(ann.receipts()) == 1


async def test_a_pause_of_hours_parks_one_chat_only(shared: Stage, ann: Customer, bob: Customer) -> None:
    bobs = await bob.order()
    await paid(ann, "too_many_requests", retry_after=10_072)
    await bob.pay(bobs)
    await bob.read("subscription is active until")

    async def parked() -> bool:
        return "10072" in ((await outbox(ann)).get("last_error") or "")

    await until(parked, what="the chat to be parked")
    receipt = await outbox(ann)
    assert (receipt["state"], receipt["attempts"]) == ("due", 0)
    (chat,) = await shared.rows(
        "SELECT extract(epoch FROM parked_until - now())::int AS seconds FROM users WHERE telegram_id = :id",
        id=ann.id,
    )
    assert 10_000 < chat["seconds"] <= 10_072
    assert len(await ann.ledger()) == 1


async def test_a_pause_without_a_length_is_a_pause(ann: Customer, bob: Customer) -> None:
    bobs = await bob.order()
    await paid(ann, "too_many_requests", parameters=False, times=2)
    await bob.pay(bobs)
    await bob.read("subscription is active until", within=3)
    await ann.read("subscription is active until")
    assert len(ann.receipts()) == 1


@pytest.mark.parametrize(
    ("kind", "description"),
    [
        ("forbidden", "Forbidden: bot was blocked by the user"),
        ("forbidden", "Forbidden: user is deactivated"),
        ("forbidden", "Forbidden: bot can't initiate conversation with a user"),
        ("bad_request", "Bad Request: chat not found"),
    ],
)
async def test_whoever_cannot_be_reached_has_what_they_paid_for_and_hears_of_it_later(
    shared: Stage, ann: Customer, kind: str, description: str
) -> None:
    fault = await paid(ann, kind, "*", times=None, description=description)

    async def undeliverable() -> bool:
        return (await outbox(ann)).get("state") == "undeliverable"

    await until(undeliverable, what="the receipt to be undeliverable")
    assert len(await ann.ledger()) == 1
    (person,) = await shared.rows("SELECT reachable FROM users WHERE telegram_id = :id", id=ann.id)
    assert not person["reachable"]
    shared.world.faults.clear(fault.id)
    ann.say("/start")
    await ann.read("subscription is active until")
    await settled(ann)
    assert len(ann.receipts()) == 1


async def test_a_receipt_waits_for_whoever_unblocks_the_bot(shared: Stage, ann: Customer) -> None:
    invoice = await ann.order()
    people.set_blocked(shared.world, ann.id, True)
    await ann.pay(invoice)

    async def undeliverable() -> bool:
        return (await outbox(ann)).get("state") == "undeliverable"

    await until(undeliverable, what="the receipt to be undeliverable")
    people.set_blocked(shared.world, ann.id, False)
    await ann.read("subscription is active until")
    await ann.read("Paid. Thank you!")
    assert len(ann.receipts()) == 1


async def test_a_text_that_telegram_cannot_read_is_said_plainly(ann: Customer) -> None:
    await paid(ann, "bad_request", description=UNPARSED)
    receipt = await ann.read("subscription is active until")
    assert "<" not in text(receipt)
    assert not [one for one in receipt.body.get("entities", ()) if one["type"] in {"bold", "code"}]


@pytest.mark.parametrize("method", ["sendMessage", "editMessageText"])
async def test_an_answer_that_telegram_cannot_read_is_said_plainly_too(ann: Customer, method: str) -> None:
    ann.say("/start")
    await ann.read("Hello")
    trouble(ann, "bad_request", method, description=UNPARSED)
    ann.say("/plans")
    shown = await ann.read("Tiers")
    if method == "editMessageText":
        await ann.press("tier:pro")
        shown = await ann.read("For how long?")
    assert "<" not in text(shown)
    assert "entities" not in shown.body


async def test_an_order_that_says_already_what_it_should_is_done(ann: Customer) -> None:
    await paid(
        ann, "bad_request", "editMessageText", description="Bad Request: message is not modified: same"
    )
    await ann.read("subscription is active until")
    await settled(ann)
    assert (await outbox(ann, "order"))["state"] == "sent"
    assert len(ann.messages) == 2


@pytest.mark.parametrize("how", ["deleted", "message to edit not found", "message can't be edited"])
async def test_an_order_whose_message_is_gone_gets_a_new_one(shared: Stage, ann: Customer, how: str) -> None:
    invoice = await ann.order()
    await settled(ann)
    order = ann.messages[-1]
    if how == "deleted":
        order.deleted = True
    else:
        trouble(ann, "bad_request", "editMessageText", description=f"Bad Request: {how}")
    await ann.pay(invoice)
    again = await ann.read("Paid. Thank you!")
    assert again.body["message_id"] != order.body["message_id"]
    await ann.read("subscription is active until")
    await settled(ann)
    assert (await ann.payment(invoice))["message_id"] == again.body["message_id"]
    assert len(ann.receipts()) == 1


@pytest.mark.parametrize("kind", ["server_error", "bad_gateway", "empty", "close"])
async def test_a_bad_answer_is_only_a_delay(ann: Customer, kind: str) -> None:
    await paid(ann, kind, "*")
    await ann.read("subscription is active until")
    await ann.read("Paid. Thank you!")
    await settled(ann)
    assert len(ann.receipts()) == 1


@pytest.mark.parametrize("kind", ["deliver_then_hang", "deliver_then_close"])
async def test_an_answer_that_gets_lost_may_cost_one_copy_that_says_the_same(
    ann: Customer, kind: str
) -> None:
    await paid(ann, kind)
    await ann.read("subscription is active until")
    await settled(ann)
    assert 1 <= len(ann.receipts()) <= 2
    assert len(set(ann.receipts())) == 1
    assert len(await ann.ledger()) == 1


@pytest.mark.parametrize("kind", ["bad_request", "server_error"])
async def test_a_receipt_does_not_wait_for_an_order_message_that_fails_for_ever(
    ann: Customer, kind: str
) -> None:
    await paid(ann, kind, "editMessageText", times=None, description="Bad Request: BUTTON_DATA_INVALID")
    await ann.read("subscription is active until", within=5)
    assert (await outbox(ann, "order"))["state"] == "due"


async def test_an_update_that_comes_twice_is_answered_once(shared: Stage, ann: Customer) -> None:
    person = shared.world.people[ann.id]
    person.started = True
    body = {"message_id": 1, "from": person.as_user(), "chat": person.as_chat(), "date": 0, "text": "/status"}
    number = people.inject(shared.world, {"message": body})
    await ann.read("Your tier")
    people.inject(shared.world, {"update_id": number, "message": body})
    ann.say("/help")
    await ann.read("How it works")
    assert len(ann.messages) == 2


async def test_an_update_that_cannot_be_read_stops_nobody_and_is_put_aside(
    shared: Stage, ann: Customer
) -> None:
    ann.say("/status")
    number = people.inject(
        shared.world, {"message": {"message_id": "?", "from": {"id": ann.id}, "text": "a\0b"}}
    )
    ann.say("/help")
    await ann.read("How it works")
    (dead,) = await shared.rows("SELECT * FROM failed_updates WHERE update_id = :id", id=number)
    assert dead["dead_at"] is not None
    await Customer(shared, ADMIN).read(f"failed_updates {number}")


async def test_an_update_that_keeps_failing_is_put_aside_and_its_person_served_on(
    shared: Stage, ann: Customer, bob: Customer
) -> None:
    ann.say("/start")
    await ann.read("Hello")
    trouble(ann, "server_error", times=5)
    ann.say("/status")
    ann.say("/terms")
    bob.say("/start")
    await bob.read("Hello, Bob!", within=5)
    await ann.read("Terms in short", within=30)
    answers = ann.texts()[1:]
    assert len(answers) == 2
    assert answers[0].startswith("Something went wrong on our side.")
    (dead,) = await shared.rows(
        "SELECT * FROM failed_updates WHERE payload #>> '{message,from,id}' = :id", id=str(ann.id)
    )
    assert dead["dead_at"] is not None
    assert dead["attempts"] == 5
    await Customer(shared, ADMIN).read(f"failed_updates {dead['update_id']}")


async def test_a_slow_person_holds_back_nobody(ann: Customer, bob: Customer) -> None:
    trouble(ann, "delay", seconds=3)
    ann.say("/start")
    ann.say("/help")
    bob.say("/start")
    await bob.read("Hello, Bob!", within=2)
    assert ann.messages == []
    await ann.read("How it works")
    assert "Hello" in ann.texts()[0]


async def test_a_press_that_is_too_old_to_be_answered_is_carried_out(shared: Stage, ann: Customer) -> None:
    ann.say("/start")
    shown = await ann.read("Hello")
    press = ann.forge("tier:pro", shown)
    shared.world.presses[press].at -= 60
    await ann.read("For how long?")
    assert not shared.world.presses[press].answered


@pytest.mark.parametrize("kind", ["bad_gateway", "not_found", "deliver_then_hang"])
async def test_a_press_that_cannot_be_answered_is_carried_out(
    shared: Stage, ann: Customer, kind: str
) -> None:
    ann.say("/start")
    await ann.press("tier:pro")
    await ann.press("period:pro:month")
    await ann.read("Active until")
    shared.world.faults.add("telegram", kind, method="answerCallbackQuery", times=None)
    await ann.press("pay:pro:month")
    await ann.invoice()


async def test_groups_channels_and_bots_are_neither_answered_nor_remembered(
    shared: Stage, ann: Customer
) -> None:
    ann.say("/start")
    await ann.read("Hello")
    group, supergroup, channel, robot, stranger = (
        -50_001,
        -50_002,
        -50_003,
        ann.id + 1_000_000,
        ann.id + 2_000_000,
    )
    for chat in (group, supergroup, channel):
        shared.world.groups[chat] = "A group"
    shared.world.add_person(Person(robot, "Robot", started=True))
    user = {"id": stranger, "is_bot": False, "first_name": "Stranger"}
    anonymous = {"id": 1087968824, "is_bot": True, "first_name": "Group", "username": "GroupAnonymousBot"}
    chats = {
        "group": {"id": group, "type": "group", "title": "A group"},
        "supergroup": {"id": supergroup, "type": "supergroup", "title": "A group"},
        "channel": {"id": channel, "type": "channel", "title": "A channel"},
    }

    def message(
        chat: dict[str, Any], sender: dict[str, Any] | None, words: str, **more: Any
    ) -> dict[str, Any]:
        said = {"message_id": 1, "chat": chat, "date": 0, "text": words} | more
        return said | ({"from": sender} if sender else {})

    for words in ("/start", "/revenue", "hello"):
        people.inject(shared.world, {"message": message(chats["group"], user, words)})
        people.inject(
            shared.world,
            {"message": message(chats["supergroup"], anonymous, words, sender_chat=chats["supergroup"])},
        )
        people.inject(shared.world, {"channel_post": message(chats["channel"], None, words)})
        bot = {"id": robot, "is_bot": True, "first_name": "Robot"}
        people.inject(shared.world, {"message": message({"id": robot, "type": "private"}, bot, words)})
    member = {"user": shared.world.bot_user(), "status": "member"}
    left = {"user": shared.world.bot_user(), "status": "left"}
    change = {"from": user, "date": 0, "old_chat_member": left, "new_chat_member": member}
    people.inject(shared.world, {"my_chat_member": change | {"chat": chats["group"]}})
    press = people.press(shared.world, group, 1, "plans", person_id=ann.id, forged=True)
    assert await ann.toast(press) == "Please write to me in a private chat."
    ann.say("/help")
    await ann.read("How it works")
    await until(lambda: not shared.world.updates.waiting)
    strangers = [group, supergroup, channel, robot, stranger, anonymous["id"]]
    assert await shared.rows("SELECT * FROM users WHERE telegram_id = ANY(:ids)", ids=strangers) == []
    assert not [one for one in shared.world.bot_calls if one["chat_id"] in strangers]


MISTYPED = 123_456_789_012


@pytest_asyncio.fixture(scope="module")
async def bare(template: URL, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Stage, Bot]]:
    """A shop whose Telegram knows only the essential methods, and whose merchant has mistyped an id."""
    await administer(template, f"CREATE DATABASE bare TEMPLATE {TEMPLATE}")
    async with stage(
        template.set(database="bare"),
        tmp_path_factory.mktemp("bare"),
        ADMIN_IDS=f"{MISTYPED},{ADMIN}",
        SUPPORT_CONTACT="@ann_and_<bob>",
        TERMS_URL="https://shop.example/terms?a=1&b=2",
    ) as play:
        merchant = play.person(ADMIN, name="Merchant")
        play.world.people[ADMIN].started = True
        # A proxy's page instead of an answer, then nothing but 404 for what is not essential.
        play.world.faults.add("telegram", "bad_gateway", method="setMyCommands", times=2)
        play.world.faults.add("telegram", "empty", method="setMyDescription", times=1)
        for method in METHODS.keys() - ESSENTIAL:
            play.world.faults.add("telegram", "not_found", method=method, times=None)
        bot = await play.open()
        merchant.say("/start")
        yield play, bot


async def test_a_purchase_needs_four_methods_and_one_right_admin(bare: tuple[Stage, Bot]) -> None:
    play, _ = bare
    ann = play.person(20_001)
    invoice = await ann.order()
    await ann.pay(invoice)
    await ann.read("subscription is active until")
    await ann.read("Paid. Thank you!")
    number = (await ann.payment(invoice))["id"].hex[:10].upper()
    await Customer(play, ADMIN).read(number)

    async def given_up() -> bool:
        return bool(
            await play.rows(
                "SELECT 1 FROM notifications WHERE user_id = :id AND state = 'undeliverable'", id=MISTYPED
            )
        )

    await until(given_up, what="the message to the mistyped id to be given up")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("/support", "Write to us: @ann_and_<bob>"),
        ("/paysupport", "write to @ann_and_<bob> and name the number of the order"),
        ("/terms", "Our terms: https://shop.example/terms?a=1&b=2"),
    ],
)
async def test_contact_and_terms_are_those_of_the_merchant(
    bare: tuple[Stage, Bot], command: str, words: str
) -> None:
    ann = bare[0].person(20_002)
    ann.say(command)
    await ann.read(words)


async def test_a_language_can_be_chosen_although_the_menu_cannot_be_shown(bare: tuple[Stage, Bot]) -> None:
    ann = bare[0].person(20_003)
    ann.say("/language")
    await ann.press("language:ru")
    await ann.read("Теперь мы говорим по-русски.")
    ann.say("/plans")
    await ann.read("Какой тариф вам подходит?")


async def test_a_revoked_token_pauses_everything_and_mends_itself(bare: tuple[Stage, Bot]) -> None:
    play, bot = bare
    ann = play.person(20_004)
    invoice = await ann.order()
    await settled(ann)
    revoked = play.world.faults.add("telegram", "unauthorized", times=None)
    ann.say("/help")
    await ann.pay(invoice)

    async def health() -> tuple[int, str]:
        async with play.sandbox.client.get(bot.url + "/health/ready") as answer:
            return answer.status, (await answer.json())["telegram"]

    async def refused() -> bool:
        return await health() == (503, "the bot token is refused")

    async def held_back() -> bool:
        return "refused" in ((await outbox(ann)).get("last_error") or "")

    await until(refused, what="503")
    await until(held_back, what="the receipt to be held back")
    await asyncio.sleep(2)
    receipt = await outbox(ann)
    assert (receipt["state"], receipt["attempts"]) == ("due", 0)
    assert len(await ann.ledger()) == 1
    assert bot.process.returncode is None

    play.world.faults.clear(revoked.id)
    await ann.read("subscription is active until")
    await ann.read("How it works")
    await play.ready(bot)
    assert len(ann.receipts()) == 1
