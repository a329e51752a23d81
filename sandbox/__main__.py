"""`python -m sandbox`: the outside world on one port, the bot as a child beside it, until Ctrl-C.

The last line on stdout is `ready http://127.0.0.1:PORT/?token=…`; everything else goes to stderr. Exit codes: 0 when
stopped, 1 when the bot ended before it was ready, 2 with one line when it cannot start.
"""

import argparse
import asyncio
import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from sandbox.app import create_app
from sandbox.channels import Channel, add_link
from sandbox.child import Child
from sandbox.observer import Observer
from sandbox.world import Credentials, Person, World

BOT_TOKEN = "7000000001:SANDBOX-this-token-opens-nothing-at-all"  # noqa: S105 - as it says
API_KEY = "sandbox.api-key-that-opens-nothing.at-all"
SHOP_ID = "SANDBOXSHOP00001"
SECRET_KEY = "sandbox-secret-key-that-signs-nothing-real-0001"  # noqa: S105 - as it says
PEOPLE = (
    Person(1001, "Emma", "en", "emma"),
    Person(1002, "Иван", "ru", "ivan"),
    Person(1003, "Noor", "en", "noor"),
    Person(9001, "Olga, admin", "en", "olga_admin", started=True),
)
ADMIN_ID = 9001
CHANNEL_ID = -1001000000001

HOST = "127.0.0.1"
PROJECT_FOLDER = Path(__file__).resolve().parent.parent
MARKER = "sandbox.lock"
SLOW_START_SECONDS = 60


class CannotStart(Exception):
    """One line that says what is wrong and how to mend it."""


@dataclass(frozen=True)
class Options:
    """What the command line says; without a data folder nothing is kept."""

    port: int
    data: Path | None
    fresh: bool
    with_bot: bool


def read_options(arguments: Sequence[str] | None = None) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox", description="The shop with a pretended outside world."
    )
    parser.add_argument(
        "--port", type=int, default=8090, help="the bot's web server takes the next one (8090)"
    )
    parser.add_argument(
        "--data", type=Path, help="folder that keeps the sandbox between runs (./sandbox-data)"
    )
    parser.add_argument("--fresh", action="store_true", help="begin anew: empty that folder first")
    parser.add_argument(
        "--no-bot", action="store_true", help="only the outside world; port 0 takes any free port"
    )
    found = parser.parse_args(arguments)
    with_bot = not found.no_bot
    data = found.data or (Path("sandbox-data") if with_bot else None)
    return Options(found.port, data and data.expanduser().absolute(), found.fresh, with_bot)


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(256)
    except OSError:
        listener.close()
        raise
    return listener


def take_port(port: int, *, with_next: bool) -> socket.socket:
    """Listen on the port and make sure that the next one is free for the bot; raises `CannotStart`."""
    if not 0 <= port <= (65534 if with_next else 65535):
        raise CannotStart(f"port {port} cannot be used: choose one up to 65534, such as PORT=8090")
    for _ in range(100):
        wanted = port
        try:
            listener = _listen(port)
            if not with_next:
                return listener
            wanted = listener.getsockname()[1] + 1
            try:
                _listen(wanted).close()
            except (OSError, OverflowError):
                listener.close()
                if port == 0:
                    continue
                raise
        except PermissionError:
            raise CannotStart(
                f"port {wanted} is not allowed: choose one above 1023, such as PORT=8090"
            ) from None
        except OSError:
            free = max(1024, (port + 100) % 65000)
            raise CannotStart(f"port {wanted} is taken: choose another, such as PORT={free}") from None
        return listener
    raise CannotStart("no two free ports in a row were found")


@contextlib.contextmanager
def data_folder(folder: Path, *, fresh: bool) -> Iterator[Path]:
    """Hold the folder for this process alone, emptied if asked; raises `CannotStart`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not (folder / MARKER).exists():
            raise CannotStart(f"{folder} is not a sandbox's folder and not empty: choose another with --data")
        with (folder / MARKER).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CannotStart(
                    f"another sandbox uses {folder}: stop it, or choose another with --data"
                ) from None
            if fresh:
                _empty(folder)
            yield folder
    except OSError as error:
        raise CannotStart(
            f"{folder} cannot be used ({error.strerror}): choose another with --data"
        ) from error


def _empty(folder: Path) -> None:
    """Remove everything but the lock, and the database also where the bot keeps it elsewhere and left a link."""
    for entry in folder.iterdir():
        if entry.name == MARKER:
            continue
        elsewhere = entry.resolve()
        if entry.is_symlink():
            if entry.name == "postgres" and (elsewhere / "cluster" / "PG_VERSION").is_file():
                shutil.rmtree(elsewhere)
            entry.unlink()
        elif entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def bot_environment(port: int, data: Path) -> dict[str, str]:
    """Every setting of the bot, so that nothing of the operator's own `.env` comes in."""
    here = f"http://{HOST}:{port}"
    return {
        "BOT_TOKEN": BOT_TOKEN,
        "ADMIN_IDS": str(ADMIN_ID),
        "CRYPTOCLOUD_API_KEY": API_KEY,
        "CRYPTOCLOUD_SHOP_ID": SHOP_ID,
        "CRYPTOCLOUD_SECRET_KEY": SECRET_KEY,
        "CRYPTOCLOUD_API_URL": here,
        "CRYPTOCLOUD_ALLOW_TEST_MODE": "false",
        "TELEGRAM_API_URL": here,
        "TELEGRAM_LINK_URL": f"{here}/t",
        "TELEGRAM_UPDATES": "polling",
        "TELEGRAM_WEBHOOK_SECRET": "",
        "DATABASE_URL": "",
        "DATA_DIR": str(data),
        "BASE_URL": f"http://{HOST}:{port + 1}",
        "HTTP_HOST": HOST,
        "HTTP_PORT": str(port + 1),
        "METRICS_TOKEN": "",
        "TIERS_FILE": str(PROJECT_FOLDER / "tiers.toml"),
        "SHOP_NAME": "Subgate sandbox",
        "SUPPORT_CONTACT": "support@shop.example",
        "TERMS_URL": "",
        "TIMEZONE": "UTC",
        "LOG_FORMAT": "text",
        "LEASE_SECONDS": "10",
        "CHECK_SECONDS": "20",  # rarer than the 3 s between two looks, so that a postback finds its way free
        "FAILPOINT": "",
        "PYTHONUNBUFFERED": "1",
    }


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - the terminal is the operator's page


def _open_world(data: Path | None) -> World:
    world = World(Credentials(BOT_TOKEN, API_KEY, SHOP_ID, SECRET_KEY))
    for person in PEOPLE:
        world.add_person(Person(**vars(person)))
    channel = Channel(CHANNEL_ID, "Subgate club", owner=ADMIN_ID)
    add_link(channel, name="Door", creates_join_request=True)
    world.channels[channel.id] = channel
    saved = data / "world.json" if data else None
    if saved is not None and saved.exists():
        try:
            world.load(saved)
        except ValueError as error:
            raise CannotStart(f"{error}; begin anew with FRESH=1") from error
    return world


async def _keep_saving(world: World, path: Path) -> None:
    while True:
        await asyncio.sleep(1)
        if world.changed_since_save:
            world.save(path)


async def run(options: Options, listener: socket.socket, data: Path | None, command: Sequence[str]) -> int:
    """Run the sandbox until a signal; return the exit code."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    port = listener.getsockname()[1]
    world = _open_world(data)
    child = observer = None
    if options.with_bot and data is not None:
        observer = Observer(world, data)
        shop = f"http://{HOST}:{port + 1}"
        world.project.notification_url = f"{shop}/api/webhook/payment"
        world.project.success_url = f"{shop}/payment/success"
        world.project.fail_url = f"{shop}/payment/error"
        child = Child(
            world,
            command,
            bot_environment(port, data),
            health_url=f"{shop}/health/ready",
            folder=PROJECT_FOLDER,
        )
    token = os.environ.get("SANDBOX_TOKEN") or secrets.token_urlsafe(24)
    app = create_app(world, token=token, child=child, observer=observer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    saving = asyncio.create_task(_keep_saving(world, data / "world.json")) if data else None
    try:
        await web.SockSite(runner, listener).start()
        if child is not None:
            await child.start()
            if not await _became_ready(child, stop):
                return 0 if stop.is_set() else 1
        print(f"ready http://{HOST}:{port}/?token={token}", flush=True)  # noqa: T201 - this line is the interface
        await stop.wait()
        return 0
    finally:
        if child is not None:
            await child.stop()
        if saving is not None and data is not None:
            saving.cancel()
            world.save(data / "world.json")
        await runner.cleanup()


async def _became_ready(child: Child, stop: asyncio.Event) -> bool:
    """Wait for the bot's first sign of life; False when it ended before, or when a signal came."""
    ready = asyncio.create_task(child.until_ready())
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait(
        {ready, stopped}, timeout=SLOW_START_SECONDS, return_when=asyncio.FIRST_COMPLETED
    )
    if not done:
        _tell("the bot is still not ready; waiting on, Ctrl-C stops")
        await asyncio.wait({ready, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not ready.done():
        ready.cancel()
        return False
    if ready.result():
        return True
    _tell(f"the bot ended with exit code {child.exit_code} before it was ready; its last lines:")
    for line in list(child.lines)[-15:]:
        _tell(f"  {line}")
    return False


def main(
    arguments: Sequence[str] | None = None, *, command: Sequence[str] = (sys.executable, "-m", "bot")
) -> int:
    """Run the sandbox from the command line; `command` starts the bot."""
    options = read_options(arguments)
    try:
        listener = take_port(options.port, with_next=options.with_bot)
        folder = data_folder(options.data, fresh=options.fresh) if options.data else contextlib.nullcontext()
        with listener, folder as data:
            return asyncio.run(run(options, listener, data, command))
    except CannotStart as trouble:
        _tell(str(trouble))
        return 2
    except KeyboardInterrupt:  # before the signal handlers were there
        return 0


if __name__ == "__main__":
    sys.exit(main())
