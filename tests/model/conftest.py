"""One database and one outside world for all examples of a test; each example brings its own customers."""

import asyncio
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from sqlalchemy import URL

from services.config import Settings
from services.tiers import PriceList
from tests.conftest import TEMPLATE, administer
from tests.model.shop import Shop, open_shop


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """A loop of our own, because hypothesis calls plain functions."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def shop(
    runner: asyncio.Runner, template: URL, make_settings: Callable[..., Settings], price_list: PriceList
) -> Iterator[Shop]:
    """A shop whose database and outside world live as long as the test."""
    name = f"model_{uuid4().hex[:12]}"
    runner.run(administer(template, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}"))
    opened = open_shop(template.set(database=name), make_settings(), price_list, runner)
    yield runner.run(opened.__aenter__())
    runner.run(opened.__aexit__(None, None, None))
    runner.run(administer(template, f"DROP DATABASE {name} WITH (FORCE)"))
