"""What ``chatctl`` prints: tables for people, tab-separated lines for pipes, JSON on request."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click
from attrs import define, field
from rich.console import Console, OverflowMethod
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text


@define
class Output:
    """Standard output. ``as_json`` is ``--json``."""

    as_json: bool = False
    console: Console = field(factory=lambda: Console(highlight=False))

    def rows(self, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        """A table, a line for each row with tabs between, or a list of objects."""
        if self.as_json:
            click.echo(as_json(list(rows)))
        elif self.console.is_terminal:
            self.console.print(table(columns, rows))
        else:
            for row in rows:
                click.echo("\t".join(plain(row[column]) for column in columns))

    def done(self, text: str, **value: Any) -> None:
        """What was done, in words or as an object."""
        click.echo(as_json(value) if self.as_json else text)

    def message(self, message: Mapping[str, Any]) -> None:
        """One message, on a line of its own."""
        if self.as_json:
            click.echo(as_json(message))
        else:
            click.echo(
                f"{plain(message['time'])} {plain(message['user'])}: {plain(message['text'])}"
            )
        sys.stdout.flush()

    def progress(self) -> Progress:
        """A progress bar on standard error, if that is a terminal."""
        console = Console(stderr=True)
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )


def as_json(value: Any) -> str:
    """``value`` as JSON that means the same in any encoding of standard output: with escapes unless
    that is UTF-8, as which JSON is read."""
    return json.dumps(value, ensure_ascii=codecs.lookup(sys.stdout.encoding).name != "utf-8")


def table(
    columns: Sequence[str], rows: Sequence[Mapping[str, Any]], overflow: OverflowMethod = "fold"
) -> Table:
    """``rows`` as a table for a terminal. What is too wide for it goes on in the next line, for a
    name that is cut off is of no use; with an ``overflow`` of ``ellipsis`` a row stays one line."""
    made = Table(*(Column(name, overflow=overflow) for name in columns), box=None, pad_edge=False)
    for row in rows:
        # as Text: what strangers have written is no markup
        made.add_row(*(Text(plain(row[column])) for column in columns))
    return made


def plain(value: Any) -> str:
    """``value`` in one line that moves no cursor and rings no bell."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    text = f"{value:,.1f}" if isinstance(value, float) else str(value)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
