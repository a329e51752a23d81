"""Updates that wait for the bot: numbered, confirmed by offset, expiring as Telegram lets them expire."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

Json = dict[str, Any]
MESSAGE_LIFETIME = 24 * 3600.0
PRESS_LIFETIME = 150.0
LEFT_OUT_BY_DEFAULT = frozenset({"chat_member", "message_reaction", "message_reaction_count"})


class Conflict(Exception):
    """Two receivers want the same updates; the text goes behind `Conflict: `."""


@dataclass
class Waiting:
    """An update that was not confirmed yet. `lane` keeps its order: one chat's messages, one person's presses."""

    id: int
    kind: str
    body: Json
    lane: str
    expires: float


class UpdateQueue:
    """What getUpdates hands out and the webhook sender delivers."""

    def __init__(self) -> None:
        self.waiting: dict[int, Waiting] = {}
        self.allowed: list[str] = []
        self.polls = 0
        self.on_arrival: list[Callable[[], None]] = []
        self._next_id = random.randrange(10_000_000, 90_000_000)
        self._arrived = asyncio.Event()
        self._poller: asyncio.Future[str] | None = None

    def push(self, kind: str, payload: Any, *, lane: str, lifetime: float = MESSAGE_LIFETIME) -> int | None:
        """Queue an update; None when the bot did not ask for this kind."""
        if self.allowed and kind not in self.allowed:
            return None
        if not self.allowed and kind in LEFT_OUT_BY_DEFAULT:
            return None
        return self.push_raw({kind: payload}, kind=kind, lane=lane, lifetime=lifetime)

    def push_raw(self, body: Json, *, kind: str, lane: str, lifetime: float = MESSAGE_LIFETIME) -> int:
        """Queue any object as an update; its own update_id is kept when it has one."""
        update_id = body.get("update_id")
        if not isinstance(update_id, int) or isinstance(update_id, bool):
            update_id = self._next_id
        self._next_id = max(self._next_id, update_id + 1)
        body = {"update_id": update_id, **body}
        self.waiting[update_id] = Waiting(update_id, kind, body, lane, time.time() + lifetime)
        self._arrived.set()
        for callback in self.on_arrival:
            callback()
        return update_id

    def drop_expired(self) -> None:
        now = time.time()
        self.waiting = {key: one for key, one in self.waiting.items() if one.expires > now}

    def confirm(self, offset: int) -> None:
        """Forget everything before the offset; a negative offset keeps only the last ones."""
        if offset > 0:
            self.waiting = {key: one for key, one in self.waiting.items() if key >= offset}
        elif offset < 0:
            kept = sorted(self.waiting)[offset:]
            self.waiting = {key: self.waiting[key] for key in kept}

    def clear(self) -> None:
        self.waiting = {}

    def end_poll(self, why: str) -> None:
        """Answer the running getUpdates with a conflict."""
        if self._poller is not None and not self._poller.done():
            self._poller.set_result(why)

    async def poll(self, offset: int, limit: int, timeout: float) -> list[Json]:
        """Confirm, then wait for updates; raises `Conflict` when somebody else takes over."""
        self.polls += 1
        self.end_poll(
            "terminated by other getUpdates request; make sure that only one bot instance is running"
        )
        mine = self._poller = asyncio.get_running_loop().create_future()
        self.confirm(offset)
        deadline = time.monotonic() + timeout
        try:
            while True:
                self.drop_expired()
                ready = [self.waiting[key].body for key in sorted(self.waiting)][:limit]
                left = deadline - time.monotonic()
                if ready or left <= 0:
                    return ready
                self._arrived.clear()
                arrival = asyncio.ensure_future(self._arrived.wait())
                try:
                    await asyncio.wait({arrival, mine}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    arrival.cancel()
                if mine.done():
                    raise Conflict(mine.result())
        finally:
            if self._poller is mine:
                self._poller = None

    def shift(self, seconds: float) -> None:
        for one in self.waiting.values():
            one.expires += seconds

    def as_json(self) -> Json:
        return {
            "waiting": [asdict(one) for one in self.waiting.values()],
            "allowed": self.allowed,
            "next_id": self._next_id,
        }

    def load(self, state: Json) -> None:
        self.waiting = {one["id"]: Waiting(**one) for one in state["waiting"]}
        self.allowed = state["allowed"]
        self._next_id = state["next_id"]
