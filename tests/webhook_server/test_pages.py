"""The pages for people."""

import re
from collections.abc import Callable

import pytest

from services.config import Settings
from services.db import Database
from services.errors import SettingsError
from services.tiers import LANGUAGES
from services.vitals import Vitals
from tests.webhook_server.conftest import OpenSite, Site
from webhook_server.language import TEXTS, preferred

RUSSIAN = "ru-RU,ru;q=0.9,en;q=0.8"


@pytest.fixture
async def site(open_site: OpenSite, no_database: Database) -> Site:
    """A site whose database is away: the pages need none."""
    return await open_site(no_database)


async def page(site: Site, path: str = "/", status: int = 200, accept: str = "") -> str:
    async with site.get(path, headers={"Accept": "text/html", "Accept-Language": accept}) as answer:
        assert answer.status == status
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        text = await answer.text()
        assert "<script" not in text
        assert " style=" not in text
        return str(text)


def seen(text: str) -> str:
    """The words of a page as they are read."""
    return " ".join(re.sub(r"<[^>]*>", " ", text.partition("<body>")[2]).replace("\xa0", " ").split())


# What is on sale


async def test_every_tier_has_its_prices_and_a_link_into_the_bot(site: Site) -> None:
    text = await page(site)
    for price in ("$99", "$282.15", "$950.40", "$299", "$852.15", "$2,870.40"):
        assert price in seen(text)
    assert "90 days $282.15 save $14.85" in seen(text)
    assert "100,000 requests a month" in seen(text)
    assert 'href="https://t.me/shop_bot?start=tier_pro"' in text
    assert 'href="https://t.me/shop_bot?start=tier_business"' in text
    assert 'href="https://t.me/shop_bot?start=tier_free"' in text


async def test_russian_page_counts_and_prices_in_russian(site: Site) -> None:
    words = seen(await page(site, accept=RUSSIAN))
    assert "Бизнес" in words
    assert "90 дней 282,15 $" in words
    assert "1 000 000 запросов в месяц" in words


async def test_links_follow_the_setting(open_site: OpenSite, no_database: Database) -> None:
    site = await open_site(no_database, telegram_link_url="http://127.0.0.1:9/t")
    assert 'href="http://127.0.0.1:9/t/shop_bot?start=tier_pro"' in await page(site)


async def test_until_the_bot_is_known_a_line_stands_for_its_links(
    open_site: OpenSite, no_database: Database
) -> None:
    vitals = Vitals()
    site = await open_site(no_database, vitals=vitals)
    text = await page(site)
    assert "t.me" not in text
    assert "Its link will be here in a moment" in text
    vitals.bot_username = "late_bot"
    text = await page(site)
    assert "https://t.me/late_bot?start=tier_pro" in text
    assert "Its link will be here in a moment" not in text


# After the checkout


@pytest.mark.parametrize("path", ["/payment/success", "/payment/error"])
@pytest.mark.parametrize("language", LANGUAGES)
async def test_page_after_the_checkout_promises_nothing_and_leads_back(
    site: Site, path: str, language: str
) -> None:
    query = f"?lang={language}&order_id=CANARY-ORDER&invoice_uuid=CANARY-INVOICE"
    text = await page(site, path + query)
    assert 'href="https://t.me/shop_bot"' in text
    assert "CANARY" not in text
    for claim in (
        "is paid",
        "received your payment",
        "is active",
        "successful",
        "оплачен ",
        "получили",
        "активна",
    ):
        assert claim not in seen(text).lower()


# Languages


@pytest.mark.parametrize(
    ("accept", "language"),
    [
        ("", "en"),
        ("ru", "ru"),
        ("RU-ru", "ru"),
        ("en-US,en;q=0.9,ru;q=0.8", "en"),
        ("de,ru;q=0.5,en;q=0.4", "ru"),
        ("en;q=0.1, ru;q=0.2", "ru"),
        ("ru;q=0, en;q=0.1", "en"),
        ("ru;q=nonsense", "en"),
        ("de-DE, fr", "en"),
        ("*", "en"),
        (",,;;,q=,ru;q=1.000", "ru"),
    ],
)
def test_browser_s_languages_are_read_by_preference(accept: str, language: str) -> None:
    assert preferred(accept) == language


async def test_visitor_can_switch_the_language(site: Site) -> None:
    english = await page(site)
    assert '<html lang="en">' in english
    assert 'href="?lang=ru"' in english
    russian = await page(site, "/?lang=ru")
    assert '<html lang="ru">' in russian
    assert 'href="?lang=en"' in russian
    assert '<html lang="en">' in await page(site, "/?lang=en", accept=RUSSIAN)
    assert '<html lang="ru">' in await page(site, "/?lang=xx", accept=RUSSIAN)


def test_both_languages_have_the_same_texts() -> None:
    names = [
        re.findall(r"^([a-z-]+) =", (TEXTS / f"{language}.ftl").read_text(encoding="utf-8"), re.MULTILINE)
        for language in LANGUAGES
    ]
    assert names[0] == names[1]
    assert len(names[0]) == len(set(names[0]))


# The shop's own words


async def test_shop_s_words_are_escaped(open_site: OpenSite, no_database: Database) -> None:
    site = await open_site(
        no_database,
        shop_name="<script>alert(1)</script>",
        support_contact='"><img src=x onerror=alert(2)>',
        terms_url='https://shop.example/terms?a="&b=<i>',
    )
    for path in ("/", "/payment/success", "/payment/error"):
        text = await page(site, path)
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
        assert "<img" not in text
        assert "<i>" not in text


@pytest.mark.parametrize(
    ("contact", "link"),
    [
        ("@shop_help", "https://t.me/shop_help"),
        ("help@shop.example", "mailto:help@shop.example"),
        ("https://shop.example/help", "https://shop.example/help"),
        ("call 555-1234", None),
        ("javascript:alert(1)", None),
        ("data:text/html,x", None),
    ],
)
async def test_support_contact_is_a_link_where_it_can_be(
    open_site: OpenSite, no_database: Database, contact: str, link: str | None
) -> None:
    text = await page(await open_site(no_database, support_contact=contact))
    footer = text.partition("<footer>")[2]
    assert contact in footer
    assert re.findall(r'href="([^"]*)"', footer) == ([link] if link else [])


async def test_terms_are_linked_where_they_are_set(
    open_site: OpenSite, no_database: Database, site: Site
) -> None:
    assert "<footer>" not in await page(site)
    told = await page(await open_site(no_database, terms_url="https://shop.example/terms"))
    assert 'href="https://shop.example/terms"' in told


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "data:text/html,x", "//shop.example", "ftp://shop.example/x"]
)
def test_terms_are_a_web_page_or_refused(make_settings: Callable[..., Settings], address: str) -> None:
    with pytest.raises((ValueError, SettingsError)):
        make_settings(terms_url=address)


# Everything else


async def test_unknown_address_is_a_page_for_people_and_a_word_for_programs(site: Site) -> None:
    text = await page(site, "/no/such?canary=CANARY", 404)
    assert "There is no such page" in seen(text)
    assert "CANARY" not in text
    async with site.get("/no/such") as answer:
        assert (answer.status, await answer.json()) == (404, {"message": "Not Found"})


async def test_style_and_icon_come_from_our_own_address(site: Site) -> None:
    text = await page(site)
    asked = re.findall(r'<link [^>]*href="([^"]*)"', text)
    assert len(asked) == 2
    for address in asked:
        assert address.startswith("/")
        async with site.get(address) as answer:
            assert answer.status == 200
            assert answer.headers["Cache-Control"] == "public, max-age=86400"
            assert answer.headers["Content-Type"].split(";")[0] in {"text/css", "image/svg+xml"}
            assert await answer.read()
