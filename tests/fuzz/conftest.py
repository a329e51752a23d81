"""What these tests share with the tests of the bot, of the web server and of whole plays."""

from tests.bot.conftest import office
from tests.e2e.conftest import own
from tests.webhook_server.conftest import open_site

__all__ = ["office", "open_site", "own"]
