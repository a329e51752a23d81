"""The control API: who may use it, and the trouble it can make at the Bot API."""

import asyncio
import time
from typing import Any

import aiohttp
import pytest

from sandbox import people
from sandbox.app import Sandbox, running
from sandbox.world import Person, World
from tests.sandbox.conftest import ALICE, BORIS, BotApi, Control, eventually


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"X-Sandbox-Token": "wrong"}, 401),
        ({"X-Sandbox-Token": "right", "Host": "evil.example"}, 403),
        ({"X-Sandbox-Token": "right", "Origin": "http://evil.example"}, 403),
        ({"X-Sandbox-Token": "right", "Origin": "null"}, 403),
        ({"X-Sandbox-Token": "right"}, 200),
    ],
)
async def test_control_needs_the_token_and_the_right_host_and_origin(
    headers: dict[str, str], status: int
) -> None:
    async with running(World(), token="right") as sandbox, aiohttp.ClientSession() as client:
        async with client.post(
            f"{sandbox.url}/control/jump", json={"seconds": 1}, headers=headers
        ) as response:
            assert response.status == status
        async with client.get(f"{sandbox.url}/control/state", headers=headers) as response:
            assert response.status == status


async def test_no_door_opens_to_another_web_page(sandbox: Sandbox) -> None:
    token = sandbox.world.credentials.bot_token
    for path in (f"/bot{token}/getMe", "/v2/invoice/create", "/pay/NOSUCHID", "/"):
        async with sandbox.client.post(
            f"{sandbox.url}{path}", headers={"Origin": "http://evil.example"}
        ) as answer:
            assert answer.status == 403


async def test_the_page_hands_out_its_token_only_to_whoever_has_it(sandbox: Sandbox) -> None:
    async with sandbox.client.get(sandbox.url) as response:
        assert response.status == 401
        assert not response.cookies
    async with sandbox.client.get(f"{sandbox.url}/?token={sandbox.token}") as response:
        assert response.status == 200
        (cookie,) = response.cookies.values()
        assert (cookie["httponly"], cookie["samesite"]) == (True, "Strict")
    cookies = {cookie.key: cookie.value}
    async with (
        aiohttp.ClientSession(cookies=cookies) as client,
        client.get(
            f"{sandbox.url}/control/state", headers={"Cookie": f"{cookie.key}={cookie.value}"}
        ) as response,
    ):
        assert response.status == 200


async def test_the_checkouts_buttons_refuse_other_web_pages(sandbox: Sandbox) -> None:
    async with sandbox.client.post(
        f"{sandbox.url}/pay/NOSUCHID", data={"action": "exact"}, headers={"Origin": "http://evil.example"}
    ) as response:
        assert response.status == 403


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("say", {"person_id": 5, "text": "a"}, 404),
        ("say", {"person_id": ALICE}, 400),
        ("say", {"person_id": "x", "text": "a"}, 400),
        ("press", {"chat_id": ALICE, "message_id": 1, "data": "a"}, 404),
        ("faults", {"place": "telegram", "kind": "earthquake"}, 400),
        ("faults", {"place": "telegram", "kind": "close", "times": 0}, 400),
        ("project", {"postback": {"mode": "sometimes"}}, 400),
        ("project", {"colour": "red"}, 400),
        ("invoices/NOSUCHID/pay", {}, 404),
        ("bot/kill", {}, 404),
        ("people", {"id": 5}, 400),
    ],
)
async def test_wrong_input_is_answered_with_a_reason(
    sandbox: Sandbox, path: str, body: dict[str, Any], status: int
) -> None:
    async with sandbox.client.post(
        f"{sandbox.url}/control/{path}", json=body, headers=sandbox.headers
    ) as response:
        assert response.status == status
        assert (await response.json())["error"]


async def test_people_talk_press_and_block_through_control(
    sandbox: Sandbox, bot_api: BotApi, control: Control
) -> None:
    await control("people", id=7, first_name="Eve", language="en")
    await control("say", person_id=7, text="/start")
    markup = {"inline_keyboard": [[{"text": "Press", "callback_data": "tier:pro"}]]}
    sent = (await bot_api("sendMessage", chat_id=7, text="Hello", reply_markup=markup))["result"]
    press = await control("press", chat_id=7, message_id=sent["message_id"], data="tier:pro")
    await control(
        "press", chat_id=7, message_id=sent["message_id"], data="cancel:x", person_id=ALICE, forged=True
    )
    await bot_api("answerCallbackQuery", callback_query_id=press["press_id"], text="Fine", show_alert=True)
    await control("people/block", id=7)
    updates = (await bot_api("getUpdates"))["result"]
    assert [next(key for key in one if key != "update_id") for one in updates] == [
        "message",
        "callback_query",
        "callback_query",
        "my_chat_member",
    ]
    assert updates[1]["callback_query"]["message"]["reply_markup"] == markup
    assert updates[2]["callback_query"]["from"]["id"] == ALICE
    answered = await control.read(f"presses/{press['press_id']}")
    assert (answered["answered"], answered["text"], answered["show_alert"]) == (True, "Fine", True)
    chat = await control.read("chats/7")
    assert [(one["from_bot"], one["text"]) for one in chat] == [(False, "/start"), (True, "Hello")]


async def test_the_next_calls_of_a_method_fail_as_planned(
    sandbox: Sandbox, bot_api: BotApi, control: Control
) -> None:
    await control(
        "faults",
        place="telegram",
        method="sendMessage",
        kind="too_many_requests",
        retry_after=7,
        chat_id=ALICE,
    )
    people.say(sandbox.world, BORIS, "/start")
    assert (await bot_api("sendMessage", chat_id=BORIS, text="a"))["ok"]
    answer = await bot_api("sendMessage", chat_id=ALICE, text="a")
    assert answer == {
        "ok": False,
        "error_code": 429,
        "description": "Too Many Requests: retry after 7",
        "parameters": {"retry_after": 7},
    }
    assert (await bot_api("sendMessage", chat_id=ALICE, text="a"))["ok"]
    await control("faults", place="telegram", kind="too_many_requests", parameters=False)
    assert "parameters" not in await bot_api("sendMessage", chat_id=ALICE, text="a")
    for kind, code in (
        ("forbidden", 403),
        ("bad_request", 400),
        ("unauthorized", 401),
        ("server_error", 500),
    ):
        await control("faults", place="telegram", kind=kind)
        assert (await bot_api("getMe"))["error_code"] == code
    assert (await bot_api("getMe"))["ok"]


async def test_a_message_can_be_delivered_without_an_answer(
    sandbox: Sandbox, bot_api: BotApi, control: Control
) -> None:
    for kind in ("close", "deliver_then_close"):
        await control("faults", place="telegram", method="sendMessage", kind=kind)
        with pytest.raises(aiohttp.ClientError):
            await bot_api("sendMessage", chat_id=ALICE, text=kind)
    await control("faults", place="telegram", method="sendMessage", kind="deliver_then_hang")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(bot_api("sendMessage", chat_id=ALICE, text="hang"), 0.3)
    assert [one.body["text"] for one in sandbox.world.messages(ALICE)] == ["deliver_then_close", "hang"]


async def test_telegram_can_be_down_and_come_back(
    sandbox: Sandbox, bot_api: BotApi, control: Control
) -> None:
    poll = asyncio.create_task(bot_api("getUpdates", timeout=30))
    await eventually(lambda: sandbox.world.updates.polls)
    await control("faults", place="telegram", kind="down", times=None)
    with pytest.raises(aiohttp.ClientError):
        await asyncio.wait_for(poll, 5)
    with pytest.raises(aiohttp.ClientError):
        await bot_api("getMe")
    await control("faults/clear")
    assert (await bot_api("getMe"))["ok"]


async def test_sending_limits_can_be_switched_on(bot_api: BotApi, control: Control) -> None:
    await control("rate-limit", on=True)
    codes = [(await bot_api("sendMessage", chat_id=ALICE, text=str(n))).get("error_code") for n in range(6)]
    assert codes == [None] * 5 + [429]


async def test_the_journals_show_what_was_asked_and_answered(bot_api: BotApi, control: Control) -> None:
    await bot_api("sendMessage", chat_id=ALICE, text="Hello")
    await bot_api("sendMessage", chat_id=BORIS, text="Hello")
    calls = await control.read(f"calls?method=sendMessage&chat_id={BORIS}")
    assert [(one["arguments"]["text"], one["status"]) for one in calls] == [("Hello", 403)]
    assert await control.read(f"calls?after={calls[0]['id']}") == []


async def test_a_saved_world_is_taken_up_again(sandbox: Sandbox, bot_api: BotApi, tmp_path: Any) -> None:
    people.say(sandbox.world, ALICE, "/start")
    await bot_api("sendMessage", chat_id=ALICE, text="Hello")
    path = tmp_path / "world.json"
    sandbox.world.save(path)
    again = World(sandbox.world.credentials)
    again.load(path)
    assert [one.body["text"] for one in again.messages(ALICE)] == ["/start", "Hello"]
    assert again.new_message_id() == sandbox.world.new_message_id()
    assert list(again.updates.waiting) == list(sandbox.world.updates.waiting)
    path.write_text('{"people": 3}')
    with pytest.raises(ValueError, match="not a saved sandbox"):
        World().load(path)


async def test_several_worlds_live_side_by_side(sandbox: Sandbox) -> None:
    other_world = World()
    other_world.add_person(Person(ALICE, "Other Alice"))
    async with running(other_world) as other:
        assert other.url != sandbox.url
        people.say(other_world, ALICE, "only here")
    assert sandbox.world.messages(ALICE) == []


async def test_a_hanging_answer_does_not_hold_up_the_end() -> None:
    world = World()
    world.faults.add("telegram", "deliver_then_hang")
    async with running(world) as sandbox, aiohttp.ClientSession() as client:
        url = f"{sandbox.url}/bot{world.credentials.bot_token}/getMe"
        asking = asyncio.ensure_future(client.post(url))
        await asyncio.sleep(0.1)
        began = time.monotonic()
    assert time.monotonic() - began < 3
    with pytest.raises(aiohttp.ClientError):
        await asking
