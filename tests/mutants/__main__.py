"""Mutants: make each usual mistake in a copy of the code, and see that a test notices.

    python -m tests.mutants           # minutes
    python -m tests.mutants --chaos   # whether the rig of tests.chaos notices, too

Ends with 1 if one survives, if a snippet is no longer there, or if the tests fail without any mistake.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from services.printing import table
from tests.mutants.catalogue import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parent.parent.parent
PARTS = (
    "bot",
    "services",
    "webhook_server",
    "sandbox",
    "migrations",
    "tests",
    "pyproject.toml",
    "tiers.toml",
)
AT_ONCE = 2
PATIENCE = 180.0
_COMPLAINT = re.compile(r"[\w ]+: \d+$|STALE")


def main() -> int:
    """Try every mutant and print what became of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description="Catch the usual mistakes.")
    parser.add_argument("--chaos", action="store_true", help="let the chaos rig catch some of them")
    return _by_chaos() if parser.parse_args().chaos else _by_tests()


def _by_chaos() -> int:
    survived = 0
    for one in (mutant for mutant in MUTANTS if mutant.rig):
        with tempfile.TemporaryDirectory(prefix="subgate-mutants-", ignore_cleanup_errors=True) as folder:
            Path(folder).chmod(0o755)
            tree, stale = _make(one, Path(folder) / "tree")
            passed, said = (True, stale) if stale else _chaos(tree)
        verdict = "SURVIVED" if passed else "caught"
        survived += passed
        sys.stdout.write(f"{one.name}: {verdict}\n")
        sys.stdout.write("".join(f"  {line}\n" for line in said.splitlines() if _COMPLAINT.match(line)))
    return 1 if survived else 0


def _chaos(tree: Path) -> tuple[bool, str]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--minutes", "0.7", "--size", "60"],
        cwd=tree,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=600,
        check=False,
        text=True,
    )
    return "the promise was BROKEN" not in done.stdout, done.stdout


def _by_tests() -> int:
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="subgate-mutants-", ignore_cleanup_errors=True) as folder,
        ThreadPoolExecutor(AT_ONCE) as hands,
    ):
        Path(folder).chmod(0o755)
        places = [Path(folder) / str(number) for number in range(len(MUTANTS) + 1)]
        sound = hands.submit(_run, _copy(places[0]), sorted({test for one in MUTANTS for test in one.tests}))
        found = list(hands.map(_try, MUTANTS, places[1:]))
        healthy, said = sound.result()
    rows = [(one.name, verdict) for one, verdict in zip(MUTANTS, found, strict=True)]
    rows.append(("none: the code as it is", "in order" if healthy else "FAILS"))
    sys.stdout.write(table(["mutant", "verdict"], rows) + "\n")
    if not healthy:
        sys.stdout.write(said[-3000:] + "\n")
    caught = sum(verdict.startswith("caught") for verdict in found)
    sys.stdout.write(f"{caught} of {len(MUTANTS)} caught in {time.monotonic() - began:.0f} s\n")
    return 0 if healthy and caught == len(MUTANTS) else 1


def _try(mutant: Mutant, place: Path) -> str:
    tree, stale = _make(mutant, place)
    if stale:
        return stale
    passed, said = _run(tree, mutant.tests)
    if passed:
        return "SURVIVED"
    # A mutant that cannot even be loaded says nothing about the tests.
    failed = re.search(r"^FAILED \S+::(\w+)", said, re.MULTILINE)
    return f"caught by {failed[1]}" if failed else f"BROKEN: {said[-400:]}"


def _make(mutant: Mutant, place: Path) -> tuple[Path, str]:
    tree = _copy(place)
    for change in mutant.changes:
        file = tree / change.file
        code = file.read_text()
        if code.count(change.snippet) != 1:
            return tree, f"STALE: {change.file} holds its snippet {code.count(change.snippet)} times"
        file.write_text(code.replace(change.snippet, change.instead))
    return tree, ""


def _copy(place: Path) -> Path:
    place.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, place / part)  # what is compiled too, which saves seconds each
        else:
            shutil.copy(ROOT / part, place / part)
    return place


def _run(tree: Path, tests: "tuple[str, ...] | list[str]") -> tuple[bool, str]:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--timeout=60", *tests],
        cwd=tree,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
        check=False,
        text=True,
    )
    return done.returncode == 0, done.stdout


if __name__ == "__main__":
    sys.exit(main())
