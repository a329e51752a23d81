"""The side of Telegram that delivers updates to a webhook: order in a lane, lanes in parallel, repeats with backoff.

As in the public sources of the Bot API server: first repeat at once, then 2, 4, 8 … seconds up to 60 to 120, and a
2xx answer within 60 s ends it.
"""

import asyncio
import random
import time

import aiohttp

from sandbox.updates import Waiting
from sandbox.world import Json, Webhook, World

PATIENCE = 60.0


class WebhookSender:
    """Runs one task per lane that has updates; a changed webhook starts them anew."""

    def __init__(self, world: World, client: aiohttp.ClientSession) -> None:
        self._world = world
        self._client = client
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._free = asyncio.Semaphore(world.webhook.max_connections)
        world.updates.on_arrival.append(self.wake)
        world.on_webhook_change.append(self.restart)

    def restart(self) -> None:
        for lane in self._lanes.values():
            lane.cancel()
        self._lanes.clear()
        self._free = asyncio.Semaphore(self._world.webhook.max_connections)
        self.wake()

    def wake(self) -> None:
        if not self._world.webhook.url:
            return
        for lane in {one.lane for one in self._world.updates.waiting.values()}:
            if lane not in self._lanes:
                self._lanes[lane] = self._world.spawn(self._serve(lane))

    def _first_of(self, lane: str) -> Waiting | None:
        self._world.updates.drop_expired()
        waiting = self._world.updates.waiting
        return min(
            (one for one in waiting.values() if one.lane == lane), key=lambda one: one.id, default=None
        )

    async def _serve(self, lane: str) -> None:
        mine = asyncio.current_task()
        failures = 0
        try:
            while (update := self._first_of(lane)) is not None:
                retry_after = await self._deliver(update)
                if retry_after is None:
                    self._world.updates.waiting.pop(update.id, None)
                    failures = 0
                    continue
                failures += 1
                pause = retry_after or (0.0 if failures == 1 else 2.0 ** (failures - 1))
                await asyncio.sleep(min(pause, random.uniform(60, 120)) * self._world.webhook.retry_unit)
        finally:
            if self._lanes.get(lane) is mine:
                del self._lanes[lane]

    async def _deliver(self, update: Waiting) -> float | None:
        """Try once; None when it was taken, else the seconds that the receiver asked to wait (0: not said)."""
        hook = self._world.webhook
        headers = {"X-Telegram-Bot-Api-Secret-Token": hook.secret} if hook.secret else {}
        entry = self._world.write_down(
            self._world.bot_calls,
            kind="webhook",
            method="(webhook)",
            url=hook.url,
            chat_id=None,
            arguments={"update": update.body},
        )
        try:
            return await self._sent(hook, headers, update, entry)
        finally:
            entry["took"] = time.time() - entry["at"]
            self._world.show(entry)

    async def _sent(
        self, hook: Webhook, headers: dict[str, str], update: Waiting, entry: Json
    ) -> float | None:
        async with self._free:
            try:
                async with self._client.post(
                    hook.url,
                    json=update.body,
                    headers=headers,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=PATIENCE),
                ) as response:
                    await response.read()
                    entry["status"] = response.status
                    if 200 <= response.status < 300:
                        return None
                    trouble = f"Wrong response from the webhook: {response.status} {response.reason}"
                    retry_after = response.headers.get("Retry-After", "")
                    seconds = min(3600.0, float(retry_after)) if retry_after.isdigit() else 0.0
            except TimeoutError:
                trouble, seconds = "Read timeout expired", 0.0
            except aiohttp.ClientConnectorError:
                trouble, seconds = "Connection refused", 0.0
            except aiohttp.ClientError:
                trouble, seconds = "Connection closed", 0.0
        entry["answer"] = trouble
        hook.last_error, hook.last_error_at = trouble, time.time()
        return seconds
