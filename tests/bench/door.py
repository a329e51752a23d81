"""A web server in a process of its own: `python -m tests.bench.door postbacks` is the shop's, without its workers.

`nothing` is aiohttp alone, which reads a body and says the same words. Prints its port, and ends with SIGTERM.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop
from aiohttp import web
from sqlalchemy import URL

from sandbox.world import Credentials
from services.config import read_settings
from services.db import Database
from services.metrics import Metrics
from services.tiers import read_tiers
from services.vitals import Vitals
from tests.conftest import ROOT
from webhook_server.app import create_app, serve
from webhook_server.cryptocloud import PATH


async def _answer(request: web.Request) -> web.Response:
    await request.read()
    return web.json_response({"message": "Postback received"})


async def _nothing(stop: asyncio.Event) -> None:
    app = web.Application()
    app.router.add_post(PATH, _answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await stop.wait()
    await runner.cleanup()


async def _postbacks(stop: asyncio.Event) -> None:
    settings = read_settings()
    db = Database(settings.database_url.get_secret_value())
    app = create_app(
        db=db,
        settings=settings,
        price_list=read_tiers(settings.tiers_file),
        vitals=Vitals(),
        metrics=Metrics(),
        on_hint=lambda: None,
        on_unknown_invoice=lambda: None,
        handle_update=None,
    )
    server = await serve(app, settings)
    sys.stdout.write(f"{server.port}\n")
    sys.stdout.flush()
    await stop.wait()
    await server.stop()
    await db.dispose()


async def _main(which: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await {"postbacks": _postbacks, "nothing": _nothing}[which](stop)


@dataclass(frozen=True)
class Door:
    """A running one."""

    pid: int
    port: int


@asynccontextmanager
async def door(which: str, url: URL, folder: Path, credentials: Credentials) -> AsyncIterator[Door]:
    """Run one for as long as the block runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.door", which),
        env={
            "PYTHONPATH": str(ROOT),
            "BOT_TOKEN": credentials.bot_token,
            "CRYPTOCLOUD_API_KEY": credentials.api_key,
            "CRYPTOCLOUD_SHOP_ID": credentials.shop_id,
            "CRYPTOCLOUD_SECRET_KEY": credentials.secret_key,
            "DATABASE_URL": url.render_as_string(hide_password=False),
            "TIERS_FILE": str(ROOT / "tiers.toml"),
            "HTTP_PORT": "0",
        },
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        said = await process.stdout.readline()
        assert said.strip().isdigit(), "the web server did not start"
        yield Door(process.pid, int(said))
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


if __name__ == "__main__":
    uvloop.run(_main(sys.argv[1]))
