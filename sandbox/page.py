"""The browser page: its HTML for whoever holds the token, its static files, and deep links into it."""

import re
from pathlib import Path

from aiohttp import web

from sandbox.checkout import HEADERS
from sandbox.keys import TOKEN
from sandbox.protection import check, check_address, cookie_name, has_token

FOLDER = Path(__file__).parent / "page"
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def routes() -> list[web.RouteDef]:
    return [
        web.get("/", _open),
        web.get("/page/{name}", _static),
        web.get("/t/{bot}", _deep_link),
    ]


async def _open(request: web.Request) -> web.Response:
    check_address(request)
    if not has_token(request):
        check(request)
    html = (FOLDER / "index.html").read_text(encoding="utf-8")
    response = web.Response(text=html, content_type="text/html", headers=HEADERS)
    response.set_cookie(cookie_name(request), request.app[TOKEN], httponly=True, samesite="Strict", path="/")
    return response


async def _static(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    path = FOLDER / name
    if not re.fullmatch(r"[a-z_]+\.(css|js|svg)", name) or not path.is_file():
        raise web.HTTPNotFound
    return web.Response(
        body=path.read_bytes(), content_type=TYPES[path.suffix], charset="utf-8", headers=HEADERS
    )


async def _deep_link(request: web.Request) -> web.Response:
    """t.me/<bot>?start=…: the page opens with the start button for this payload."""
    payload = request.query.get("start", "")
    safe = re.fullmatch(r"[A-Za-z0-9_-]{1,64}", payload) is not None
    raise web.HTTPSeeOther(f"/?start={payload}" if safe else "/")
