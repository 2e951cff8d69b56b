"""Progress bars, which look the same for every long computation."""

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["progress_bar", "track"]

T = TypeVar("T")


def progress_bar() -> Progress:
    """Make a progress bar on standard error, so that a table on standard output stays a table.

    It is silent without a terminal, and in Jupyter without ipywidgets, where a bar would leave warnings.
    """
    console = Console(stderr=True)
    shown = console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        transient=True,
        disable=not shown,
    )


def track(iterable: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate over items and show the progress.

    Args:
        iterable: Items to iterate over.
        description: Description of the computation in a few words.
        total: Number of items; by default the length of ``iterable``.
    """
    with progress_bar() as progress:
        if total is None and hasattr(iterable, "__len__"):
            total = len(iterable)  # type: ignore[arg-type]
        task = progress.add_task(description, total=total, note="")
        for item in iterable:
            yield item
            progress.advance(task)
