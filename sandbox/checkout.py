"""The checkout: what a customer sees behind the invoice link, with buttons for everything that people do with money.

Works without JavaScript. Money may come at any time, also after the invoice expired or was cancelled.
"""

import time
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from pathlib import Path

import aiohttp
import jinja2
from aiohttp import web

from sandbox import postback
from sandbox.cryptocloud import find
from sandbox.invoices import COINS, Invoice, PostbackSettings
from sandbox.keys import CLIENT, WORLD
from sandbox.protection import check_address
from sandbox.world import Json, World

TOO_MUCH = Decimal(5)
PAGES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "page"), autoescape=True, trim_blocks=True
)
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


def routes() -> list[web.RouteDef]:
    return [web.get("/pay/{uuid}", _show), web.post("/pay/{uuid}", _act)]


def amount_of(value: object) -> Decimal:
    """Read an amount of money in the coin; raises ValueError."""
    try:
        amount = Decimal(str(value).strip().replace(",", "."))
    except InvalidOperation:
        raise ValueError("the amount must be a number, such as 12.50") from None
    if not amount.is_finite() or not Decimal(0) < amount < Decimal(10) ** 12:
        raise ValueError("the amount must be more than 0")
    return amount


async def pay(
    world: World,
    client: aiohttp.ClientSession,
    invoice: Invoice,
    amount: Decimal | None = None,
    settings: PostbackSettings | None = None,
    *,
    wait: bool = False,
) -> list[Json]:
    """Pay an amount in the coin (None: what is missing), and notify the shop when that settles the invoice.

    With `wait` the postbacks are answered before this returns, and their journal entries are the result.
    """
    settings = postback.checked(settings or world.project.postback)
    if amount is None:
        amount = invoice.to_surcharge or invoice.amount_to_pay
    settled = invoice.pay(amount)
    world.tell("invoices")
    if not settled:
        return []
    if wait:
        return await postback.deliver(world, client, invoice, settings)

    async def notify() -> None:
        await postback.deliver(world, client, invoice, settings)

    world.spawn(notify())
    return []


def expire(world: World, invoice: Invoice) -> None:
    """Let the invoice's time be over now."""
    invoice.expires = min(invoice.expires, time.time())
    invoice.expire_if_due()
    world.tell("invoices")


def _invoice(request: web.Request) -> Invoice:
    invoice = find(request.app[WORLD], request.match_info["uuid"])
    if invoice is None:
        raise web.HTTPNotFound(text="There is no such invoice in this sandbox.", headers=HEADERS)
    return invoice


async def _show(request: web.Request) -> web.Response:
    return _page(request, _invoice(request))


def _page(request: web.Request, invoice: Invoice, trouble: str = "") -> web.Response:
    project = request.app[WORLD].project
    back = project.success_url if invoice.is_settled else project.fail_url
    html = PAGES.get_template("checkout.html").render(
        invoice=invoice,
        price=f"{invoice.amount_in_fiat:.2f}",
        coin=COINS[invoice.coin],
        minutes_left=max(0, round((invoice.expires - time.time()) / 60)),
        mode=project.postback.mode,
        modes=postback.MODES,
        shop=project.name,
        back=f"{back}?order_id={invoice.order_id or ''}&invoice_uuid=INV-{invoice.uuid}" if back else "",
        trouble=trouble,
    )
    return web.Response(text=html, content_type="text/html", headers=HEADERS, status=400 if trouble else 200)


async def _act(request: web.Request) -> web.Response:
    check_address(request)
    world, client = request.app[WORLD], request.app[CLIENT]
    invoice = _invoice(request)
    form = await request.post()
    action = form.get("action")
    try:
        mode = str(form.get("mode") or world.project.postback.mode)
        settings = postback.checked(replace(world.project.postback, mode=mode))
        match action:
            case "exact" | "rest":
                await pay(world, client, invoice, None, settings)
            case "part":
                await pay(world, client, invoice, amount_of(form.get("amount", "")), settings)
            case "more":
                await pay(world, client, invoice, invoice.to_surcharge + TOO_MUCH, settings)
            case "cancel" if invoice.status == "created":
                invoice.status = "canceled"
                world.tell("invoices")
            case "expire":
                expire(world, invoice)
            case _:
                raise ValueError("that cannot be done with this invoice now")
    except ValueError as error:
        return _page(request, invoice, str(error))
    raise web.HTTPSeeOther(f"/pay/{invoice.uuid}")
