"""Who may press the sandbox's buttons: only its own page and whoever was given its token.

A web page somewhere else can make a browser send requests to 127.0.0.1, so Host, Origin and a random token count.
"""

import hmac

from aiohttp import web
from aiohttp.typedefs import Handler

from sandbox.keys import TOKEN

HEADER = "X-Sandbox-Token"


def port_of(request: web.Request) -> int:
    """The port on which this request came in."""
    address = request.get_extra_info("sockname")
    return int(address[1])


def cookie_name(request: web.Request) -> str:
    """Cookies are shared by all ports of a host, so the name carries the port."""
    return f"sandbox_token_{port_of(request)}"


@web.middleware
async def own_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what another web page made a browser send, at every door: bots and shops send no Origin."""
    origin = request.headers.get("Origin")
    if origin is not None and origin != f"http://{request.host}":
        raise web.HTTPForbidden(text="Requests from other web pages are refused.")
    return await handler(request)


def check_address(request: web.Request) -> None:
    """Refuse a foreign Host, which a foreign name that points at this machine would send."""
    port = port_of(request)
    if request.host not in {f"127.0.0.1:{port}", f"localhost:{port}"}:
        raise web.HTTPForbidden(text=f"This sandbox answers at http://127.0.0.1:{port}/ only.")


def has_token(request: web.Request) -> bool:
    expected = request.app[TOKEN].encode()
    offered = (
        request.headers.get(HEADER),
        request.cookies.get(cookie_name(request)),
        request.query.get("token"),
    )
    return any(hmac.compare_digest(expected, one.encode(errors="replace")) for one in offered if one)


def check(request: web.Request) -> None:
    """Refuse whoever is not the sandbox's own page or a holder of its token."""
    check_address(request)
    if not has_token(request):
        raise web.HTTPUnauthorized(text="Open the address that the sandbox printed: it carries the token.")
