"""The page in a real browser: what a customer sees and does."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page, async_playwright, expect

from sandbox import people
from sandbox.app import Sandbox
from tests.sandbox.conftest import ALICE, BORIS, BotApi, CryptoCloud, eventually

pytestmark = pytest.mark.browser
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture
async def page(sandbox: Sandbox) -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = await browser.new_page(viewport={"width": 390, "height": 800})
        troubles: list[str] = []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda line: troubles.append(line.text) if line.type == "error" else None)
        page.on("request", lambda one: None if one.url.startswith(sandbox.url) else troubles.append(one.url))
        await page.goto(f"{sandbox.url}/?token={sandbox.token}")
        yield page
        await browser.close()
        assert troubles == []


async def test_a_customer_talks_presses_pays_and_blocks(
    sandbox: Sandbox, bot_api: BotApi, cryptocloud: CryptoCloud, page: Page
) -> None:
    await page.get_by_role("button", name="Start", exact=True).click()
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

    async with page.expect_popup() as opened:
        await bubble.get_by_role("link", name="Pay").click()
    checkout = await opened.value
    await checkout.get_by_role("button", name="Pay 100.40 USDT").click()
    await expect(checkout.get_by_text("Thank you")).to_be_visible()
    await expect(page.locator("#invoices .pill")).to_have_text("paid")

    await bot_api("editMessageText", chat_id=ALICE, message_id=message_id, text="Active")
    await expect(page.locator("article.message").last).to_contain_text("Active")
    await expect(page.locator(".keyboard")).to_have_count(0)

    await page.get_by_role("button", name="Block", exact=True).click()
    await eventually(lambda: sandbox.world.people[ALICE].blocked)
    await page.get_by_role("button", name="Restart the bot").click()
    await eventually(lambda: len(sandbox.world.messages(ALICE)) == 3)
    assert not sandbox.world.people[ALICE].blocked


async def test_a_deep_link_starts_the_bot_with_its_payload(
    sandbox: Sandbox, bot_api: BotApi, page: Page
) -> None:
    await page.goto(f"{sandbox.url}/t/subgate_sandbox_bot?start=tier_pro")
    await page.locator(f"[data-person='{BORIS}']").click()
    await page.get_by_role("button", name="tier_pro").click()
    (update,) = (await bot_api("getUpdates", timeout=5))["result"]
    assert (update["message"]["text"], update["message"]["from"]["id"]) == ("/start tier_pro", BORIS)


async def test_a_message_to_somebody_else_is_marked(sandbox: Sandbox, bot_api: BotApi, page: Page) -> None:
    await expect(page.locator(".person")).to_have_count(2)
    people.say(sandbox.world, BORIS, "Привет")
    await expect(page.locator(".person.unread")).to_contain_text("Борис")
