"""What Ctrl-C leaves behind, in words."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

__all__ = ["interruptible"]


@contextmanager
def interruptible(left: str | None = None, *, tell: bool = True) -> Iterator[None]:
    """Say on Ctrl-C what there is now, and exit with 130, as shells expect it.

    Args:
        left: A sentence. None: what was finished is kept, and the same command goes on.
        tell: Whether to say it; of several processes one does.
    """
    try:
        yield
    except KeyboardInterrupt:
        if tell:
            from stripe.provenance import command_line

            left = left or f"Nothing that was finished is lost; to go on:\n  {command_line()}"
            click.echo(f"\nInterrupted. {left}", err=True)
        sys.exit(130)
