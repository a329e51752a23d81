"""Three real processes that are killed again and again: at named places, at random, or frozen beyond their leases."""

import asyncio
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median

from tests.chaos.diary import Diary
from tests.e2e.proxy import Proxy
from tests.e2e.stage import Bot, Stage, until

LONGEST_START = 90.0
OPEN = "open for business"
# How often a place is passed, at most, before the process dies there.
PLACES = {
    "postback.stored": 3,
    "postback.committed": 3,
    "create.answered": 3,
    "check.claimed": 6,
    "info.answered": 6,
    "settle.granted": 3,
    "settle.committed": 5,
    "notify.claimed": 8,
    "notify.sent": 12,
}


@dataclass
class Replicas:
    """The processes of one shop, each on a port of its own behind one address."""

    play: Stage
    front: Proxy
    ports: list[int]
    diary: Diary
    dice: random.Random
    mortal: bool = False
    bots: dict[int, Bot] = field(default_factory=dict)
    exits: Counter[str] = field(default_factory=Counter)
    openings: list[float] = field(default_factory=list)
    _lives: "list[asyncio.Task[None]]" = field(default_factory=list)
    _taking_part: set[tuple[str, int]] = field(default_factory=set)

    def open(self) -> None:
        """Start all, and from then on start again whichever dies."""
        self._lives = [asyncio.create_task(self._live_again(port)) for port in self.ports]

    async def close(self) -> None:
        """kill -9 all at once; nothing is started again until `open`."""
        for life in self._lives:
            life.cancel()
        await asyncio.gather(*self._lives, return_exceptions=True)
        for bot in self.play.bots:
            await bot.kill()
        self.bots.clear()

    async def _live_again(self, port: int) -> None:
        while True:
            place = self._place_to_die() if self.mortal and self.dice.random() < 0.75 else ""
            bot = await self.play.open(ready=False, port=port, FAILPOINT=place)
            self.play.world.project.notification_url = f"{self.front.url}/api/webhook/payment"
            self.bots[port] = bot
            try:
                await self._live(bot, place)
            finally:
                self._send_elsewhere(port)

    async def _live(self, bot: Bot, place: str) -> None:
        gone = asyncio.ensure_future(bot.process.wait())
        by_us = False
        try:
            opening = time.monotonic()
            while not gone.done() and not bot.lines(OPEN) and time.monotonic() < opening + LONGEST_START:
                await asyncio.wait({gone}, timeout=0.1)
            if not gone.done():
                self.openings.append(time.monotonic() - opening)
                self._send_here(bot.port)
            die_at = time.monotonic() + self._lifetime()
            while not gone.done():
                await asyncio.wait({gone}, timeout=0.2)
                if self.mortal and not gone.done() and time.monotonic() > die_at:
                    by_us = True
                    self.diary.note("kill -9 at random")
                    await bot.kill()
        finally:
            gone.cancel()
        if bot.process.returncode == -signal.SIGKILL and not by_us:
            self.diary.note(f"kill -9 at {place.partition(':')[0]}")
        elif not by_us:
            said = bot.log[-1][:120] if bot.log else ""
            self.exits[f"ended with {bot.process.returncode}: {said}"] += 1

    def _send_here(self, port: int) -> None:
        """As a load balancer does: a process that answers takes part, one that is gone does not."""
        self._taking_part.add(("127.0.0.1", port))
        self.front.targets[:] = sorted(self._taking_part)

    def _send_elsewhere(self, port: int) -> None:
        self._taking_part.discard(("127.0.0.1", port))
        if self._taking_part:
            self.front.targets[:] = sorted(self._taking_part)

    def _lifetime(self) -> float:
        """About as long as a start takes, so that on a slow machine too somebody is mostly there."""
        return self.dice.uniform(0.4, 1.2) * max(8.0, median(self.openings[-6:] or [8.0]))

    def _place_to_die(self) -> str:
        name, most = self.dice.choice(list(PLACES.items()))
        return f"{name}:{self.dice.randint(1, most)}"

    async def freeze(self, seconds: float) -> None:
        """Let a process stand still for longer than its leases, then go on as if nothing had been."""
        awake = [bot for bot in self.bots.values() if bot.process.returncode is None and bot.lines(OPEN)]
        if not awake:
            return
        bot = self.dice.choice(awake)
        with self.diary.during("frozen beyond the lease"), suppress(ProcessLookupError):
            bot.process.send_signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(seconds)
            finally:
                bot.process.send_signal(signal.SIGCONT)

    async def all_open(self) -> None:
        """Wait until every process takes part."""
        await until(
            lambda: len(self._taking_part) == len(self.ports), within=LONGEST_START, what="all to be open"
        )
