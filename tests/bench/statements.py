"""What the program sends to the database, taken down while it does, and turned into scripts for pgbench.

So the limit is measured with the program's own statements, also when those change.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.engine import Engine


@dataclass(frozen=True)
class Sent:
    """A statement with `$1`, `$2` … and the values for them, several rows of them where it was sent for many."""

    statement: str
    rows: Sequence[Sequence[Any]]


@dataclass
class Recording:
    """The transactions that were committed, in that order."""

    transactions: list[list[Sent]] = field(default_factory=list)
    _open: dict[int, list[Sent]] = field(default_factory=dict)

    def only(self) -> Sent:
        """The one statement, where there was just one."""
        ((sent,),) = self.transactions
        return sent

    def begin(self, connection: Connection) -> None:
        self._open[id(connection)] = []

    def execute(
        self, connection: Connection, _: Any, statement: str, parameters: Any, __: Any, many: bool
    ) -> None:
        rows = [tuple(row) for row in parameters] if many else [tuple(parameters)]
        self._open[id(connection)].append(Sent(statement, rows))

    def commit(self, connection: Connection) -> None:
        self.transactions.append(self._open.pop(id(connection)))


@contextmanager
def recording() -> Iterator[Recording]:
    """Take down what this process sends through SQLAlchemy while the block runs."""
    taken = Recording()
    listeners = (("begin", taken.begin), ("before_cursor_execute", taken.execute), ("commit", taken.commit))
    for name, listener in listeners:
        event.listen(Engine, name, listener)
    try:
        yield taken
    finally:
        for name, listener in listeners:
            event.remove(Engine, name, listener)


def as_prepared(sent: Sent, variables: Mapping[Any, str]) -> tuple[str, dict[str, str]]:
    """Write a statement for pgbench with its values as parameters; tells the script and the values to define.

    Where a value stands in `variables`, the script's own variable of that name takes its place.
    """
    (values,) = sent.rows
    defined: dict[str, str] = {}

    def place(found: re.Match[str]) -> str:
        value = values[int(found[1]) - 1]
        if value is None:
            return "NULL"
        if isinstance(value, str | int) and value in variables:
            return f":{variables[value]}"
        defined[f"p{found[1]}"] = _plain(value)
        return f":p{found[1]}"

    return re.sub(r"\$(\d+)", place, sent.statement).strip() + ";\n", defined


def as_replay(transactions: Sequence[Sequence[Sent]]) -> str:
    """Write transactions for pgbench with the very values they had; many rows go out together, as the driver does."""
    lines = []
    for transaction in transactions:
        lines.append("BEGIN;")
        for sent in transaction:
            written = [f"{_filled(sent.statement, row).strip()};" for row in sent.rows]
            lines += written if len(written) == 1 else ["\\startpipeline", *written, "\\endpipeline"]
        lines.append("END;")
    return "\n".join(lines) + "\n"


def _filled(statement: str, values: Sequence[Any]) -> str:
    def place(found: re.Match[str]) -> str:
        value = values[int(found[1]) - 1]
        return "NULL" if value is None else _quoted(_plain(value))

    return re.sub(r"\$(\d+)", place, statement)


def _quoted(text: str) -> str:
    """Write text as a literal in which pgbench finds no variable of its own: it looks for `:name` in quotes too."""
    escaped = text.replace("\\", "\\\\").replace("'", "''").replace(":", "\\x3A")
    return f"E'{escaped}'"


def _plain(value: Any) -> str:
    """Write a value as PostgreSQL reads it where the type is known from elsewhere."""
    match value:
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.isoformat()
        case list() | tuple():
            return "{" + ",".join('"' + _plain(one).replace('"', '\\"') + '"' for one in value) + "}"
        case _:
            return str(value)
