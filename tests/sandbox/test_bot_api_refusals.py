"""What the Bot API emulator refuses, in Telegram's words."""

from typing import Any

import pytest

from sandbox import people
from sandbox.app import Sandbox
from tests.sandbox.conftest import ALICE, BORIS, NOBODY, BotApi


def keyboard(**action: Any) -> dict[str, Any]:
    return {"inline_keyboard": [[{"text": "Press", **action}]]}


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ("", "message text is empty"),
        (" \n ", "message text is empty"),
        ("<b></b>", "message text is empty"),
        ("a" * 4097, "message is too long"),
        ("ж <x>", 'can\'t parse entities: Unsupported start tag "x" at byte offset 3'),
        ("a < b", 'can\'t parse entities: Unsupported start tag "" at byte offset 2'),
        ("<b>a", "can't parse entities: Can't find end tag corresponding to start tag \"b\""),
        ("a</b>", "can't parse entities: Unexpected end tag at byte offset 1"),
        (
            "<b>a</i>",
            'can\'t parse entities: Unmatched end tag at byte offset 4, expected "</b>", found "</i>"',
        ),
        ("<b", "can't parse entities: Unclosed start tag at byte offset 0"),
        ("<span>a</span>", 'can\'t parse entities: Tag "span" must have class "tg-spoiler" at byte offset 0'),
    ],
)
async def test_a_text_that_telegram_would_refuse_is_refused(bot_api: BotApi, text: str, trouble: str) -> None:
    refused = await bot_api.refusal("sendMessage", chat_id=ALICE, text=text, parse_mode="HTML")
    assert refused == (400, f"Bad Request: {trouble}")


async def test_the_longest_text_is_counted_after_the_tags_are_read(bot_api: BotApi) -> None:
    answer = await bot_api("sendMessage", chat_id=ALICE, text=f"<b>{'a' * 4096}</b>", parse_mode="HTML")
    assert len(answer["result"]["text"]) == 4096


@pytest.mark.parametrize(
    ("markup", "trouble"),
    [
        (keyboard(callback_data="a" * 65), "BUTTON_DATA_INVALID"),
        (keyboard(callback_data="ж" * 33), "BUTTON_DATA_INVALID"),
        (keyboard(callback_data=""), "BUTTON_DATA_INVALID"),
        (keyboard(url="ftp://example.org/"), "inline keyboard button URL 'ftp://example.org/' is invalid: "
         "Unsupported URL protocol"),
        (keyboard(url="http://nowhere"), "inline keyboard button URL 'http://nowhere' is invalid: Wrong HTTP URL"),
        (keyboard(), "can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard"),
        ({"inline_keyboard": [[{"url": "https://example.org"}]]},
         "can't parse inline keyboard button: Can't find field \"text\""),
    ],
)  # fmt: skip
async def test_a_keyboard_that_telegram_would_refuse_is_refused(
    bot_api: BotApi, markup: dict[str, Any], trouble: str
) -> None:
    refused = await bot_api.refusal("sendMessage", chat_id=ALICE, text="Hello", reply_markup=markup)
    assert refused == (400, f"Bad Request: {trouble}")


async def test_sixty_four_bytes_of_callback_data_and_loopback_links_are_taken(bot_api: BotApi) -> None:
    for action in (
        {"callback_data": "a" * 64},
        {"url": "http://127.0.0.1:8090/pay/ABCDEFGH"},
        {"url": "tg://user?id=1"},
    ):
        answer = await bot_api("sendMessage", chat_id=ALICE, text="Hello", reply_markup=keyboard(**action))
        assert answer["ok"], answer


async def test_the_bot_may_not_write_first_nor_to_strangers_nor_to_whoever_blocked_it(
    sandbox: Sandbox, bot_api: BotApi
) -> None:
    assert await bot_api.refusal("sendMessage", chat_id=NOBODY, text="a") == (
        400,
        "Bad Request: chat not found",
    )
    assert await bot_api.refusal("sendMessage", chat_id=BORIS, text="a") == (
        403,
        "Forbidden: bot can't initiate conversation with a user",
    )
    people.say(sandbox.world, BORIS, "/start")
    assert (await bot_api("sendMessage", chat_id=BORIS, text="a"))["ok"]
    people.set_blocked(sandbox.world, BORIS, True)
    assert await bot_api.refusal("sendMessage", chat_id=BORIS, text="a") == (
        403,
        "Forbidden: bot was blocked by the user",
    )


async def test_an_edit_must_change_something_and_touch_only_the_bots_own_messages(
    sandbox: Sandbox, bot_api: BotApi
) -> None:
    sent = (await bot_api("sendMessage", chat_id=ALICE, text="<b>One</b>", parse_mode="HTML"))["result"][
        "message_id"
    ]
    code, text = await bot_api.refusal(
        "editMessageText", chat_id=ALICE, message_id=sent, text="<b>One</b>", parse_mode="HTML"
    )
    assert code == 400
    assert text.startswith(
        "Bad Request: message is not modified: specified new message content and reply markup"
    )
    edited = await bot_api("editMessageText", chat_id=ALICE, message_id=sent, text="One")
    assert "entities" not in edited["result"]
    assert await bot_api.refusal("editMessageText", chat_id=ALICE, message_id=sent + 1, text="a") == (
        400,
        "Bad Request: message to edit not found",
    )
    said = people.say(sandbox.world, ALICE, "hello")
    assert await bot_api.refusal("editMessageText", chat_id=ALICE, message_id=said, text="a") == (
        400,
        "Bad Request: message can't be edited",
    )


async def test_an_edit_without_a_keyboard_takes_the_keyboard_away(bot_api: BotApi) -> None:
    sent = await bot_api("sendMessage", chat_id=ALICE, text="One", reply_markup=keyboard(callback_data="a"))
    edited = await bot_api(
        "editMessageText", chat_id=ALICE, message_id=sent["result"]["message_id"], text="One"
    )
    assert "reply_markup" not in edited["result"]


async def test_a_press_can_be_answered_only_while_it_is_fresh(sandbox: Sandbox, bot_api: BotApi) -> None:
    too_old = (400, "Bad Request: query is too old and response timeout expired or query ID is invalid")
    assert await bot_api.refusal("answerCallbackQuery", callback_query_id="1") == too_old
    sent = await bot_api("sendMessage", chat_id=ALICE, text="One", reply_markup=keyboard(callback_data="a"))
    message_id = sent["result"]["message_id"]
    press_id = people.press(sandbox.world, ALICE, message_id, "a")
    assert await bot_api.refusal("answerCallbackQuery", callback_query_id=press_id, text="a" * 201) == (
        400,
        "Bad Request: MESSAGE_TOO_LONG",
    )
    assert (await bot_api("answerCallbackQuery", callback_query_id=press_id, text="Done"))["result"] is True
    assert sandbox.world.presses[press_id].text == "Done"
    stale = people.press(sandbox.world, ALICE, message_id, "a")
    sandbox.world.jump(60)
    assert await bot_api.refusal("answerCallbackQuery", callback_query_id=stale) == too_old


async def test_wrong_tokens_and_methods_are_told_apart(sandbox: Sandbox, bot_api: BotApi) -> None:
    assert await bot_api.refusal("sendDice", chat_id=ALICE) == (404, "Not Found")
    async with sandbox.client.get(f"{sandbox.url}/bot123456:AAAAAAAAAAAAAAAAAAAA/getMe") as response:
        assert await response.json() == {"ok": False, "error_code": 401, "description": "Unauthorized"}
    async with sandbox.client.get(f"{sandbox.url}/botnonsense/getMe") as response:
        assert response.status == 404
