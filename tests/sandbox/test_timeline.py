"""The timeline: what passes between the four parties becomes lines that open to the raw request and answer."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from sandbox import people
from sandbox.app import Sandbox
from tests.sandbox.conftest import ALICE, BotApi, Control, CryptoCloud, eventually


async def lines(control: Control) -> list[tuple[str, str, str]]:
    return [(one["from"], one["to"], one["title"]) for one in await control.read("timeline")]


async def test_calls_updates_and_money_are_lines_in_their_order(
    sandbox: Sandbox, bot_api: BotApi, cryptocloud: CryptoCloud, control: Control
) -> None:
    people.say(sandbox.world, ALICE, "/start")
    await bot_api("getUpdates")
    await bot_api("sendMessage", chat_id=ALICE, text="Hello")
    made = await cryptocloud.create(amount=99.5)
    await control(f"invoices/{made['uuid']}/pay", postback={"mode": "none"}, wait=True)
    assert await lines(control) == [
        ("telegram", "bot", "message"),
        ("bot", "telegram", "sendMessage"),
        ("bot", "cryptocloud", "create"),
        ("cryptocloud", "cryptocloud", "100.90 USDT arrives"),
        ("cryptocloud", "bot", "postback, lost"),
    ]


async def test_polls_that_bring_nothing_are_no_lines(bot_api: BotApi, control: Control) -> None:
    await bot_api("getUpdates")
    assert await lines(control) == []


async def test_an_update_that_waits_to_be_confirmed_is_one_line(
    sandbox: Sandbox, bot_api: BotApi, control: Control
) -> None:
    people.say(sandbox.world, ALICE, "/start")
    for _ in range(3):
        await bot_api("getUpdates")
    people.say(sandbox.world, ALICE, "/plans")
    await bot_api("getUpdates")
    told = [(one["title"], one["quiet"]) for one in await control.read("timeline")]
    assert told == [("message", False), *[("message, again", True)] * 2, ("2 updates", False)]


async def test_a_poll_that_ends_badly_stands_where_it_ended(
    sandbox: Sandbox, bot_api: BotApi, control: Control
) -> None:
    poll = asyncio.create_task(bot_api("getUpdates", timeout=30))
    await eventually(lambda: sandbox.world.updates.polls)
    await bot_api("sendMessage", chat_id=ALICE, text="Hello")
    await asyncio.sleep(0.01)
    await control("faults/switch", place="telegram", kind="down")
    with pytest.raises(aiohttp.ClientError):
        await poll
    assert [title for _, _, title in await lines(control)] == [
        "sendMessage",
        "Telegram: is down",
        "getUpdates",
    ]


async def test_the_poll_of_a_killed_bot_is_no_trouble_to_be_seen(
    sandbox: Sandbox, bot_api: BotApi, control: Control
) -> None:
    poll = asyncio.create_task(bot_api("getUpdates", timeout=30))
    await eventually(lambda: sandbox.world.updates.polls)
    poll.cancel()
    await asyncio.gather(poll, return_exceptions=True)
    await asyncio.sleep(0.05)
    await bot_api("getUpdates")
    assert await lines(control) == []


async def test_a_line_opens_to_request_and_answer(
    bot_api: BotApi, cryptocloud: CryptoCloud, control: Control
) -> None:
    await cryptocloud.create(amount=99.5)
    await bot_api("sendMessage", chat_id=ALICE, text="<x>", parse_mode="HTML")
    created, refused = await control.read("timeline")
    assert refused["tone"] == "bad"
    assert "Unsupported start tag" in refused["text"]
    raw = await control.read(f"timeline/{refused['id']}")
    assert raw["request"]["head"] == "POST /bot<token>/sendMessage"
    assert raw["request"]["body"]["text"] == "<x>"
    assert raw["answer"]["body"]["error_code"] == 400
    raw = await control.read(f"timeline/{created['id']}")
    assert raw["request"]["body"]["amount"] == "99.5"
    assert raw["answer"]["body"]["result"]["amount_in_fiat"] == 99.5


async def test_an_odd_parameter_is_carried_out_and_marked(bot_api: BotApi, control: Control) -> None:
    sent = await bot_api("sendMessage", chat_id=ALICE, text="a", parse_mod="HTML", protect_content="maybe")
    assert sent["ok"]
    (line,) = await control.read("timeline")
    assert line["tone"] == "warn"
    assert (await control.read(f"timeline/{line['id']}"))["warnings"] == [
        "parse_mod is no parameter of sendMessage: it was ignored",
        "protect_content should be true or false",
    ]


async def test_watchers_are_told_when_a_line_is_finished(
    sandbox: Sandbox, bot_api: BotApi, control: Control
) -> None:
    with sandbox.world.watching() as changes:
        await control("faults", place="telegram", kind="delay", seconds=0.05)
        await bot_api("sendMessage", chat_id=ALICE, text="a")
        found: list[dict[str, Any]] = []
        while not changes.empty():
            change = changes.get_nowait()
            json.dumps(change)
            if change["topic"] == "line":
                found.append(change["line"])
    assert [(one["pending"], one["tone"]) for one in found] == [(True, ""), (False, "warn")]
    assert found[0]["id"] == found[1]["id"]


@pytest.mark.parametrize(
    ("place", "kind", "options"),
    [
        ("telegram", "too_many_requests", {"method": "sending"}),
        ("telegram", "server_error", {}),
        ("telegram", "bad_gateway", {}),
        ("telegram", "down", {}),
        ("cryptocloud", "html_502", {}),
        ("cryptocloud", "down", {}),
    ],
)
async def test_a_switch_stays_until_it_is_turned_back_and_shows_in_the_timeline(
    bot_api: BotApi,
    cryptocloud: CryptoCloud,
    control: Control,
    place: str,
    kind: str,
    options: dict[str, Any],
) -> None:
    async def works() -> bool:
        try:
            if place == "telegram":
                return bool((await bot_api("sendMessage", chat_id=ALICE, text="a"))["ok"])
            return bool((await cryptocloud.create())["uuid"])
        except (aiohttp.ClientError, AssertionError, ValueError):
            return False

    await control("faults/switch", place=place, kind=kind, **options)
    assert [await works() for _ in range(3)] == [False] * 3
    await control("faults/switch", place=place, kind=None)
    assert await works()
    assert (place, place) in [(one["from"], one["to"]) for one in await control.read("timeline")]
    bad = [one for one in await control.read("timeline") if one.get("tone") == "bad"]
    assert len(bad) == 3


async def test_a_switch_takes_the_place_of_its_last_position_only(control: Control) -> None:
    await control("faults", place="telegram", kind="close", times=5)
    await control("faults/switch", place="telegram", kind="down")
    await control("faults/switch", place="telegram", kind="server_error")
    kinds = [(one["kind"], one["switched"]) for one in (await control.read("state"))["faults"]]
    assert kinds == [("close", False), ("server_error", True)]


async def test_time_passes_for_messages_and_join_requests_too(
    sandbox: Sandbox, bot_api: BotApi, control: Control
) -> None:
    await bot_api("sendMessage", chat_id=ALICE, text="Hello")
    before = sandbox.world.messages(ALICE)[0].body["date"]
    answer = await control("jump", seconds=3 * 86400)
    assert answer == {"ok": True, "database": "absent"}
    assert sandbox.world.messages(ALICE)[0].body["date"] == before - 3 * 86400
    await asyncio.sleep(0)
