"""Bad input, in the short run that every test run has; `python -m tests.fuzz` tries a hundred times as much."""

from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.fuzz.campaign import attack
from tests.fuzz.memory import watch_memory
from tests.fuzz.reader import fuzz_reader
from tests.fuzz.tally import findings

SEED = 20_260_301  # the same in each run: what fails here fails again


def test_the_reader_takes_nothing_that_was_not_signed_and_refuses_the_rest_in_words() -> None:
    tally = fuzz_reader(2_000, SEED)
    assert tally.findings == []
    assert tally.outcomes["trusted"] > 50


@pytest.fixture
def address(database: URL) -> URL:
    return database


def test_whatever_comes_over_http_or_from_telegram_breaks_and_grants_nothing(address: URL) -> None:
    report = attack(address, http=700, updates=500, seeded=SEED)
    assert findings(report.tallies) == []
    assert report.wrongs == []
    assert report.errors == ""
    assert (report.requests, report.updates, report.server_errors) == (report.requests, 500, 0)
    assert report.requests >= 690
    assert report.sells
    tried = {tally.what: tally.outcomes for tally in report.tallies}
    assert tried["POST /api/webhook/payment"]["200"] > 5, "nothing went deep enough to be stored"
    assert tried["updates to the desk"]["done"] > 300


async def test_memory_stays_flat_under_bad_requests(database: URL, tmp_path: Path) -> None:
    before, after = await watch_memory(database, tmp_path, 1_500)
    assert after - before <= 8
