"""How updates reach the bot: by polling and by webhook."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sandbox import people
from sandbox.app import Sandbox
from tests.sandbox.conftest import ALICE, BORIS, BotApi, Control, eventually


async def test_updates_come_again_until_an_offset_confirms_them(sandbox: Sandbox, bot_api: BotApi) -> None:
    people.say(sandbox.world, ALICE, "one")
    people.say(sandbox.world, BORIS, "two")
    first = (await bot_api("getUpdates"))["result"]
    assert [one["message"]["text"] for one in first] == ["one", "two"]
    assert first[1]["update_id"] == first[0]["update_id"] + 1
    assert (await bot_api("getUpdates"))["result"] == first
    assert (await bot_api("getUpdates", limit=1))["result"] == first[:1]
    assert (await bot_api("getUpdates", offset=first[1]["update_id"]))["result"] == first[1:]
    assert (await bot_api("getUpdates", offset=first[1]["update_id"] + 1))["result"] == []


async def test_a_negative_offset_keeps_only_the_last_updates(sandbox: Sandbox, bot_api: BotApi) -> None:
    for text in ("one", "two", "three"):
        people.say(sandbox.world, ALICE, text)
    kept = (await bot_api("getUpdates", offset=-1))["result"]
    assert [one["message"]["text"] for one in kept] == ["three"]
    assert (await bot_api("getUpdates"))["result"] == kept


async def test_a_long_poll_is_woken_by_a_message(sandbox: Sandbox, bot_api: BotApi) -> None:
    poll = asyncio.create_task(bot_api("getUpdates", timeout=30))
    await eventually(lambda: sandbox.world.updates.polls)
    people.say(sandbox.world, ALICE, "/start tier_pro")
    (update,) = (await asyncio.wait_for(poll, 5))["result"]
    assert update["message"]["entities"] == [{"type": "bot_command", "offset": 0, "length": 6}]


async def test_the_older_of_two_polls_ends_in_a_conflict(sandbox: Sandbox, bot_api: BotApi) -> None:
    older = asyncio.create_task(bot_api("getUpdates", timeout=30))
    await eventually(lambda: sandbox.world.updates.polls == 1)
    newer = asyncio.create_task(bot_api("getUpdates", timeout=30))
    answer = await asyncio.wait_for(older, 5)
    assert answer["error_code"] == 409
    assert answer["description"].startswith("Conflict: terminated by other getUpdates request")
    people.say(sandbox.world, ALICE, "hello")
    assert (await asyncio.wait_for(newer, 5))["result"]


async def test_kinds_that_the_bot_did_not_ask_for_are_not_kept(sandbox: Sandbox, bot_api: BotApi) -> None:
    await bot_api("getUpdates", allowed_updates=json.dumps(["callback_query"]))
    people.say(sandbox.world, ALICE, "hello")
    people.set_blocked(sandbox.world, ALICE, True)
    assert (await bot_api("getUpdates"))["result"] == []
    await bot_api("getUpdates", allowed_updates="[]")
    people.set_blocked(sandbox.world, ALICE, False)
    (update,) = (await bot_api("getUpdates"))["result"]
    assert update["my_chat_member"]["old_chat_member"]["status"] == "kicked"
    assert update["my_chat_member"]["new_chat_member"]["status"] == "member"


async def test_presses_that_nobody_fetched_are_dropped_after_150_seconds(
    sandbox: Sandbox, bot_api: BotApi
) -> None:
    markup = {"inline_keyboard": [[{"text": "Press", "callback_data": "a"}]]}
    sent = await bot_api("sendMessage", chat_id=ALICE, text="One", reply_markup=markup)
    people.press(sandbox.world, ALICE, sent["result"]["message_id"], "a")
    people.say(sandbox.world, ALICE, "hello")
    sandbox.world.jump(151)
    (update,) = (await bot_api("getUpdates"))["result"]
    assert update["message"]["text"] == "hello"


class Receiver:
    """A webhook that answers what the test says: the statuses in turn, then 200."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.bodies: list[dict[str, Any]] = []
        self.secrets: list[str | None] = []
        self.gate: asyncio.Event | None = None

    @property
    def texts(self) -> list[str]:
        return [body["message"]["text"] for body in self.bodies]

    async def take(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        self.secrets.append(request.headers.get("X-Telegram-Bot-Api-Secret-Token"))
        if self.gate is not None and body["message"]["from"]["id"] == ALICE:
            await self.gate.wait()
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[Receiver, str]]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    async with TestServer(app) as server:
        yield receiver, str(server.make_url("/hook"))


async def test_a_webhook_gets_updates_with_its_secret_and_polling_is_refused(
    sandbox: Sandbox, bot_api: BotApi, receiver: tuple[Receiver, str]
) -> None:
    hook, url = receiver
    people.say(sandbox.world, ALICE, "before")
    assert (await bot_api("setWebhook", url=url, secret_token="s3cret_-"))["result"] is True
    people.say(sandbox.world, ALICE, "after")
    await eventually(lambda: len(hook.bodies) == 2)
    assert hook.texts == ["before", "after"]
    assert set(hook.secrets) == {"s3cret_-"}
    code, text = await bot_api.refusal("getUpdates")
    assert (code, text) == (
        409,
        "Conflict: can't use getUpdates method while webhook is active; "
        "use deleteWebhook to delete the webhook first",
    )
    await bot_api("deleteWebhook")
    assert (await bot_api("getUpdates"))["result"] == []


async def test_a_refused_update_is_repeated_and_holds_back_only_its_own_chat(
    sandbox: Sandbox, bot_api: BotApi, receiver: tuple[Receiver, str]
) -> None:
    hook, url = receiver
    sandbox.world.webhook.retry_unit = 0.01
    await bot_api("setWebhook", url=url)
    hook.statuses = [500, 503]
    people.say(sandbox.world, ALICE, "one")
    people.say(sandbox.world, ALICE, "two")
    await eventually(lambda: len(hook.bodies) == 4)
    assert hook.texts == ["one", "one", "one", "two"]
    assert len({body["update_id"] for body in hook.bodies}) == 2
    info = (await bot_api("getWebhookInfo"))["result"]
    assert info["last_error_message"] == "Wrong response from the webhook: 503 Service Unavailable"
    hook.gate = asyncio.Event()
    people.say(sandbox.world, ALICE, "slow")
    people.say(sandbox.world, ALICE, "waits")
    people.say(sandbox.world, BORIS, "passes")
    await eventually(lambda: "passes" in hook.texts)
    assert "waits" not in hook.texts
    hook.gate.set()
    await eventually(lambda: "waits" in hook.texts)


async def test_webhook_addresses_must_be_https_except_on_this_machine(bot_api: BotApi) -> None:
    assert await bot_api.refusal("setWebhook", url="http://example.org/hook") == (
        400,
        "Bad Request: bad webhook: An HTTPS URL must be provided for webhook",
    )
    code, _ = await bot_api.refusal("setWebhook", url="https://example.org:8444/hook")
    assert code == 400


async def test_any_object_can_be_injected_as_an_update(
    sandbox: Sandbox, bot_api: BotApi, control: Control
) -> None:
    answer = await control("updates", update={"message": {"chat": "not a chat"}})
    (update,) = (await bot_api("getUpdates"))["result"]
    assert update == {"update_id": answer["update_id"], "message": {"chat": "not a chat"}}
