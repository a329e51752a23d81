"""What goes wrong meanwhile: Telegram, CryptoCloud, the database, the wire to it, and processes that stand still."""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.customers import Crowd
from tests.chaos.diary import Diary
from tests.chaos.replicas import Replicas
from tests.chaos.server import Server
from tests.e2e.stage import until

LEASE = 2.0


@dataclass
class Disasters:
    """Plays troubles in a random order, as long as it is let."""

    crowd: Crowd
    replicas: Replicas
    server: Server
    diary: Diary
    dice: random.Random
    crash_every: float
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def play(self) -> None:
        """Go on until `over`; what is under way is mended before this comes back."""
        async with asyncio.TaskGroup() as all_at_once:
            all_at_once.create_task(self._again_and_again(self._outside_trouble, 2.0))
            all_at_once.create_task(self._again_and_again(self._crash_the_database, self.crash_every))
            all_at_once.create_task(self._again_and_again(self._freeze, 20.0))
            all_at_once.create_task(self._again_and_again(self._trouble_on_the_wire, 12.0))

    async def _again_and_again(self, trouble: Callable[[], Awaitable[None]], pause: float) -> None:
        while not self.over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self.over.wait(), self.dice.uniform(0.6, 1.3) * pause)
                return
            await trouble()

    async def _freeze(self) -> None:
        await self.replicas.freeze(self.dice.uniform(LEASE + 0.5, LEASE + 3))

    async def _crash_the_database(self) -> None:
        kind = self.dice.random()
        if kind < 0.2:
            await self.server.lose_a_backend()
        elif kind < 0.75:
            await self.server.crash(self.dice.choice([signal.SIGQUIT, signal.SIGKILL]), away=0.0)
        else:
            await self.server.crash(signal.SIGQUIT, away=self.dice.uniform(3, 8))

    async def _trouble_on_the_wire(self) -> None:
        if self.dice.random() < 0.7:
            lost = self.server.wire.lost_commits
            self.server.wire.lose_commits(
                self.dice.choice(["subscription_ledger", "webhook_events", "notifications", "payments"])
            )
            with suppress(AssertionError):  # perhaps nobody writes such a thing just now
                await until(lambda: self.server.wire.lost_commits > lost, within=8)
                self.diary.note("database: answer to COMMIT lost")
            return
        with self.diary.during("database: connections cut"):
            self.server.wire.cut()
            await asyncio.sleep(self.dice.uniform(0.1, 1.5))
            self.server.wire.mend()

    async def _outside_trouble(self) -> None:
        await self.dice.choice([self._telegram, self._telegram, self._cryptocloud, self._cryptocloud])()

    async def _telegram(self) -> None:
        kinds: list[tuple[str, dict[str, Any], int | None]] = [
            ("too_many_requests", {"retry_after": self.dice.choice([1, 1, 2])}, 3),
            ("too_many_requests", {"retry_after": 1, "parameters": False}, 1),
            ("server_error", {}, 3),
            ("bad_gateway", {}, 2),
            ("empty", {}, 1),
            ("close", {}, 3),
            ("deliver_then_close", {}, 2),
            ("deliver_then_close", {}, 2),
            ("deliver_then_hang", {}, 1),
            ("delay", {"seconds": 1.5}, 1),
            ("down", {}, None),
        ]
        kind, options, times = self.dice.choice(kinds)
        await self._for_a_while("telegram", kind, "sending" if kind != "down" else "*", times, options)

    async def _cryptocloud(self) -> None:
        unpaid = [deal.invoice.uuid for deal in self.crowd.deals.values() if deal.done_at == 0.0]
        uuid = self.dice.choice(unpaid or ["ABCD1234"])
        kinds: list[tuple[str, str, dict[str, Any], int | None]] = [
            ("down", "*", {}, None),
            ("slow", "info", {"seconds": LEASE + 1.5}, 3),
            ("slow", "info", {"seconds": LEASE + 0.5}, 6),
            ("html_502", "*", {}, 4),
            ("server_error", "*", {}, 4),
            ("too_many_requests", "info", {"retry_after": 1}, 2),
            ("error_in_200", "info", {}, 2),
            ("unauthorized", "info", {}, 1),
            ("hang", "create", {}, 1),
            ("other_order", "info", {}, None),
            ("poison", "info", {"uuid": uuid}, None),
            ("poison", "info", {"uuid": uuid}, None),
            ("leave_out", "info", {"uuid": uuid}, None),
            ("unknown_status", "info", {"uuid": uuid}, 2),
        ]
        kind, method, options, times = self.dice.choice(kinds)
        await self._for_a_while("cryptocloud", kind, method, times, options)

    async def _for_a_while(
        self, place: str, kind: str, method: str, times: int | None, options: dict[str, Any]
    ) -> None:
        faults = self.crowd.world.faults
        with self.diary.during(f"{place}: {kind}"):
            fault = faults.add(place, kind, method=method, times=times, **options)
            try:
                await asyncio.sleep(self.dice.uniform(1.5, 5))
            finally:
                faults.clear(fault.id)
