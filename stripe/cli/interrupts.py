"""Messages after Ctrl-C that tell what is left."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

__all__ = ["interruptible"]


@contextmanager
def interruptible(left: str | None = None, *, tell: bool = True) -> Iterator[None]:
    """A context that after Ctrl-C prints what is left, and exits with 130, as shells expect.

    Args:
        left: Sentence to print; by default that finished work is kept, and that the same command continues it.
        tell: Whether to print it; one of several processes does.
    """
    try:
        yield
    except KeyboardInterrupt:
        if tell:
            from stripe.provenance import command_line

            again = command_line().replace(" --overwrite", "")  # which would begin anew
            left = left or f"Nothing that was finished is lost; to go on:\n  {again}"
            click.echo(f"\nInterrupted. {left}", err=True)
        sys.exit(130)
