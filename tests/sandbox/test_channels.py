"""Channels of the Bot API emulator: links, requests to join, members, and Telegram's refusals."""

import time
from typing import Any

import pytest

from sandbox.app import Sandbox
from sandbox.channels import Channel
from tests.sandbox.conftest import ALICE, BORIS, BotApi, Control

CLUB = -1001000000001
OWNER = 9001


@pytest.fixture
async def club(sandbox: Sandbox, control: Control, bot_api: BotApi) -> Channel:
    await control("people", id=OWNER, first_name="Olga")
    sandbox.world.channels[CLUB] = Channel(CLUB, "Club", owner=OWNER)
    await bot_api("getUpdates", allowed_updates=["chat_join_request", "chat_member", "message"])
    return sandbox.world.channels[CLUB]


async def member(bot_api: BotApi, user_id: int) -> str:
    answer = await bot_api("getChatMember", chat_id=CLUB, user_id=user_id)
    return str(answer["result"]["status"])


async def refused_join(sandbox: Sandbox, link: str) -> str:
    url = f"{sandbox.url}/control/people/join"
    body = {"id": BORIS, "link": link}
    async with sandbox.client.post(url, json=body, headers=sandbox.headers) as answer:
        assert answer.status in {400, 404}
        return str((await answer.json())["error"])


async def test_a_request_to_join_is_approved_once(
    club: Channel, sandbox: Sandbox, bot_api: BotApi, control: Control
) -> None:
    link = (await bot_api("createChatInviteLink", chat_id=CLUB, name="Door", creates_join_request=True))[
        "result"
    ]
    assert link["creates_join_request"]
    assert await bot_api.refusal("sendMessage", chat_id=BORIS, text="a") == (
        403,
        "Forbidden: bot can't initiate conversation with a user",
    )
    assert await control("people/join", id=BORIS, link=link["invite_link"]) == {"outcome": "asked"}
    (update,) = (await bot_api("getUpdates"))["result"]
    request = update["chat_join_request"]
    assert (request["chat"]["id"], request["from"]["id"], request["user_chat_id"]) == (CLUB, BORIS, BORIS)
    assert request["invite_link"]["name"] == "Door"
    assert (await bot_api("sendMessage", chat_id=BORIS, text="Pay first"))["ok"]
    assert await member(bot_api, BORIS) == "left"
    assert (await bot_api("approveChatJoinRequest", chat_id=CLUB, user_id=BORIS))["ok"]
    assert await member(bot_api, BORIS) == "member"
    assert await bot_api.refusal("approveChatJoinRequest", chat_id=CLUB, user_id=BORIS) == (
        400,
        "Bad Request: USER_ALREADY_PARTICIPANT",
    )
    assert await bot_api.refusal("declineChatJoinRequest", chat_id=CLUB, user_id=ALICE) == (
        400,
        "Bad Request: HIDE_REQUESTER_MISSING",
    )
    *_, last = (await bot_api("getUpdates"))["result"]
    assert last["chat_member"]["new_chat_member"]["status"] == "member"


async def test_unbanning_a_member_removes_them_and_lets_them_come_back(
    club: Channel, sandbox: Sandbox, bot_api: BotApi, control: Control
) -> None:
    link = (await bot_api("createChatInviteLink", chat_id=CLUB))["result"]["invite_link"]
    assert await control("people/join", id=BORIS, link=link) == {"outcome": "joined"}
    await bot_api("unbanChatMember", chat_id=CLUB, user_id=BORIS, only_if_banned=True)
    assert await member(bot_api, BORIS) == "member"
    await bot_api("unbanChatMember", chat_id=CLUB, user_id=BORIS)
    assert await member(bot_api, BORIS) == "left"
    await control("people/join", id=BORIS, link=link)
    await bot_api("banChatMember", chat_id=CLUB, user_id=BORIS)
    assert await member(bot_api, BORIS) == "kicked"
    assert "banned" in await refused_join(sandbox, link)
    await bot_api("unbanChatMember", chat_id=CLUB, user_id=BORIS)
    assert await control("people/join", id=BORIS, link=link) == {"outcome": "joined"}
    await control("people/leave", id=BORIS, channel_id=CLUB)
    assert await member(bot_api, BORIS) == "left"
    assert await bot_api.refusal("banChatMember", chat_id=CLUB, user_id=OWNER) == (
        400,
        "Bad Request: can't remove chat owner",
    )


async def test_links_end_by_time_by_members_and_by_being_revoked(
    club: Channel, sandbox: Sandbox, bot_api: BotApi, control: Control
) -> None:
    async def link(**properties: Any) -> str:
        made = await bot_api("createChatInviteLink", chat_id=CLUB, **properties)
        return str(made["result"]["invite_link"])

    brief, single, revoked = (
        await link(expire_date=int(time.time()) + 60),
        await link(member_limit=1),
        await link(),
    )
    await control("people/join", id=ALICE, link=single)
    await bot_api("revokeChatInviteLink", chat_id=CLUB, invite_link=revoked)
    await control("jump", seconds=61)
    for one in (brief, single, revoked):
        assert await refused_join(sandbox, one) == "this invite link has expired"
    assert "nowhere" in await refused_join(sandbox, "https://t.me/+nothing")
    assert (await bot_api("getChatMemberCount", chat_id=CLUB))["result"] == 3


@pytest.mark.parametrize(
    ("properties", "trouble"),
    [
        ({"name": "x" * 33}, "chat invite link name is too long"),
        ({"member_limit": 5, "creates_join_request": True},
         "member limit can't be specified for links requiring administrator approval"),
        ({"member_limit": 100_000}, "USAGE_LIMIT_INVALID"),
        ({"expire_date": 1}, "EXPIRE_DATE_INVALID"),
    ],
)  # fmt: skip
async def test_a_link_that_telegram_would_refuse_is_refused(
    club: Channel, bot_api: BotApi, properties: dict[str, Any], trouble: str
) -> None:
    assert await bot_api.refusal("createChatInviteLink", chat_id=CLUB, **properties) == (
        400,
        f"Bad Request: {trouble}",
    )


async def test_a_channel_survives_the_end_of_the_sandbox(
    club: Channel, sandbox: Sandbox, bot_api: BotApi, control: Control, tmp_path: Any
) -> None:
    link = (await bot_api("createChatInviteLink", chat_id=CLUB))["result"]["invite_link"]
    await control("people/join", id=BORIS, link=link)
    sandbox.world.save(tmp_path / "world.json")
    again = type(sandbox.world)(sandbox.world.credentials)
    again.load(tmp_path / "world.json")
    assert again.channels[CLUB].status_of(BORIS) == "member"
    assert list(again.channels[CLUB].links) == [link]
