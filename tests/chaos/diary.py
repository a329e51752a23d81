"""The diary of a run: every fault that was injected, with its moment, so that what came of it can be explained."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Happening:
    """A fault from `began` to `ended`, in seconds since 1970."""

    kind: str
    began: float
    ended: float


@dataclass
class Diary:
    """What was done to the shop; `count` knows each kind."""

    happenings: list[Happening] = field(default_factory=list)

    def note(self, kind: str) -> None:
        """Write down something that took no time."""
        now = time.time()
        self.happenings.append(Happening(kind, now, now))

    @contextmanager
    def during(self, kind: str) -> Iterator[None]:
        """Write down something that lasts as long as the block."""
        happening = Happening(kind, time.time(), float("inf"))
        self.happenings.append(happening)
        try:
            yield
        finally:
            happening.ended = time.time()

    def between(self, kind: str, began: float, ended: float) -> bool:
        """Whether a kind (by its first words) happened between two moments."""
        return any(
            one.kind.startswith(kind) and one.began <= ended and began <= one.ended for one in self.happenings
        )

    def count(self, kind: str = "") -> Counter[str]:
        """How often each kind, or each that begins so, was done."""
        return Counter(one.kind for one in self.happenings if one.kind.startswith(kind))
