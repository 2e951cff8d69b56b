"""Tables on standard output, for people or for programs."""

import json
from collections.abc import Sequence
from typing import Any

import click

__all__ = ["print_records"]


def print_records(records: Sequence[dict[str, Any]], output_format: str, title: str | None = None) -> None:
    """Print records as a table or as a JSON list of objects.

    Args:
        records: One dictionary a row, all with the same keys, in the order of the columns.
        output_format: ``"table"`` or ``"json"``.
        title: A line above the table.
    """
    if output_format == "json":
        click.echo(json.dumps([{k: _plain(v) for k, v in record.items()} for record in records], indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", header_style="bold")
    for key, value in (records[0] if records else {}).items():
        right = isinstance(value, int | float) and not isinstance(value, bool)
        table.add_column(key.replace("_", " "), justify="right" if right else "left", overflow="fold")
    for record in records:
        table.add_row(*(_text(value) for value in record.values()))
    console = Console()
    if not console.is_terminal:
        console.width = 120  # in a file or a pipe nobody's window limits it
    console.print(table)


def _plain(value: Any) -> Any:
    """NaN has no JSON; numpy scalars and tuples become plain ones."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and value != value:
        return None
    return list(value) if isinstance(value, tuple) else value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "–" if value != value else f"{value:.4g}"
    if isinstance(value, tuple):
        return "×".join(str(part) for part in value)
    return str(value)
