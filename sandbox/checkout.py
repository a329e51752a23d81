"""The checkout: what a customer sees behind the invoice link, with buttons for everything that people do with money.

Works without JavaScript. Money may come at any time, also after the invoice expired or was cancelled.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from pathlib import Path

import aiohttp
import jinja2
import segno
from aiohttp import web

from sandbox import postback
from sandbox.cryptocloud import find
from sandbox.invoices import COINS, Invoice, PostbackSettings
from sandbox.keys import CLIENT, WORLD
from sandbox.protection import check_address
from sandbox.world import Json, World

TOO_MUCH = Decimal(5)  # USD
SHOWN_POSTBACKS = 8
PAGES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "page"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'self'",
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


def half_of(invoice: Invoice) -> Decimal:
    """Half of what is missing, as somebody pays who reads the amount wrong."""
    return (invoice.to_surcharge / 2).quantize(Decimal(1).scaleb(-invoice.coin_chosen.places))


def more_than(invoice: Invoice) -> Decimal:
    """What is missing and some dollars on top."""
    surplus = (TOO_MUCH / invoice.coin_chosen.usd).quantize(Decimal(1).scaleb(-invoice.coin_chosen.places))
    return invoice.to_surcharge + surplus


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
    world.note(
        "cryptocloud",
        f"{amount:f} {invoice.coin_chosen.code} arrives",
        text=f"INV-{invoice.uuid} is {invoice.status}",
        tone="good" if settled else "warn",
        answer=invoice.row(world.project),
    )
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
    if invoice.expire_if_due():
        world.note("cryptocloud", "the invoice expires", text=f"INV-{invoice.uuid}", tone="warn")
    world.tell("invoices")


def cancel(world: World, invoice: Invoice) -> None:
    """Cancel an invoice at CryptoCloud, as in its dashboard; raises ValueError for a paid one."""
    if invoice.is_settled:
        raise ValueError("a paid invoice cannot be cancelled")
    invoice.status = "canceled"
    world.note("cryptocloud", "the invoice is canceled", text=f"INV-{invoice.uuid}", tone="warn")
    world.tell("invoices")


def _invoice(request: web.Request) -> Invoice:
    invoice = find(request.app[WORLD], request.match_info["uuid"])
    if invoice is None:
        raise web.HTTPNotFound(text="There is no such invoice in this sandbox.", headers=HEADERS)
    return invoice


async def _show(request: web.Request) -> web.Response:
    return _page(request, _invoice(request))


def _qr(invoice: Invoice) -> str:
    """Draw what a wallet would scan."""
    schemes = {"BTC": "bitcoin", "ERC20": "ethereum"}
    scheme = schemes.get(invoice.coin_chosen.network_code)
    text = f"{scheme}:{invoice.address}" if scheme else invoice.address
    if scheme == "bitcoin":
        text += f"?amount={invoice.to_surcharge}"
    return segno.make_qr(text).svg_inline(
        omitsize=True, border=2, svgclass=None, lineclass=None, title="QR code of the address"
    )


def _page(request: web.Request, invoice: Invoice, trouble: str = "") -> web.Response:
    world = request.app[WORLD]
    project = world.project
    back = project.success_url if invoice.is_settled else project.fail_url
    left = max(0, int(invoice.expires - time.time()))
    sent = [one for one in world.postbacks if one["invoice"] == f"INV-{invoice.uuid}"]
    html = PAGES.get_template("checkout.html").render(
        invoice=invoice,
        price=f"{invoice.amount_in_fiat:.2f}",
        coin=invoice.coin_chosen,
        coins=sorted(COINS.values(), key=lambda one: one.order),
        half=half_of(invoice),
        more=more_than(invoice),
        qr=_qr(invoice) if invoice.address else "",
        clock=f"{left // 3600:02}:{left // 60 % 60:02}:{left % 60:02}",
        is_open=invoice.status in {"created", "partial"},
        postback=project.postback,
        modes=postback.MODES,
        formats=postback.FORMATS,
        sent=sent[-SHOWN_POSTBACKS:][::-1],
        shop=project.name,
        back=f"{back}?order_id={invoice.order_id or ''}&invoice_uuid=INV-{invoice.uuid}" if back else "",
        trouble=trouble,
    )
    return web.Response(text=html, content_type="text/html", headers=HEADERS, status=400 if trouble else 200)


def _settings(form: Mapping[str, object], world: World) -> PostbackSettings:
    """Read the postback's switches; what the form does not name stays as the project has it."""
    usual = world.project.postback
    try:
        return postback.checked(
            replace(
                usual,
                mode=str(form.get("mode") or usual.mode),
                format=str(form.get("format") or usual.format),
                count=int(str(form.get("count") or usual.count)),
                seconds=float(str(form.get("seconds") or usual.seconds)),
            )
        )
    except (TypeError, OverflowError):
        raise ValueError("that is not a number") from None


async def _act(request: web.Request) -> web.Response:
    check_address(request)
    world, client = request.app[WORLD], request.app[CLIENT]
    invoice = _invoice(request)
    form = await request.post()
    try:
        settings = _settings(form, world)
        match form.get("action"):
            case "coin":
                invoice.choose(str(form.get("coin")))
                world.tell("invoices")
            case "exact" | "rest":
                await pay(world, client, invoice, None, settings)
            case "half" if invoice.to_surcharge:
                await pay(world, client, invoice, half_of(invoice), settings)
            case "enter" if not form.get("amount"):
                pass
            case "part" | "enter":
                await pay(world, client, invoice, amount_of(form.get("amount", "")), settings)
            case "more":
                await pay(world, client, invoice, more_than(invoice), settings)
            case "cancel" if invoice.status == "created":
                cancel(world, invoice)
            case "expire":
                expire(world, invoice)
            case "test_mode":
                invoice.test_mode = not invoice.test_mode
                world.tell("invoices")
            case "send":

                async def send() -> None:
                    await postback.deliver(world, client, invoice, settings)

                world.spawn(send())
            case _:
                raise ValueError("that cannot be done with this invoice now")
    except ValueError as error:
        return _page(request, invoice, str(error))
    raise web.HTTPSeeOther(f"/pay/{invoice.uuid}")
