"""The price list: what is on sale, at a price that is rounded once; what is wrong is named by file, tier and key."""

from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.errors import SettingsError, UnknownTier
from services.money import CRYPTOCLOUD_CURRENCIES
from services.tiers import DAY, Period, PriceList, Tier, read_tiers

SMALL = """
currency = "USD"
[periods]
month = { days = 30 }
[tiers.free]
price = 0
title = { en = "Free" }
[tiers.pro]
price = 99
title = { en = "Pro" }
"""


@pytest.fixture
def shelf(tmp_path: Path) -> "Shelf":
    return Shelf(tmp_path / "tiers.toml")


class Shelf:
    """A tiers file to write and read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, words: str) -> PriceList:
        self.path.write_text(words, encoding="utf-8")
        return read_tiers(self.path)

    def refused(self, words: str) -> str:
        with pytest.raises(SettingsError) as refused:
            self.read(words)
        line = str(refused.value)
        assert line.startswith(f"{self.path}: ")
        assert "\n" not in line
        return line.removeprefix(f"{self.path}: ")


def test_the_shipped_price_list(price_list: PriceList) -> None:
    prices = {
        (tier.code, period.code): str(price_list.price_for(tier, period))
        for tier in price_list.paid_tiers
        for period in price_list.periods.values()
    }
    assert prices == {
        ("pro", "month"): "99.00",
        ("pro", "quarter"): "282.15",
        ("pro", "year"): "950.40",
        ("business", "month"): "299.00",
        ("business", "quarter"): "852.15",
        ("business", "year"): "2870.40",
    }
    assert [period.seconds for period in price_list.periods.values()] == [30 * DAY, 90 * DAY, 365 * DAY]
    assert (price_list.free_tier.code, price_list.free_tier.requests) == ("free", 100)
    tier, period = price_list.on_sale("pro", "year")
    assert price_list.saving_for(tier, period) == Decimal("237.60")
    assert price_list.saving_for(tier, price_list.periods["month"]) == 0


def test_names_fall_back_to_english_and_a_tier_that_is_gone_to_its_code(shelf: Shelf) -> None:
    words = SMALL.replace('title = { en = "Pro" }', 'title = { en = "Pro" }\ndescription = { en = "More" }')
    shop = shelf.read(words)
    pro = shop.tiers["pro"]
    assert (pro.title("ru"), pro.description("ru"), shop.tiers["free"].description("ru")) == (
        "Pro",
        "More",
        "",
    )
    assert (shop.title_of("pro", "ru"), shop.title_of("gone", "ru")) == ("Pro", "gone")


@pytest.mark.parametrize(
    ("tier", "period"), [("free", "month"), ("gold", "month"), ("pro", "week"), ("", ""), ("PRO", "month")]
)
def test_what_is_not_on_sale_cannot_be_bought(price_list: PriceList, tier: str, period: str) -> None:
    with pytest.raises(UnknownTier):
        price_list.on_sale(tier, period)


def test_cents_are_exact_and_a_period_without_months_counts_thirty_days(shelf: Shelf) -> None:
    shop = shelf.read(
        SMALL.replace("price = 99", "price = 29.99").replace(
            "month = { days = 30 }",
            "month = { days = 30 }\nweek = { days = 7 }\nhalf = { days = 15, months = 0.5 }",
        )
    )
    pro = shop.tiers["pro"]
    assert pro.price == Decimal("29.99")
    assert shop.price_for(pro, shop.periods["week"]) == Decimal("7.00")  # 6.9976…
    assert shop.price_for(pro, shop.periods["half"]) == Decimal("15.00")  # 14.995, half to even


def test_a_currency_without_cents_has_none(shelf: Shelf) -> None:
    words = SMALL.replace('"USD"', '"JPY"').replace("price = 99", "price = 1499.5")
    shop = shelf.read(words)
    assert str(shop.price_for(shop.tiers["pro"], shop.periods["month"])) == "1500"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('currency = "USD"', 'currency = "XAU"', "currency must be one of AED, AMD"),
        ('currency = "USD"', "", "currency: is missing"),
        ('currency = "USD"', "currency = USD", "not valid TOML"),
        ("price = 0", "price = 5", "exactly one tier must have price = 0"),
        ("price = 99", "price = 0", "exactly one tier must have price = 0"),
        ("price = 99", "price = -1", "tiers.pro.price: "),
        ("price = 99", "price = nan", "tiers.pro.price: "),
        ("price = 99", "price = inf", "tiers.pro.price: "),
        ("price = 99", 'price = "99"', "tiers.pro.price: "),
        ("price = 99", "price = true", "tiers.pro.price: "),
        ("price = 99", "price = 1e30", "tiers.pro.price: "),
        ("price = 99", "price = 0.004", "tiers.pro.price: a month would cost nothing after rounding"),
        ("price = 99", "price = 99\nprize = 1", "tiers.pro.prize: is not a key of this file"),
        ("price = 99", "price = 99\nrequests = -5", "tiers.pro.requests: "),
        ("price = 99", "price = 99\nrequests = 1.5", "tiers.pro.requests: "),
        ('title = { en = "Pro" }', "", "tiers.pro.title: is missing"),
        ('title = { en = "Pro" }', 'title = { ru = "Про" }', 'tiers.pro: title needs at least { en = "…" }'),
        ('title = { en = "Pro" }', 'title = { en = " " }', "tiers.pro.title.en: "),
        ("[tiers.pro]", "[tiers.Pro]", "tiers.Pro: "),
        ("[tiers.pro]", '[tiers."pro:x"]', "tiers.pro:x: "),
        ("[tiers.pro]", f"[tiers.{'p' * 21}]", f"tiers.{'p' * 21}: "),
        ("month = { days = 30 }", "", "periods: "),
        ("month = { days = 30 }", "month = { days = 0 }", "periods.month.days: "),
        ("month = { days = 30 }", "month = { days = 30.5 }", "periods.month.days: "),
        ("month = { days = 30 }", "month = { days = 99999 }", "periods.month.days: "),
        ("month = { days = 30 }", "month = { days = 30, discount = 100 }", "periods.month.discount: "),
        ("month = { days = 30 }", "month = { days = 30, discount = -5 }", "periods.month.discount: "),
        ("month = { days = 30 }", "month = { days = 30, months = 0 }", "periods.month.months: "),
        ("month = { days = 30 }", "month = { hours = 3 }", "periods.month.days: is missing"),
    ],
)
def test_what_is_wrong_is_named_by_file_tier_and_key(
    shelf: Shelf, old: str, new: str, complaint: str
) -> None:
    assert old in SMALL
    assert complaint in shelf.refused(SMALL.replace(old, new))


def test_a_file_that_is_not_there_or_not_text_says_which_setting_names_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nothing\.toml: there is no such tiers file \(TIERS_FILE"):
        read_tiers(tmp_path / "nothing.toml")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_tiers(tmp_path)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"bytes\.toml: cannot be read"):
        read_tiers(tmp_path / "bytes.toml")


def tier(price: Decimal) -> Tier:
    return Tier("pro", price, None, {"en": "Pro"}, {})


def period(months: Fraction, discount: Decimal) -> Period:
    return Period("p", int(months * 30 * DAY), months, discount)


prices = st.decimals("0.01", "1000000000", places=2)
discounts = st.decimals("0", "99", places=2)
months = st.fractions("1/30", 120, max_denominator=30)
currencies = st.sampled_from(sorted(CRYPTOCLOUD_CURRENCIES))


@given(price=prices, length=months, discount=discounts, currency=currencies)
@settings(deadline=None, max_examples=200)
def test_a_price_is_the_exact_product_rounded_once_half_even(
    price: Decimal, length: Fraction, discount: Decimal, currency: str
) -> None:
    shop = PriceList(currency, {}, {})
    got = shop.price_for(tier(price), period(length, discount))
    exact = Fraction(price) * length * (100 - Fraction(discount)) / 100
    unit = Fraction(Decimal(1).scaleb(int(got.as_tuple().exponent)))
    assert got >= 0
    assert Fraction(got) == round(exact / unit) * unit
    assert Fraction(shop.saving_for(tier(price), period(length, discount))) >= 0


@given(price=prices, lengths=st.tuples(months, months), discounts=st.tuples(discounts, discounts))
@settings(deadline=None, max_examples=200)
def test_a_longer_period_with_no_smaller_discount_is_never_dearer_by_the_month(
    price: Decimal, lengths: tuple[Fraction, Fraction], discounts: tuple[Decimal, Decimal]
) -> None:
    shop = PriceList("USD", {}, {})
    short, long = (period(*pair) for pair in zip(sorted(lengths), sorted(discounts), strict=True))
    half_a_cent = Fraction(1, 200)
    a_month_of = [Fraction(shop.price_for(tier(price), one)) / one.months for one in (short, long)]
    assert a_month_of[1] <= a_month_of[0] + half_a_cent / short.months + half_a_cent / long.months


@given(price=prices)
@settings(deadline=None, max_examples=50)
def test_a_month_costs_what_the_file_says(price: Decimal) -> None:
    shop = PriceList("USD", {}, {})
    a_month = period(Fraction(1), Decimal(0))
    assert shop.price_for(tier(price), a_month) == price.quantize(Decimal("0.01"), ROUND_HALF_EVEN)
