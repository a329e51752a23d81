"""Takes the pictures in docs/screenshots: `python -m tests.browser.screenshots`. Needs Debian's Chromium.

They show the real bot behind the page: a purchase that is under way, on a desk and on a telephone, light and dark.
The package fonts-noto-color-emoji makes the emoji colourful.
"""

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Literal

from playwright.async_api import Browser, FrameLocator, Page, async_playwright, expect

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "screenshots"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
LARGEST = 200 * 1024
Scheme = Literal["light", "dark"]


async def _take(page: Page, name: str) -> None:
    await page.wait_for_timeout(1500)  # for what fades in and out
    path = FOLDER / f"{name}.png"
    await page.screenshot(path=path)
    size = path.stat().st_size
    print(f"{path.relative_to(ROOT)}  {size // 1024} kB")  # noqa: T201 - a script that reports
    if size >= LARGEST:
        raise SystemExit(f"{path} is too large for a README")


async def _open(
    browser: Browser, url: str, person: int, scheme: Scheme, width: int, height: int, *, scale: float = 1
) -> Page:
    page = await browser.new_page(
        viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=scale
    )
    await page.goto(url)
    await page.evaluate("id => localStorage.setItem('person', id)", person)
    await page.reload()
    return page


async def _order(page: Page, tier: str, period: str, pay: str) -> FrameLocator:
    chat = page.locator("#chat")
    await page.locator("#begin").click()
    for name in (tier, period, pay):
        await chat.get_by_role("button", name=name).click()
    await chat.get_by_role("link", name=pay).click()
    checkout = page.frame_locator("#sheet-frame")
    await expect(checkout.locator("h1")).to_be_visible()
    return checkout


async def _desk(browser: Browser, url: str, person: int, scheme: Scheme) -> None:
    page = await _open(browser, url, person, scheme, 1280, 760)
    checkout = await _order(page, "Pro ·", "90 days ·", "Pay $")
    await checkout.get_by_role("button", name="USDT Tron").click()
    await _take(page, f"checkout-desktop-{scheme}")
    await checkout.get_by_role("button", name="Too little").click()
    await page.get_by_role("button", name="Close the checkout").click()
    await page.get_by_role("button", name="I have paid").click()
    await page.get_by_role("link", name="Pay the rest").click()
    await checkout.get_by_role("button", name="Pay the rest").click()
    await page.get_by_role("button", name="Close the checkout").click()
    await expect(page.locator("#messages").get_by_text("subscription is active")).to_be_visible()
    await _take(page, f"page-desktop-{scheme}")
    await page.close()


async def _telephone(browser: Browser, url: str, person: int, scheme: Scheme) -> None:
    page = await _open(browser, url, person, scheme, 390, 800, scale=1.5)
    checkout = await _order(page, "Про ·", "30 дней ·", "Оплатить")
    await checkout.get_by_role("button", name="BTC").click()
    await _take(page, f"checkout-phone-{scheme}")
    await checkout.get_by_role("button", name="Pay 0.00099000 BTC").click()
    await page.get_by_role("button", name="Close the checkout").click()
    await expect(page.locator("#messages").get_by_text("активна")).to_be_visible()
    await _take(page, f"chat-phone-{scheme}")
    await page.get_by_role("button", name="Behind the scenes").click()
    await _take(page, f"timeline-phone-{scheme}")
    await page.close()


async def main() -> None:
    """Start a sandbox, walk through it four times, and stop it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="screenshots-") as folder,
        (Path(folder) / "log").open("wb") as log,
    ):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sandbox", "--port", "0", "--data", str(Path(folder) / "data")),
            cwd=ROOT,
            env={**os.environ},
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
        assert process.stdout is not None
        try:
            url = (await process.stdout.readline()).decode().removeprefix("ready ").strip()
            if not url:
                raise SystemExit((Path(folder) / "log").read_text())
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
                await _desk(browser, url, 1001, "light")
                await _telephone(browser, url, 1002, "light")
                await _people(browser, url)
                await _desk(browser, url, 1003, "dark")
                await _telephone(browser, url, 1004, "dark")
                await browser.close()
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGINT)
            await process.wait()


async def _people(browser: Browser, url: str) -> None:
    """Add a second customer who reads Russian."""
    page = await _open(browser, url, 1003, "light", 1440, 860)
    await page.get_by_text("Add somebody").click()
    await page.get_by_label("Name").fill("Катя")
    await page.get_by_label("Language").select_option("ru")
    await page.get_by_role("button", name="Add", exact=True).click()
    await expect(page.locator("[data-person='1004']")).to_be_visible()
    await page.close()


if __name__ == "__main__":
    asyncio.run(main())
