"""Amounts: rounded once, half-even, to the currency's smallest unit, and written as people write them."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.money import CRYPTOCLOUD_CURRENCIES, money_text, round_money


@pytest.mark.parametrize(
    ("amount", "currency", "rounded"),
    [
        ("0.005", "USD", "0.00"),
        ("0.015", "USD", "0.02"),
        ("0.025", "USD", "0.02"),
        ("0.0250000001", "USD", "0.03"),
        ("99", "USD", "99.00"),
        ("1234.5", "JPY", "1234"),
        ("1235.5", "JPY", "1236"),
        ("0.5", "VND", "0"),
    ],
)
def test_halves_go_to_the_even_neighbour(amount: str, currency: str, rounded: str) -> None:
    assert str(round_money(Decimal(amount), currency)) == rounded


@pytest.mark.parametrize(
    ("amount", "currency", "language", "text"),
    [
        ("950.40", "USD", "en", "$950.40"),
        ("99.00", "USD", "en", "$99"),
        ("1234567.8", "USD", "en", "$1,234,567.80"),
        ("950.40", "USD", "ru", "950,40 $"),
        ("99.00", "USD", "ru", "99 $"),
        ("12000", "RUB", "ru", "12 000 ₽"),
        ("99", "EUR", "en", "€99"),
        ("1500", "JPY", "en", "¥1,500"),
    ],
)
def test_amounts_are_written_as_people_write_them(
    amount: str, currency: str, language: str, text: str
) -> None:
    written = money_text(Decimal(amount), currency, language)
    assert written.replace("\xa0", " ").replace("\u202f", " ") == text


@given(
    st.decimals("0", "1e9", allow_nan=False, allow_infinity=False),
    st.sampled_from(sorted(CRYPTOCLOUD_CURRENCIES)),
    st.sampled_from(["en", "ru"]),
)
@settings(deadline=None, max_examples=150)
def test_rounding_moves_an_amount_by_half_a_unit_at_most_and_once(
    amount: Decimal, currency: str, language: str
) -> None:
    rounded = round_money(amount, currency)
    unit = Decimal(1).scaleb(int(rounded.as_tuple().exponent))
    assert abs(rounded - amount) <= unit / 2
    assert round_money(rounded, currency) == rounded
    digits = "".join(one for one in money_text(amount, currency, language) if one.isdigit())
    assert digits in {str(int(rounded)), str(rounded).replace(".", "")}
