"""The operator's console: `python -m services …`. It knows the shop and nothing of Telegram's bot framework.

Tables for people, `--json` one object or array for programs. Exit code 0 done, 1 refused or found something,
2 wrong settings or no database. What a command has to say is printed when its work is over.
"""

import asyncio
import dataclasses
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar
from uuid import uuid4

import structlog
import typer

from services import (
    backup,
    doctor,
    events,
    grants,
    ledger,
    migrate,
    notifications,
    payments,
    reconcile,
    settlement,
    subscriptions,
)
from services.config import Settings, read_settings, tiers_file
from services.cryptocloud import CryptoCloud, short_invoice_id
from services.db import Database, database_url
from services.errors import DatabaseUnavailable, SettingsError, ShopError
from services.fold import paid_so_far, still_missing
from services.open_database import OpenDatabase, embedded_server, is_made, open_database
from services.payments import Payment
from services.printing import as_json, cell, fields, printable, table
from services.tiers import DAY, PriceList, read_tiers

_T = TypeVar("_T")

ACTOR = "console"
LARGEST_ID = 2**63 - 1  # of a bigint

# Pretty exceptions would print local variables, and with them secrets.
_LOOKS: dict[str, Any] = {"no_args_is_help": True, "rich_markup_mode": None}
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, **_LOOKS)
tiers_commands = typer.Typer(help="The price list.", **_LOOKS)
payment_commands = typer.Typer(help="One payment; ID is its id, its receipt number or its invoice.", **_LOOKS)
event_commands = typer.Typer(help="The postbacks that came.", **_LOOKS)
ledger_commands = typer.Typer(help="The book of all time given and taken.", **_LOOKS)
app.add_typer(tiers_commands, name="tiers")
app.add_typer(payment_commands, name="payment")
app.add_typer(event_commands, name="events")
app.add_typer(ledger_commands, name="ledger")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object or array.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="Payment id, receipt number or invoice.")]
User = Annotated[int, typer.Argument(metavar="USER", min=1, max=LARGEST_ID, help="Telegram id.")]


def _said(reason: str) -> str:
    if not reason.strip():
        raise typer.BadParameter("it must say something: it is kept in the books")
    return reason.strip()


Reason = Annotated[str, typer.Option("--reason", callback=_said, help="Why; kept in the books.")]
File = Annotated[Path, typer.Argument(metavar="FILE")]


@app.callback()
def console() -> None:
    """The operator's console of the shop; settings come from the environment and .env."""


@app.command("migrate")
def migrate_schema(
    check: Annotated[
        bool, typer.Option("--check", help="Try all migrations on a database made for it; needs no settings.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Bring the database's schema up to date."""
    if check:
        with tempfile.TemporaryDirectory(prefix="subgate-", ignore_cleanup_errors=True) as folder:
            Path(folder).chmod(0o755)  # started as root, the server belongs to somebody else
            differences = [str(one) for one in _run(_up_down_up(Path(folder)))]
        _print(json, differences, "\n".join(differences))
        if differences:
            _fail(1, f"the migrations and services/models.py differ in {len(differences)} places")
        if not json:
            _print(json, None, "the migrations go up, down and up again, and agree with services/models.py")
        return

    async def work() -> tuple[str | None, str]:
        async with open_database(read_settings()) as opened:
            await migrate.upgrade(opened.db)
            return await migrate.current_revision(opened.db), opened.notice

    revision, notice = _run(work())
    _print(json, {"revision": revision}, f"the schema is at {revision}", notice)


async def _up_down_up(folder: Path) -> list[Any]:
    async with embedded_server(folder / "data", fsync=False) as postgres:
        db = Database(database_url(postgres.url))
        try:
            await migrate.upgrade(db)
            found = await migrate.differences(db)
            await migrate.upgrade(db, "base")
            await migrate.upgrade(db)
            return [*found, *(one for one in await migrate.differences(db) if one not in found)]
        finally:
            await db.dispose()


@app.command("doctor")
def examine_everything(json: AsJson = False) -> None:
    """Look at the settings and at everything the shop depends on; exit 1 when something fails."""
    found = _run(doctor.examine())
    rows = [(one.level, one.check, one.what + (f" -> {one.mend}" if one.mend else "")) for one in found]
    _print(json, found, table(("", "what", "finding"), rows))
    if any(one.level is doctor.Level.FAILURE for one in found):
        raise typer.Exit(1)


@tiers_commands.command("check")
def check_tiers(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="TIERS_FILE unless given.")] = None,
    json: AsJson = False,
) -> None:
    """Read the tiers file and print what everything costs; needs no other settings."""
    price_list = read_tiers(file or tiers_file())
    periods = price_list.periods.values()
    prices = {
        tier.code: {period.code: price_list.price_for(tier, period) for period in periods}
        for tier in price_list.paid_tiers
    }
    _print(
        json,
        {
            "currency": price_list.currency,
            "periods": {
                period.code: {"days": period.days, "discount": period.discount} for period in periods
            },
            "tiers": [
                {
                    "code": tier.code,
                    "title": tier.titles,
                    "requests": tier.requests,
                    "prices": prices.get(tier.code, {}),
                }
                for tier in price_list.tiers.values()
            ],
        },
        table(
            (
                "tier",
                "title",
                "requests",
                *(f"{period.code} ({period.days} days), {price_list.currency}" for period in periods),
            ),
            [
                (
                    tier.code,
                    tier.title("en"),
                    "unlimited" if tier.requests is None else tier.requests,
                    *(prices[tier.code][period.code] if not tier.free else "free" for period in periods),
                )
                for tier in price_list.tiers.values()
            ],
        ),
    )


@payment_commands.command("show")
def show_payment(name: Id, json: AsJson = False) -> None:
    """Tell everything that is known about a payment."""

    async def work() -> tuple[Any, ...]:
        async with _shop() as shop, shop.db.begin() as session:
            found = await payments.find_by_name(session, name)
            history = await payments.status_changes(session, found.id)
            entries = (await ledger.read(session, [found.user_id])).get(found.user_id, [])
            postbacks = (
                await events.latest(session, invoice_uuid=found.invoice_uuid) if found.invoice_uuid else []
            )
            told = await notifications.about_payment(session, found.id)
            return found, history, [one for one in entries if one.payment_id == found.id], postbacks, told

    found, history, entries, postbacks, told = _run(work())
    _print(
        json,
        _payment_json(found)
        | {"history": history, "ledger": entries, "events": postbacks, "notifications": told},
        _payment_text(found),
        _section("history", ("at", "from", "to"), map(dataclasses.astuple, history)),
        _section("ledger", _LEDGER_HEADS, _ledger_rows(entries)),
        _section("postbacks", _EVENT_HEADS, _event_rows(postbacks)),
        _section(
            "notifications",
            ("key", "to", "state", "next", "tries", "sent", "last error"),
            map(dataclasses.astuple, told),
        ),
        _section("cryptocloud", ("says", "what"), sorted((found.provider or {}).items())),
    )


@payment_commands.command("check")
def check_payment(name: Id, json: AsJson = False) -> None:
    """Ask CryptoCloud about a payment now, and settle what it says."""

    async def work() -> tuple[Payment, Payment]:
        async with _shop() as shop, _cryptocloud(shop.settings) as cryptocloud:
            async with shop.db.begin() as session:
                before = await payments.find_by_name(session, name)
            if before.invoice_uuid is None:
                raise _Refused(f"payment {before.receipt_number} never got an invoice: nothing to ask")
            facts = await cryptocloud.invoice_facts([before.invoice_uuid])
            if not any(fact.uuid == before.invoice_uuid for fact in facts):
                raise _Refused(f"CryptoCloud knows no invoice INV-{before.invoice_uuid}")
            settled = await settlement.settle(shop.db, facts, shop.settings)
            if not settled:
                raise _Refused(f"payment {before.receipt_number} could not be settled: see the log above")
            return settled[0].before, settled[0].after

    before, after = _run(work())
    _print(
        json,
        {"before": _payment_json(before), "after": _payment_json(after)},
        f"before: {_standing(before)}",
        f"after:  {_standing(after)}",
    )


@payment_commands.command("accept")
def accept_payment(name: Id, reason: Reason, json: AsJson = False) -> None:
    """Close a review by granting what was ordered."""
    _decide(name, reason, json, accept=True)


@payment_commands.command("reject")
def reject_payment(name: Id, reason: Reason, json: AsJson = False) -> None:
    """Close a review without a grant, for good."""
    _decide(name, reason, json, accept=False)


def _decide(name: str, reason: str, json: bool, *, accept: bool) -> None:
    async def work() -> Payment:
        async with _shop() as shop:
            async with shop.db.begin() as session:
                found = await payments.find_by_name(session, name)
            decide = settlement.accept if accept else settlement.reject
            return await decide(shop.db, found.id, shop.settings, actor=ACTOR, reason=reason)

    decided = _run(work())
    _print(json, _payment_json(decided), f"{decided.receipt_number}: {_standing(decided)}")


@payment_commands.command("adopt")
def adopt_payment(
    invoice: Annotated[str, typer.Argument(metavar="INV-…")],
    user: Annotated[int, typer.Option("--user", min=1, max=LARGEST_ID, help="Telegram id of who paid.")],
    tier: Annotated[str, typer.Option("--tier")],
    period: Annotated[str, typer.Option("--period")],
    json: AsJson = False,
) -> None:
    """Give an invoice that belongs to nobody to the customer who paid it."""

    async def work() -> Payment:
        async with _shop() as shop, _cryptocloud(shop.settings) as cryptocloud:
            return await reconcile.adopt(
                shop.db,
                cryptocloud,
                shop.price_list,
                invoice=invoice,
                user_id=user,
                tier_code=tier,
                period_code=period,
                actor=ACTOR,
            )

    adopted = _run(work())
    number = adopted.receipt_number
    _print(
        json,
        _payment_json(adopted),
        f"{number}: {_standing(adopted)}",
        f"the bot settles it within seconds; without the bot: python -m services payment check {number}",
    )


@app.command("reconcile")
def compare_with_cryptocloud(json: AsJson = False) -> None:
    """Look at CryptoCloud for money that no payment of ours knows; exit 1 while there is any."""

    async def work() -> tuple[reconcile.Reconciled, list[reconcile.Unclaimed]]:
        async with _shop() as shop, _cryptocloud(shop.settings) as cryptocloud:
            done = await reconcile.reconcile(shop.db, cryptocloud, shop.settings)
            async with shop.db.begin() as session:
                return done, await reconcile.open_cases(session)

    done, cases = _run(work())
    rows = [
        (f"INV-{one.invoice_uuid}", one.provider.get("status"), _asked_for(one), one.order_id, one.found_at)
        for one in cases
    ]
    _print(
        json,
        {"seen": done.seen, "woken": done.woken, "new": done.unclaimed, "unclaimed": cases},
        f"{done.seen} invoices with money in them within {reconcile.LOOK_BACK_DAYS} days, "
        f"{done.woken} payments woken, {len(done.unclaimed)} newly found without a payment",
        _section("unclaimed", ("invoice", "status", "asked for", "order", "found"), rows),
    )
    if cases:
        _fail(1, "give each to its customer: python -m services payment adopt INV-… --user --tier --period")


def _asked_for(one: reconcile.Unclaimed) -> str | None:
    amount = one.provider.get("amount_in_fiat")
    return f"{amount} {one.provider.get('fiat_currency', '')}" if amount else None


@event_commands.command("list")
def list_events(
    invoice: Annotated[str | None, typer.Option("--invoice", help="Of one invoice only.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000)] = 50,
    json: AsJson = False,
) -> None:
    """List the postbacks that came, newest first."""

    async def work() -> list[events.Event]:
        async with _shop() as shop, shop.db.begin() as session:
            uuid = short_invoice_id(invoice) if invoice is not None else None
            return await events.latest(session, invoice_uuid=uuid, limit=limit)

    found = _run(work())
    _print(json, found, table(_EVENT_HEADS, _event_rows(found)))


@event_commands.command("replay")
def replay_event(
    event_id: Annotated[int, typer.Argument(metavar="ID", min=1, max=LARGEST_ID)], json: AsJson = False
) -> None:
    """Let a postback wake its payment once more."""

    async def work() -> Payment:
        async with _shop() as shop, shop.db.begin() as session:
            found = await events.find(session, event_id)
            if found is None:
                raise _Refused(f"there is no event {event_id}: see python -m services events list")
            if not await events.replay(session, event_id):
                raise _Refused(
                    f"no payment of ours has INV-{found.invoice_uuid}: see python -m services reconcile"
                )
            return await payments.find_by_name(session, found.invoice_uuid)

    woken = _run(work())
    _print(
        json,
        _payment_json(woken),
        f"{woken.receipt_number} is woken: the bot asks CryptoCloud about it within seconds",
    )


@ledger_commands.command("show")
def show_ledger(user: User, json: AsJson = False) -> None:
    """Show all time given to a customer and taken from them."""

    async def work() -> tuple[subscriptions.StatusView, list[ledger.Entry]]:
        async with _shop() as shop, shop.db.begin() as session:
            standing = await subscriptions.status(session, user)
            if standing is None:
                raise _Refused(f"nobody with the Telegram id {user} has ever spoken to the bot")
            return standing, (await ledger.read(session, [user])).get(user, [])

    standing, entries = _run(work())
    state = "active" if standing.active else "not active"
    _print(
        json,
        {
            "user_id": user,
            "tier": standing.tier,
            "ends_at": standing.ends_at,
            "active": standing.active,
            "entries": entries,
        },
        f"{user}: {standing.tier}, {state}, until {cell(standing.ends_at)}",
        _section("ledger", _LEDGER_HEADS, _ledger_rows(entries)),
    )


@ledger_commands.command("check")
def check_ledger(json: AsJson = False) -> None:
    """Rebuild every subscription from the book; exit 1 with the list when anything differs."""

    async def work() -> list[ledger.Difference]:
        async with _shop() as shop:
            return await ledger.check(shop.db)

    _tell_differences(_run(work()), json)


def _tell_differences(found: list[ledger.Difference], json: bool) -> None:
    if found:
        _print(json, found, table(("user", "difference"), [(one.user_id, one.what) for one in found]))
        _fail(1, f"the books differ in {len(found)} places")
    _print(json, found, "the books add up")


@app.command("grant")
def grant_time(
    user: User,
    tier: Annotated[str, typer.Argument(metavar="TIER")],
    period: Annotated[str, typer.Argument(metavar="PERIOD")],
    reason: Reason,
    key: Annotated[
        str | None, typer.Option("--key", help="Any word: the same command with it counts once.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Give a customer a period of a tier for free; they are told."""
    word = key or uuid4().hex

    async def work() -> Any:
        async with _shop() as shop:
            try:
                return await grants.grant(
                    shop.db,
                    shop.price_list,
                    user_id=user,
                    tier_code=tier,
                    period_code=period,
                    actor=ACTOR,
                    reason=reason,
                    key=f"{ACTOR}:{user}:{tier}:{period}:{word}",
                )
            except DatabaseUnavailable as error:
                raise DatabaseUnavailable(
                    f"{error}; whether it was granted is unknown: repeat the command with --key {word}"
                ) from error

    ends_at = _run(work())
    _print(
        json,
        {"user_id": user, "tier": tier, "ends_at": ends_at, "key": word},
        f"{user} has {tier} until {cell(ends_at)}",
    )


@app.command("revoke")
def revoke_time(user: User, reason: Reason, json: AsJson = False) -> None:
    """Take away all time that a customer has left, at once; they are told."""

    async def work() -> bool:
        async with _shop() as shop:
            return await grants.revoke(
                shop.db, user_id=user, actor=ACTOR, reason=reason, key=f"{ACTOR}:{uuid4().hex}"
            )

    if not _run(work()):
        _fail(1, f"{user} has no time left that could be taken away")
    _print(json, {"user_id": user, "revoked": True}, f"{user} has no paid time any more")


@app.command("backup")
def write_backup(file: File, json: AsJson = False) -> None:
    """Write the whole database into one file, while the bot runs."""

    async def work() -> int:
        async with _opened() as (_, opened):
            return await backup.back_up(opened.db, opened.url, file)

    size = _run(work())
    _print(json, {"file": str(file), "bytes": size}, f"{file}: {size} bytes")


@app.command("restore")
def read_backup(file: File, json: AsJson = False) -> None:
    """Read a backup into an empty database; stop the bot first."""

    async def work() -> backup.Restored:
        async with open_database(read_settings()) as opened:
            return await backup.restore(opened.db, opened.url, file)

    restored = _run(work())
    _print(
        json,
        restored,
        f"restored; the schema is at {restored.revision}",
        "when the bot starts it looks for money that came after the backup, and some receipts may come twice",
    )
    if restored.newer:
        _fail(1, "a newer version of this program made that backup: update before you start the bot")
    if restored.differences:
        if not json:
            _tell_differences(restored.differences, json)
        raise typer.Exit(1)


_LEDGER_HEADS = ("kind", "tier", "seconds", "from", "until", "amount", "payment", "actor", "reason")
_EVENT_HEADS = ("id", "received", "invoice", "outcome", "says")


def _ledger_rows(entries: Iterable[ledger.Entry]) -> list[tuple[object, ...]]:
    return [
        (
            one.kind,
            one.tier,
            one.seconds,
            one.starts_at,
            one.ends_at,
            f"{one.amount:f} {one.currency or ''}" if one.amount is not None else None,
            payments.receipt_number(one.payment_id) if one.payment_id else None,
            one.actor,
            one.reason,
        )
        for one in entries
    ]


def _event_rows(found: Iterable[events.Event]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for one in found:
        info = one.body.get("invoice_info")
        says = info.get("status") if isinstance(info, dict) else one.body.get("status")
        rows.append((one.id, one.received_at, f"INV-{one.invoice_uuid}", one.outcome, says))
    return rows


def _payment_json(one: Payment) -> dict[str, Any]:
    return {"number": one.receipt_number} | {name: getattr(one, name) for name in Payment.__slots__}


def _payment_text(one: Payment) -> str:
    received, missing = paid_so_far(one), still_missing(one)
    coin = (one.provider or {}).get("coin", "")
    return fields(
        [
            ("payment", one.receipt_number),
            ("status", _standing(one)),
            ("id", one.id),
            ("user", one.user_id),
            ("order", f"{one.tier}, {one.period} ({one.period_seconds // DAY} days)"),
            ("price", f"{one.amount:f} {one.currency}"),
            ("invoice", f"INV-{one.invoice_uuid} {one.invoice_url or ''}" if one.invoice_uuid else None),
            ("received", f"{received:f} {coin}" if received else None),
            ("missing", f"{missing[0]:f} {missing[1]}" if missing and not one.paid_at else None),
            ("surplus", f"{one.surplus:f} USD" if one.surplus is not None else None),
            ("review", one.review_reason),
            ("verdict", one.verdict),
            ("ordered", one.created_at),
            ("expires", one.expires_at),
            ("checked", one.checked_at),
            ("paid", one.paid_at),
        ]
    )


def _standing(one: Payment) -> str:
    flags = [name for name in ("overpaid", "late", "review") if getattr(one, name)]
    return ", ".join([one.status, *flags])


def _section(title: str, heads: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    """Lay out a table under its title; nothing at all where there are no rows."""
    laid = list(rows)
    return f"\n{title}\n{table(heads, laid)}" if laid else ""


class _Refused(ShopError):
    """What was asked for cannot be done, and nothing was."""


@dataclass(frozen=True, slots=True)
class _Shop:
    settings: Settings
    price_list: PriceList
    db: Database


@asynccontextmanager
async def _opened() -> AsyncIterator[tuple[Settings, OpenDatabase]]:
    settings = read_settings()
    if not is_made(settings):
        raise SettingsError(
            f"there is no database in {settings.data_dir} yet: start the bot or run python -m services migrate, "
            "or set DATA_DIR or DATABASE_URL to where it is"
        )
    async with open_database(settings) as opened:
        yield settings, opened


@asynccontextmanager
async def _shop() -> AsyncIterator[_Shop]:
    async with _opened() as (settings, opened):
        revision = await migrate.current_revision(opened.db)
        if revision != migrate.head_revision() and not migrate.is_newer(revision):
            raise SettingsError(
                f"the schema is at {revision or 'nothing'}, not {migrate.head_revision()}: "
                "run python -m services migrate"
            )
        yield _Shop(settings, read_tiers(settings.tiers_file), opened.db)


@asynccontextmanager
async def _cryptocloud(settings: Settings) -> AsyncIterator[CryptoCloud]:
    cryptocloud = CryptoCloud(
        api_url=settings.cryptocloud_api_url,
        api_key=settings.cryptocloud_api_key.get_secret_value(),
        shop_id=settings.cryptocloud_shop_id,
    )
    try:
        yield cryptocloud
    finally:
        await cryptocloud.aclose()


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a command's work to its end; who is told to stop cleans up first."""

    async def until_told() -> _T:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - we are inside it
        for end in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(end, task.cancel)
        return await work

    try:
        return asyncio.run(until_told())
    except (KeyboardInterrupt, asyncio.CancelledError):
        _fail(130, "interrupted")


def _print(json: bool, value: object, *text: str) -> None:
    if json:
        typer.echo(as_json(value))
        return
    for one in text:
        if one:
            typer.echo(one)


def _fail(code: int, why: object) -> NoReturn:
    typer.echo(printable(" ".join(str(why).split())), err=True)
    raise typer.Exit(code)


def _log_to_stderr() -> None:
    """Keep stdout for the answer; tracebacks in the log show no variables."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(
                colors=False, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
            ),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def main() -> None:
    """Run one command; what we expect to fail ends in one line, never in a traceback."""
    _log_to_stderr()
    try:
        _check_words(sys.argv[1:])
        app()
    except (SettingsError, DatabaseUnavailable) as error:
        sys.exit(_complain(error, 2))
    except ShopError as error:
        sys.exit(_complain(error, 1))


def _check_words(words: Iterable[str]) -> None:
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise SettingsError(f"{word!r} is not UTF-8: set the terminal to UTF-8") from None


def _complain(error: ShopError, code: int) -> int:
    print(printable(" ".join(str(error).split())), file=sys.stderr)  # noqa: T201
    return code


if __name__ == "__main__":
    main()
