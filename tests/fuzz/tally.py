"""What was tried and what was found: counted while it runs, printed at the end."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

KEPT = 20  # findings in full; after that they are only counted


@dataclass
class Tally:
    """The count of one kind of input; a finding is whatever must not happen."""

    what: str
    tried: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    found: int = 0
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    def count(self, outcome: object) -> None:
        """Note one input and what came of it."""
        self.tried += 1
        self.outcomes[str(outcome)] += 1
        self.seconds = time.monotonic() - self.began

    def find(self, finding: str) -> None:
        """Note something that must not happen."""
        self.found += 1
        if len(self.findings) < KEPT:
            self.findings.append(f"{self.what}: {finding}")

    @property
    def row(self) -> list[object]:
        outcomes = ", ".join(f"{outcome} ×{times}" for outcome, times in self.outcomes.most_common())
        return [self.what, self.tried, outcomes, self.found, f"{self.seconds:.0f} s"]


def findings(tallies: Iterable[Tally]) -> list[str]:
    """All that was found, in words."""
    return [finding for tally in tallies for finding in tally.findings]
