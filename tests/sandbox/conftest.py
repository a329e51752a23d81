"""A fresh outside world for each test, driven over HTTP as the bot and its customers drive it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from sandbox.app import Sandbox, running
from sandbox.world import Person, World

ALICE = 1001
BORIS = 1002
NOBODY = 404


async def eventually(condition: Callable[[], Any]) -> Any:
    """Wait up to five seconds until something is true, and return it."""
    async with asyncio.timeout(5):
        while not (found := condition()):  # noqa: ASYNC110 - conditions of any kind
            await asyncio.sleep(0.01)
    return found


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    world = World()
    world.add_person(Person(ALICE, "Alice", "en", "alice", started=True))
    world.add_person(Person(BORIS, "Борис", "ru"))
    async with running(world) as box:
        yield box


class BotApi:
    """Calls the Bot API by hand, so that refusals can be read to the letter."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    async def __call__(self, method: str, **arguments: Any) -> dict[str, Any]:
        url = f"{self.sandbox.url}/bot{self.sandbox.world.credentials.bot_token}/{method}"
        async with self.sandbox.client.post(url, json=arguments) as response:
            answer: dict[str, Any] = await response.json()
            assert answer["ok"] or answer["error_code"] == response.status
            return answer

    async def upload(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Call with files, given as name and content."""
        url = f"{self.sandbox.url}/bot{self.sandbox.world.credentials.bot_token}/{method}"
        form = aiohttp.FormData()
        for name, value in arguments.items():
            if isinstance(value, tuple):
                form.add_field(name, value[1], filename=value[0])
            else:
                form.add_field(name, str(value))
        async with self.sandbox.client.post(url, data=form) as response:
            answer: dict[str, Any] = await response.json()
            return answer

    async def refusal(self, method: str, **arguments: Any) -> tuple[int, str]:
        answer = await self(method, **arguments)
        assert not answer["ok"], answer
        return answer["error_code"], answer["description"]


@pytest.fixture
def bot_api(sandbox: Sandbox) -> BotApi:
    return BotApi(sandbox)


class CryptoCloud:
    """Calls CryptoCloud's API as a shop does."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    async def __call__(
        self, path: str, body: Any = None, authorization: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        key = self.sandbox.world.credentials.api_key
        headers = {"Authorization": f"Token {key}" if authorization is None else authorization}
        async with self.sandbox.client.post(
            f"{self.sandbox.url}/v2/{path}", json=body, headers=headers
        ) as response:
            return response.status, await response.json(content_type=None)

    async def create(self, **fields: Any) -> dict[str, Any]:
        shop_id = self.sandbox.world.credentials.shop_id
        body = {"shop_id": shop_id, "amount": 99, "currency": "USD", "order_id": "order-1", **fields}
        status, answer = await self("invoice/create", body)
        assert status == 200, answer
        result: dict[str, Any] = answer["result"]
        return result

    async def info(self, *uuids: str) -> list[dict[str, Any]]:
        status, answer = await self("invoice/merchant/info", {"uuids": list(uuids)})
        assert status == 200, answer
        rows: list[dict[str, Any]] = answer["result"]
        return rows


@pytest.fixture
def cryptocloud(sandbox: Sandbox) -> CryptoCloud:
    return CryptoCloud(sandbox)


class Control:
    """Presses the sandbox's own buttons."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    async def __call__(self, path: str, **body: Any) -> Any:
        url = f"{self.sandbox.url}/control/{path}"
        async with self.sandbox.client.post(url, json=body, headers=self.sandbox.headers) as response:
            answer = await response.json()
            assert response.status == 200, answer
            return answer

    async def read(self, path: str) -> Any:
        url = f"{self.sandbox.url}/control/{path}"
        async with self.sandbox.client.get(url, headers=self.sandbox.headers) as response:
            answer = await response.json()
            assert response.status == 200, answer
            return answer


@pytest.fixture
def control(sandbox: Sandbox) -> Control:
    return Control(sandbox)
