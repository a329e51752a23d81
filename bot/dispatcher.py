"""The dispatcher: which middlewares an update passes, and in which order the routers are asked."""

from aiogram import Dispatcher

from bot.handlers import account, advice, buying, otherwise, revenue
from bot.middlewares import (
    AnswerMessages,
    AnswerPresses,
    MeetPerson,
    PrivateChats,
    TellOutage,
    Throttle,
)
from bot.shop import Shop

ALLOWED_UPDATES = ["message", "callback_query", "my_chat_member"]


def create_dispatcher(shop: Shop) -> Dispatcher:
    """Put the routers together, the busiest first; handlers ask for parts of the shop by name."""
    dispatcher = Dispatcher(shop=shop, disable_fsm=True)
    for middleware in (PrivateChats(), Throttle(), TellOutage(), MeetPerson()):
        dispatcher.update.outer_middleware(middleware)
    dispatcher.callback_query.middleware(AnswerPresses())
    dispatcher.message.middleware(AnswerMessages())
    dispatcher.include_routers(buying.router, account.router, advice.router, revenue.router, otherwise.router)
    return dispatcher
