"""Tables on standard output, for people or for programs."""

import csv
import io
import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["print_records"]

_LEAST = 4  # least width in characters of a column that has to break its words


def print_records(records: Sequence[dict[str, Any]], output_format: str, title: str | None = None) -> None:
    """Print records as a table, as a JSON list of objects, as CSV, or as a table of LaTeX.

    Args:
        records: One dictionary per row, all with the same keys in the order of the columns.
        output_format: ``"table"``, ``"json"``, ``"csv"`` or ``"tex"`` (with the rules of the package booktabs).
        title: Line above the table; JSON and CSV have none.
    """
    if output_format == "json":
        click.echo(json.dumps([{k: _plain(v) for k, v in record.items()} for record in records], indent=2))
        return
    if output_format == "csv":
        click.echo(_csv(records), nl=False)
        return
    if output_format == "tex":
        click.echo(_tex(records, title))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", header_style="bold")
    for key, value in (records[0] if records else {}).items():
        table.add_column(key.replace("_", " "), justify="right" if _is_number(value) else "left", overflow="fold")
    for record in records:
        table.add_row(*(_text(value) for value in record.values()))
    console = Console(markup=False, emoji=False)  # names may hold brackets and colons
    if not console.is_terminal:
        console.width = 120  # in a file or a pipe nobody's window limits it
    if _width(table, console) > console.width:
        table.box, table.padding, table.show_edge = SIMPLE_HEAD, (0, 0, 0, 0), False
    if _width(table, console) > console.width:
        _keep_whole(table, console.width)
    console.print(table)


def _csv(records: Sequence[dict[str, Any]]) -> str:
    """Records as comma-separated values in full precision; an empty cell is a number that is undefined or unknown."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(records[0] if records else [])
    for record in records:
        cells = [_plain(value) for value in record.values()]
        writer.writerow(["×".join(map(str, cell)) if isinstance(cell, list) else cell for cell in cells])
    return text.getvalue()


_TEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "η²": r"$\eta^2$",
    "×": r"$\times$",
    "±": r"$\pm$",
    "–": "--",
    "−": "$-$",
    "≤": r"$\le$",
}
_TEX_PART = re.compile("|".join(map(re.escape, _TEX)))


def _tex(records: Sequence[dict[str, Any]], title: str | None) -> str:
    """Records as a ``tabular`` of LaTeX, ready to be put into a document that loads booktabs."""

    def escaped(text: str) -> str:
        return _TEX_PART.sub(lambda match: _TEX[match[0]], text)

    first = records[0] if records else {}
    sides = "".join("r" if _is_number(value) else "l" for value in first.values())
    rows = [" & ".join(escaped(_text(value)) for value in record.values()) + r" \\" for record in records]
    heading = " & ".join(escaped(key.replace("_", " ")) for key in first) + r" \\"
    comment = "% " + " ".join(title.split()) if title else "% needs \\usepackage{booktabs}"
    begin, end = rf"\begin{{tabular}}{{@{{}}{sides}@{{}}}}", r"\end{tabular}"
    return "\n".join([comment, begin, r"\toprule", heading, r"\midrule", *rows, r"\bottomrule", end])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _width(table: "Table", console: "Console") -> int:
    """The width of a table whose lines are not broken."""
    return console.measure(table, options=console.options.update(width=10_000)).maximum


def _keep_whole(table: "Table", width: int) -> None:
    """If a window is too narrow for a table, break headers into words, and sentences before names and numbers."""
    from rich.cells import cell_len

    room = width + 1 - len(table.columns) * (_LEAST + 1)  # a blank between two columns
    # Numbers are the first that are kept whole, then names.
    for column in sorted(table.columns, key=lambda c: (c.justify != "right", c is not table.columns[0])):
        cells = [str(cell) for cell in column.cells]
        if any(" " in cell for cell in cells):
            continue
        words = str(column.header).split()
        column.header = "\n".join(words)
        needed = max([0, *(cell_len(word) - _LEAST for word in [*words, *cells])])
        if needed > room:
            break  # the others share what is left
        column.no_wrap = True
        room -= needed


def _plain(value: Any) -> Any:
    """Convert a value for JSON: NaN to None, NumPy scalars and tuples to plain values."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and value != value:
        return None
    return list(value) if isinstance(value, tuple) else value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "unknown"
    if isinstance(value, float):
        return "–" if value != value else f"{value:.4g}"
    if isinstance(value, tuple):
        return "×".join(str(part) for part in value)
    return str(value)
