"""The numbers for Prometheus, behind a bearer token; without METRICS_TOKEN there is no such page."""

from aiohttp import web

from services.metrics import CONTENT_TYPE
from webhook_server.health import WATCH, has_metrics_token
from webhook_server.keys import METRICS, SETTINGS


def add_to(app: web.Application) -> None:
    """Let Prometheus in where the operator wants it."""
    if app[SETTINGS].metrics_token.get_secret_value():
        app.router.add_get("/metrics", read)


async def read(request: web.Request) -> web.Response:
    """Write the metrics, with the ages as the database has them now."""
    if not has_metrics_token(request):
        raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Bearer"})
    database = await request.app[WATCH].look()
    metrics = request.app[METRICS]
    metrics.ages(outbox=database.outbox_age_s, oldest_unsettled=database.oldest_unsettled_s)
    return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE})
