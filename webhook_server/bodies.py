"""A request's body, bounded in size and time; compressed ones are refused before a byte is unpacked."""

import asyncio

from aiohttp import web
from aiohttp.client_exceptions import ClientError
from aiohttp.http_exceptions import HttpProcessingError

from services.errors import ShopError
from webhook_server.keys import PATIENCE


class BodyTooLarge(ShopError):
    """More bytes than anything has that belongs here."""

    status = 413


class CompressedBody(ShopError):
    """A body with a Content-Encoding: neither of our senders writes one, and it can unpack without end."""

    status = 415


class SlowBody(ShopError):
    """A body that takes longer than any honest one."""

    status = 408


class BrokenBody(ShopError):
    """A body that ended early or was cut into wrong chunks."""

    status = 400


async def read_body(request: web.Request, largest: int) -> bytes:
    """Read a body of at most `largest` bytes, however it is sent.

    Raises `BodyTooLarge`, `CompressedBody`, `SlowBody` or `BrokenBody`.
    """
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
        raise CompressedBody("the body is compressed")
    if request.content_length is not None and request.content_length > largest:
        raise BodyTooLarge(f"the body has more than {largest} bytes")
    body = bytearray()
    try:
        async with asyncio.timeout(request.app[PATIENCE]):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > largest:
                    raise BodyTooLarge(f"the body has more than {largest} bytes")
    except TimeoutError:
        raise SlowBody(f"the body took longer than {request.app[PATIENCE]:g} s") from None
    except (ClientError, HttpProcessingError, ConnectionError, web.RequestPayloadError):
        raise BrokenBody("the body broke off") from None
    return bytes(body)
