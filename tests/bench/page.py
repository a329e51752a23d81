"""docs/performance.md, made from the figures of a run: nothing in it is typed by hand but the words around them.

python -m tests.bench --render     writes the page anew from docs/performance/figures.json
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench import dispatching, outbox, postbacks, reading, receipts, settling, starting
from tests.bench.chapter import Chapter, Part, Row
from tests.bench.figures import Figures
from tests.bench.machine import steadiness

PARTS: Mapping[str, Part] = {
    "postbacks": postbacks,
    "settling": settling,
    "receipts": receipts,
    "reading": reading,
    "updates": dispatching,
    "outbox": outbox,
    "start": starting,
}
PAGE = "performance.md"
FOLDER = "performance"
FIGURES = "figures.json"

_VERDICTS = {True: "yes", False: "**no**", None: "–"}


@dataclass(frozen=True)
class Run:
    """A whole run: where it took place, how much was done, and what was measured."""

    machine: dict[str, str]
    sizes: dict[str, object]
    quick: bool
    speeds: Figures
    parts: dict[str, Figures]

    def as_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Run":
        read = json.loads(text)
        parts = {name: Figures(**figures) for name, figures in read["parts"].items()}
        return cls(read["machine"], read["sizes"], read["quick"], Figures(**read["speeds"]), parts)

    def chapters(self) -> list[Chapter]:
        """What each part has to say, also those that were not run."""
        return [part.tell(self.parts.get(name)) for name, part in PARTS.items()]


def write(run: Run, docs: Path) -> None:
    """Write the page, its plots, and the figures that it is made from."""
    folder = docs / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    for chapter in run.chapters():
        for name, drawn in chapter.plots.items():
            (folder / name).write_text(drawn, encoding="utf-8")
    (folder / FIGURES).write_text(run.as_json(), encoding="utf-8")
    (docs / PAGE).write_text(page(run), encoding="utf-8")


def read(docs: Path) -> Run:
    """Read the run that the page was made from."""
    return Run.from_json((docs / FOLDER / FIGURES).read_text(encoding="utf-8"))


def page(run: Run) -> str:
    """Write the whole page in Markdown."""
    chapters = run.chapters()
    parts = [
        "# How fast it is, beside the limits",
        "Written by `make bench`; every figure is from one run, in which the program and its limits took turns. A "
        "figure is the median of its rounds, with the lowest and highest in brackets; a ratio is the median of the "
        "rounds' own ratios. Absolute figures depend on the machine: the ratios are what carries over.",
    ]
    if run.quick:
        parts.append(
            "**A quick run: it shows that everything can be measured; its figures are not to be quoted.**"
        )
    parts += [
        "## Where",
        _table(("", ""), [*run.machine.items(), ("the machine's own speed", steadiness(run.speeds))]),
        "Client, program and database share these cores, so each of them slows the others down.",
        "## What was asked for",
        _table(
            ("what", "target", "measured", "beside the limit", "met", "what dominates"),
            [_cells(row) for chapter in chapters for row in chapter.rows],
        ),
    ]
    for chapter in chapters:
        if chapter.reading:
            parts += [f"## {chapter.title}", chapter.reading.strip()]
            parts += [_table(heads, rows) for heads, rows in chapter.tables]
            parts += [f"![{chapter.title}]({FOLDER}/{name})" for name in chapter.plots]
    return "\n\n".join(parts) + "\n"


def _cells(row: Row) -> tuple[str, ...]:
    return (row.what, row.target, row.measured, row.ratio, _VERDICTS[row.met], row.dominates)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
