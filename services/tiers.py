"""The price list: tiers and periods from the tiers file, refused with the file, tier and key that are wrong."""

import tomllib
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from services.errors import SettingsError, UnknownTier
from services.money import CRYPTOCLOUD_CURRENCIES, round_money

DAY: Final = 86_400
LANGUAGES: Final = ("en", "ru")

# Codes travel in callback data (64 bytes) and deep links (A-Za-z0-9_-).
_Code = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,19}$")]
_Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]
_Prose = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _PeriodEntry(_Strict):
    days: int = Field(ge=1, le=3660)
    months: Decimal | int | None = Field(default=None, gt=0, le=120)
    discount: Decimal | int = Field(default=0, ge=0, lt=100)


class _TierEntry(_Strict):
    price: Decimal | int = Field(ge=0, le=1_000_000_000)
    requests: int | None = Field(default=None, ge=0)
    title: dict[str, _Words]
    description: dict[str, _Prose] = {}

    @model_validator(mode="after")
    def _speaks_english(self) -> "_TierEntry":
        if "en" not in self.title:
            raise ValueError('title needs at least { en = "…" }')
        return self


class _TiersFile(_Strict):
    currency: str
    periods: dict[_Code, _PeriodEntry] = Field(min_length=1, max_length=12)
    tiers: dict[_Code, _TierEntry] = Field(min_length=2, max_length=24)

    @model_validator(mode="after")
    def _is_a_price_list(self) -> "_TiersFile":
        if self.currency not in CRYPTOCLOUD_CURRENCIES:
            raise ValueError(f"currency must be one of {', '.join(sorted(CRYPTOCLOUD_CURRENCIES))}")
        free = [code for code, tier in self.tiers.items() if tier.price == 0]
        if len(free) != 1:
            raise ValueError(
                "exactly one tier must have price = 0, the one that everybody has"
                + (f"; now: {', '.join(free)}" if free else "")
            )
        return self


@dataclass(frozen=True, slots=True)
class Period:
    """A length of time on sale; always the same number of seconds."""

    code: str
    seconds: int
    months: Fraction
    discount: Decimal

    @property
    def days(self) -> int:
        return self.seconds // DAY


@dataclass(frozen=True, slots=True)
class Tier:
    """A level of service; `price` is for a month, `requests` the quota of a month."""

    code: str
    price: Decimal
    requests: int | None
    titles: dict[str, str]
    descriptions: dict[str, str]

    @property
    def free(self) -> bool:
        return self.price == 0

    def title(self, language: str) -> str:
        return self.titles.get(language) or self.titles["en"]

    def description(self, language: str) -> str:
        return self.descriptions.get(language) or self.descriptions.get("en", "")


@dataclass(frozen=True, slots=True)
class PriceList:
    """What is on sale, in the order of the file."""

    currency: str
    periods: dict[str, Period]
    tiers: dict[str, Tier]

    @property
    def free_tier(self) -> Tier:
        return next(tier for tier in self.tiers.values() if tier.free)

    @property
    def paid_tiers(self) -> list[Tier]:
        return [tier for tier in self.tiers.values() if not tier.free]

    def on_sale(self, tier_code: str, period_code: str) -> tuple[Tier, Period]:
        """Find a tier that can be bought and a period; raises `UnknownTier`."""
        tier, period = self.tiers.get(tier_code), self.periods.get(period_code)
        if tier is None or tier.free or period is None:
            raise UnknownTier(f"{tier_code}/{period_code} is not on sale")
        return tier, period

    def price_for(self, tier: Tier, period: Period) -> Decimal:
        """Price of a period: the month's price times the months, less the discount, rounded once."""
        exact = (
            tier.price * (100 - period.discount) / 100 * period.months.numerator / period.months.denominator
        )
        return round_money(exact, self.currency)

    def saving_for(self, tier: Tier, period: Period) -> Decimal:
        """What a period saves against paying the same time by the month."""
        full = tier.price * period.months.numerator / period.months.denominator
        return round_money(full, self.currency) - self.price_for(tier, period)

    def title_of(self, tier_code: str, language: str) -> str:
        """Name a tier for people, also one that is no longer on sale."""
        tier = self.tiers.get(tier_code)
        return tier.title(language) if tier else tier_code


def read_tiers(path: Path) -> PriceList:
    """Read a tiers file; raises `SettingsError` with one line that names the file, tier and key."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such tiers file (TIERS_FILE names it)") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None
    try:
        entries = _TiersFile.model_validate(tomllib.loads(text, parse_float=Decimal))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from None
    except ValidationError as error:
        raise SettingsError(f"{path}: {_complaints(error)}") from None
    price_list = PriceList(
        currency=entries.currency,
        periods={
            code: Period(
                code=code,
                seconds=entry.days * DAY,
                months=Fraction(entry.months) if entry.months is not None else Fraction(entry.days, 30),
                discount=Decimal(entry.discount),
            )
            for code, entry in entries.periods.items()
        },
        tiers={
            code: Tier(
                code=code,
                price=Decimal(entry.price),
                requests=entry.requests,
                titles=entry.title,
                descriptions=entry.description,
            )
            for code, entry in entries.tiers.items()
        },
    )
    for tier in price_list.paid_tiers:
        for period in price_list.periods.values():
            if price_list.price_for(tier, period) <= 0:
                raise SettingsError(
                    f"{path}: tiers.{tier.code}.price: a {period.code} would cost nothing after rounding"
                )
    return price_list


def _complaints(error: ValidationError) -> str:
    found: dict[str, str] = {}
    for one in error.errors():
        place = ".".join(str(part) for part in one["loc"] if part not in {"decimal", "int", "[key]"})
        what = {"extra_forbidden": "is not a key of this file", "missing": "is missing"}.get(
            one["type"], one["msg"].removeprefix("Value error, ")
        )
        found.setdefault(place, f"{place}: {what}" if place else what)
    return "; ".join(found.values())
