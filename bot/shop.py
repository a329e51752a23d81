"""What every handler and worker may use: the shop's parts, put together once by the composition root."""

import asyncio
from dataclasses import dataclass, field

from bot.texts import Texts
from services.config import Settings
from services.cryptocloud import CryptoCloud
from services.db import Database
from services.metrics import Metrics
from services.tiers import PriceList
from services.vitals import Vitals


@dataclass(frozen=True, slots=True)
class Bells:
    """Wakes a worker at once; without it the worker looks by itself a moment later."""

    checker: asyncio.Event = field(default_factory=asyncio.Event)
    notifier: asyncio.Event = field(default_factory=asyncio.Event)
    reconciler: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class Shop:
    """The parts; none of them holds state that matters."""

    db: Database
    settings: Settings
    price_list: PriceList
    cryptocloud: CryptoCloud
    texts: Texts
    metrics: Metrics
    vitals: Vitals
    bells: Bells
