"""What a command answers, on stdout: for people as lines and tables, for scripts as one object."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from defectgan_cli.console import printable


def print_json(result: dict[str, Any]) -> None:
    """The one JSON object of a command, on stdout."""
    typer.echo(json.dumps(result, default=str))


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], *, numbers: bool = True
) -> None:
    """A table on stdout: framed on a terminal, plain aligned columns in a pipe; of ``numbers``
    behind the first column, or of words.
    """
    # Rich takes a pipe for 80 columns and would cut paths.
    width = None if sys.stdout.isatty() else 1000
    console = Console(file=sys.stdout, highlight=False, width=width)
    table = Table(box=None if not console.is_terminal else Table().box, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if i and numbers else "left")
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    with console.capture() as captured:
        console.print(table)
    typer.echo(captured.get(), nl=False)


def print_facts(facts: Mapping[str, object]) -> None:
    """Names and what is known of them, a line each, on stdout."""
    width = max(map(len, facts))
    for name, fact in facts.items():
        typer.echo(printable(f"{name:{width}}  {fact}"))
