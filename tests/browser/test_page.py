"""The page on a telephone, where the test is the bot: what a client shows of what the Bot API is told."""

import time

import pytest
from playwright.async_api import Browser, Page, expect

from sandbox import people
from sandbox.app import Sandbox
from sandbox.channels import Channel, add_link
from tests.browser.conftest import watch_for_trouble
from tests.sandbox.conftest import ALICE, BORIS, BotApi, CryptoCloud, eventually
from tests.sandbox.pictures import png

pytestmark = pytest.mark.browser


async def test_a_customer_talks_presses_pays_and_blocks(
    sandbox: Sandbox, bot_api: BotApi, cryptocloud: CryptoCloud, page: Page
) -> None:
    await page.locator("#begin").click()
    (update,) = (await bot_api("getUpdates", timeout=5))["result"]
    assert update["message"]["text"] == "/start"
    made = await cryptocloud.create()
    markup = {
        "inline_keyboard": [
            [{"text": "Pay", "url": made["link"]}, {"text": "Check", "callback_data": "check"}]
        ]
    }
    sent = await bot_api(
        "sendMessage",
        chat_id=ALICE,
        text='<b>Pro</b> &lt;img src=x onerror=alert(1)&gt; <a href="javascript:alert(1)">link</a>',
        parse_mode="HTML",
        reply_markup=markup,
    )
    message_id = sent["result"]["message_id"]
    bubble = page.locator("article.message").last
    await expect(bubble.locator("b")).to_have_text("Pro")
    await expect(bubble.locator(".text")).to_contain_text("<img src=x onerror=alert(1)>")
    assert await bubble.locator("img, .text a").count() == 0

    await bubble.get_by_role("button", name="Check").press("Enter")
    (press,) = (await bot_api("getUpdates", offset=update["update_id"] + 1, timeout=5))["result"]
    await bot_api("answerCallbackQuery", callback_query_id=press["callback_query"]["id"], text="Not seen yet")
    await expect(page.locator("#toast")).to_have_text("Not seen yet")

    await bubble.get_by_role("link", name="Pay").press("Enter")
    checkout = page.frame_locator("#sheet-frame")
    await checkout.get_by_role("button", name="Pay 100.40 USDT").click()
    await expect(checkout.get_by_text("Thank you")).to_be_visible()
    assert await page.evaluate("document.querySelector('#sheet').scrollWidth") == 360
    await page.frames[-1].wait_for_load_state()
    await page.keyboard.press("Escape")
    await expect(page.locator("#sheet")).to_be_hidden()
    await expect(bubble.get_by_role("link", name="Pay")).to_be_focused()

    await bot_api("editMessageText", chat_id=ALICE, message_id=message_id, text="Active")
    await expect(page.locator("article.message").last).to_contain_text("Active")
    await expect(page.locator(".keyboard")).to_have_count(0)

    await page.get_by_role("button", name="Block", exact=True).click()
    await eventually(lambda: sandbox.world.people[ALICE].blocked)
    await page.locator("#begin").click()
    await eventually(lambda: len(sandbox.world.messages(ALICE)) == 3)
    assert not sandbox.world.people[ALICE].blocked


async def test_a_deep_link_starts_the_bot_with_its_payload(
    sandbox: Sandbox, bot_api: BotApi, page: Page
) -> None:
    await page.goto(f"{sandbox.url}/t/subgate_sandbox_bot?start=tier_pro")
    await page.get_by_role("button", name="Controls").click()
    await page.locator(f"[data-person='{BORIS}']").click()
    await page.get_by_role("button", name="ЗАПУСТИТЬ · tier_pro").click()
    (update,) = (await bot_api("getUpdates", timeout=5))["result"]
    assert (update["message"]["text"], update["message"]["from"]["id"]) == ("/start tier_pro", BORIS)


async def test_a_message_to_somebody_else_is_marked(sandbox: Sandbox, page: Page) -> None:
    await expect(page.locator(".person")).to_have_count(2)
    tab = page.get_by_role("button", name="Controls")
    while await tab.get_attribute("class") != "news":  # nothing is heard before the page listens
        people.say(sandbox.world, BORIS, "Привет")
        await page.wait_for_timeout(200)
    await page.get_by_role("button", name="Controls").click()
    await expect(page.get_by_role("button", name="Борис")).to_contain_text("new messages")


async def test_pictures_and_documents_are_shown(sandbox: Sandbox, bot_api: BotApi, page: Page) -> None:
    people.say(sandbox.world, ALICE, "/revenue")
    await bot_api.upload("sendPhoto", photo=("chart.png", png(320, 160)), chat_id="1001", caption="<b>Week</b>",
                         parse_mode="HTML")  # fmt: skip
    await bot_api.upload("sendDocument", document=("sales.csv", b"a,b\n1,2\n"), chat_id="1001")
    picture = page.locator("img.photo")
    await expect(picture).to_have_js_property("naturalWidth", 320)
    await expect(page.locator(".message").nth(1).locator("b")).to_have_text("Week")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="sales.csv").click()
    assert (await download.value).suggested_filename == "sales.csv"


async def test_an_alert_waits_for_ok_and_a_refusal_is_red(
    sandbox: Sandbox, bot_api: BotApi, page: Page
) -> None:
    markup = {"inline_keyboard": [[{"text": "Press", "callback_data": "a"}]]}
    await bot_api("sendMessage", chat_id=ALICE, text="One", reply_markup=markup)
    await page.get_by_role("button", name="Press").click()
    (press,) = (await bot_api("getUpdates", timeout=5))["result"]
    query = press["callback_query"]["id"]
    await bot_api("answerCallbackQuery", callback_query_id=query, text="Read this", show_alert=True)
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("Read this")
    await dialog.get_by_role("button", name="OK").click()
    await expect(dialog).to_have_count(0)
    await bot_api("sendMessage", chat_id=ALICE, text="<x>", parse_mode="HTML")
    await expect(page.get_by_role("alert")).to_contain_text('Unsupported start tag "x"')
    await page.get_by_role("button", name="Behind the scenes").click()
    await expect(page.locator(".step[data-tone=bad]")).to_contain_text("sendMessage")


async def test_what_is_heard_of_late_stands_where_it_happened(
    sandbox: Sandbox, bot_api: BotApi, page: Page
) -> None:
    await page.get_by_role("button", name="Behind the scenes").click()
    titles = page.locator(".line .label b")
    happened = time.time()
    await bot_api("sendMessage", chat_id=ALICE, text="Receipt")
    await expect(titles).to_have_text(["sendMessage"])
    sandbox.world.note("bot", "pending → paid", to="row", at=happened)
    await expect(titles).to_have_text(["pending → paid", "sendMessage"])
    await page.reload()
    await page.get_by_role("button", name="Behind the scenes").click()
    await expect(titles).to_have_text(["pending → paid", "sendMessage"])


async def test_an_invite_link_in_a_message_leads_into_the_channel(
    sandbox: Sandbox, bot_api: BotApi, page: Page
) -> None:
    channel = Channel(-1001, "Club", owner=BORIS)
    sandbox.world.channels[channel.id] = channel
    await bot_api("sendMessage", chat_id=ALICE, text=f"Come in: {add_link(channel).link}")
    await page.get_by_role("link", name="t.me").click()
    await expect(page.locator("#toast")).to_have_text("You are in the channel now.")
    assert channel.status_of(ALICE) == "member"
    await expect(page.locator("#chat-name")).to_have_text("Club")
    await expect(page.locator("#messages")).to_have_text("No posts yet.")


async def test_posts_in_a_channel_are_seen_and_pressed_by_who_is_in_it(
    sandbox: Sandbox, bot_api: BotApi, page: Page
) -> None:
    channel = sandbox.world.channels[-1001] = Channel(-1001, "Club", owner=BORIS, members={ALICE: "request"})
    sandbox.world.tell("people")
    tab = page.get_by_role("button", name="Controls")
    while await tab.get_attribute("class") != "news":  # nothing is heard before the page listens
        await bot_api("sendMessage", chat_id=channel.id, text="Old news")
        await page.wait_for_timeout(200)
    await tab.click()
    await expect(page.locator("#channels-news")).to_be_visible()
    await page.locator("#channels-box summary").click()
    await expect(page.locator("#channels")).to_contain_text("new posts")
    await page.get_by_role("button", name="Open", exact=True).click()
    await expect(page.locator("#chat-name")).to_have_text("Club")
    await expect(page.locator("#composer")).to_be_hidden()
    markup = {"inline_keyboard": [[{"text": "Good", "callback_data": "vote"}]]}
    post = await bot_api("sendMessage", chat_id=channel.id, text="<b>New</b>", parse_mode="HTML",
                         reply_markup=markup)  # fmt: skip
    assert (post["result"]["sender_chat"]["id"], "from" in post["result"]) == (channel.id, False)
    await page.get_by_role("button", name="Good").click()
    (press,) = (await bot_api("getUpdates", timeout=5))["result"]
    query = press["callback_query"]
    assert (query["from"]["id"], query["message"]["chat"]["id"]) == (ALICE, channel.id)

    await page.get_by_role("button", name="Back to the bot").click()
    await expect(page.locator("#composer")).to_be_visible()
    await tab.click()
    await page.get_by_role("button", name="Open", exact=True).click()
    await page.keyboard.press("Escape")
    await expect(page.locator("#composer")).to_be_visible()
    await expect(page.locator("#messages").get_by_text("Old news")).to_have_count(0)
    await tab.click()
    await page.get_by_role("button", name="Leave").click()
    await expect(page.locator("#channels")).to_contain_text("not in it")
    await expect(page.get_by_role("button", name="Open", exact=True)).to_have_count(0)


async def test_a_toast_covers_nothing_to_press_and_goes_at_the_next_message(
    sandbox: Sandbox, bot_api: BotApi, page: Page
) -> None:
    markup = {"inline_keyboard": [[{"text": "Press", "callback_data": "a"}]]}
    await bot_api("sendMessage", chat_id=ALICE, text="One", reply_markup=markup)
    button = page.get_by_role("button", name="Press")
    await button.click()
    (press,) = (await bot_api("getUpdates", timeout=5))["result"]
    toast = page.locator("#toast")
    await bot_api("answerCallbackQuery", callback_query_id=press["callback_query"]["id"], text="Wait " * 30)
    await expect(toast).to_be_visible()
    shown, text, pressed = [await one.bounding_box() for one in (toast, page.locator("#text"), button)]
    assert shown is not None
    assert text is not None
    assert pressed is not None
    assert shown["y"] + shown["height"] < min(pressed["y"], text["y"])
    await bot_api("sendMessage", chat_id=ALICE, text="Two")
    await expect(toast).to_be_hidden(timeout=3000)


async def test_the_menu_is_walked_with_the_keyboard(sandbox: Sandbox, bot_api: BotApi, page: Page) -> None:
    commands = [{"command": name, "description": name.title()} for name in ("plans", "status")]
    await bot_api("setMyCommands", commands=commands)
    # A key pressed on what is still hidden is lost.
    await expect(page.locator("#begin")).to_be_visible()
    await page.locator("#begin").press("Enter")
    await expect(page.locator("#text")).to_be_focused()
    await expect(page.locator("#menu")).to_be_visible()
    await page.locator("#menu").press("Enter")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await eventually(
        lambda: [one.body["text"] for one in sandbox.world.messages(ALICE)] == ["/start", "/status"]
    )
    await page.locator("#text").fill("/pl")
    await expect(page.locator("#commands li:visible")).to_have_count(1)
    sandbox.world.tell("people")  # which makes the page show the menu anew
    await page.wait_for_timeout(200)
    await expect(page.locator("#commands li:visible")).to_have_count(1)
    await page.keyboard.press("Escape")
    await expect(page.locator("#commands")).to_be_hidden()


@pytest.mark.parametrize("width", [360, 800, 1366, 2200])
async def test_nothing_is_wider_than_the_screen(
    sandbox: Sandbox, cryptocloud: CryptoCloud, bot_api: BotApi, browser: Browser, width: int
) -> None:
    made = await cryptocloud.create()
    await bot_api("sendMessage", chat_id=ALICE, text="long " * 60 + "x" * 300)
    page = await browser.new_page(viewport={"width": width, "height": 700})
    troubles = watch_for_trouble(page, sandbox.url)
    for address in (f"{sandbox.url}/?token={sandbox.token}", made["link"]):
        await page.goto(address)
        await page.wait_for_timeout(200)
        tabs = page.locator(".tabs button:visible")
        for tab in [None, *await tabs.all()]:
            if tab is not None:
                await tab.click()
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
            wide = "[...document.querySelectorAll('.pane')].filter(p => p.scrollWidth > p.clientWidth + 1).length"
            assert await page.evaluate(wide) == 0
    await page.close()
    assert troubles == []
