"""The web application of the sandbox, and the way for tests to run it inside their own process.

    async with running(World()) as sandbox:
        sandbox.url, sandbox.world.credentials.bot_token     # what the bot needs
        people.say(sandbox.world, 1001, "/start")            # or POST sandbox.url + "/control/say"
        await checkout.pay(sandbox.world, sandbox.client, invoice, wait=True)

As a process of its own: `SANDBOX_TOKEN=… python -m sandbox --no-bot --port 0`; its last line on stdout is
`ready http://127.0.0.1:PORT/?token=…`.
"""

import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from sandbox import checkout, control, cryptocloud, page, telegram
from sandbox.child import Child
from sandbox.keys import CHILD, CLIENT, OBSERVER, TOKEN, WEBHOOK, WORLD
from sandbox.observer import Observer
from sandbox.protection import own_origin
from sandbox.webhook import WebhookSender
from sandbox.world import World

LARGEST_BODY = 50 * 1024 * 1024


def create_app(
    world: World, *, token: str | None = None, child: Child | None = None, observer: Observer | None = None
) -> web.Application:
    """Build the application around a world; `token` opens the control API and is random unless given."""
    app = web.Application(client_max_size=LARGEST_BODY, middlewares=[own_origin])
    app[WORLD] = world
    app[TOKEN] = token or secrets.token_urlsafe(24)
    if child is not None:
        app[CHILD] = child
    if observer is not None:
        app[OBSERVER] = observer
    app.add_routes(
        [*telegram.routes(), *cryptocloud.routes(), *checkout.routes(), *control.routes(), *page.routes()]
    )
    app.cleanup_ctx.append(_background)
    app.on_shutdown.append(_let_go)
    return app


async def _background(app: web.Application) -> AsyncIterator[None]:
    world = app[WORLD]
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as client:
        app[CLIENT] = client
        app[WEBHOOK] = WebhookSender(world, client)
        app[WEBHOOK].wake()
        if OBSERVER in app:
            world.spawn(app[OBSERVER].run())
        yield
        await world.stop()


async def _let_go(app: web.Application) -> None:
    """End long polls and hanging answers, so that the server can close."""
    app[WORLD].stopping.set()
    app[WORLD].updates.end_poll("down")


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox. `headers` open its control API."""

    world: World
    url: str
    token: str
    client: aiohttp.ClientSession

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Sandbox-Token": self.token}


@contextlib.asynccontextmanager
async def running(world: World, *, port: int = 0, token: str | None = None) -> AsyncIterator[Sandbox]:
    """Run a sandbox without a bot on 127.0.0.1 for as long as the block runs; port 0 takes a free one."""
    app = create_app(world, token=token)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        bound = runner.addresses[0][1]
        yield Sandbox(world, f"http://127.0.0.1:{bound}", app[TOKEN], app[CLIENT])
    finally:
        await runner.cleanup()
