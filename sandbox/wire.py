"""Bad answers on the wire: cut connections, answers that never come, a proxy's error page."""

import asyncio
import contextlib

from aiohttp import web

from sandbox.world import World


def cut(request: web.Request) -> web.Response:
    """Close the connection so that the caller gets no answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def hang(request: web.Request, world: World) -> web.Response:
    """Never answer: wait until the caller gives up or the world stops."""
    while request.transport is not None and not request.transport.is_closing():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(world.stopping.wait(), 0.1)
        if world.stopping.is_set():
            break
    return cut(request)


def html_502() -> web.Response:
    """Answer as a proxy does when the service behind it is away."""
    page = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
    return web.Response(status=502, text=page, content_type="text/html")


async def pause(world: World, seconds: float) -> None:
    """Wait, but not longer than the world lives."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(world.stopping.wait(), seconds)
