"""An attack on an open shop: requests, updates, then the audit of its books, and one sale to show that it works."""

from dataclasses import dataclass

from sqlalchemy import URL

from tests.fuzz.chat import fuzz_updates
from tests.fuzz.over_http import fuzz_http
from tests.fuzz.shopfront import Ears, shopfront
from tests.fuzz.tally import Tally


@dataclass(frozen=True)
class Report:
    """What was tried, and how the shop stood it."""

    over_http: list[Tally]
    by_chat: list[Tally]
    wrongs: list[str]
    errors: str
    sells: bool

    @property
    def tallies(self) -> list[Tally]:
        return [*self.over_http, *self.by_chat]

    @property
    def requests(self) -> int:
        return sum(tally.tried for tally in self.over_http)

    @property
    def updates(self) -> int:
        return sum(tally.tried for tally in self.by_chat if tally.what.startswith("updates"))

    @property
    def server_errors(self) -> int:
        """How many requests were answered with a 5xx, while all that the server needs was there."""
        return sum(
            times
            for tally in self.over_http
            for outcome, times in tally.outcomes.items()
            if outcome.startswith("5")
        )


def attack(database: URL, *, http: int, updates: int, seeded: int) -> Report:
    """Attack a shop over a migrated database."""
    with shopfront(database) as front:
        over_http = fuzz_http(front, http, seeded) if http else []
        by_chat = fuzz_updates(front, updates, seeded) if updates else []
        return Report(
            over_http, by_chat, front.call(front.wrongs()), _unexpected(front.ears), front.call(front.sells())
        )


def _unexpected(ears: Ears) -> str:
    """Name the errors that the log told; an update that cannot be written to anybody is the one we know."""
    return ", ".join(f"{error} ×{times}" for error, times in ears.errors.most_common() if error not in KNOWN)


KNOWN = {"an update failed (UnicodeEncodeError)"}
