"""The state of the outside world: people, chats, invoices, what was called and what came back. No network here.

One `World` is one bot and one CryptoCloud project; several live side by side in one process.
"""

import asyncio
import base64
import contextlib
import itertools
import json
import secrets
import string
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sandbox import timeline
from sandbox.channels import Channel
from sandbox.faults import Faults
from sandbox.invoices import Invoice, Project
from sandbox.updates import UpdateQueue

Json = dict[str, Any]
JOURNAL_LENGTH = 20_000
KEPT_FILES = 50


def _letters(length: int) -> str:
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(length))


@dataclass(frozen=True)
class Credentials:
    """What the bot must know to talk to this world; random unless given."""

    bot_token: str = field(
        default_factory=lambda: f"{7_000_000_000 + secrets.randbelow(10**9)}:{_letters(35)}"
    )
    api_key: str = field(default_factory=lambda: f"{_letters(12)}.{_letters(24)}.{_letters(24)}")
    shop_id: str = field(default_factory=lambda: _letters(16))
    secret_key: str = field(default_factory=lambda: _letters(48))


@dataclass
class Person:
    """Somebody with a Telegram account."""

    id: int
    first_name: str
    language: str = "en"
    username: str = ""
    started: bool = False
    blocked: bool = False
    deactivated: bool = False

    def as_user(self) -> Json:
        user: Json = {"id": self.id, "is_bot": False, "first_name": self.first_name}
        if self.username:
            user["username"] = self.username
        if self.language:
            user["language_code"] = self.language
        return user

    def as_chat(self) -> Json:
        chat: Json = {"id": self.id, "first_name": self.first_name, "type": "private"}
        if self.username:
            chat["username"] = self.username
        return chat


@dataclass
class Message:
    """A message as the chat shows it now; `body` is Telegram's Message object."""

    body: Json
    from_bot: bool
    edits: int = 0
    deleted: bool = False


@dataclass
class Press:
    """A pressed button and what the bot answered to it."""

    id: str
    person_id: int
    at: float
    answered: bool = False
    text: str = ""
    show_alert: bool = False
    url: str = ""


@dataclass
class Webhook:
    """Where updates are delivered to; an empty url means that the bot polls. `retry_unit` shortens waits in tests."""

    url: str = ""
    secret: str = ""
    max_connections: int = 40
    last_error: str = ""
    last_error_at: float = 0.0
    set_at: float = -1e9
    retry_unit: float = 1.0


@dataclass
class RateLimit:
    """Telegram's sending limits as token buckets; off until a test or a person switches it on."""

    on: bool = False
    per_chat: float = 1.0
    chat_burst: float = 5.0
    overall: float = 30.0
    _buckets: dict[int | None, tuple[float, float]] = field(default_factory=dict, repr=False)

    def wait_for(self, chat_id: int) -> int:
        """Take one send from both buckets; answer the whole seconds to wait, 0 when it may go."""
        if not self.on:
            return 0
        now = time.monotonic()
        levels: list[tuple[int | None, float]] = []
        for key, rate, burst in (
            (chat_id, self.per_chat, self.chat_burst),
            (None, self.overall, self.overall),
        ):
            level, since = self._buckets.get(key, (burst, now))
            level = min(burst, level + (now - since) * rate)
            if level < 1:
                return max(1, round((1 - level) / rate + 0.5))
            levels.append((key, level - 1))
        for key, level in levels:
            self._buckets[key] = (level, now)
        return 0


class World:
    """Everything outside the bot. `tell` wakes the pages that watch; `save` and `load` keep it between runs."""

    def __init__(self, credentials: Credentials | None = None, *, notification_url: str = "") -> None:
        self.credentials = credentials or Credentials()
        self.project = Project(notification_url=notification_url)
        self.faults = Faults()
        self.rate_limit = RateLimit()

        self.people: dict[int, Person] = {}
        self.groups: dict[int, str] = {}
        self.channels: dict[int, Channel] = {}
        self.chats: dict[int, dict[int, Message]] = {}
        self.files: dict[str, tuple[str, str, bytes]] = {}
        self.presses: dict[str, Press] = {}
        self.commands: dict[str, list[Json]] = {}
        self.profile: dict[str, str] = {}
        self.press_lifetime = 15.0
        self.updates = UpdateQueue()
        self.handed_out: set[int] = set()
        self.webhook = Webhook()
        self.on_webhook_change: list[Callable[[], None]] = []

        self.invoices: dict[str, Invoice] = {}

        self.bot_calls: deque[Json] = deque(maxlen=JOURNAL_LENGTH)
        self.provider_calls: deque[Json] = deque(maxlen=JOURNAL_LENGTH)
        self.postbacks: deque[Json] = deque(maxlen=JOURNAL_LENGTH)
        self.notes: deque[Json] = deque(maxlen=JOURNAL_LENGTH)

        self.changed_since_save = False
        self.stopping = asyncio.Event()
        self._listeners: set[asyncio.Queue[Json]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._message_ids = itertools.count(1)
        self._last_message_id = 0
        self._journal_ids = itertools.count(1)

    @property
    def bot_id(self) -> int:
        return int(self.credentials.bot_token.partition(":")[0])

    def bot_user(self) -> Json:
        name = self.profile.get("name", "Subgate sandbox")
        return {"id": self.bot_id, "is_bot": True, "first_name": name, "username": "subgate_sandbox_bot"}

    def add_person(self, person: Person) -> Person:
        """Let somebody exist; the bot may write to them only after they wrote first."""
        self.people[person.id] = person
        self.tell("people")
        return person

    def chat_object(self, chat_id: int) -> Json:
        if chat_id in self.groups:
            return {"id": chat_id, "title": self.groups[chat_id], "type": "group"}
        if chat_id in self.channels:
            return self.channels[chat_id].as_chat()
        return self.people[chat_id].as_chat()

    def new_message_id(self) -> int:
        self._last_message_id = next(self._message_ids)
        return self._last_message_id

    def keep_message(self, chat_id: int, message: Message) -> None:
        self.chats.setdefault(chat_id, {})[message.body["message_id"]] = message
        self.tell("chat", chat_id=chat_id)

    def messages(self, chat_id: int) -> list[Message]:
        """What the chat shows, oldest first, deleted messages left out."""
        return [one for one in self.chats.get(chat_id, {}).values() if not one.deleted]

    def set_webhook(self, url: str, secret: str, max_connections: int) -> None:
        """Point the delivery of updates somewhere else; a running getUpdates ends in a conflict."""
        self.webhook = Webhook(
            url, secret, max_connections, set_at=time.monotonic(), retry_unit=self.webhook.retry_unit
        )
        if url:
            self.updates.end_poll("terminated by setWebhook request")
        for callback in self.on_webhook_change:
            callback()

    def write_down(self, journal: deque[Json], **entry: Any) -> Json:
        """Append to one of the journals and return the entry, so that its outcome can be added and shown."""
        line: Json = {
            "id": next(self._journal_ids),
            "at": time.time(),
            "status": None,
            "answer": None,
            **entry,
        }
        journal.append(line)
        self.show(line)
        return line

    def note(self, lane: str, title: str, *, to: str = "", **details: Any) -> Json:
        """Write down something that is no call: an act, a switch, a change of a payment's row.

        `details` are `text`, `tone` (good, warn, bad), `quiet`, `request` and `answer`, see timeline.py, and `at`,
        the Unix time of what is heard of late.
        """
        return self.write_down(self.notes, kind="note", lane=lane, to=to or lane, title=title, **details)

    @property
    def journals(self) -> tuple[deque[Json], ...]:
        """All journals; their ids are numbered through."""
        return (self.bot_calls, self.provider_calls, self.postbacks, self.notes)

    def show(self, entry: Json) -> None:
        """Tell whoever watches the timeline how an entry stands now."""
        if self._listeners and (line := timeline.line(entry)) is not None:
            self.tell("line", line=line)

    def tell(self, topic: str, **details: Any) -> None:
        """Tell whoever watches that something changed."""
        self.changed_since_save |= topic not in {"line", "log", "row", "typing"}
        for listener in self._listeners:
            if listener.qsize() < 1000:
                listener.put_nowait({"topic": topic, **details})

    @contextlib.contextmanager
    def watching(self) -> Iterator[asyncio.Queue[Json]]:
        """Give a queue of changes for as long as the block runs."""
        queue: asyncio.Queue[Json] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            yield queue
        finally:
            self._listeners.discard(queue)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something in the background until the world stops."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def stop(self) -> None:
        """End all background work; open long polls and hanging answers end at once."""
        self.stopping.set()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def jump(self, seconds: float) -> None:
        """Let time pass for the outside world: every stored moment moves back, the clock stays true."""
        for invoice in self.invoices.values():
            invoice.shift(-seconds)
        for press in self.presses.values():
            press.at -= seconds
        for messages in self.chats.values():
            for message in messages.values():
                for moment in {"date", "edit_date"} & message.body.keys():
                    message.body[moment] -= int(seconds)
        for channel in self.channels.values():
            channel.shift(-seconds)
        self.updates.shift(-seconds)
        self.tell("jump")
        self.tell("invoices")

    def save(self, path: Path) -> None:
        """Write the world to a file, whole or not at all."""
        state = {
            "people": [asdict(person) for person in self.people.values()],
            "groups": {str(key): title for key, title in self.groups.items()},
            "channels": [channel.as_json() for channel in self.channels.values()],
            "files": {
                file_id: [name, kind, base64.b64encode(content).decode()]
                for file_id, (name, kind, content) in list(self.files.items())[-KEPT_FILES:]
            },
            "chats": {
                str(chat_id): [asdict(message) for message in messages.values()]
                for chat_id, messages in self.chats.items()
            },
            "commands": self.commands,
            "profile": self.profile,
            "updates": self.updates.as_json(),
            "webhook": [self.webhook.url, self.webhook.secret, self.webhook.max_connections],
            "invoices": [invoice.as_json() for invoice in self.invoices.values()],
            "last_message_id": self._last_message_id,
        }
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(state, ensure_ascii=False), encoding="utf-8")
        draft.replace(path)
        self.changed_since_save = False

    def load(self, path: Path) -> None:
        """Take up a saved world; raises ValueError when the file cannot be understood."""
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            self.people = {one["id"]: Person(**one) for one in state["people"]}
            self.groups = {int(key): title for key, title in state["groups"].items()}
            self.channels |= {one["id"]: Channel.from_json(one) for one in state.get("channels", [])}
            self.files = {
                file_id: (name, kind, base64.b64decode(content))
                for file_id, (name, kind, content) in state.get("files", {}).items()
            }
            self.chats = {
                int(chat_id): {one["body"]["message_id"]: Message(**one) for one in messages}
                for chat_id, messages in state["chats"].items()
            }
            self.commands = state["commands"]
            self.profile = state["profile"]
            self.updates.load(state["updates"])
            self.webhook = Webhook(*state["webhook"])
            self.invoices = {one.uuid: one for one in map(Invoice.from_json, state["invoices"])}
            self._last_message_id = state["last_message_id"]
            self._message_ids = itertools.count(self._last_message_id + 1)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is not a saved sandbox: {error!r}") from error
