"""docs/security.md promises nothing that no test shows."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
EXCUSES = ("**Missing", "Left to the proxy", "There is no export yet", "JSON, the form")


def lines() -> list[list[str]]:
    """Read the tables' lines: what has to hold, and what shows it."""
    rows = [line.strip("|").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
    return [row for row in rows if row[0].strip() != "what has to hold"]


def test_every_test_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE))
    assert len(named) > 80
    missing = []
    for path, name in sorted(named):
        file = ROOT / path
        found = (
            {
                one.name
                for one in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
                if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
            }
            if file.exists()
            else set()
        )
        if name not in found:
            missing.append(f"{path}::{name}")
    assert missing == []


def test_every_line_of_the_page_names_a_test_or_says_why_not() -> None:
    assert len(lines()) > 40
    bare = [
        row[0] for row in lines() if "::" not in row[1] and not any(excuse in row[1] for excuse in EXCUSES)
    ]
    assert bare == []
    assert all(len(row) == 2 for row in lines())
