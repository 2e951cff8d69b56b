"""Progress bars: one look for everything that takes long."""

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
    """A bar on standard error, so that a table on standard output stays a table; silent where nobody looks.

    That is where there is neither a terminal nor Jupyter with ipywidgets, without which a bar leaves warnings behind.
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
    """Iterate and show how far it has come.

    Args:
        iterable: What to go through.
        description: What is being done, in a few words.
        total: The number of items, where ``len`` does not know it.
    """
    with progress_bar() as progress:
        if total is None and hasattr(iterable, "__len__"):
            total = len(iterable)  # type: ignore[arg-type]
        task = progress.add_task(description, total=total, note="")
        for item in iterable:
            yield item
            progress.advance(task)
