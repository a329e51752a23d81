"""What a customer and a curious person see in a browser, with the real bot behind the page."""

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Customer, CustomerMaker, Shop

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
ENGLISH = ("Pro ·", "30 days ·", "Pay $")
RUSSIAN = ("Про ·", "30 дней ·", "Оплатить")


async def bought(customer: Customer) -> None:
    await expect(customer.row.locator(".pill").first).to_have_text("paid")
    (payment,) = await customer.payments()
    assert payment["status"] == "paid"


async def test_a_purchase_in_english_from_start_to_the_receipt(customer: CustomerMaker) -> None:
    ann = await customer()
    await ann.order(*ENGLISH)
    await ann.open_checkout()
    await ann.checkout.get_by_role("button", name="BTC").click()
    await expect(ann.checkout.locator(".qr svg")).to_be_visible()
    await expect(ann.checkout.locator("[data-left]")).to_contain_text("23:59:")
    await ann.checkout.get_by_role("button", name="Pay 0.00099000 BTC").click()
    await expect(ann.checkout.get_by_text("Thank you")).to_be_visible()
    await ann.close_checkout()

    await ann.reads("Your Pro subscription is active")
    await expect(ann.messages.get_by_text("Paid. Thank you!")).to_be_visible()
    await expect(ann.chat.get_by_role("link", name="Pay")).to_have_count(0)
    await bought(ann)
    await expect(ann.row).to_contain_text("Subscription: pro until")
    for step in ("create", "postback", "info", "pending → paid", "+30 days of pro"):
        await expect(ann.timeline.locator(".label b").get_by_text(step, exact=True).last).to_be_visible()

    lines = await ann.timeline.locator(".label").all_text_contents()
    causes_first = (
        "arrives",
        "postback",
        "info",
        "pending → paid",
        "+30 days of pro",
        "subscription is active",
    )
    places = [max(at for at, line in enumerate(lines) if words in line) for words in causes_first]
    assert places == sorted(places)

    postback = ann.timeline.get_by_role("button", name="from CryptoCloud to the bot: postback").last
    await postback.press("Enter")
    raw = ann.timeline.locator(".raw")
    await expect(raw).to_contain_text("/api/webhook/payment")
    await expect(raw).to_contain_text("invoice_info")
    await expect(raw).to_contain_text("Postback received")


async def test_a_purchase_in_russian_on_a_telephone(customer: CustomerMaker) -> None:
    ivan = await customer("Иван", "ru", width=390)
    await ivan.order(*RUSSIAN)
    await ivan.open_checkout("Оплатить")
    await ivan.checkout.get_by_role("button", name="Pay 100.40 USDT").click()
    await expect(ivan.checkout.get_by_text("Thank you")).to_be_visible()
    await ivan.close_checkout()
    await ivan.reads("активна")
    await ivan.page.get_by_role("button", name="Behind the scenes").click()
    await bought(ivan)


async def test_too_little_and_then_the_rest(customer: CustomerMaker) -> None:
    ann = await customer()
    await ann.order(*ENGLISH)
    await ann.open_checkout()
    await ann.checkout.get_by_role("button", name="Too little").click()
    await expect(ann.checkout.locator(".due")).to_contain_text("50.20 of 100.40 USDT arrived")
    await ann.close_checkout()
    await ann.button("I have paid").click()
    await ann.reads("Still missing")
    await expect(ann.row.locator(".pill").first).to_have_text("partial")

    await ann.open_checkout("Pay the rest")
    await ann.checkout.get_by_role("button", name="Pay the rest: 50.20 USDT").click()
    await ann.close_checkout()
    await ann.reads("subscription is active")
    await bought(ann)


async def test_too_much_is_granted_once_and_told_to_the_admin(shop: Shop, customer: CustomerMaker) -> None:
    ann = await customer()
    await ann.order(*ENGLISH)
    await ann.open_checkout()
    await ann.checkout.get_by_role("button", name="Too much").click()
    await expect(ann.checkout.get_by_role("status")).to_have_text("overpaid")
    await ann.close_checkout()
    await ann.reads("subscription is active")
    await expect(ann.messages.get_by_text("subscription is active")).to_have_count(1)
    await bought(ann)
    await expect(ann.row).to_contain_text("overpaid")
    await ann.page.locator("[data-person='9001']").click()
    await ann.reads("was overpaid by $5")


async def test_a_lost_postback_is_made_up_for(customer: CustomerMaker) -> None:
    ann = await customer()
    await ann.order(*ENGLISH)
    await ann.open_checkout()
    await ann.checkout.get_by_label("How").select_option("none")
    await ann.checkout.get_by_role("button", name="Pay 100.40 USDT").click()
    await expect(ann.checkout.locator(".sent")).to_contain_text("lost")
    await ann.close_checkout()
    await expect(ann.timeline.locator(".step.lost")).to_have_count(1)
    await expect(ann.row).to_contain_text("next look in")
    await expect(ann.messages.get_by_text("subscription is active")).to_be_visible(timeout=40_000)
    await bought(ann)


async def test_forged_postbacks_are_turned_away_and_grant_nothing(customer: CustomerMaker) -> None:
    ann = await customer()
    await ann.order(*ENGLISH)
    await ann.open_checkout()
    turned_away = {"forged": "401", "other_token": "401", "no_token": "401", "garbage": "400"}
    for number, (mode, status) in enumerate(turned_away.items(), 1):
        await ann.checkout.get_by_label("How").select_option(mode)
        await ann.checkout.get_by_role("button", name="Send one now").click()
        await expect(ann.checkout.locator(".sent li")).to_have_count(number)
        await expect(ann.checkout.locator(".sent .pill").first).to_have_text(status)
    await ann.close_checkout()
    await expect(ann.row.locator(".pill").first).to_have_text("pending")
    await expect(ann.messages.get_by_text("active")).to_have_count(0)
    red = ann.timeline.locator(".step[data-tone=bad]").get_by_text("postback")
    await expect(red).to_have_count(len(turned_away))


async def test_fifty_postbacks_at_once_grant_once(customer: CustomerMaker) -> None:
    ann = await customer()
    await ann.order(*ENGLISH)
    await ann.open_checkout()
    await ann.checkout.get_by_label("How").select_option("burst")
    await ann.checkout.get_by_label("Format").select_option("form")
    await ann.checkout.get_by_role("button", name="Pay 100.40 USDT").click()
    await ann.close_checkout()
    await ann.reads("subscription is active")
    await expect(ann.messages.get_by_text("subscription is active")).to_have_count(1)
    # The receipt may be there before the last of them is answered.
    await expect(ann.timeline.locator(".step.pending").get_by_text("burst")).to_have_count(0)
    sent = [one for one in await ann.shop.read("postbacks") if one["mode"] == "burst"]
    assert [one["status"] for one in sent] == [200] * 50
    book = ann.timeline.get_by_text("+30 days of pro")
    assert await book.count() >= 1
    await bought(ann)


async def test_killed_between_payment_and_receipt_the_bot_makes_good(customer: CustomerMaker) -> None:
    ann = await customer()
    await ann.order(*ENGLISH)
    await ann.page.get_by_role("button", name="kill −9", exact=True).click()
    await expect(ann.page.locator("#process")).to_have_text("bot is stopped")
    await ann.open_checkout()
    await ann.checkout.get_by_role("button", name="Pay 100.40 USDT").click()
    await expect(ann.checkout.locator(".sent")).to_contain_text("no answer")
    await ann.close_checkout()
    await expect(ann.timeline.get_by_text("the bot is killed with -9")).to_be_visible()
    await ann.page.get_by_role("button", name="Start the bot").click()
    await expect(ann.page.locator("#process")).to_have_text("bot is ready", timeout=60_000)
    await expect(ann.messages.get_by_text("subscription is active")).to_be_visible(timeout=40_000)
    await bought(ann)


async def test_a_bot_that_dies_in_the_middle_of_settling_grants_once(
    shop: Shop, customer: CustomerMaker
) -> None:
    ann = await customer()
    await ann.order(*ENGLISH)
    await shop.act("bot/stop")
    await shop.act("bot/start", env={"FAILPOINT": "settle.granted"}, wait=True)
    await ann.open_checkout()
    await ann.checkout.get_by_role("button", name="Pay 100.40 USDT").click()
    await ann.close_checkout()
    await expect(ann.page.locator("#process")).to_contain_text("bot died")
    await expect(ann.row.locator(".pill").first).to_have_text("pending")
    await expect(ann.messages.get_by_text("subscription is active")).to_have_count(0)
    await ann.page.get_by_role("button", name="Start the bot").click()
    await expect(ann.messages.get_by_text("subscription is active")).to_be_visible(timeout=60_000)
    await expect(ann.messages.get_by_text("subscription is active")).to_have_count(1)
    await bought(ann)


async def test_429_is_shown_in_red_and_holds_the_receipt_back_but_does_not_lose_it(
    customer: CustomerMaker,
) -> None:
    ann = await customer()
    await ann.order(*ENGLISH)
    await ann.page.get_by_role("radio", name="429").check()
    await ann.open_checkout()
    await ann.checkout.get_by_role("button", name="Pay 100.40 USDT").click()
    await ann.close_checkout()
    await expect(ann.messages.get_by_role("alert").first).to_contain_text("Too Many Requests: retry after 3")
    refusals = ann.timeline.locator(".step[data-tone=bad]")
    await expect(refusals.get_by_text("Too Many Requests").first).to_be_visible()
    await bought(ann)
    await expect(ann.messages.locator(".message").get_by_text("subscription is active")).to_have_count(0)
    await ann.page.locator("[data-place=telegram]").get_by_role("radio", name="normal").check()
    await ann.reads("subscription is active")


async def test_whoever_blocked_the_bot_gets_the_receipt_when_they_come_back(customer: CustomerMaker) -> None:
    ann = await customer()
    await ann.order(*ENGLISH)
    await ann.button("Block").click()
    await expect(ann.button("RESTART")).to_be_visible()
    await ann.open_checkout()
    await ann.checkout.get_by_role("button", name="Pay 100.40 USDT").click()
    await ann.close_checkout()
    await expect(ann.messages.get_by_role("alert").first).to_contain_text("bot was blocked by the user")
    await bought(ann)
    await ann.button("RESTART").click()
    await ann.reads("subscription is active")
    await expect(ann.messages.get_by_text("subscription is active")).to_have_count(1)


async def test_history_has_pages(customer: CustomerMaker) -> None:
    ann = await customer()
    for tier in ("Pro ·", "Business ·"):
        for period in ("30 days ·", "90 days ·", "365 days ·"):
            before = await ann.messages.locator(".message:not(.mine)").count()
            await ann.say("/plans")
            await expect(ann.messages.locator(".message:not(.mine)")).to_have_count(before + 1)
            await ann.button(tier).last.click()
            await ann.button(period).last.click()
            await ann.button("Pay $").last.click()
            await expect(ann.button("Cancel").last).to_be_visible()
            await ann.button("Cancel").last.click()
            await expect(ann.messages.locator(".message").last).to_contain_text("Canceled")
    await ann.say("/history")
    page = ann.messages.locator(".message").last
    await expect(page.locator("code")).to_have_count(5)
    newest = await page.locator("code").all_text_contents()
    await page.get_by_role("button").last.click()
    await expect(page.locator("code")).to_have_count(1)
    assert (await page.locator("code").text_content()) not in newest
    await page.get_by_role("button").first.click()
    await expect(page.locator("code")).to_have_count(5)


async def test_time_passes_for_the_subscription_in_seconds(customer: CustomerMaker) -> None:
    ann = await customer()
    await ann.order(*ENGLISH)
    await ann.open_checkout()
    await ann.checkout.get_by_role("button", name="Pay 100.40 USDT").click()
    await ann.close_checkout()
    await ann.reads("subscription is active")
    await ann.page.get_by_role("button", name="+7 days", exact=True).click()
    await expect(ann.row).to_contain_text("23 days")
    await expect(ann.timeline.get_by_text("7 days passed").last).to_be_visible()
    await ann.page.get_by_role("button", name="+30 days", exact=True).click()
    await expect(ann.row).to_contain_text(", ended ")
    await ann.say("/status")
    await ann.reads("subscription ended on")
    await expect(ann.messages.locator(".day")).to_have_count(2)


async def test_an_invoice_expires_and_money_that_comes_later_still_counts(customer: CustomerMaker) -> None:
    ann = await customer()
    await ann.order(*ENGLISH)
    await ann.open_checkout()
    await ann.checkout.get_by_role("button", name="Let it expire").click()
    await expect(ann.checkout.get_by_role("status")).to_have_text("canceled")
    await ann.checkout.get_by_role("button", name="Pay 100.40 USDT all the same").click()
    await ann.close_checkout()
    await ann.reads("subscription is active")
    await bought(ann)


async def test_the_database_is_restarted_under_the_bot(customer: CustomerMaker) -> None:
    ann = await customer()
    await ann.order(*ENGLISH)
    await ann.page.get_by_role("button", name="Restart", exact=True).first.click()
    await expect(ann.timeline.get_by_text("the database is stopped").last).to_be_visible()
    await expect(ann.timeline.get_by_text("the database is there").last).to_be_visible()
    await ann.open_checkout()
    await ann.checkout.get_by_role("button", name="Pay 100.40 USDT").click()
    await ann.close_checkout()
    await expect(ann.messages.get_by_text("subscription is active")).to_be_visible(timeout=60_000)
    await bought(ann)


async def test_a_channel_is_asked_for_by_its_invite_link(customer: CustomerMaker) -> None:
    ann = await customer()
    await ann.page.locator("#channels-box summary").click()
    await ann.page.get_by_role("button", name="Link “Door”").click()
    await ann.page.get_by_role("button", name="Open the link").click()
    await expect(ann.page.locator("#channels")).to_contain_text("has asked")


async def test_the_bot_makes_no_call_with_odd_parameters(shop: Shop, customer: CustomerMaker) -> None:
    ann = await customer()
    await ann.order(*ENGLISH)
    calls = await shop.read("calls?limit=20000")
    assert [one["warnings"] for one in calls if one.get("warnings")] == []
