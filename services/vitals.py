"""How this process is doing, as its workers last saw it; read by the health page and the metrics."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

UNKNOWN = "not asked yet"
OK = "ok"


@dataclass(slots=True)
class Vitals:
    """The last word on each neighbour, and when each worker last finished a round."""

    telegram: str = UNKNOWN
    cryptocloud: str = UNKNOWN
    migrations: str = UNKNOWN
    bot_username: str = ""
    clock: Callable[[], float] = time.monotonic
    rounds: dict[str, float] = field(default_factory=dict)
    patience: dict[str, float] = field(default_factory=dict)

    def expect(self, worker: str, *, within: float) -> None:
        """Start watching a worker that finishes a round at least every `within` seconds."""
        self.patience[worker] = within
        self.rounds[worker] = self.clock()

    def round_done(self, worker: str) -> None:
        """Note that a worker has just finished a round."""
        self.rounds[worker] = self.clock()

    @property
    def workers(self) -> str:
        """`ok`, or the names of the workers that have not been heard of for too long."""
        now = self.clock()
        late = sorted(name for name, within in self.patience.items() if now - self.rounds[name] > within)
        return OK if not late else "silent: " + ", ".join(late)
