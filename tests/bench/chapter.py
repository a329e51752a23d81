"""What a part has to say: rows for the table of targets, plots, and how to read them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tests.bench.figures import Figures
from tests.bench.ground import Ground


@dataclass(frozen=True)
class Row:
    """One line of the table; `met` is None where nothing was asked for."""

    what: str
    target: str
    measured: str = "not measured"
    ratio: str = ""
    dominates: str = ""
    met: bool | None = None


@dataclass(frozen=True)
class Chapter:
    """Rows, plots by the name of their file, tables of figures, and the reading in Markdown."""

    title: str
    rows: Sequence[Row]
    reading: str = ""
    tables: Sequence[tuple[Sequence[str], Sequence[Sequence[str]]]] = ()
    plots: dict[str, str] = field(default_factory=dict)


class Part(Protocol):
    """A file that measures one capability beside its limit."""

    def tell(self, figures: Figures | None) -> Chapter:
        """Write down what was measured; every row is there also when nothing was."""

    async def measure(self, ground: Ground) -> Figures:
        """Measure, in as many rounds as the ground's sizes say."""
