"""The pages for people: what is on sale, and where CryptoCloud sends a customer's browser after the checkout.

Whoever arrives there proves nothing, so the pages never say that something is paid and never repeat an address.
"""

import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from services.money import money_text
from services.tiers import LANGUAGES, Period, Tier
from webhook_server.keys import PRICE_LIST, SETTINGS, VITALS
from webhook_server.language import Words, language_of

TEMPLATES: Final = Path(__file__).parent / "templates"
_FILES: Final = {"/style.css": "text/css", "/icon.svg": "image/svg+xml"}
_DAY_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class Offer:
    """A period of a tier as the page shows it."""

    days: int
    price: str
    saving: str


@dataclass(frozen=True, slots=True)
class TierCard:
    """A tier as the page shows it; `link` is empty as long as the bot's name is not known."""

    title: str
    description: str
    requests: int | None
    offers: list[Offer]
    link: str


class Looks:
    """The templates, the words and the files that go with them, read once."""

    def __init__(self) -> None:
        self.templates = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.words = {language: Words(language) for language in LANGUAGES}
        self.files = {path: (TEMPLATES / path[1:]).read_bytes() for path in _FILES}
        # A page asks for its style by its contents, so that no browser shows today's page in yesterday's dress.
        self.edition = sha256(b"".join(self.files.values())).hexdigest()[:8]


_LOOKS = web.AppKey("looks", Looks)


def add_to(app: web.Application) -> None:
    """Let people in."""
    app[_LOOKS] = Looks()
    app.router.add_get("/", show_tiers)
    app.router.add_get("/payment/success", show_success)
    app.router.add_get("/payment/error", show_error)
    for path in _FILES:
        app.router.add_get(path, send_file)


async def show_tiers(request: web.Request) -> web.Response:
    """Show what is on sale; the deep links open the bot at a tier."""
    price_list = request.app[PRICE_LIST]
    language = language_of(request)

    def offer(tier: Tier, period: Period) -> Offer:
        saving = price_list.saving_for(tier, period)
        return Offer(
            days=period.days,
            price=money_text(price_list.price_for(tier, period), price_list.currency, language),
            saving=money_text(saving, price_list.currency, language) if saving > 0 else "",
        )

    cards = [
        TierCard(
            title=tier.title(language),
            description=tier.description(language),
            requests=tier.requests,
            offers=[] if tier.free else [offer(tier, period) for period in price_list.periods.values()],
            link=_bot_link(request, f"tier_{tier.code}"),
        )
        for tier in price_list.tiers.values()
    ]
    return _page(request, "tiers.html", tiers=cards)


async def show_success(request: web.Request) -> web.Response:
    """Say that the bot will write; whether anything was paid is not known here."""
    return _page(request, "message.html", subject="success")


async def show_error(request: web.Request) -> web.Response:
    """Say that nothing is lost, whatever happened at the checkout."""
    return _page(request, "message.html", subject="error")


def show_refusal(request: web.Request, status: int) -> web.Response:
    """Show a person that there is no such page, or that we could not serve it."""
    subject = "not-found" if status == 404 else "trouble" if status >= 500 else "refused"
    return _page(request, "message.html", status=status, subject=subject)


async def send_file(request: web.Request) -> web.Response:
    """Send the pages' style or icon."""
    return web.Response(
        body=request.app[_LOOKS].files[request.path],
        content_type=_FILES[request.path],
        charset="utf-8",
        headers={"Cache-Control": f"public, max-age={_DAY_SECONDS}"},
    )


def _page(request: web.Request, template: str, *, status: int = 200, **values: Any) -> web.Response:
    looks, settings, language = request.app[_LOOKS], request.app[SETTINGS], language_of(request)
    text = looks.templates.get_template(template).render(
        words=looks.words[language],
        language=language,
        languages={code: words("language") for code, words in looks.words.items()},
        edition=looks.edition,
        shop_name=settings.shop_name,
        support=settings.support_contact,
        support_link=_contact_link(settings.support_contact, settings.telegram_link_url),
        terms_url=settings.terms_url,
        bot_link=_bot_link(request),
        **values,
    )
    return web.Response(
        text=text,
        status=status,
        content_type="text/html",
        headers={"Vary": "Accept-Language, Accept", "Content-Language": language},
    )


def _bot_link(request: web.Request, start: str = "") -> str:
    username = request.app[VITALS].bot_username
    if not username:
        return ""
    return f"{request.app[SETTINGS].telegram_link_url}/{quote(username)}" + (
        f"?start={start}" if start else ""
    )


def _contact_link(contact: str, telegram: str) -> str:
    """Give the address behind a contact: a Telegram name, a mailbox or a web page; empty for other words."""
    contact = contact.strip()
    if re.fullmatch(r"@\w{4,32}", contact, re.ASCII):
        return f"{telegram}/{contact[1:]}"
    if re.fullmatch(r"[\w.+-]+@[\w-]+(\.[\w-]+)+", contact, re.ASCII):
        return f"mailto:{contact}"
    if re.fullmatch(r"https?://\S+", contact):
        return contact
    return ""
