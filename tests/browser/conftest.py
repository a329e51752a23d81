"""A browser, and one whole sandbox that all purchases share: a customer of their own each."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio
from playwright.async_api import Browser, FrameLocator, Locator, Page, async_playwright, expect

from sandbox.app import Sandbox, running
from sandbox.world import Person, World
from tests.sandbox.conftest import ALICE, BORIS, BotApi, CryptoCloud

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PATIENCE = 12_000  # milliseconds
LONGEST_START = 60
CustomerMaker = Callable[..., Awaitable["Customer"]]


@pytest_asyncio.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Debian's Chromium; a missing one is an error, not a reason to skip."""
    expect.set_options(timeout=PATIENCE)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        await browser.close()


@dataclass
class Shop:
    """`python -m sandbox` in a process of its own, with the bot and its database."""

    url: str
    token: str
    client: aiohttp.ClientSession

    async def act(self, path: str, **body: Any) -> Any:
        """Press one of the sandbox's buttons over its control API."""
        headers = {"X-Sandbox-Token": self.token}
        async with self.client.post(f"{self.url}/control/{path}", json=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def read(self, path: str) -> Any:
        """Read something from the control API."""
        headers = {"X-Sandbox-Token": self.token}
        async with self.client.get(f"{self.url}/control/{path}", headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()


@pytest_asyncio.fixture(scope="session")
async def shop(tmp_path_factory: Any) -> AsyncIterator[Shop]:
    """The whole sandbox, started once."""
    folder = tmp_path_factory.mktemp("browser")
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "sandbox",
            "--port",
            "0",
            "--data",
            str(folder / "data"),
            cwd=ROOT,
            env={**os.environ, "SANDBOX_TOKEN": "browser"},
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
        assert process.stdout is not None
        try:
            line = (await asyncio.wait_for(process.stdout.readline(), LONGEST_START)).decode().strip()
            assert line.startswith("ready "), (folder / "log").read_text()[-3000:]
            url, _, token = line.removeprefix("ready ").partition("/?token=")
            async with aiohttp.ClientSession() as client:
                yield Shop(url, token, client)
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGINT)
            await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0


class Customer:
    """Somebody in front of the page. Whatever the page complains about fails the test in the end."""

    def __init__(self, shop: Shop, page: Page, person_id: int) -> None:
        self.shop, self.page, self.id = shop, page, person_id
        self.chat = page.locator("#chat")
        self.messages = page.locator("#messages")
        self.timeline = page.locator("#timeline")
        self.row = page.locator("#row")
        self.checkout: FrameLocator = page.frame_locator("#sheet-frame")

    def button(self, name: str) -> Locator:
        """A button under a message or at the chat's foot."""
        return self.chat.get_by_role("button", name=name)

    async def say(self, text: str) -> None:
        """Type a message and send it by Enter."""
        field = self.page.locator("#text")
        await field.fill(text)
        await field.press("Enter")

    async def order(self, tier: str, period: str, pay: str) -> None:
        """Press the way from the tiers to the invoice, as the buttons are called in the customer's language."""
        await self.button(tier).click()
        await self.button(period).click()
        await self.button(pay).click()
        await expect(self.chat.get_by_role("link", name=pay)).to_be_visible()

    async def open_checkout(self, pay: str = "Pay") -> None:
        """Follow the invoice's link; the checkout opens over the chat."""
        await self.chat.get_by_role("link", name=pay).last.click()
        await expect(self.checkout.locator("h1")).to_be_visible()

    async def close_checkout(self) -> None:
        """Go back to the chat, as people do by Escape."""
        await self.page.get_by_role("button", name="Close the checkout").click()
        await expect(self.page.locator("#sheet")).to_be_hidden()

    async def reads(self, words: str) -> None:
        """See the words in the newest messages."""
        await expect(self.messages.get_by_text(words).last).to_be_visible()

    async def payments(self) -> list[dict[str, Any]]:
        """What the database says, newest first."""
        found: list[dict[str, Any]] = (await self.shop.read(f"rows/{self.id}"))["payments"]
        return found


def watch_for_trouble(page: Page, url: str) -> list[str]:
    """Collect errors of scripts, and requests that would leave this machine."""
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda line: troubles.append(line.text) if line.type == "error" else None)
    local = (url, "about:blank", "blob:", "data:")
    page.on("request", lambda one: None if one.url.startswith(local) else troubles.append(one.url))
    return troubles


_ids = count(2001)


@pytest_asyncio.fixture
async def customer(shop: Shop, browser: Browser) -> AsyncIterator[CustomerMaker]:
    """Make customers, each in a browser of their own; they have started the bot."""
    pages: list[tuple[Page, list[str]]] = []

    async def make(name: str = "Ann", language: str = "en", *, width: int = 1366) -> Customer:
        person_id = next(_ids)
        await shop.act("bot/start", wait=True)
        await shop.act("people", id=person_id, first_name=name, language=language)
        page = await browser.new_page(viewport={"width": width, "height": 860})
        page.set_default_timeout(PATIENCE)
        pages.append((page, watch_for_trouble(page, shop.url)))
        await page.goto(f"{shop.url}/?token={shop.token}")
        await page.evaluate("id => localStorage.setItem('person', id)", person_id)
        await page.reload()
        somebody = Customer(shop, page, person_id)
        await page.locator("#begin").click()
        await expect(page.locator(".message:not(.mine)")).to_have_count(1)
        return somebody

    yield make
    await shop.act("faults/clear")
    await shop.act("project", postback={"mode": "once"})
    for page, troubles in pages:
        await page.close()
        assert troubles == []


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """The outside world alone, where the test itself is the bot."""
    world = World()
    world.add_person(Person(ALICE, "Alice", "en", "alice", started=True))
    world.add_person(Person(BORIS, "Борис", "ru"))
    async with running(world) as box:
        yield box


@pytest_asyncio.fixture
async def bot_api(sandbox: Sandbox) -> BotApi:
    """Calls the Bot API by hand."""
    return BotApi(sandbox)


@pytest_asyncio.fixture
async def cryptocloud(sandbox: Sandbox) -> CryptoCloud:
    """Calls CryptoCloud's API as a shop does."""
    return CryptoCloud(sandbox)


@pytest_asyncio.fixture
async def page(sandbox: Sandbox, browser: Browser) -> AsyncIterator[Page]:
    """A telephone with the page of the sandbox without a bot."""
    page = await browser.new_page(viewport={"width": 360, "height": 800})
    page.set_default_timeout(PATIENCE)
    troubles = watch_for_trouble(page, sandbox.url)
    await page.goto(f"{sandbox.url}/?token={sandbox.token}")
    yield page
    await page.close()
    assert troubles == []
