"""The one dispatcher of this process: aiogram's routers are attached once, so each test gives it a shop of its own."""

from aiogram import Dispatcher

from bot.dispatcher import create_dispatcher
from bot.shop import Shop

_made: list[Dispatcher] = []


def dispatcher_of(shop: Shop) -> Dispatcher:
    """Give the dispatcher, from now on working for this shop."""
    if not _made:
        _made.append(create_dispatcher(shop))
    _made[0]["shop"] = shop
    return _made[0]
