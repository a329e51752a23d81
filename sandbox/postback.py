"""CryptoCloud's notifications about paid invoices, and everything that can go wrong with one.

The real service documents no repeats, so each is sent once and its answer is only written down. The token signs the
short invoice id and an expiry five minutes ahead, with the project's secret key, and nothing else.
"""

import asyncio
import json
import secrets
import time
from urllib.parse import urlencode

import aiohttp
import jwt

from sandbox.invoices import Invoice, PostbackSettings, new_uuid
from sandbox.wire import pause
from sandbox.world import Json, World

MODES = {
    "once": "as CryptoCloud does it",
    "none": "it is lost",
    "twice": "two, one after the other",
    "burst": "many at once",
    "delayed": "some seconds later",
    "forged": "signed with another secret",
    "other_token": "well signed, but for another invoice",
    "expired": "well signed, but the token ran out a minute ago beyond any leeway",
    "no_token": "without a token",
    "garbage": "half a body",
}
FORMATS = ("json", "form")
TOKEN_LIFETIME = 300
PATIENCE = 15.0


def checked(settings: PostbackSettings) -> PostbackSettings:
    """Refuse words that are unknown here; raises ValueError."""
    if settings.mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}")
    if settings.format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}")
    if not isinstance(settings.bytes_token, bool):
        raise ValueError("bytes_token must be true or false")
    if not 1 <= settings.count <= 200:
        raise ValueError("count must be between 1 and 200")
    if not 0 <= settings.seconds <= 86400:
        raise ValueError("seconds must be between 0 and 86400")
    return settings


def token_for(world: World, uuid: str, *, secret: str | None = None, lifetime: float = TOKEN_LIFETIME) -> str:
    """Sign a postback token for a short invoice id."""
    claims = {"id": uuid, "exp": int(time.time() + lifetime)}
    return jwt.encode(claims, secret or world.credentials.secret_key, algorithm="HS256")


def body_of(world: World, invoice: Invoice, token: str | None, *, form: bool) -> Json:
    """Put a notification together, in the shape of the documented JSON or form body."""
    row = invoice.in_postback(world.project)
    body: Json = {
        "status": "success",
        "invoice_id": invoice.uuid,
        "amount_crypto": row["amount"],
        "currency": invoice.coin,
        "order_id": invoice.order_id,
    }
    if token is not None:
        body["token"] = token
    if form:
        return {name: str(value) for name, value in body.items() if value is not None}
    return {**body, "invoice_info": row}


async def deliver(
    world: World, client: aiohttp.ClientSession, invoice: Invoice, settings: PostbackSettings | None = None
) -> list[Json]:
    """Send what the mode says and return the journal's entries, answers included."""
    settings = checked(settings or world.project.postback)
    match settings.mode:
        case "none":
            return [_written(world, invoice, settings, status=None, answer="lost on purpose")]
        case "twice":
            return [await _send(world, client, invoice, settings) for _ in range(2)]
        case "burst":
            return await asyncio.gather(
                *(_send(world, client, invoice, settings) for _ in range(settings.count))
            )
        case "delayed":
            await pause(world, settings.seconds)
    return [] if world.stopping.is_set() else [await _send(world, client, invoice, settings)]


def _written(world: World, invoice: Invoice, settings: PostbackSettings, **outcome: object) -> Json:
    entry = world.write_down(
        world.postbacks,
        kind="postback",
        invoice=f"INV-{invoice.uuid}",
        mode=settings.mode,
        format=settings.format,
        url=world.project.notification_url,
        **outcome,
    )
    world.tell("postbacks")
    return entry


def _token(world: World, invoice: Invoice, settings: PostbackSettings) -> str | None:
    match settings.mode:
        case "forged":
            token = token_for(world, invoice.uuid, secret=secrets.token_hex(32))
        case "other_token":
            other = next((one for one in world.invoices if one != invoice.uuid), new_uuid())
            token = token_for(world, other)
        case "expired":
            token = token_for(world, invoice.uuid, lifetime=-120)
        case "no_token":
            return None
        case _:
            token = token_for(world, invoice.uuid)
    return f"b'{token}'" if settings.bytes_token else token


async def _send(
    world: World, client: aiohttp.ClientSession, invoice: Invoice, settings: PostbackSettings
) -> Json:
    entry = _written(world, invoice, settings, status=None, answer="")
    if not world.project.notification_url:
        entry["answer"] = "no notification URL is set"
        return entry
    form = settings.format == "form"
    body = body_of(world, invoice, _token(world, invoice, settings), form=form)
    entry["body"] = body
    raw = urlencode(body) if form else json.dumps(body)
    if settings.mode == "garbage":
        raw = raw[: len(raw) // 2] + "\\\x00{"
        entry["sent"] = raw
    try:
        async with client.post(
            world.project.notification_url,
            data=raw.encode(),
            headers={"Content-Type": "application/x-www-form-urlencoded" if form else "application/json"},
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=PATIENCE),
        ) as response:
            entry |= {"status": response.status, "answer": (await response.text())[:2000]}
    except (aiohttp.ClientError, TimeoutError) as error:
        entry["answer"] = f"{type(error).__name__}: {error}".rstrip(": ")
    entry["took"] = time.time() - entry["at"]
    world.show(entry)
    world.tell("postbacks")
    return entry
