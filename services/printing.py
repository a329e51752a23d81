"""What the console prints: plain aligned text for people and pipes, JSON for programs."""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

NOTHING: Final = "-"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lay rows out under their heads."""
    cells = [[head.upper() for head in heads], *([cell(value) for value in row] for row in rows)]
    return _aligned(cells)


def fields(pairs: Iterable[tuple[str, object]]) -> str:
    """Lay out names and values, one a line; what is not known is left out."""
    return _aligned([[name, cell(value)] for name, value in pairs if value is not None])


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def cell(value: object) -> str:
    """Write one value for people, on one line: times in UTC, money in full."""
    match value:
        case None | "":
            return NOTHING
        case bool():
            return "yes" if value else "no"
        case datetime():
            return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
        case Decimal():
            return f"{value:f}"
        case dict():
            return printable(json.dumps(value, ensure_ascii=False))
        case list() | tuple():
            return ", ".join(map(cell, value)) or NOTHING
        case _:
            return printable(str(value))


def printable(text: str) -> str:
    """Take the line breaks and control characters out of a text, which may be a stranger's."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def as_json(value: object) -> str:
    """Write one object or array for programs: money as text, times in ISO 8601 and UTC."""
    return json.dumps(value, default=_plain, indent=2)


def _plain(value: Any) -> object:
    match value:
        case Decimal():
            return f"{value:f}"
        case datetime():
            return value.astimezone(UTC).isoformat()
        case UUID():
            return str(value)
        case _ if dataclasses.is_dataclass(value):
            return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} has no place in JSON")
