"""Our words: Fluent files per language, with money, dates and names made fit for people and for Telegram's HTML.

Every argument is HTML-escaped here and nowhere else. A language that lacks a text is a defect that tests find.
"""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from babel.dates import format_datetime, format_timedelta
from babel.numbers import format_decimal, get_decimal_symbol
from fluent.runtime import FluentBundle, FluentResource

from services.money import money_text

LANGUAGES: Final = ("en", "ru")
FOLDER: Final = Path(__file__).parent
_TAG = re.compile(r"</?[a-z][^>]*>")


class Texts:
    """All languages, read once at start."""

    def __init__(self, zone: ZoneInfo) -> None:
        self.zone = zone
        self.bundles: dict[str, FluentBundle] = {}
        for language in LANGUAGES:
            bundle = FluentBundle([language], use_isolating=False)
            bundle.add_resource(FluentResource((FOLDER / f"{language}.ftl").read_text(encoding="utf-8")))
            self.bundles[language] = bundle

    def speak(self, language: str) -> "Say":
        """Speak a language; one that we do not know becomes English."""
        return Say(self, language if language in self.bundles else "en")


@dataclass(frozen=True, slots=True)
class Say:
    """The words of one language: `say("key", name=…)` is HTML for Telegram."""

    texts: Texts
    language: str

    def __call__(self, key: str, /, **arguments: str | int | None) -> str:
        """Write a text; raises `LookupError` for a key or variable that does not exist."""
        bundle = self.texts.bundles[self.language]
        if not bundle.has_message(key):
            raise LookupError(f"{self.language}: there is no text {key}")
        pattern = bundle.get_message(key).value
        if pattern is None:
            raise LookupError(f"{self.language}: the text {key} is empty")
        text, errors = bundle.format_pattern(pattern, _escaped(arguments))
        if errors:
            raise LookupError(f"{self.language}: {key}: {errors[0]}")
        return str(text)

    def plain(self, key: str, /, **arguments: str | int | None) -> str:
        """Write a text without markup, for buttons, toasts and menus."""
        return without_markup(self(key, **arguments))

    def money(self, amount: Decimal, currency: str) -> str:
        """Write an amount of money; where a language has spaces in it, no line breaks there."""
        return money_text(amount, currency, self.language)

    def coins(self, amount: Decimal, coin: str) -> str:
        """Write an amount of a coin with all its places, such as `49.5 USDT (TRC20)`."""
        name, _, network = coin.partition("_")
        places = f"{amount.normalize():f}".replace(".", get_decimal_symbol(self.language))
        return f"{places} {name}".rstrip() + (f" ({network})" if network else "")

    def number(self, value: int) -> str:
        """Write a whole number with its thousands apart."""
        return format_decimal(value, locale=self.language)

    def moment(self, when: datetime) -> str:
        """Write a date and time in the shop's zone."""
        local = when.astimezone(self.texts.zone)
        written = format_datetime(local, "d MMM y, HH:mm", locale=self.language)
        return f"{written} {local.tzname()}"

    def date(self, when: datetime) -> str:
        """Write a date in the shop's zone."""
        return format_datetime(when.astimezone(self.texts.zone), "d MMM y", locale=self.language)

    def left(self, length: timedelta) -> str:
        """Write a length of time in its largest unit up to days, such as `29 days` or `5 hours`."""
        if length >= timedelta(days=2):
            return self.days(round(length / timedelta(days=1)))
        return format_timedelta(length, granularity="minute", threshold=2, locale=self.language)

    def days(self, count: int) -> str:
        """Write a number of days."""
        return self("period-days", days=count)


def without_markup(text: str) -> str:
    """Turn Telegram's HTML into plain text."""
    return html.unescape(_TAG.sub("", text))


def _escaped(arguments: Mapping[str, str | int | None]) -> dict[str, str | int]:
    return {
        # Fluent's variables may have dashes, Python's names may not.
        name.replace("_", "-"): value if isinstance(value, int) else html.escape(value or "", quote=False)
        for name, value in arguments.items()
    }
