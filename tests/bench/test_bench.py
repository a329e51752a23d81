"""The benchmark still measures everything, and its page says what was measured; `make bench` is the long one."""

from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.bench import page
from tests.bench.figures import Figures
from tests.bench.ground import Ground, Sizes
from tests.bench.machine import describe, work_a_little
from tests.bench.page import PARTS, Run
from tests.conftest import ROOT

TINY = Sizes(
    rounds=1,
    postbacks=64,
    growth=64,
    batches=1,
    purchases=0,
    rush=0,
    payments=(600, 1_200),
    reads=3,
    pgbench_reads=10,
    updates=5,
    messages=20,
    sent_before=10,
    starts=0,
)
WHOLE_PROCESS = ("receipts", "start")  # tests/e2e starts it often enough
ASKED_FOR = (
    "postbacks committed, 32 connections",
    "settle in batches of 100",
    "postback to receipt handed to Telegram, idle",
    "/status",
    "/history, first page",
    "/history, a deep page",
    "/revenue",
    "a command through the whole dispatcher, without database statements",
    "messages claimed 20 at a time and marked as sent",
    "start to ready, with a database that runs",
    "memory when ready",
)


async def test_every_row_of_the_page_is_measured(template: URL, tmp_path: Path) -> None:
    ground = Ground(template, tmp_path, TINY)
    machine = await describe(template, tmp_path)
    parts = {name: await part.measure(ground) for name, part in PARTS.items() if name not in WHOLE_PROCESS}
    run = Run(machine, {}, True, Figures({"loop": [work_a_little()]}), parts)
    page.write(run, tmp_path)
    lines = (tmp_path / page.PAGE).read_text().splitlines()
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in lines if line.startswith("| ")}
    assert rows.keys() >= set(ASKED_FOR)
    silent = {row for row in ASKED_FOR if "not measured" in rows[row]}
    chapters = {name: part.tell(None) for name, part in PARTS.items()}
    assert silent == {row.what for name in WHOLE_PROCESS for row in chapters[name].rows} & set(ASKED_FOR)
    for name, chapter in zip(PARTS, run.chapters(), strict=True):
        assert bool(chapter.plots) == (name not in WHOLE_PROCESS)
        assert all((tmp_path / page.FOLDER / plot).read_text().endswith("</svg>\n") for plot in chapter.plots)


def test_the_page_is_what_its_figures_say() -> None:
    docs = ROOT / "docs"
    run = page.read(docs)
    assert run.parts.keys() == PARTS.keys()
    assert (docs / page.PAGE).read_text() == page.page(run), "python -m tests.bench --render writes it anew"


@pytest.mark.parametrize("name", PARTS)
def test_every_plot_is_what_its_figures_say(name: str) -> None:
    docs = ROOT / "docs"
    chapter = PARTS[name].tell(page.read(docs).parts[name])
    assert chapter.plots
    for file, drawn in chapter.plots.items():
        assert (docs / page.FOLDER / file).read_text() == drawn
