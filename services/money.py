"""Amounts of money: `Decimal` only, rounded once, written the way people of a language read them."""

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from babel import Locale
from babel.numbers import format_currency, get_currency_precision

# https://docs.cryptocloud.plus/en/api-reference-v2/create-invoice, read 2026-11
_FIAT: Final = """
USD UZS KGS KZT AMD AZN BYN AUD TRY AED CAD CNY HKD IDR INR JPY PHP SGD THB VND MYR RUB UAH EUR GBP
"""
CRYPTOCLOUD_CURRENCIES: Final = frozenset(_FIAT.split())


def round_money(amount: Decimal, currency: str) -> Decimal:
    """Round half-even to the smallest unit of a currency, such as cents."""
    return amount.quantize(Decimal(1).scaleb(-get_currency_precision(currency)), rounding=ROUND_HALF_EVEN)


def money_text(amount: Decimal, currency: str, language: str) -> str:
    """Write an amount for people, such as `$950.40` or `950,40 $`; whole amounts stay without cents."""
    rounded = round_money(amount, currency)
    if rounded != rounded.to_integral_value():
        return format_currency(rounded, currency, locale=language)
    pattern = Locale.parse(language).currency_formats["standard"].pattern.replace(".00", "")
    return format_currency(rounded, currency, format=pattern, locale=language, currency_digits=False)
