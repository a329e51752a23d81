"""What the handlers find in the web application."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from aiohttp import web

from services.config import Settings
from services.db import Database
from services.metrics import Metrics
from services.tiers import PriceList
from services.vitals import Vitals

Hint: TypeAlias = Callable[[], None]
UpdateHandler: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]

DB = web.AppKey("db", Database)
SETTINGS = web.AppKey("settings", Settings)
PRICE_LIST = web.AppKey("price_list", PriceList)
VITALS = web.AppKey("vitals", Vitals)
METRICS = web.AppKey("metrics", Metrics)
# How many seconds a request's headers, and then its body, may take.
PATIENCE = web.AppKey("patience", float)
ON_HINT = web.AppKey[Hint]("on_hint")
ON_UNKNOWN_INVOICE = web.AppKey[Hint]("on_unknown_invoice")
HANDLE_UPDATE = web.AppKey[UpdateHandler]("handle_update")
